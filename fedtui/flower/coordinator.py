"""The coordinator: one process, one TLS port, Flower's Fleet and our routes, one run at a time.

Everything that must last is on disk: roster, runs, checkpoints, journal. After any end the process
finds unfinished runs in its journal and goes on with them by itself, under the same run id.
"""

import contextlib
import gc
import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from fedtui import __version__, certificates, events, keys, orders, processes, site
from fedtui.errors import NetworkError, StorageError
from fedtui.flower.enrolment import Enrolment
from fedtui.flower.fleet import Fleet
from fedtui.flower.gate import Gate
from fedtui.flower.presence import Presence
from fedtui.flower.renewal import Renewal
from fedtui.flower.routes import Routes, guard
from fedtui.flower.runs import Runs
from fedtui.flower.studies import Studies
from fedtui.journal import Journal
from fedtui.processes import Lock
from fedtui.site import Home


class Coordinator:
    """One federation's coordinator, from its home."""

    def __init__(self, home: Home) -> None:
        logging.getLogger("flwr").setLevel(logging.WARNING)  # its rounds are in our journal
        self._home = home
        self._site = site.load(home)
        self._lock = Lock(home, "coordinator")
        self._journal = Journal(home.journal, source="coordinator", patient=True)
        # Of what answers sites: they hear that the disk is full, and are not left to wait.
        self._answering = answering = Journal(home.journal, source="coordinator")
        self._fleet, self._gate = Fleet(), Gate()
        self._presence = Presence(answering)
        self._enrolment = Enrolment(
            home, self._journal, self._fleet, self._gate, name=self._site.name
        )
        self._enrolment.load()
        self._renewal = Renewal(home, self._site, self._journal)
        self._studies = Studies(home, self._journal, name=self._site.name)
        self._runs = Runs(
            home, self._journal, self._fleet, self._presence, self._studies, site=self._site.name
        )
        self._routes = Routes(
            probe=self._runs.probe,
            gate=self._gate,
            enrolment=self._enrolment,
            studies=self._studies,
            fleet=self._fleet,
            presence=self._presence,
            journal=answering,
            site=self._site.name,
            key=lambda: keys.load_private(home.keys / "node.key").public_key(),
            epoch=secrets.token_hex(8),
            storage=lambda: self._storage,
        )
        self._listener = _bind(self._site.coordinator.host, self._site.coordinator.port)

    def run(self) -> None:
        """Serve until SIGTERM."""
        self._journal.append(
            events.ProcessStarted(process="coordinator", pid=os.getpid(), version=__version__)
        )
        accepted: orders.Orders = {
            "ping": lambda _: {"pid": os.getpid()},
            "status": lambda _: self._status(),
            "enrol": lambda _: self._enrolment.load(),
            "run": self._submit,
            "validate": lambda request: self._runs.validate(str(request["run"] or "")),
            "stop": lambda request: self._runs.stop(str(request["run"] or "")),
            "pause": lambda request: self._runs.pause(str(request["run"] or ""), paused=True),
            "resume": lambda request: self._runs.pause(str(request["run"] or ""), paused=False),
        }
        keys_folder = self._home.keys
        server = _Server(
            self._routes,
            uvicorn.Config(
                guard(self._fleet.app(), self._routes.app(), on_push=self._fleet.notify),
                ssl_keyfile=str(keys_folder / "server.key"),
                ssl_certfile=str(keys_folder / "server.pem"),
                log_level="warning",
                access_log=False,
                server_header=False,
                ws="none",
                timeout_keep_alive=75,  # above WAIT_SECONDS of the agents, so connections live on
                timeout_graceful_shutdown=1,
            ),
        )
        server.config.load()
        assert server.config.ssl is not None
        self._renewal.serve(server.config.ssl)
        gc.freeze()  # what is here stays: the collector, called between pushes, skips it
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._listener.listen(128)  # who connects once we take orders waits, and is not refused
        order_socket = orders.take_orders(self._home, "coordinator", accepted, self._journal)
        processes.keep_supervised(self._home)
        threading.Thread(target=self._watch, name="presence", daemon=True).start()
        self._runs.begin()
        try:
            server.run(sockets=[self._listener])
        finally:
            order_socket.close()
            self._journal.append(events.ProcessEnded(process="coordinator", cause="stopped"))

    def _submit(self, request: dict[str, Any]) -> dict[str, Any]:
        run = self._runs.submit(str(request["study"]), alone=str(request.get("alone") or ""))
        return {"run": run.id}

    def _watch(self) -> None:
        full = 0.0
        while True:
            time.sleep(1.0)
            with contextlib.suppress(StorageError):  # seen again in a second
                if cause := self._answering.trouble:  # nothing else may be there to be written
                    full = full or time.monotonic() - 1.0
                    waited = round(time.monotonic() - full, 1)
                    self._answering.append(
                        events.StorageAwaited(process="coordinator", seconds=waited, cause=cause)
                    )
                full = 0.0
                self._presence.watch()
                self._renewal.watch()
                self._enrolment.watch()

    @property
    def _storage(self) -> str:
        """What the disk under this home said to whoever wrote last, its own agent included."""
        return (
            self._journal.trouble
            or self._answering.trouble
            or self._runs.storage
            or self._presence.trouble(self._site.name)
        )

    def _status(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "storage": self._storage,
            "sites": {
                name: {
                    "here": self._presence.here(name),
                    "heard_seconds": self._presence.seconds(name),
                }
                for name in self._fleet.sites
            },
            "run": self._runs.current,
            "certificate_days": round(certificates.days_left(self._home.keys / "server.pem"), 1),
        }


class _Server(uvicorn.Server):
    """Uvicorn that lets waiting requests go as soon as it is told to end."""

    def __init__(self, routes: Routes, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._routes = routes

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by uvicorn on SIGTERM and SIGINT."""
        self._routes.close()
        super().handle_exit(sig, frame)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise NetworkError(
            f"The coordinator cannot listen at {host}:{port}: {error.strerror}.",
            remedy="Stop what uses the port, or set another [coordinator] port in site.toml.",
        ) from error
    return listener


if __name__ == "__main__":
    home = Home(Path(sys.argv[1]))
    code = processes.carry(home, "coordinator", lambda: Coordinator(home).run())
    sys.stdout.flush()
    os._exit(code)  # a run in progress is in a thread that waits; its state is already on disk
