"""Nothing but the exit sends: a walk over the syntax of every module that a site runs."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("fedtui", "models", "datasets")

# What can reach another host, by the module that is imported for it; a child process can, too.
NETWORK = (
    "aiohttp", "asyncio", "flwr.client.grpc_rere_client", "flwr.client.rest_client",
    "flwr.supercore.inflatable.inflatable_protobuf_utils",
    "flwr.supercore.inflatable.inflatable_utils", "flwr.supernode", "ftplib", "grpc", "h11",
    "http.client", "http.server", "httpcore", "httpx", "imaplib", "multiprocessing.connection",
    "nntplib", "paramiko", "poplib", "requests", "smtplib", "socket", "socketserver",
    "subprocess", "telnetlib", "urllib.request", "urllib3", "uvicorn", "websockets", "xmlrpc",
)  # fmt: skip
CALLS = (
    "PushMessages", "PushObject", "create_connection", "open_connection", "popen", "post", "push",
    "push_objects", "request", "send", "send_message", "sendall", "sendfile", "sendmsg", "sendto",
    "stream", "system", "urlopen", "urlretrieve",
)  # fmt: skip


class Sending(NamedTuple):
    """One place that can send: 'import NAME', 'call NAME', 'reply' or 'bare post'."""

    module: str
    function: str
    what: str


def sendings(source: str, module: str) -> Iterator[Sending]:
    """Every place in ``source`` that can send, or that makes what is sent."""
    yield from _walk(ast.parse(source), module, "", {})


def _walk(node: ast.AST, module: str, function: str, cleaned: dict[str, bool]) -> Iterator[Sending]:
    for child in ast.iter_child_nodes(node):
        inside = function
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inside = f"{function}.{child.name}".lstrip(".")
        if isinstance(child, ast.Import):
            names = [alias.name for alias in child.names]
        elif isinstance(child, ast.ImportFrom):
            names = [f"{child.module}.{alias.name}" for alias in child.names]
        else:
            names = []
        for name in names:
            for known in NETWORK:
                if name == known or name.startswith(f"{known}."):
                    yield Sending(module, inside, f"import {known}")
        if isinstance(child, ast.Assign) and isinstance(child.targets[0], ast.Name):
            cleaned[child.targets[0].id] = _is_words(child.value)
        if isinstance(child, ast.Call):
            yield from _call(child, module, inside, cleaned)
        scope = {} if inside != function else cleaned
        yield from _walk(child, module, inside, scope)


def _call(
    call: ast.Call, module: str, function: str, cleaned: dict[str, bool]
) -> Iterator[Sending]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    name = call.func.id if isinstance(call.func, ast.Name) else name
    if name in ("__import__", "import_module"):
        wanted = [a.value for a in call.args[:1] if isinstance(a, ast.Constant)]
        yield from (Sending(module, function, f"import {w}") for w in wanted if w in NETWORK)
    if name in CALLS:
        yield Sending(module, function, f"call {name}")
    if name == "Message" and any(keyword.arg == "reply_to" for keyword in call.keywords):
        yield Sending(module, function, "reply")
    if name == "post" and len(call.args) > 1:
        body = call.args[1]
        if not (_is_words(body) or (isinstance(body, ast.Name) and cleaned.get(body.id))):
            yield Sending(module, function, "bare post")


def _is_words(value: ast.expr) -> bool:
    """Whether an expression is a call of the exit's ``words``, by the names it is handed under."""
    if not isinstance(value, ast.Call):
        return False
    name = value.func.attr if isinstance(value.func, ast.Attribute) else ""
    return name in ("words", "_words", "_clean")


def everywhere() -> set[Sending]:
    found = set()
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            found |= set(sendings(file.read_text(encoding="utf-8"), module))
    return found


EXIT = "fedtui.flower.release"
# What may send or make what is sent, by module or function, and why no patient can be in it.
ALLOWED: dict[tuple[str, str], tuple[str, str]] = {
    (EXIT, "Exit"): ("reply", "it is the exit"),
    ("fedtui.flower.node", ""): ("import call", "the transport that replies are handed to"),
    ("fedtui.flower.link", ""): ("import call bare", "the transport that words are handed to"),
    ("fedtui.transport", ""): ("import", "opens connections for Link and for joining"),
    ("fedtui.flower.answering", "Answering.answer"): ("call", "hands the exit's reply to the node"),
    ("fedtui.flower.agent", "Agent"): ("call", "hands the exit's words to the link"),
    ("fedtui.flower.reporting", "Reports"): ("call", "hands the exit's words to the link"),
    ("fedtui.flower.belonging", "Belonging._rotate"): ("call", "the exit's words: a public key"),
    ("fedtui.flower.consent", "Consent._ask"): ("call", "the exit's words: signed approvals"),
    ("fedtui.flower.interop", "_answer"): ("reply", "a stock peer's: public or made-up data only"),
    ("fedtui.operations._leaving", "_post"): ("import call", "a signed request, its body empty"),
    ("fedtui.operations._door", "Door._send"): ("import call", "asks to join; no data yet"),
    ("fedtui.operations._training", ""): ("import", "trains in a child of its own"),
    ("fedtui.flower.coordinator", ""): ("import", "listens; holds no patient"),
    ("fedtui.flower.routes", ""): ("import", "answers sites; holds no patient"),
    ("fedtui.flower.grid", "DirectGrid"): ("call", "the coordinator's questions to sites"),
    ("fedtui.flower.probing", "Probe"): ("call", "the coordinator's question that asks nothing"),
    ("fedtui.flower.arrays", ""): ("import", "takes what came apart; sends nothing"),
    ("fedtui.flower.workbench", ""): ("import", "starts the trainer, its own child"),
    ("fedtui.orders", ""): ("import call", "a Unix socket within the host"),
    ("fedtui.supervisor", ""): ("import call", "systemd's socket, and its own children"),
    ("fedtui.processes", ""): ("import", "starts fedtui's own processes"),
    ("fedtui.operations._service", ""): ("import", "asks systemd on this host"),
    ("fedtui.operations._bundle", ""): ("import", "asks programs on this host"),
    ("fedtui.operations._examining", ""): ("import call", "reads data in a child of its own"),
    ("fedtui.operations._deciding", ""): ("call", "the home's own outbox"),
    ("fedtui.operations._sites", ""): ("import", "asks for this host's own name and addresses"),
    ("fedtui.cli.models", ""): ("import", "measures a model in a child of its own"),
    ("fedtui.demo._federation", ""): ("import", "looks for a free port on loopback"),
    ("fedtui.certificates", ""): ("import", "tells an address from a name"),
    ("fedtui.tui.thin", ""): ("import", "waits for a key"),
    ("fedtui.checks", ""): ("import call bare", "phase 0 asks about the way, and has no data"),
}  # fmt: skip


def reason(sending: Sending) -> str:
    """Why it may, or nothing."""
    for (module, function), (kinds, why) in ALLOWED.items():
        here = sending.module == module or sending.module.startswith(f"{module}.")
        inside = f"{sending.function}.".startswith(f"{function}.") or not function
        if here and inside and sending.what.split()[0] in kinds.split():
            return why
    return ""


def test_nothing_but_the_exit_and_the_named_transport_sends() -> None:
    unknown = sorted(sending for sending in everywhere() if not reason(sending))

    assert not unknown, "\n".join(
        f"{s.module}, {s.function or 'the module'}: {s.what}. Hand it to the site's Exit, or give "
        "the reason here why nothing of a patient can be in it."
        for s in unknown
    )


def test_every_reason_still_has_something_to_excuse() -> None:
    found = everywhere()

    for (module, function), (kinds, _) in ALLOWED.items():
        here = {s for s in found if s.module == module or s.module.startswith(f"{module}.")}
        here = {s for s in here if not function or f"{s.function}.".startswith(f"{function}.")}
        assert here, f"{module}, {function}: {kinds}"


def test_checks_that_ask_over_the_network_cannot_read_data() -> None:
    for file in (ROOT / "fedtui" / "checks").glob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        names = [
            alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names
        ]
        names += [str(n.module) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
        assert not any(name.split(".")[0] in ("datasets", "models") for name in names), file.name


@pytest.mark.parametrize(
    ("module", "planted", "what"),
    [
        ("fedtui.flower.client", "import httpx", "import httpx"),
        ("fedtui.flower.trainer", "def train():\n    import socket as s", "import socket"),
        ("fedtui.flower.client", "from urllib import request", "import urllib.request"),
        ("fedtui.flower.client", "from urllib.request import urlopen", "import urllib.request"),
        ("models._engine", "from http.client import HTTPSConnection", "import http.client"),
        ("datasets.clinical", "import subprocess", "import subprocess"),
        ("models._engine", "os.system(f'curl {x}')", "call system"),
        ("fedtui.flower.client", "__import__('requests')", "import requests"),
        ("fedtui.flower.client", "importlib.import_module('httpx')", "import httpx"),
        ("fedtui.flower.client", "def f(self): self._link.post('/x', body)", "call post"),
        ("fedtui.flower.client", "self._node.push(reply, round=1)", "call push"),
        ("fedtui.flower.validation", "return Message(r, reply_to=message)", "reply"),
        (
            "fedtui.flower.agent",
            "class Agent:\n  def _report(self): self._link.post('/fedtui/report', {'x': cell})",
            "bare post",
        ),
        (
            "fedtui.flower.agent",
            "class Agent:\n  def f(self):\n    body = {'x': 1}\n    self._link.post('/x', body)",
            "bare post",
        ),
    ],
)
def test_a_planted_way_out_is_found(module: str, planted: str, what: str) -> None:
    source = planted.replace("return ", "")

    found = [sending for sending in sendings(source, module) if not reason(sending)]

    assert [sending.what for sending in found if sending.what == what], found


def test_what_goes_through_the_exit_is_not_suspected() -> None:
    source = "class Agent:\n  def f(self): self._link.post('/x', self._exit.words({}))"

    assert not [s for s in sendings(source, "fedtui.flower.agent") if not reason(s)]
