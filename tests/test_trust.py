"""Nothing but the federation is reachable, and only for those whose keys are on the roster."""

import contextlib
import json
import socket
import ssl
import stat
import time
import warnings
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.message_pb2 import Metadata
from flwr.proto.node_pb2 import Node as NodeProto

from fedtui import events, keys, processes, site
from fedtui.flower.fleet import Fleet
from fedtui.flower.link import Link, LinkError, pinned
from fedtui.flower.node import Node
from fedtui.keys import PrivateKey
from tests import federation as fed
from tests.conftest import STRANGE
from tests.federation import COORDINATOR, SITE, Federation, records


@pytest.fixture
def client(trio: Federation) -> Iterator[httpx.Client]:
    authority = site.load_membership(trio.site).authority
    with httpx.Client(base_url=f"https://127.0.0.1:{trio.port}", verify=pinned(authority)) as made:
        yield made


def key_of(trio: Federation, name: str) -> PrivateKey:
    return keys.load_private(trio.homes[name].keys / "node.key")


def signed(key: PrivateKey, name: str, sent: bytes, **changes: Any) -> dict[str, str]:
    """The headers of a request to report, right but for ``changes``."""
    terms = {
        "site": name,
        "method": "POST",
        "path": "/fedtui/report",
        "body": sent,
        "time": f"{time.time():.3f}",
        "nonce": changes.pop("nonce", f"{time.time_ns():032x}"),
    } | changes
    return {
        "x-fedtui-site": name,
        "x-fedtui-time": terms["time"],
        "x-fedtui-nonce": terms["nonce"],
        "x-fedtui-signature": keys.sign_request(key, **terms),
    }


def paths(app: Any) -> set[str]:
    """Every path of an application, those of included routers too."""
    found: set[str] = set()
    for route in app.routes:
        inner = getattr(route, "original_router", None)
        found |= paths(inner) if inner else {route.path}
    return found


def test_flower_offers_its_fleet_routes_and_no_others() -> None:
    found = paths(Fleet().app())

    assert found
    assert all(path.startswith("/v1/fleet/") for path in found)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/docs",
        "/redoc",
        "/openapi.json",
        "/health",
        "/v1/control/start-run",
        "/v1/control/register-node",
        "/v1/runtime/acquire-task",
        "/v1/fleet",
        "/v1/fleet/../control/start-run",
        "/v1/fleet/%2e%2e/control/start-run",
        "//v1/control/start-run",
        "/fedtui",
        "/fedtui/docs",
        "/fedtui/openapi.json",
    ],
)
def test_no_other_route_exists(client: httpx.Client, path: str) -> None:
    answers = [client.get(path), client.post(path, content=b"")]

    assert {answer.status_code for answer in answers} == {404}


def test_a_home_listens_at_one_port_and_nowhere_else(trio: Federation) -> None:
    coordinator = processes.running(trio.coordinator, "coordinator")

    listening = [
        (process.pid, tuple(connection.laddr))
        for process in fed.living(trio.folder)
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN or connection.type == socket.SOCK_DGRAM
    ]

    assert listening == [(coordinator, ("127.0.0.1", trio.port))]


def test_plain_http_gets_nothing(trio: Federation) -> None:
    with socket.create_connection(("127.0.0.1", trio.port), timeout=5) as plain:
        plain.sendall(b"GET /fedtui/hello HTTP/1.1\r\nHost: a\r\n\r\n")

        answer = b""
        with contextlib.suppress(ConnectionResetError):
            answer = plain.recv(1000)

    assert b"HTTP" not in answer


def test_old_tls_gets_nothing(trio: Federation) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", trio.port), timeout=5) as plain,
        pytest.raises((ssl.SSLError, ConnectionResetError)),
    ):
        old.wrap_socket(plain)


def test_a_certificate_of_another_authority_is_not_believed(trio: Federation) -> None:
    other = ssl.create_default_context()

    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"https://127.0.0.1:{trio.port}/fedtui/hello", verify=other)


def node(trio: Federation, key: PrivateKey, name: str) -> Node:
    """A node with ``key`` under the node id of ``name``."""
    membership = site.load_membership(trio.homes[SITE])
    with Link(membership, site=STRANGE, key=key_of(trio, STRANGE)) as link:
        own = int(link.post("/fedtui/attach", {})["node_id"])
    made = Node(membership, key)
    made.node_id = own if name == STRANGE else 1
    return made


def test_flower_refuses_a_key_that_is_not_on_the_roster(trio: Federation) -> None:
    stranger = node(trio, ec.generate_private_key(ec.SECP384R1()), STRANGE)

    for call in (stranger.heartbeat, stranger.pull):
        with pytest.raises(LinkError) as refused:
            call()
        assert refused.value.code == "unauthorised"
    stranger.close()


def test_flower_refuses_a_rightful_key_under_another_node_id(trio: Federation) -> None:
    pretender = node(trio, key_of(trio, STRANGE), SITE)

    with pytest.raises(LinkError) as refused:
        pretender.pull()

    assert refused.value.code == "unauthorised"
    pretender.close()


def test_a_reply_in_another_nodes_name_is_refused(trio: Federation) -> None:
    own = node(trio, key_of(trio, STRANGE), STRANGE)
    forged = ProtoMessage(metadata=Metadata(src_node_id=own.node_id + 1))
    request = PushMessagesRequest(node=NodeProto(node_id=own.node_id), messages_list=[forged])

    with pytest.raises(httpx.HTTPStatusError) as refused:
        own._client.PushMessages(request)

    assert refused.value.response.status_code == 403
    own.close()


BODY = b'{"after": null}'


def test_a_rightly_signed_request_is_answered(trio: Federation, client: httpx.Client) -> None:
    headers = signed(key_of(trio, STRANGE), STRANGE, BODY)

    answer = client.post("/fedtui/report", content=BODY, headers=headers)

    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"time": f"{time.time() - 61:.3f}"}, "stale"),
        ({"time": f"{time.time() + 3600:.3f}"}, "stale"),
        ({"time": "nan"}, "stale"),
        ({"time": "yesterday"}, "forged"),
        ({"body": b'{"after": 1}'}, "forged"),
        ({"path": "/fedtui/attach"}, "forged"),
        ({"method": "GET"}, "forged"),
        ({"site": SITE}, "forged"),
    ],
)
def test_a_request_that_is_not_what_was_signed_is_refused_by_name(
    trio: Federation, client: httpx.Client, changes: dict[str, Any], code: str
) -> None:
    headers = signed(key_of(trio, STRANGE), STRANGE, BODY, **changes)
    if site_name := changes.get("site"):
        headers["x-fedtui-site"] = site_name  # another's name over one's own signature
        headers["x-fedtui-nonce"] = "0"

    answer = client.post("/fedtui/report", content=BODY, headers=headers)

    assert (answer.status_code, answer.json()["error"]) == (403, code)
    assert answer.json()["remedy"]


def test_a_replayed_request_is_refused(trio: Federation, client: httpx.Client) -> None:
    headers = signed(key_of(trio, STRANGE), STRANGE, BODY)
    client.post("/fedtui/report", content=BODY, headers=headers)

    again = client.post("/fedtui/report", content=BODY, headers=headers)

    assert (again.status_code, again.json()["error"]) == (403, "replayed")


def test_an_unsigned_request_is_refused(trio: Federation, client: httpx.Client) -> None:
    answers = [client.post(f"/fedtui/{name}", content=BODY) for name in ("attach", "report")]

    assert [(a.status_code, a.json()["error"]) for a in answers] == [(403, "unsigned")] * 2


def test_a_stranger_is_refused_and_journaled(trio: Federation, client: httpx.Client) -> None:
    headers = signed(ec.generate_private_key(ec.SECP384R1()), "skane", BODY)

    answer = client.post("/fedtui/report", content=BODY, headers=headers)

    assert (answer.status_code, answer.json()["error"]) == (403, "stranger")
    refused = {(e.site, e.code) for _, e in records(trio.coordinator, events.RequestRefused)}
    assert ("a stranger", "stranger") in refused


@pytest.mark.parametrize("prefix", ["/v1/fleet/push-object", "/fedtui/report"])
@pytest.mark.parametrize("header", ["Content-Length: 999999999", "Transfer-Encoding: chunked"])
def test_a_body_over_the_limit_is_refused_before_it_is_read(
    trio: Federation, prefix: str, header: str
) -> None:
    context = pinned(site.load_membership(trio.site).authority)
    with (
        socket.create_connection(("127.0.0.1", trio.port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as tls,
    ):
        tls.sendall(f"POST {prefix} HTTP/1.1\r\nHost: a\r\n{header}\r\n\r\n".encode())

        answer = tls.recv(1000)

    assert answer.startswith(b"HTTP/1.1 413")


PROGRESS: dict[str, Any] = {
    "event": "TrainingProgressed", "run": "r", "round": 1, "site": STRANGE, "step": 1,
    "steps": 2, "loss": 0.5, "examples": 10,
}  # fmt: skip


@pytest.mark.parametrize(
    "progress",
    [
        "text",
        7,
        {"event": "NoSuchEvent"},
        {"event": ["TrainingProgressed"]},
        {**PROGRESS, "step": "one"},
        {**PROGRESS, "step": True},
        {**PROGRESS, "loss": "a patient's row"},
        {**PROGRESS, "loss": 10**400},
        {**PROGRESS, "round": {"a": 1}},
        {**PROGRESS, "run": "\x1b[2J"},
        {**PROGRESS, "run": "x" * 100_000},
    ],
)
def test_a_malformed_report_is_refused_and_leaves_no_trace(
    trio: Federation, client: httpx.Client, progress: Any
) -> None:
    body = json.dumps({"progress": progress}).encode()
    before = fed.head(trio.coordinator)

    headers = signed(key_of(trio, STRANGE), STRANGE, body)
    answer = client.post("/fedtui/report", content=body, headers=headers)

    assert (answer.status_code, answer.json()) == (400, {"error": "malformed"})
    assert not records(trio.coordinator, events.TrainingProgressed, after=before)


@pytest.mark.parametrize(
    "event",
    [
        {**PROGRESS, "site": SITE},
        {"event": "RunEnded", "run": "r", "outcome": "failed", "cause": "a lie"},
    ],
)
def test_a_site_reports_its_own_progress_only(
    trio: Federation, client: httpx.Client, event: dict[str, Any]
) -> None:
    body = json.dumps({"progress": event}).encode()
    before = fed.head(trio.coordinator)

    client.post(
        "/fedtui/report", content=body, headers=signed(key_of(trio, STRANGE), STRANGE, body)
    )

    kinds = (events.TrainingProgressed, events.RunEnded)
    assert not records(trio.coordinator, *kinds, after=before)


def test_deep_json_is_refused(trio: Federation, client: httpx.Client) -> None:
    body = b"[" * 200_000

    answer = client.post(
        "/fedtui/report", content=body, headers=signed(key_of(trio, STRANGE), STRANGE, body)
    )

    assert answer.status_code == 400


def test_everything_in_a_home_is_its_owners_alone(trio: Federation) -> None:
    trio.run(fed.study(rounds=1))

    open_folders, open_files = [], []
    for name in (COORDINATOR, SITE):
        home = trio.homes[name].path
        for path in (home, *home.rglob("*")):
            shared = stat.S_IMODE(path.lstat().st_mode) & 0o077
            if path.is_symlink():
                continue  # to what the tests' homes share
            if shared and path.is_dir():
                open_folders.append(path)
            elif shared and path.suffix not in (".pub", ".pem"):  # public keys, certificates
                open_files.append(path)
    assert not open_folders
    assert not open_files
