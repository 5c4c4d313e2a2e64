"""Orders to a process of this home: one JSON request a line, one JSON answer a line, over a socket.

The socket lies in the home, mode 0600; the caller's uid is journaled.
"""

import contextlib
import json
import socket
import struct
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from fedtui import errors, events
from fedtui.errors import NetworkError, OperatorError, RunError, UsageError
from fedtui.journal import Journal
from fedtui.site import Home

_ORDER_SECONDS = 10.0

Orders = Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]]


def order(home: Home, process: str, name: str, **arguments: Any) -> dict[str, Any]:
    """Give ``process`` an order and return its answer.

    Raises:
        UsageError: it is not running.
        OperatorError: the one it answered with.
    """
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(_ORDER_SECONDS)
            client.connect(str(home.socket(process)))
            client.sendall(json.dumps({"order": name, **arguments}).encode() + b"\n")
            with client.makefile("rb") as reader:
                line = reader.readline()
    except OSError as error:
        if isinstance(error, FileNotFoundError | ConnectionRefusedError):
            raise UsageError(
                f"The {process} of {home.path} is not running.",
                remedy=f"Start it with 'fedtui up --home {home.path}'.",
            ) from error
        raise NetworkError(
            f"The {process} of {home.path} did not answer within {_ORDER_SECONDS:.0f} s.",
            remedy=f"Read {home.log(process)}; 'fedtui down' and 'up' restart it.",
        ) from error
    if not line:
        raise NetworkError(
            f"The {process} of {home.path} ended before it answered.",
            remedy="It is being started again; try once more.",
        )
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise errors.from_json(answer)
    return answer


def answers(home: Home, process: str) -> bool:
    """Whether ``process`` takes orders now."""
    with contextlib.suppress(OperatorError):
        return bool(order(home, process, "ping"))
    return False


def take_orders(home: Home, process: str, orders: Orders, journal: Journal) -> socket.socket:
    """Serve ``orders`` on the home's socket in threads; the caller's uid is journaled.

    The caller holds the process's lock, so an old socket file is nobody's.
    """
    path = home.socket(process)
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    path.chmod(0o600)
    server.listen(8)

    def serve(client: socket.socket) -> None:
        with client, client.makefile("rwb") as stream, contextlib.suppress(OSError):
            client.settimeout(_ORDER_SECONDS)
            stream.write(json.dumps(_answer(client, stream.readline())).encode() + b"\n")

    def _answer(client: socket.socket, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            name = str(request.pop("order"))
            action = orders[name]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return UsageError(
                f"The {process} does not know this order.", remedy="Use the same fedtui everywhere."
            ).to_json()
        if name not in ("ping", "status"):
            credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            uid = struct.unpack("3i", credentials)[1]
            journal.append(events.OrderTaken(order=name, process=process, uid=uid))
        try:
            return action(request)
        except OperatorError as error:
            return error.to_json()
        except Exception as error:  # an order's boundary: traced in the local log, answered here
            traceback.print_exception(error)
            return RunError(
                f"The {process} could not carry out this order: {type(error).__name__}.",
                remedy=f"Read {home.log(process)}, and report it.",
            ).to_json()

    def accept() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:  # closed: the process is ending
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, name="orders", daemon=True).start()
    return server
