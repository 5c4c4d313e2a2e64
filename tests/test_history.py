"""A run's history: listed, printed, exported, verified; a changed or rewritten chain fails."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from fedtui import events, export, journal, keys
from fedtui.errors import DataError, RunError, UsageError
from fedtui.journal import Journal
from tests.test_commands import fedtui


def a_site(folder: Path, name: str) -> Journal:
    folder.mkdir()
    journal.create(folder / "journal.db")
    return Journal(folder / "journal.db", source="agent")


def a_run(book: Journal, rounds: int = 3) -> None:
    sites = ("halland", "vgr")
    book.append(
        events.RunSubmitted(
            run="r1", study="s", fingerprint="f", sites=sites, train_sites=sites,
            rounds=rounds, metric="auroc",
        )
    )  # fmt: skip
    for number in range(1, rounds + 1):
        book.append(
            events.RoundEnded(
                run="r1",
                round=number,
                metrics={"auroc": round(0.8 + number / 100, 2), "loss": 0.5},
                by_site={"halland": {"auroc": 0.8}, "vgr": {"loss": 0.4}},
                examples=100,
                seconds={"total": 1.5},
            )
        )
    book.append(events.RunEnded(run="r1", outcome="completed", cause="all rounds done"))


def signed_head(book: Journal, site: str, folder: Path) -> events.HeadWitnessed:
    public = keys.node_key(folder)
    at, head = book.head()
    private = keys.load_private(folder / "node.key")
    return events.HeadWitnessed(
        run="r1",
        site=site,
        at=at,
        head=head.hex(),
        key=keys.public_bytes(public).decode(),
        signature=keys.sign_head(private, site=site, at=at, head=head.hex()),
    )


def test_an_export_holds_and_its_numbers_are_the_journals(tmp_path: Path) -> None:
    book = a_site(tmp_path / "vgr", "vgr")
    book.append(events.LinkChanged(up=True, code="", cause="attached"))
    a_run(book)

    export.write(book, "r1", tmp_path / "out", site="vgr", study='{"id":"s"}')
    verdict = export.verify(tmp_path / "out", witness=None)
    again = list(export.read(tmp_path / "out"))

    assert (verdict.run, verdict.records, verdict.witnessed) == ("r1", 5, 0)
    assert again == book.read(after=1)
    with (tmp_path / "out" / "rounds.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [r["auroc"] for r in rows if r["site"] == "joint"] == ["0.81", "0.82", "0.83"]
    assert [r["auroc"] for r in rows if r["site"] == "vgr"] == ["", "", ""]
    assert (tmp_path / "out" / "journal.jsonl").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["journal.jsonl", "rounds.csv", "events.csv", "study.json"])
def test_one_changed_byte_in_any_file_is_found(tmp_path: Path, name: str) -> None:
    book = a_site(tmp_path / "vgr", "vgr")
    a_run(book)
    export.write(book, "r1", tmp_path / "out", site="vgr", study='{"id":"s"}')

    path = tmp_path / "out" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))

    with pytest.raises(RunError, match=name):
        export.verify(tmp_path / "out", witness=None)


def test_a_wholly_rewritten_chain_fails_against_a_peers_head(tmp_path: Path) -> None:
    true, peer = a_site(tmp_path / "vgr", "vgr"), a_site(tmp_path / "peer", "halland")
    a_run(true)
    peer.append(signed_head(true, "vgr", tmp_path / "vgr"))
    forged = a_site(tmp_path / "forged", "vgr")
    a_run(forged, rounds=3)  # same shape, other times: a perfectly valid chain of its own

    export.write(true, "r1", tmp_path / "honest", site="vgr", study=None)
    export.write(forged, "r1", tmp_path / "rewritten", site="vgr", study=None)

    assert export.verify(tmp_path / "honest", witness=peer).witnessed == 1
    assert export.verify(tmp_path / "rewritten", witness=None).witnessed == 0
    with pytest.raises(RunError, match="not what vgr signed"):
        export.verify(tmp_path / "rewritten", witness=peer)


def test_a_head_that_was_not_signed_by_its_site_is_refused(tmp_path: Path) -> None:
    book = a_site(tmp_path / "vgr", "vgr")
    a_run(book)
    head = signed_head(book, "vgr", tmp_path / "vgr")
    forged = {**events.to_fields(head), "at": head.at - 1}
    peer = a_site(tmp_path / "peer", "halland")
    peer.append(events.from_fields(forged))
    export.write(book, "r1", tmp_path / "out", site="vgr", study=None)

    with pytest.raises(RunError, match="signature of vgr"):
        export.verify(tmp_path / "out", witness=peer)


def test_what_is_no_export_or_no_run_is_named(tmp_path: Path) -> None:
    book = a_site(tmp_path / "vgr", "vgr")
    a_run(book)
    (tmp_path / "empty").mkdir()
    (tmp_path / "lines").write_text("{}\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()

    with pytest.raises(DataError, match="not an export"):
        export.verify(tmp_path / "empty", witness=None)
    with pytest.raises(DataError, match="not a record"):
        list(export.read(tmp_path / "lines"))
    with pytest.raises(UsageError, match="no run r9"):
        export.write(book, "r9", tmp_path / "out", site="vgr", study=None)
    with pytest.raises(UsageError, match="not empty"):
        export.write(book, "r1", tmp_path / "full", site="vgr", study=None)


def test_logs_runs_and_openmetrics_tell_what_the_journal_holds(tmp_path: Path) -> None:
    home = tmp_path / "h"
    fedtui("init", "halland", home=home)
    book = Journal(home / "journal.db", source="agent")
    a_run(book)
    book.append(events.LinkChanged(up=False, code="dns", cause="the name is unknown"))

    plain = fedtui("logs", home=home).stdout.splitlines()
    warnings = fedtui("logs", "--level", "warn", "--json", home=home).stdout.splitlines()
    fedtui("logs", "--to", str(tmp_path / "log"), home=home)
    later = fedtui("logs", "--since", "2100-01-01", home=home).stdout
    runs = json.loads(fedtui("runs", "--json", home=home).stdout)["runs"]
    fedtui("status", "--openmetrics", str(tmp_path / "m.prom"), home=home)
    wrong = fedtui("logs", "--since", "yesterday", home=home, check=2)
    unwell = fedtui("status", "--check", home=home, check=4)

    assert len(plain) == 7
    assert [json.loads(line)["event"] for line in warnings] == ["LinkChanged"]
    assert (tmp_path / "log").read_text().splitlines() == plain
    assert later == ""
    assert runs[0]["value"] == pytest.approx(0.83)
    text = (tmp_path / "m.prom").read_text()
    assert 'fedtui_metric{site="halland",run="r1",metric="auroc"} 0.83' in text
    assert 'fedtui_link_up{site="halland"} 0.0' in text
    assert text.endswith("# EOF\n")
    assert "--since yesterday is no time" in wrong.stderr
    assert "Nothing runs here" in unwell.stderr
    shutil.rmtree(home)
