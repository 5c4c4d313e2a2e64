"""An enrolment that is not what it says: refused by name, and nothing is used up by it."""

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from fedtui import events, invitations, keys, operations, roster
from fedtui.errors import NetworkError, TrustError
from fedtui.invitations import Claim
from tests import federation as fed
from tests import lab_servers as servers
from tests.enrolling import asking, code_for, home_for, new_names, post, refusal, state_of
from tests.fault_proxy import cut
from tests.federation import Federation, records
from tests.lab_authority import Authority, of_federation
from tests.lab_servers import context_of, listening, tls

OPEN = {"/fedtui/hello", "/fedtui/authority", "/fedtui/enrol"}


@pytest.fixture(scope="module")
def place() -> Iterator[Federation]:
    """A coordinator alone, up, and a folder for the homes of those who join."""
    with fed.coordinator() as made:
        operations.up(made.coordinator)
        yield made


@pytest.fixture
def names() -> Iterator[str]:
    return new_names()


def test_an_expired_invitation_is_refused_by_name(place: Federation, names: Iterator[str]) -> None:
    name = next(names)
    code = code_for(place, name)
    path = place.coordinator.roster / f"{name}.invitation"
    stored = json.loads(path.read_bytes())
    path.write_text(json.dumps({**stored, "made": stored["made"] - invitations.LIFE_SECONDS - 1}))

    with pytest.raises(TrustError, match="expired: it holds for 72 hours"):
        operations.claim(home_for(place, name), code)

    assert state_of(place, name) == ["expired"]


def test_a_code_for_another_site_is_refused_and_not_used_up(
    place: Federation, names: Iterator[str]
) -> None:
    invited, other = next(names), next(names)
    home, code = home_for(place, other), code_for(place, invited)
    operations.create(home, other)

    with pytest.raises(TrustError, match="another site"):
        operations.claim(home, code)

    assert state_of(place, invited) == ["invited"]
    assert operations.claim(home_for(place, invited), code).site == invited


def test_tampered_foreign_and_guessed_claims_are_refused_over_http_and_the_fifth_ends_it(
    place: Federation, names: Iterator[str]
) -> None:
    name = next(names)
    code = invitations.parse(code_for(place, name))
    verifier = invitations.verifier_of(code.secret)
    authority = roster.authority_of(place.coordinator)
    key = keys.public_bytes(keys.node_key(place.folder)).decode()
    right = Claim(handle=invitations.handle_of(verifier), site=name, key=key, nonce="0" * 32)
    right = replace(right, proof=invitations.prove(verifier, right, authority=authority))
    foreign = [
        *(replace(right, handle=f"{n:06x}") for n in range(4)),
        replace(right, handle=right.handle.upper() + " "),
        replace(right, handle=""),
    ]
    wrong = [
        replace(right, proof=""),
        replace(right, proof=right.proof[:-1] + ("0" if right.proof[-1] != "0" else "1")),
        replace(right, site="other"),
        replace(right, nonce="1" * 32),
        replace(right, proof=invitations.prove(verifier, right, authority=b"of another CA")),
    ]

    with asking(place) as client:
        strange = [post(client, claim) for claim in foreign]
        still = state_of(place, name)
        refused = [post(client, claim) for claim in wrong]
        late = post(client, right)

    assert {(a.status_code, a.json()["error"]) for a in strange + refused} == {(403, "wrong")}
    assert still == ["invited"]
    assert late.json() == {"error": "spent"}
    assert state_of(place, name) == ["void"]
    told = {e.code for _, e in records(place.coordinator, events.RequestRefused)}
    assert {"invitation-wrong", "invitation-spent"} <= told


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{}", b"[]", b"null", b"[" * 5000, b"\xff", b'{"handle": 1}', b"x" * 5000,
        json.dumps(dict.fromkeys(("handle", "site", "key", "nonce", "proof"), "å")).encode(),
        json.dumps({"handle": ["a"], "site": "", "key": "", "nonce": "", "proof": ""}).encode(),
    ],
)  # fmt: skip
def test_what_is_no_claim_is_refused(place: Federation, body: bytes) -> None:
    with asking(place) as client:
        while (answer := client.post("/fedtui/enrol", content=body)).status_code == 429:
            time.sleep(0.5)

    assert (answer.status_code, answer.json()) == (400, {"error": "malformed"})


def test_before_enrolment_nothing_else_answers(place: Federation) -> None:
    with asking(place) as client:
        hello = client.get("/fedtui/hello").json()
        authority = client.get("/fedtui/authority")
        others = {
            path: client.post(path, content=b"{}").status_code
            for path in ("attach", "report", "wait", "echo", "rotate", "probe")
            for path in (f"/fedtui/{path}",)
        }
        missing = client.get("/fedtui/roster").status_code

    assert set(hello) == {"fedtui", "protocol", "time"}
    assert authority.content == (place.coordinator.keys / "ca.pem").read_bytes()
    assert not set(others) & OPEN
    assert set(others.values()) <= {403, 404}
    assert missing == 404


def test_tls_inspection_is_named_with_its_issuer(place: Federation, names: Iterator[str]) -> None:
    name = next(names)
    box = Authority(place.folder, "Hospital TLS Inspection CA").issue("127.0.0.1")
    with listening(servers.interceptor(context_of(box), place.port)) as port:
        refused = refusal(place, name, code_for(place, name, port=port))

    assert isinstance(refused, TrustError)
    assert "'Hospital TLS Inspection CA'" in str(refused)
    assert "exempt" in refused.remedy


def test_another_coordinator_at_the_address_is_not_believed(
    place: Federation, names: Iterator[str]
) -> None:
    name = next(names)
    other = Authority(place.folder, "fedtui federation of dmz")
    hello = servers.coordinator()

    def respond(method: str, path: bytes) -> bytes:
        if path == b"/fedtui/authority":
            return servers.answer(other.pem.encode())
        return hello(method, path)

    with listening(tls(context_of(other.issue("127.0.0.1")), respond)) as port:
        refused = refusal(place, name, code_for(place, name, port=port))

    assert isinstance(refused, TrustError)
    assert "Not the coordinator of this invitation" in str(refused)


def test_a_coordinator_that_holds_the_certificate_but_not_the_secret_is_not_believed(
    place: Federation, names: Iterator[str]
) -> None:
    name = next(names)
    ours = of_federation(place.folder, place.coordinator.keys)
    hello = servers.coordinator()

    def respond(method: str, path: bytes) -> bytes:
        if path == b"/fedtui/authority":
            return servers.answer(ours.pem.encode())
        if path == b"/fedtui/enrol":
            said = {"state": "enrolled", "site": name, "coordinator": "dmz", "proof": "0" * 64}
            return servers.answer(json.dumps(said).encode())
        return hello(method, path)

    with listening(tls(context_of(ours.issue("127.0.0.1")), respond)) as port:
        refused = refusal(place, name, code_for(place, name, port=port))

    assert "did not prove" in str(refused)


@pytest.mark.parametrize(
    ("ahead", "said"),
    [(-30.0, r"clock is (29|3\d) s ahead"), (90.0, r"clock is (89|9\d) s behind")],
)
def test_a_wrong_clock_is_named_before_anything_is_used_up(
    place: Federation, names: Iterator[str], ahead: float, said: str
) -> None:
    name = next(names)
    files = of_federation(place.folder, place.coordinator.keys).issue("127.0.0.1")
    with listening(tls(context_of(files), servers.coordinator(ahead=ahead))) as port:
        code = code_for(place, name, port=port)
        with pytest.raises(TrustError, match=said):
            operations.claim(home_for(place, name), code)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("page", "Something else than a fedtui coordinator"),
        ("protocol", "protocol 9"),
        ("closed", "TLS handshake was cut off"),
        ("nothing", "nothing listens"),
    ],
)
def test_what_answers_instead_of_a_coordinator_is_named(
    place: Federation, names: Iterator[str], kind: str, said: str
) -> None:
    name = next(names)
    files = context_of(of_federation(place.folder, place.coordinator.keys).issue("127.0.0.1"))
    handlers = {
        "page": tls(files, servers.page),
        "protocol": tls(files, servers.coordinator(version="9.0.0", protocol=9)),
        "closed": cut,
    }
    with contextlib.ExitStack() as stack:
        port = fed.free_port()
        if kind in handlers:
            port = stack.enter_context(listening(handlers[kind]))
        refused = refusal(place, name, code_for(place, name, port=port))

    assert said in str(refused)
    assert isinstance(refused, NetworkError | TrustError)
