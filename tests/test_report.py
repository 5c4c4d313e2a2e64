"""A report from a journal alone: what it says first, what it escapes, what it draws."""

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fedtui import events, journal
from fedtui.events import ModelValidated
from fedtui.journal import Journal
from fedtui.record import Record
from fedtui.report import text
from fedtui.report.comparison import Comparison, compare
from fedtui.report.facts import Facts, gather
from fedtui.report.page import page
from fedtui.report.papers import data_sheet, impact_annex, model_card
from tests import federation as fed

SITES = ("halland", "sahlgrenska", "umea")
HOSTILE = '<script>alert("x")</script>&amp;'
RUN = "sepsis-1"


def validated(
    site: str, difference: float, low: float, high: float, **more: object
) -> list[ModelValidated]:
    common = {"run": RUN, "attempt": 1, "site": site, "primary": "auroc", "patients": 120}
    federated = {
        "metrics": {"auroc": 0.8 + difference, "calibration_slope": 0.9},
        "low": {"auroc": 0.7, "calibration_slope": 0.7},
        "high": {"auroc": 0.9, "calibration_slope": 1.1},
        "difference": {"auroc": difference},
        "difference_low": {"auroc": low},
        "difference_high": {"auroc": high},
    }
    return [
        ModelValidated(**common, model="federated", **{**federated, **more}),  # type: ignore[arg-type]
        ModelValidated(**common, model=f"local:{site}", metrics={"auroc": 0.8}),  # type: ignore[arg-type]
    ]


def ended(**more: object) -> list[events.Event]:
    return [
        events.ValidationEnded(
            run=RUN,
            attempt=1,
            outcome="completed",
            cause="3 of 3 sites answered",
            **more,  # type: ignore[arg-type]
        )
    ]


def told(
    *cells: list[ModelValidated], sites: tuple[str, ...] = SITES, **more: object
) -> Comparison:
    started = events.ValidationStarted(run=RUN, attempt=1, sites=sites)
    found = compare(RUN, [started, *(cell for each in cells for cell in each), *ended(**more)])
    assert found is not None
    return found


def said(found: Comparison) -> str:
    """The sentence that opens the answer, unwrapped."""
    lines = text.comparison(found)
    return " ".join(lines[: lines.index("")])


def test_a_site_that_is_surely_worse_off_opens_the_answer() -> None:
    found = told(
        validated("halland", 0.05, 0.01, 0.09),
        validated("sahlgrenska", -0.06, -0.11, -0.01),
        validated("umea", -0.01, -0.05, 0.03),
    )

    sentence = said(found)

    assert sentence.startswith("sahlgrenska is worse off with the joint model (-0.060")
    assert "no clear difference at umea (-0.010, -0.050 to +0.030)" in sentence
    assert "halland" not in sentence


def test_nobody_worse_off_is_said_with_how_many_are_better_beyond_chance() -> None:
    found = told(
        validated("halland", 0.05, 0.01, 0.09),
        validated("sahlgrenska", 0.02, -0.01, 0.05),
        [ModelValidated(run=RUN, attempt=1, site="umea", model="federated", primary="auroc",
                        patients=None, withheld="too few patients to be told")],
    )  # fmt: skip

    assert found.sentence == (
        "No site is worse off beyond chance by its own patients: 1 of 2 better off beyond chance; "
        "no clear difference at sahlgrenska (+0.020, -0.010 to +0.050); nothing can be told of "
        "umea."
    )


def test_a_private_joint_model_against_own_ones_without_noise_is_said_to_be_so() -> None:
    started = events.ValidationStarted(run=RUN, attempt=1, sites=("halland",))
    cells = validated("halland", -0.06, -0.11, -0.01)
    spent = events.AnswerReceived(
        run=RUN, round=1, phase="train", site="halland", examples=90, metrics={"epsilon": 1.0},
        seconds={},
    )  # fmt: skip

    plain, private = (compare(RUN, [*e, started, *cells, *ended()]) for e in ([], [spent]))

    assert plain is not None
    assert private is not None
    assert text.PRIVATE not in " ".join(" ".join(text.comparison(plain)).split())
    assert text.PRIVATE in " ".join(" ".join(text.comparison(private)).split())


@pytest.mark.parametrize(
    ("value", "low", "high", "verdict"),
    [
        (0.05, -0.01, 0.11, "no clear difference"),
        (-0.05, -0.11, 0.0, "no clear difference"),
        (0.05, 0.0, 0.1, "no clear difference"),
        (0.0, 0.0, 0.0, "no clear difference"),
        (0.05, 0.01, 0.09, "better"),
        (-0.05, -0.09, -0.01, "worse"),
    ],
)
def test_a_difference_whose_interval_holds_0_is_not_called_one(
    value: float, low: float, high: float, verdict: str
) -> None:
    row = told(validated("halland", value, low, high)).own[0]

    assert row.verdict == verdict


def test_only_the_newest_attempt_counts() -> None:
    old = told(validated("halland", 0.05, 0.01, 0.09))
    again = [
        events.ValidationStarted(run=RUN, attempt=2, sites=SITES),
        *(
            ModelValidated(**{**{n: getattr(c, n) for n in c.__slots__}, "attempt": 2})
            for c in validated("halland", -0.05, -0.09, -0.01)
        ),
    ]
    first = [events.ValidationStarted(run=RUN, attempt=1, sites=SITES), *old.cells.values()]

    found = compare(RUN, [*first, *ended(), *again])

    assert found is not None
    assert found.attempt == 2
    assert found.outcome == ""
    assert found.own[0].verdict == "worse"


@pytest.fixture
def facts(tmp_path: Path) -> Facts:
    path = tmp_path / "journal.db"
    journal.create(path)
    book = Journal(path, source="test")
    study = fed.study(
        id="sepsis", purpose=HOSTILE, sites=SITES, data="mimic_iv", metric="auroc", rounds=2
    )
    book.append(
        events.RunSubmitted(
            run=RUN, study="sepsis", fingerprint="ab" * 32, sites=SITES, train_sites=SITES,
            rounds=2, metric="auroc",
        )
    )  # fmt: skip
    for round in (1, 2):
        book.append(
            events.RoundEnded(
                run=RUN, round=round, metrics={"auroc": 0.7 + round / 50}, examples=300,
                by_site={site: {"auroc": 0.7 + round / 40} for site in SITES}, seconds={},
            )
        )  # fmt: skip
    book.append(
        events.Released(
            run=RUN, round=1, kind="model update", recipient=HOSTILE, fingerprint="ab" * 32,
            bytes=1234567,
        )
    )  # fmt: skip
    book.append(events.ValidationStarted(run=RUN, attempt=1, sites=SITES))
    for cell in (
        *validated("halland", 0.05, 0.01, 0.09, subgroups={
            HOSTILE: {"patients": 60.0, "auroc": 0.8, "auroc_low": 0.7, "auroc_high": 0.9},
        }),
        *validated("sahlgrenska", -0.06, -0.11, -0.01),
    ):  # fmt: skip
        book.append(cell)
    book.append(*ended(withheld={"umea": HOSTILE}))
    records = book.read()
    book.close()
    found = gather(
        records, RUN, site="halland", study=study, minimum_cell=10, versions={"jax": "1"}
    )
    assert found is not None
    return found


class _Outline(HTMLParser):
    """Which tags there are, and whether every table names its columns and rows."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: set[str] = set()
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in ("meta", "circle", "line", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("meta", "circle", "line", "polyline"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_is_well_formed_and_escapes_whatever_it_prints(facts: Facts) -> None:
    written = page(facts)

    outline = _Outline()
    outline.feed(written)
    assert outline.open == []
    assert "script" not in outline.seen
    assert not {name for name in outline.attributes if name.startswith("on") or name == "style"}
    assert HOSTILE not in written
    assert HOSTILE in "".join(outline.words)
    assert {"svg", "th", "caption", "title", "main", "h1", "h2"} <= outline.seen
    assert "prefers-color-scheme: dark" in written


def test_the_pages_policy_allows_its_own_style_and_nothing_else(facts: Facts) -> None:
    import base64
    import hashlib

    written = page(facts)

    style = re.search(r"<style>(.*?)</style>", written, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in written


def test_the_papers_hold_what_is_known_and_say_what_is_not(facts: Facts) -> None:
    card, sheet, annex = model_card(facts), data_sheet(facts), impact_annex(facts)

    assert "sahlgrenska is worse off" in card
    assert "legal basis: not known here" in card
    assert "about 120 test patients" in sheet
    assert "umea: too few to be told" in sheet
    assert "1,234,567 bytes" in annex
    assert "fewer than 10 patients" in annex
    assert "none in this journal" in annex
    for paper in (card, sheet, annex):
        assert re.match(r"# \w", paper)
        assert "None" not in paper
        assert "TODO" not in paper


def test_both_epsilons_are_printed_once_the_run_is_over(facts: Facts) -> None:
    def spent(round: int, epsilon: float, tight: float | None) -> Record:
        event = events.PrivacySpent(
            run=RUN, round=round, data="mimic_iv", question=f"{round}", epsilon=epsilon,
            delta=1e-5, tight=tight,
        )  # fmt: skip
        return dataclasses.replace(facts.records[-1], event=event)

    under_way = dataclasses.replace(facts, records=(*facts.records, spent(1, 2.1, None)))
    over = dataclasses.replace(under_way, records=(*under_way.records, spent(2, 3.0, 2.453)))

    assert "epsilon 2.1 (RDP) at delta 1e-05" in model_card(under_way)
    assert "epsilon 2.45 (PLD, tight), 3.00 (RDP, the promise) at delta 1e-05" in model_card(over)


def test_the_terminal_says_the_same(facts: Facts) -> None:
    lines = text.report(facts)

    assert facts.comparison is not None
    assert facts.comparison.sentence in " ".join(lines)
    assert any("model update" in line and "1,234,567" in line for line in lines)
    assert any(line.split()[:3] == ["2", "0.740", "0.750"] for line in lines)


def test_the_terminal_needs_no_more_than_80_columns(facts: Facts) -> None:
    assert facts.comparison is not None
    long = told(
        *(validated(f"a-hospital-with-a-name-of-its-own-{n}", -0.05, -0.15, 0.05) for n in "ab"),
        sites=tuple(f"a-hospital-with-a-name-of-its-own-{n}" for n in "ab"),
    )
    wide = dataclasses.replace(
        facts.progress,
        history=tuple(
            dataclasses.replace(one, by_site={f"hospital-{n}": {"auroc": 0.7} for n in range(12)})
            for one in facts.progress.history
        ),
    )

    usual, named = text.comparison(facts.comparison), text.comparison(long)
    whole = text.report(dataclasses.replace(facts, progress=wide))

    assert max(map(len, [*usual, *named, *whole])) <= 80
    assert any(line.split()[:2] == ["halland", "~120"] for line in usual)  # a row a site
    assert " ".join(" ".join(named).split()).count("no clear difference") == 3
    assert all(any(f"hospital-{n}" in line for line in whole) for n in range(12))
