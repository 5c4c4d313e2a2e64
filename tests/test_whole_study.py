"""Four real hospitals from the proposal to the report: one federation, the whole path.

Heart Disease is public, and is treated here as clinical data are: every site approves, Switzerland
has 8 patients without the disease in all, and nothing may tell how many that are.
"""

import importlib
import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import datasets
from fedtui import disclosure, events, export, journal, modelfile, operations
from fedtui import study as studies
from fedtui.cli import app
from fedtui.errors import DataError, OperatorError, PrivacyError, RunError, TrustError
from fedtui.journal import Journal
from fedtui.report import text
from fedtui.report.comparison import Comparison
from fedtui.study import Study, Validation
from tests import federation as fed
from tests.federation import Federation, until
from tests.small_cells import OF_THE_LOG, counted, documents, kind

HOSPITALS = ("cleveland", "hungarian", "switzerland", "va")
FOLDER = Path(os.environ.get("FEDTUI_SHARED_DATA", "../shared/data")).absolute() / "heart_disease"
PASSPHRASE = "correct horse battery staple"
pytestmark = [
    pytest.mark.skipif(not FOLDER.is_dir(), reason="FEDTUI_SHARED_DATA has no heart_disease"),
    pytest.mark.timeout(400),
]


def agreed() -> Study:
    return fed.study(
        id="heart",
        purpose="Predict narrowed vessels from what is known before angiography",
        legal_basis="2026-01234-01",
        cohort="Everybody referred for angiography",
        sites=HOSPITALS,
        data="heart_disease",
        model="logistic",
        metric="auroc",
        rounds=4,
        normalisation="federated",
        training={"learning_rate": 0.1, "batch": 32},
        validation=Validation(subgroups=("sex", "age"), fine_tuning=1),
        exchange=("joint", "local"),
        approvers={name: f"dr {name}" for name in HOSPITALS},
    )


@dataclass(frozen=True)
class Done:
    """A federation in which everything has happened."""

    federation: Federation
    study: Study
    run: str
    first: Comparison
    second: Comparison


@pytest.fixture(scope="module")
def done() -> Iterator[Done]:
    with fed.homes(*HOSPITALS) as made:
        for name, home in made.homes.items():
            source = f'\n[data.heart_disease]\npath = "{FOLDER}"\npart = "{name}"\n'
            home.settings.write_text(home.settings.read_text() + source)
        with ThreadPoolExecutor(2) as pool:  # four at once would take longer on two cores
            list(pool.map(made.up, HOSPITALS))
        for home in made.homes.values():
            until(home, lambda e: isinstance(e, events.DeviceReported), seconds=180.0)
        for name in HOSPITALS:
            made.linked(name)
        study = agreed()
        _agree(made, study)
        ended = made.run(study)
        assert ended.outcome == "completed", ended.cause
        first = _validated(made, ended.run, 1)
        for name in ("cleveland", "hungarian"):
            _let_leave(made, name, ended.run, "local model")
        operations.validate(made.coordinator)
        second = _validated(made, ended.run, 2)
        yield Done(made, study, ended.run, first, second)


def _agree(made: Federation, study: Study) -> None:
    operations.propose_study(made.coordinator, study)
    fingerprint = studies.fingerprint(study)

    def approve(name: str) -> None:
        home = made.homes[name]
        until(home, lambda e: isinstance(e, events.StudyProposed) and e.fingerprint == fingerprint)
        operations.create_person(home, f"dr {name}", PASSPHRASE)
        operations.approve_study(home, study.id, person=f"dr {name}", passphrase=PASSPHRASE)

    with ThreadPoolExecutor(len(HOSPITALS)) as pool:
        list(pool.map(approve, HOSPITALS))
    approved: set[str] = set()

    def all_approve(event: events.Event) -> bool:
        if isinstance(event, events.StudyDecided) and event.word == "approve":
            approved.add(event.site)
        return approved == set(HOSPITALS)

    until(made.coordinator, all_approve)


def _validated(made: Federation, run: str, attempt: int) -> Comparison:
    """Wait until every home has the news of it."""
    for home in made.homes.values():
        until(
            home,
            lambda e: (
                isinstance(e, events.ValidationEnded) and (e.run, e.attempt) == (run, attempt)
            ),
            seconds=120.0,
        )
    found = operations.compare(made.site, run)
    assert found.outcome == "completed", found.cause
    return found


def _let_leave(made: Federation, name: str, run: str, kind: events.Audited) -> None:
    home = made.homes[name]
    audited = operations.audit_leakage(home, run, object=kind, seconds=2.0)
    if not operations.verdict_allows_release(audited):
        operations.sign_override(
            home,
            audited,
            reason="published data, rehearsal only",
            signer=f"dr {name}",
            passphrase=PASSPHRASE,
        )


def test_what_people_approved_is_validated_without_being_asked(done: Done) -> None:
    taken = fed.records(done.federation.coordinator, events.OrderTaken)

    assert done.first.attempt == 1
    assert [e.order for _, e in taken].count("validate") == 1  # the second one


def test_each_site_is_compared_with_its_own_model_on_its_own_patients(done: Done) -> None:
    rows = {row.site: row for row in done.first.own}

    assert set(rows) == set(HOSPITALS)
    for name in ("cleveland", "hungarian", "va"):
        row = rows[name]
        assert row.federated.value is not None
        assert row.local.value is not None
        assert row.difference.low is not None
        assert row.difference.high is not None
        assert row.difference.value == pytest.approx(
            row.federated.value - row.local.value, abs=0.0011
        )
        assert row.difference.low <= row.difference.value <= row.difference.high
        assert row.tuned.value is not None
    assert 0.75 < rows["cleveland"].federated.value < 0.97


def test_a_site_that_is_worse_off_is_in_the_first_sentence(done: Done) -> None:
    worse = [row.site for row in done.second.own if row.verdict == "worse"]

    told = text.comparison(done.second)
    first = " ".join(told[: told.index("")])

    assert first == done.second.sentence
    for name in worse:
        assert f"{name} is worse off" in first
    assert "switzerland" in first.rpartition(";")[2]  # of whom nothing can be told


def test_local_models_travel_only_once_their_audit_let_them(done: Done) -> None:
    cells = done.first.cells

    assert not any(model.startswith("local:") and model != f"local:{site}" for model, site in cells)
    assert "audited" in done.first.why("local:cleveland", "va")
    there = done.second.cells["local:cleveland", "va"]
    assert there.metrics["auroc"] is not None
    assert there.difference_low.keys() == {"auroc", "brier"}
    assert "audited" in done.second.why("local:va", "cleveland")


def test_every_site_sees_the_same_matrix(done: Done) -> None:
    seen = [operations.compare(home, done.study.id) for home in done.federation.homes.values()]

    assert all(each.cells == seen[0].cells for each in seen)
    assert all(each.sentence == seen[0].sentence for each in seen)


def test_the_pooled_area_comes_last_with_its_bounds_and_its_warning(done: Done) -> None:
    lines = text.comparison(done.second)

    pooled = done.second.pooled
    assert pooled.low is not None
    assert pooled.high is not None
    assert pooled.value is not None
    assert pooled.low <= pooled.value <= pooled.high
    assert "switzerland" not in done.second.pooled_sites
    assert "prevalence" in " ".join(lines[-2:])


@cache
def _small() -> dict[str, int]:
    """What nobody may learn of Switzerland, by split: patients without the disease."""
    data = datasets.load("heart_disease", path=FOLDER, part="switzerland", seed=0)
    return {
        name: int((getattr(data, name).y == 0).sum()) for name in ("train", "validation", "test")
    }


def test_switzerlands_few_are_told_nowhere_also_not_by_subtraction(
    done: Done, tmp_path: Path
) -> None:
    written = operations.export_bundle(
        done.federation.homes["switzerland"], done.run, tmp_path / "out"
    )
    told = [e for path in written if path.suffix in (".json", ".jsonl") for e in documents(path)]
    counts = {n for one in told if kind(one) not in OF_THE_LOG for n in counted(one)}

    split = datasets.load("heart_disease", path=FOLDER, part="switzerland", seed=0)
    whole = {disclosure.rounded(len(part)) for part in (split.train, split.test)}
    assert sum(_small().values()) == 8
    # Of its patients only how many there are is told, of training and of test: no part of either,
    # so that no sum or difference of anything told is about the eight.
    assert counts == whole
    assert min(abs(a - b) for a in whole for b in {0, *whole} - {a}) > 9
    cell = done.second.cells["federated", "switzerland"]
    assert cell.outcomes == ()
    assert not any(value is not None for value in cell.metrics.values())
    assert not any(value for group in cell.subgroups.values() for value in group.values())


def test_no_rate_of_switzerland_tells_how_many_have_no_disease(done: Done) -> None:
    book = Journal(done.federation.coordinator.journal, source="test")
    records = book.read()
    book.close()
    rates = [
        e.by_site["switzerland"]
        for e in (record.event for record in records)
        if isinstance(e, events.RoundEnded) and "switzerland" in e.by_site
    ]

    # Where nearly everybody is ill, a model that calls everybody ill is right as often as that.
    assert not any({"accuracy", "balanced_accuracy", "auroc"} & rate.keys() for rate in rates)


def test_the_bundle_holds_at_the_other_hospital_and_not_after_a_change(
    done: Done, tmp_path: Path
) -> None:
    here, there = done.federation.homes["cleveland"], done.federation.homes["va"]
    written = {p.name: p for p in operations.export_bundle(here, done.run, tmp_path / "out")}

    verdict = operations.verify_export(tmp_path / "out", there)

    assert verdict.bundle
    assert verdict.site == "cleveland"
    assert set(written) >= {
        "study.json", "approvals.json", "metrics.json", "matrix.json", "leakage.json",
        "model-card.md", "datasheet.md", "dpia-annex.md", "sbom.cdx.json", "report.html",
        "released.json", "SHA256SUMS", "signature.json",
    }  # fmt: skip
    card = written["model-card.md"].read_text()
    assert "not a medical device" in card
    assert done.second.sentence in card
    decisions = json.loads(written["approvals.json"].read_text())
    assert {d["site"] for d in decisions["decisions"]} == set(HOSPITALS)
    materials = json.loads(written["sbom.cdx.json"].read_text())
    assert {"jax", "flwr", "numpy"} <= {c["name"] for c in materials["components"]}
    with pytest.raises(RunError, match="Nobody here knows"):
        export.verify(tmp_path / "out", witness=None)
    given = operations.verify_export(tmp_path / "out", None, here.keys / "node.pub")
    assert given.bundle
    with pytest.raises(RunError, match="did not sign"):
        operations.verify_export(tmp_path / "out", None, there.keys / "node.pub")
    for name in ("matrix.json", "model-card.md", "SHA256SUMS", "signature.json"):
        before = written[name].read_bytes()
        written[name].write_bytes(before[:-9] + bytes([before[-9] ^ 1]) + before[-8:])
        with pytest.raises(OperatorError) as refused:
            operations.verify_export(tmp_path / "out", there)
        assert refused.value.exit_code == 1, name
        written[name].write_bytes(before)
    (tmp_path / "out" / "more.txt").write_text("not ours")
    with pytest.raises(RunError, match=r"more\.txt"):
        operations.verify_export(tmp_path / "out", there)


def test_a_model_handed_out_is_judged_elsewhere_and_refused_once_changed(
    done: Done, tmp_path: Path
) -> None:
    here, there = done.federation.homes["cleveland"], done.federation.homes["va"]
    file = tmp_path / "cleveland.safetensors"
    with pytest.raises(PrivacyError, match="audit leakage"):
        operations.export_model(here, done.run, kind="joint", to=file)

    told = operations.export_model(here, done.run, kind="local", to=file)
    found = operations.import_model(there, file, done.study)

    assert told["owner"] == "cleveland"
    assert found.kind == "local"
    matrix = done.second.cells["local:cleveland", "va"]
    assert found.metrics["auroc"] == matrix.metrics["auroc"]
    assert found.low["auroc"] == matrix.low["auroc"]
    assert "auroc" in found.difference
    released = operations.released(here, done.run)[-1]
    assert (released["what"], released["bytes"]) == ("local model file", file.stat().st_size)
    data = file.read_bytes()
    known = modelfile.known_keys(there)
    for place in (3, 20, len(data) // 3, len(data) // 2, len(data) - 1):
        changed = data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]
        with pytest.raises(OperatorError) as refused:
            modelfile.check(*modelfile.read(changed, name="it"), study=done.study, known=known)
        assert refused.value.exit_code in (5, 6), place
    model, key = modelfile.read(data, name="it")
    with pytest.raises(TrustError, match="roster"):
        modelfile.check(model, key, study=done.study, known={})
    with pytest.raises(TrustError, match="another key"):
        modelfile.check(model, key, study=done.study, known={"cleveland": known["va"]})
    with pytest.raises(DataError, match="fingerprint"):
        modelfile.check(model, key, study=fed.study(sites=HOSPITALS), known=known)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href", "action")]


def test_the_page_needs_nothing_else_and_says_what_the_terminal_says(done: Done) -> None:
    page = operations.report_page(done.federation.site, done.run)
    lines = operations.report_text(done.federation.site, done.run)

    read = _Page()
    read.feed(page)
    assert not read.links
    assert not {"script", "link", "img", "iframe", "object"} & set(read.tags)
    assert "default-src 'none'" in page
    assert read.tags.count("svg") >= 3
    assert read.tags.count("th") > 20
    assert done.second.sentence in page
    assert done.second.sentence in " ".join(lines)
    assert not re.search(r"https?://", page)


def test_every_home_tells_what_left_it(done: Done) -> None:
    for home in done.federation.homes.values():
        left = operations.released(home, done.run)

        kinds = {one["what"] for one in left}
        assert {"statistics", "model update", "metrics"} <= kinds
        assert {one["fingerprint"] for one in left} == {studies.fingerprint(done.study)}
        assert journal.verify(home.journal)


def test_the_commands_say_it_as_json_and_end_with_their_codes(done: Done, tmp_path: Path) -> None:
    for command in ("validate", "compare", "report", "audit", "models", "records"):
        importlib.import_module(f"fedtui.cli.{command}")
    runner, home = CliRunner(), str(done.federation.site.path)

    def said(*words: str, code: int = 0) -> dict[str, Any]:
        result = runner.invoke(app, [*words, "--json", "--home", home])
        assert result.exit_code == code, result.output
        document: dict[str, Any] = json.loads(result.stdout)
        return document

    assert said("compare", done.study.id)["sentence"] == done.second.sentence
    assert said("report", done.run)["comparison"]["run"] == done.run
    assert said("audit", "released", done.run)["released"]
    assert said("export", done.run, "--bundle", "--to", str(tmp_path / "out"))["files"]
    assert said("verify", str(tmp_path / "out"))["bundle"]
    assert said("validate", done.run, code=2)["error"] == "UsageError"  # not the coordinator
    refused = said("models", "export", done.run, "--to", str(tmp_path / "m"), code=7)
    assert "audit leakage" in refused["message"]
    (tmp_path / "m").write_bytes(b"no model")
    assert said("models", "import", str(tmp_path / "m"), "--study", done.study.id, code=6)
