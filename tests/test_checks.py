"""Phase 0's contract: findings, dependence, forms, whom to dial, and the rules of proxies."""

import json
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtui import checks, events, journal, operations
from fedtui.checks import (
    Finding,
    State,
    _proxies,
    _run,
    _told,
    proxy,
)
from fedtui.checks._inquiry import Inquiry
from fedtui.errors import TrustError, UsageError
from fedtui.journal import Journal
from fedtui.site import Home
from tests.federation import free_port

HEAVY = ("flwr", "jax", "jaxlib", "flax", "optax", "polars", "sklearn", "models")


# The contract.


def test_every_check_is_a_file_with_words_of_its_own() -> None:
    assert len(checks.names()) >= 20
    for name in checks.names():
        check = checks.load(name)
        assert set(check.NEEDS) | set(check.AFTER) <= set(checks.names())
        assert sys.modules[f"fedtui.checks.{name}"].__doc__


def test_an_unknown_check_names_the_ones_there_are() -> None:
    with pytest.raises(ValueError, match="dns"):
        checks.load("ping")


def test_nothing_heavy_is_imported_by_any_check(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from fedtui import checks
from fedtui.site import Home
checks.run(checks.from_address("127.0.0.1:{free_port()}"), home=Home(Path({str(tmp_path)!r})))
print(len([checks.load(name) for name in checks.names()]))
print([module for module in {HEAVY!r} if module in sys.modules])
"""

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)

    assert done.stdout.split() == [str(len(checks.names())), "[]"], done.stderr


def test_without_a_coordinator_the_network_is_not_measured_and_says_so(tmp_path: Path) -> None:
    findings = checks.run(None, home=Home(tmp_path))

    network = {f.check: f for f in findings if checks.load(f.check).NETWORK}
    assert {f.state for f in network.values()} == {State.SKIP}
    assert network["tcp"].code == "no-target"
    assert "Not measured" in network["tcp"].meaning


def test_what_is_repeated_during_a_run_reads_no_more_of_a_longer_journal(tmp_path: Path) -> None:
    home = Home(tmp_path)
    journal.create(home.journal)
    book = Journal(home.journal, source="agent")
    book.append_all([(_answered(number), 0) for number in range(2000)])
    book.close()
    tracemalloc.start()

    size = _told.model_bytes(home)

    assert tracemalloc.get_traced_memory()[1] < 200_000
    tracemalloc.stop()
    assert size == 1999


def _answered(number: int) -> events.WorkAnswered:
    return events.WorkAnswered(
        run="r", round=number, phase="train", examples=1, metrics={}, seconds={},
        bytes_received=number, bytes_sent=1,
    )  # fmt: skip


def test_what_builds_on_a_failure_is_skipped_and_names_it() -> None:
    findings = checks.run(checks.from_address(f"127.0.0.1:{free_port()}"))

    by_check = {f.check: f for f in findings}
    assert by_check["tcp"].blocks
    assert (by_check["tls"].state, by_check["tls"].code) == (State.SKIP, "needs")
    assert "needs tcp" in by_check["tls"].meaning
    assert checks.exit_code(findings) == 3


def test_every_finding_is_in_the_json_with_its_schema() -> None:
    findings = checks.run(checks.from_address(f"127.0.0.1:{free_port()}"))

    document = json.loads(json.dumps(checks.to_json(findings)))

    assert document["schema"] == 1
    assert document["exit_code"] == 3
    assert [f["check"] for f in document["findings"]] == [f.check for f in findings]
    failed = next(f for f in document["findings"] if f["state"] == "FAIL")
    assert failed["code"] == "tcp-refused"
    assert failed["remedy"]
    assert failed["threshold"]


def test_the_first_blocking_finding_decides_the_exit_code() -> None:
    warned = Finding(state=State.WARN, code="a", meaning="", exit_code=8)
    first = Finding(state=State.FAIL, code="b", meaning="", exit_code=5)
    second = Finding(state=State.FAIL, code="c", meaning="", exit_code=3)

    assert checks.exit_code([warned]) == 0
    assert checks.exit_code([warned, first, second]) == 5


def test_a_ticket_holds_what_a_network_team_asks_back_for() -> None:
    port = free_port()

    findings = checks.run(checks.from_address(f"127.0.0.1:{port}"))

    ticket = next(f.ticket for f in findings if f.check == "tcp")
    for wanted in (f"TCP port {port}", "127.0.0.1", "outbound", "TLS 1.3", "UTC", "refused"):
        assert wanted in ticket
    assert ticket.splitlines()[0] in checks.text(findings, tickets=True)


def test_text_explains_what_is_unwell_and_lists_the_rest_in_a_line() -> None:
    findings = [
        Finding(check="dns", state=State.OK, code="dns-ok", measured="3 ms", meaning="All well."),
        Finding(check="tcp", state=State.FAIL, code="tcp-x", meaning="It is shut.", remedy="Open."),
        Finding(check="tls", state=State.SKIP, code="needs", meaning="Not measured: needs tcp."),
    ]

    lines = checks.text(findings).splitlines()

    assert lines[0].split() == ["OK", "dns", "dns-ok", "3", "ms"]
    assert any("It is shut." in line for line in lines)
    assert any("Open." in line for line in lines)
    assert "Not measured: needs tcp." in lines[-1]
    assert "All well." not in checks.text(findings)
    assert "All well." in checks.text(findings, verbose=True)


class _Stuck:
    NEEDS: tuple[str, ...] = ()
    AFTER: tuple[str, ...] = ()
    NETWORK = DEEP = False

    def check(self, _: Inquiry) -> Iterator[Finding]:
        time.sleep(5)
        yield Finding(state=State.OK, code="never", meaning="")


class _Broken(_Stuck):
    def check(self, _: Inquiry) -> Iterator[Finding]:
        yield Finding(state=State.OK, code="first", meaning="")
        raise RuntimeError("a mistake")


def test_a_check_that_does_not_end_is_unknown_and_holds_up_nobody() -> None:
    began = time.monotonic()

    found = _run._Course(Inquiry(), {"stuck": _Stuck()}).run(0.2)

    assert time.monotonic() - began < 2
    assert [(f.state, f.code) for f in found["stuck"]] == [(State.UNKNOWN, "late")]


def test_a_check_that_is_itself_broken_is_unknown_not_well() -> None:
    found = _run._Course(Inquiry(), {"broken": _Broken()}).run(2.0)

    assert found["broken"][-1].state is State.UNKNOWN
    assert "RuntimeError" in found["broken"][-1].meaning


def test_watch_tells_everything_once_and_then_changes_only(tmp_path: Path) -> None:
    home, told = Home(tmp_path / "h"), []
    operations.create(home, "halland")
    looks = checks.watch(None, home=home, seconds=0.05, stop=lambda: len(told) > 1)

    told.append(next(looks))
    (home.keys / "node.key").chmod(0o644)
    told.append(next(looks))

    assert {f.check for f in told[0]} == set(checks.names())
    assert [f.code for f in told[1]] == ["permissions-open"]
    assert "permissions" in checks.changes(told[1])


# Whom to dial.


@given(
    st.sampled_from(["fedtui.example.org", "192.0.2.1", "2001:db8::1", "h"]),
    st.integers(1, 65535),
)
def test_an_address_reads_back_as_it_was_written(host: str, port: int) -> None:
    target = checks.Target(host=host, port=port)

    assert checks.from_address(target.address) == target


@pytest.mark.parametrize(
    "address",
    ["", "host", "host:", ":1", "host:0", "host:65536", "host:x", "https://h:1", "::1:8443", "h:²"],
)
def test_what_is_not_an_address_is_refused_with_an_example(address: str) -> None:
    with pytest.raises(UsageError) as refused:
        checks.from_address(address)

    assert ":8443" in refused.value.remedy


def test_an_invitation_brings_authority_and_published_addresses(tmp_path: Path) -> None:
    path = tmp_path / "invitation"
    document = {"fedtui-invitation": 1, "address": "c.test:8443", "authority": "PEM"}
    path.write_text(json.dumps({**document, "addresses": ["203.0.113.7"]}))

    target = checks.from_invitation(path)

    assert (target.host, target.authority, target.addresses) == ("c.test", "PEM", ("203.0.113.7",))
    path.write_text("{}")
    with pytest.raises(TrustError):
        checks.from_invitation(path)


# The rules of proxies, against the client that the agent uses.


_ENTRIES = st.sampled_from(
    ["example.org", ".example.org", "*.example.org", "a.example.org", "10.0.0.0/8", "10.0.0.7",
     "*", "localhost", "org", "2001:db8::1", "all://a.example.org", "http://a.example.org",
     "EXAMPLE.org", "b.example.org:8443", "b.example.org:9"]
)  # fmt: skip
_HOSTS = st.sampled_from(
    ["example.org", "a.example.org", "b.example.org", "myexample.org", "10.0.0.7", "10.0.0.0",
     "2001:db8::1", "other.test"]
)  # fmt: skip


@given(_HOSTS, st.lists(_ENTRIES, max_size=3), st.sampled_from(["https", "all", "http"]))
def test_no_proxy_is_read_as_httpx_reads_it(host: str, entries: list[str], name: str) -> None:
    variables = {f"{name.upper()}_PROXY": "http://proxy.test:3128", "NO_PROXY": ",".join(entries)}
    target = checks.Target(host=host, port=8443)

    ours = _proxies.chosen(host, 8443, _proxies.variables(variables))

    with pytest.MonkeyPatch.context() as patch:
        for key in [k for k in os.environ if k.lower().endswith("_proxy")]:
            patch.delenv(key)
        for key, value in variables.items():
            patch.setenv(key, value)
        with httpx.Client(verify=False) as client:  # loads no certificates
            transport = client._transport_for_url(httpx.URL(f"https://{target.address}"))
            theirs = transport is not client._transport
    assert (ours is not None) == theirs


def test_traps_in_no_proxy_are_what_other_programs_would_understand() -> None:
    listed = "10.0.0.0/8, *.example.org, other.test, 192.168.0.0/16"

    assert _proxies.traps("c.example.org", ["10.1.2.3"], listed) == ["10.0.0.0/8", "*.example.org"]
    assert _proxies.traps("elsewhere.test", ["203.0.113.1"], listed) == []


def test_a_password_in_a_proxy_address_is_never_shown() -> None:
    named = _proxies.Proxy(url="http://me:secret@proxy.test:3128", named_by="HTTPS_PROXY")

    assert named.shown == "http://proxy.test:3128"
    assert named.authorization


def test_an_agent_started_under_another_proxy_is_pointed_out() -> None:
    other = _proxies.Proxy(url="http://proxy.test:3128", named_by="HTTPS_PROXY")

    assert list(proxy._compared(other, other)) == []
    assert [f.code for f in proxy._compared(None, other)] == ["proxy-agent-differs"]
