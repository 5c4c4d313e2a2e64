"""Phase 0 on a home with data, and while a run is under way: what goes bad is news in time."""

import os
import shutil
import time
from pathlib import Path

import pytest

from fedtui import checks, events, journal, keys, operations, orders, site
from fedtui.checks import State
from fedtui.flower.link import Link
from fedtui.operations import findings
from fedtui.record import Record
from fedtui.site import Home
from tests import federation as fed
from tests.conftest import STRANGE
from tests.federation import SITE, Federation, Proxy, federation, free_port, study


def until(home: Home, kind: type[events.Event], *, after_time: float = 0.0) -> Record:
    """The first record of ``kind`` after a moment; fails after 60 s."""
    end = time.monotonic() + 60
    for record in journal.follow(home.journal, stop=lambda: time.monotonic() > end):
        if isinstance(record.event, kind) and record.time >= after_time:
            return record
        assert time.monotonic() < end
    raise AssertionError(f"no {kind.__name__} within 60 s")


def a_home(folder: Path, toml: str) -> Home:
    home = Home(folder / "h")
    operations.create(home, "halland")
    with home.settings.open("a") as file:
        file.write(toml)
    return home


def the_data(home: Home) -> list[checks.Finding]:
    return [f for f in checks.run(None, home=home, only=("data",)) if f.check == "data"]


def test_data_are_loaded_as_a_study_would_and_a_wrong_part_is_named(tmp_path: Path) -> None:
    home = a_home(tmp_path, '[data.digits]\npart = "odd"\n[data.breast_cancer]\npart = "nowhere"\n')

    good, bad = the_data(home)

    assert (good.state, good.code) == (State.OK, "data-ok")
    assert "64 features" in good.measured
    assert (bad.state, bad.code, bad.exit_code) == (State.FAIL, "data-unfit", 6)
    assert "no part 'nowhere'" in bad.meaning


def test_a_broken_row_is_named_without_its_value(tmp_path: Path) -> None:
    source = Path(os.environ.get("FEDTUI_SHARED_DATA", "../shared/data"), "heart_disease")
    if not source.exists():
        pytest.skip("no heart_disease under FEDTUI_SHARED_DATA")
    shutil.copytree(source, tmp_path / "data")
    file = tmp_path / "data" / "processed.cleveland.data"
    file.chmod(0o644)
    lines = file.read_text().splitlines()
    lines[4] = lines[4].replace(",", ",Svensson", 1)
    file.write_text("\n".join(lines) + "\n")
    home = a_home(
        tmp_path,
        f'[data.heart_disease]\npath = "{tmp_path / "data"}"\npart = "cleveland"\n',
    )

    (finding,) = the_data(home)

    assert finding.code == "data-unfit"
    assert "5" in finding.meaning
    assert "Svensson" not in str(finding)


def test_findings_about_a_sites_own_host_stay_there(tmp_path: Path) -> None:
    home = a_home(tmp_path, '[data.digits]\npart = "nowhere"\n')
    book = journal.Journal(home.journal, source="test")

    findings.record(home, checks.run(None, home=home), book)

    told = [r.event for r in book.own(("LinkChecked",))]
    book.close()
    assert all(
        checks.load(name).NETWORK
        for event in told
        if isinstance(event, events.LinkChecked)
        for name in event.findings
    )


def test_findings_are_told_once_whoever_told_them(tmp_path: Path) -> None:
    home = a_home(tmp_path, '[data.digits]\npart = "nowhere"\n')
    book = journal.Journal(home.journal, source="test")
    known = findings.Known()

    def said(code: str, **by: findings.Known) -> bool:
        state = checks.State.OK if code == "tcp-ok" else checks.State.FAIL
        finding = checks.Finding(check="tcp", state=state, code=code, meaning="")
        return findings.record(home, [finding], book, **by)

    own = [said("tcp-ok", known=known), said("tcp-ok", known=known)]
    others = said("tcp-refused")  # another process, e.g. 'fedtui check'
    after = [said("tcp-refused", known=known), said("tcp-ok", known=known)]

    assert own == [True, False]
    assert others
    assert after == [False, True]
    assert len(book.own(("LinkChecked",), known.seen)) == 1  # its own last; the rest is read
    book.close()


def test_a_link_that_goes_bad_during_a_run_is_a_warning_within_10_s_and_news_to_all() -> None:
    port = free_port()
    proxy = Proxy(port)
    try:
        with federation(
            "sahlgrenska", "halland", port=port, dial=f"127.0.0.1:{proxy.port}"
        ) as made:
            made.start(study(rounds=100_000))
            until(made.site, events.RoundEnded)

            cut = time.time()
            proxy.cut()
            bad = until(made.site, events.LinkChecked, after_time=cut)
            down = until(made.site, events.LinkChanged, after_time=cut)
            proxy.restore()
            well = until(made.site, events.LinkChecked, after_time=bad.time + 0.001)
            elsewhere = until(made.coordinator, events.LinkChecked, after_time=bad.time)

            assert bad.time - cut < 10
            assert bad.event.level == "WARN"
            assert bad.event.findings["tcp"].startswith("FAIL")
            assert not down.event.up
            assert "tcp" not in well.event.unwell
            assert elsewhere.event.site in made.homes
            operations.stop(made.coordinator)
    finally:
        proxy.close()


@pytest.mark.slow
def test_a_site_taken_off_the_roster_is_refused_by_name_and_the_run_goes_on() -> None:
    with federation("sahlgrenska", "halland") as made:
        run = made.start(study(rounds=100_000))
        until(made.site, events.RoundEnded)

        revoked = time.time()
        operations.revoke(made.coordinator, "halland")
        refused = until(made.coordinator, events.AnswerRefused, after_time=revoked)
        alone = until(made.coordinator, events.RoundEnded, after_time=refused.time)
        told = until(made.site, events.LinkChanged, after_time=revoked)
        findings_there = {f.check: f.code for f in checks.run(None, home=made.site)}
        listed = operations.sites(made.coordinator)
        roster = [entry["site"] for entry in listed if entry["state"] == "enrolled"]
        operations.stop(made.coordinator, run)

        assert (refused.event.site, refused.event.code) == ("halland", "revoked")
        assert set(alone.event.by_site) == {"sahlgrenska"}
        assert not told.event.up
        assert findings_there["identity"] == "key-revoked"
        assert roster == ["sahlgrenska"]


def test_a_real_flower_message_goes_to_the_site_and_its_answer_back(trio: Federation) -> None:
    home = trio.homes[SITE]

    (well,) = (f for f in checks.run(None, home=home, only=("message",)) if f.check == "message")
    run = trio.start(study(rounds=100_000))
    fed.until(home, lambda e: isinstance(e, events.WorkReceived) and e.run == run)
    (busy,) = (f for f in checks.run(None, home=home, only=("message",)) if f.check == "message")
    trio.idle()
    end = time.monotonic() + 60  # the site may still be at the stopped run's work
    while orders.order(home, "agent", "status")["state"] != "waiting":
        assert time.monotonic() < end
        time.sleep(0.1)
    (again,) = (f for f in checks.run(None, home=home, only=("message",)) if f.check == "message")

    assert {well.code, again.code} <= {"message-ok", "message-slow"}, (well, again)
    assert well.value is not None
    assert well.value > 0
    assert busy.state is State.SKIP
    assert "run is under way" in busy.meaning


def test_a_flower_message_that_a_site_does_not_fetch_is_told(trio: Federation) -> None:
    home = trio.homes[STRANGE]  # on the roster, and its agent does not run
    key = keys.load_private(home.keys / "node.key")

    with Link(site.load_membership(home), site=STRANGE, key=key) as link:
        answer = link.post("/fedtui/probe", {}, timeout=30)

    assert answer["lost"]
    assert not answer["pulled"]
