"""Stock Flower peers, in studies marked ``interop = true`` with public or synthetic data only.

Two ways: a stock ``flower-supernode`` joins our coordinator and runs the app that it is sent (the
stock node runs whatever it is sent; ours never does), and our agent serves a stock SuperLink.
"""

import io
import json
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.supercore.fab import Fab

from fedtui import __version__, events
from fedtui import study as studies
from fedtui.disclosure import rounded
from fedtui.errors import TrustError
from fedtui.events import Phase
from fedtui.flower import arrays
from fedtui.flower.assignment import Assignment, read_order
from fedtui.flower.release import bounded_metrics
from fedtui.flower.work import Key
from fedtui.journal import Journal
from fedtui.study import Study

if TYPE_CHECKING:
    from fedtui.flower.trainer import Trainer

PUBLISHER, NAME = "fedtui", "peer"
_PYPROJECT = f"""\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{NAME}"
version = "{__version__}"
license = "Apache-2.0"
dependencies = ["fedtui=={__version__}"]

[tool.flwr.app]
publisher = "{PUBLISHER}"

[tool.flwr.app.components]
serverapp = "fedtui_peer.app:server"
clientapp = "fedtui_peer.app:client"

[tool.flwr.app.config]
"""
_APP = '''\
"""What a stock Flower node runs for fedtui: the installed fedtui's own training, on public data."""

from fedtui.flower.interop import peer_app
from flwr.serverapp import ServerApp

client = peer_app()
server = ServerApp()
'''


def bundle() -> Fab:
    """The Flower app bundle that a stock node fetches from our coordinator, with its hash."""
    from flwr.cli.build import build_fab_from_files

    files: dict[str, bytes | Path] = {
        "pyproject.toml": _PYPROJECT.encode(),
        "fedtui_peer/__init__.py": b"",
        "fedtui_peer/app.py": _APP.encode(),
    }
    content, _ = build_fab_from_files(files)
    return Fab(hash_str="", content=content, verifications={})


def peer_app() -> ClientApp:
    """The ClientApp inside that bundle; ``--node-config`` names ``site``, ``part`` and ``path``."""
    app = ClientApp()

    @app.query()
    def prepare(message: Message, context: Context) -> Message:
        return _answer(message, context, "prepare")

    @app.train()
    def train(message: Message, context: Context) -> Message:
        return _answer(message, context, "train")

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        return _answer(message, context, "evaluate")

    return app


def _answer(message: Message, context: Context, phase: Phase) -> Message:
    """One phase in this very process; Flower starts one for every message."""
    site = str(context.node_config["site"])
    task = read_order(message, site=site)
    if not task.study.interop:
        raise TrustError(
            f"Study {task.study.id} is not marked interop.", remedy="Take part with fedtui itself."
        )
    with tempfile.TemporaryDirectory() as folder:
        order: dict[str, Any] = {
            "do": phase,
            "study": task.text,
            "source": {
                "path": context.node_config.get("path"),
                "part": str(context.node_config.get("part", "all")),
            },
            "round": task.key.round,
            "normalisation": task.normalisation,
            "initial": task.initial,
            "local": None,
            "weights": None,
            "input": f"{folder}/in",
            "output": f"{folder}/out",
        }
        if phase != "prepare":
            record = message.content.array_records["arrays"]
            arrays.from_record(record, size=task.size or 0).tofile(order["input"])
        trainer = _trainer(site)
        if phase == "prepare":
            done = trainer.prepare(order)
        elif phase == "train":
            done = trainer.train(order, io.StringIO())  # a stock node shows no progress
        else:
            done = trainer.evaluate(order)
        records = _records(done)
        if done.get("vector"):
            vector = np.fromfile(order["output"], dtype="<f4")
            records["arrays"] = arrays.to_record(vector)
    return Message(records, reply_to=message)


def _records(done: dict[str, Any]) -> RecordDict:
    metrics = {**done.get("metrics", {}), "seconds": done.get("seconds", 0.0)}
    numbers = MetricRecord({"num-examples": rounded(done["examples"]), **bounded_metrics(metrics)})
    fields = ConfigRecord()
    for name in ("manifest", "features", "classes"):
        if name in done:
            fields[name] = json.dumps(done[name])
    for name, values in done.get("statistics", {}).items():
        fields[name] = np.asarray(values, dtype="<f8").tobytes()
    return RecordDict({"metrics": numbers, "fields": fields})


@cache
def _trainer(site: str) -> "Trainer":
    from fedtui.flower.trainer import Trainer  # JAX, which the coordinator has no use for

    # The node's own folder, not a shared /tmp: compiled code is loaded from there.
    flower = Path(os.environ.get("FLWR_HOME") or Path.home() / ".flwr")
    return Trainer(site=site, cache=flower / "fedtui-cache")


def stock_key(message: Message) -> Key:
    """The piece of work that a stock coordinator's message asks for."""
    config = message.content.config_records.get("config", ConfigRecord())
    number = config.get("server-round", 1)
    round = number if isinstance(number, int) else 1
    phase: Phase = "evaluate" if message.metadata.message_type == "evaluate" else "train"
    return Key(f"flower-{message.metadata.run_id}", round, phase)


class StockRun:
    """What this site's journal says of runs that a stock coordinator leads: its own part only."""

    def __init__(self, journal: Journal, study: Study, *, site: str) -> None:
        self._journal, self._study, self._site = journal, study, site
        self._known = {
            record.event.run
            for record in journal.own(("RunSubmitted",))
            if isinstance(record.event, events.RunSubmitted)
        }

    def asked(self, key: Key) -> None:
        """A piece of work arrived: with the first one the run begins, as far as this site knows."""
        if key.run not in self._known:
            self._known.add(key.run)
            self._journal.append(
                events.RunSubmitted(
                    run=key.run,
                    study=self._study.id,
                    fingerprint=studies.fingerprint(self._study),
                    sites=(self._site,),
                    train_sites=(self._site,),
                    rounds=self._study.rounds,
                    metric=self._study.metric,
                    interop=True,
                )
            )
        self._journal.append(
            events.PhaseStarted(run=key.run, round=key.round, phase=key.phase, sites=(self._site,))
        )


def read_stock_order(message: Message, study: Study, *, site: str) -> Assignment:
    """The order in a stock ServerApp's message: its study is the one this site agreed to.

    The strategy is Flower's own; it sends the model as one flat float32 array named
    ``parameters`` and its round as ``server-round``.

    Raises:
        TrustError: the study is not marked interop, does not name this site, or normalises in a
            round 0 that a stock strategy does not have.
    """
    if not study.interop or site not in study.sites or study.normalisation != "none":
        raise TrustError(
            f"Study {study.id} is not one for a stock Flower coordinator.",
            remedy="Give one with interop = true, normalisation = 'none', and this site's name.",
        )
    text = studies.canonical(study).decode()
    return Assignment(
        key=stock_key(message),
        study=study,
        text=text,
        fingerprint=studies.fingerprint(study),
        normalisation=None,
        size=None,
        initial=False,
    )
