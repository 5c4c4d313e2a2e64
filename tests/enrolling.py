"""What tests of enrolment share: codes, homes of those who join, claims over HTTP."""

import itertools
import time
from collections.abc import Iterator

import httpx
import pytest

from fedtui import operations
from fedtui.errors import OperatorError
from fedtui.invitations import Claim
from fedtui.site import Home
from fedtui.transport import pinned
from tests.federation import Federation

_NUMBERS = itertools.count(1000)


def new_names() -> Iterator[str]:
    """Names that no other test of this process meets."""
    return (f"site-{number}" for number in _NUMBERS)


def code_for(place: Federation, name: str, *, port: int = 0) -> str:
    address = f"127.0.0.1:{port or place.port}"
    return operations.issue(place.coordinator, name, address=address).code


def state_of(place: Federation, name: str) -> list[str]:
    return [e["state"] for e in operations.sites(place.coordinator) if e["site"] == name]


def home_for(place: Federation, name: str) -> Home:
    return Home(place.folder / f"home-{name}")


def asking(place: Federation) -> httpx.Client:
    """Somebody who knows the federation's certificate, and waits where he asks too much."""
    authority = (place.coordinator.keys / "ca.pem").read_text()
    return httpx.Client(base_url=f"https://127.0.0.1:{place.port}", verify=pinned(authority))


def post(client: httpx.Client, claim: Claim) -> httpx.Response:
    fields = ("handle", "site", "key", "nonce", "proof")
    while True:
        answer = client.post("/fedtui/enrol", json={name: getattr(claim, name) for name in fields})
        if answer.status_code != 429:
            return answer
        time.sleep(float(answer.headers["retry-after"]) / 2)


def refusal(place: Federation, name: str, code: str) -> OperatorError:
    with pytest.raises(OperatorError) as refused:
        operations.claim(home_for(place, name), code)
    assert not home_for(place, name).settings.exists()  # nothing was made before it was sure
    assert refused.value.remedy
    return refused.value
