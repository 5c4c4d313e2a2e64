"""What people are told of a study before they sign, and how it is written down."""

import dataclasses
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import datasets
from fedtui import agreement, settings
from fedtui.study import Quorum, Study, Validation
from tests.decisions import (
    APPROVERS,
    TODAY,
    both,
    standing,
    study,
)


def told(agreed: Study, coordinator: str) -> str:
    text = agreement.text(agreement.Paper(study=agreed, today=TODAY, coordinator=coordinator))
    assert max(map(len, text.splitlines())) <= 80
    return " ".join(text.split())


def test_with_two_sites_secure_aggregation_is_said_to_hide_nothing() -> None:
    words = told(study(), "vgr")

    assert "secure aggregation would hide nothing from the other site" in words
    assert "the coordinator, run by vgr, itself a site" in words
    assert "vgr sees what halland sends" in words
    assert "exactly, this site's update: it subtracts its own part" in words


def test_with_three_sites_and_a_coordinator_apart_the_table_is_another() -> None:
    three = ("vgr", "halland", "skane")
    agreed = study(sites=three, approvers={}, quorum=Quorum(minimum_sites=3))
    words = told(agreed, "ai-se")

    assert "the coordinator, ai-se, apart from the sites" in words
    assert "the mean of the other 2 sites' updates; 2 that collude" in words
    assert "would show the coordinator their sum only" in words
    assert "hide nothing" not in words
    assert "below three it would hide nothing" in told(
        dataclasses.replace(agreed, quorum=Quorum(minimum_sites=2)), "ai-se"
    )


def test_whatever_says_an_epsilon_says_what_it_does_not_cover() -> None:
    private = study(privacy={"epsilon": 3.0, "clip": 1.0})
    paper = agreement.Paper(study=private, today=TODAY)

    assert told(private, "vgr").count(agreement.UNCOVERED) >= 2
    assert "a patient with several rows is covered less" in told(private, "vgr")
    assert agreement.to_json(paper)["uncovered"] == agreement.UNCOVERED
    assert "NO record-level privacy" in told(study(), "vgr")
    assert "epsilon" not in told(study(), "vgr").lower()


def test_a_loss_is_said_to_leave_while_training_unless_noise_would_have_to_cover_it() -> None:
    plain, private = (
        next(
            item.what
            for item in agreement.leaving(agreed, features=None, parameters=None)
            if item.when == "each second"
        )
        for agreed in (study(), study(privacy={"epsilon": 3.0}))
    )

    assert "mean loss" in plain
    assert "minimum cell" in plain
    assert "no loss" in private


def test_what_leaves_a_site_is_said_with_its_size() -> None:
    for transport, size in (("float32", 4), ("bfloat16", 2)):
        found = agreement.leaving(study(transport=transport), features=25, parameters=1000)

        assert [item.bytes for item in found if item.when == "once"] == [3 * 8 * 25]
        assert found[1].bytes == 1000 * size


def test_a_sites_own_model_is_said_to_leave_only_where_it_does() -> None:
    def own(**terms: Any) -> list[agreement.Leaving]:
        found = agreement.leaving(study(**terms), features=25, parameters=1000)
        return [item for item in found if item.what.startswith("this site's own model")]

    assert own(exchange=()) == own(exchange=("joint",)) == []
    assert own(exchange=("local",), privacy={"epsilon": 3.0, "clip": 1.0}) == []
    assert own(exchange=("local",), validation=Validation(local=False)) == []
    assert [item.bytes for item in own(exchange=("joint", "local"))] == [4000]


def test_what_models_were_worth_here_is_said_to_leave() -> None:
    alone = agreement.leaving(study(validation=Validation(local=False)), features=3, parameters=9)

    assert alone[-1].what.startswith("the joint model's results on the test patients here")


def test_the_counts_for_medians_are_said_to_leave() -> None:
    found = agreement.leaving(study(imputation="median"), features=25, parameters=None)

    assert found[1].bytes == datasets.BINS * 8 * 25


def test_a_study_for_stock_peers_says_so() -> None:
    words = told(study(interop=True, approvers={}), "")

    assert "stock Flower nodes" in words
    assert "public or synthetic data only" in words


def test_what_differs_between_two_studies_is_found_by_key() -> None:
    before = study(rounds=20)
    after = study(rounds=40, privacy={"epsilon": 8.0}, approvers={})

    found = {c.key: (c.before, c.after) for c in agreement.changes(before, after)}

    assert found == {
        "rounds": (20, 40),
        "privacy.epsilon": (None, 8.0),
        "approvers.vgr": ("Anna Ek", None),
        "approvers.halland": ("Bo Berg", None),
    }
    assert agreement.changes(before, before) == []


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=40)
VALUES = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(purpose=WORDS, person=WORDS, parameters=st.dictionaries(WORDS, VALUES, max_size=4))
def test_a_written_study_reads_back_as_the_very_same(
    purpose: str, person: str, parameters: dict[str, Any]
) -> None:
    agreed = study(
        purpose=purpose,
        approvers={"vgr": person, "halland": "Bo"},
        parameters=parameters,
        validation=Validation(subgroups=("sex", "age")),
        exchange=("joint",),
    )

    assert settings.parse(agreement.to_toml(agreed), Study, name="study.toml") == agreed


def test_every_key_of_a_written_study_is_explained() -> None:
    lines = agreement.to_toml(study()).splitlines()
    top = {f.name for f in dataclasses.fields(Study)}

    for number, line in enumerate(lines):
        key = line.strip("[]").partition(" =")[0]
        if key in top and not line.startswith("#") and (line.startswith("[") or "=" in line):
            assert lines[number - 1].startswith("# "), line
    assert top <= {line.strip("[]").partition(" =")[0] for line in lines}


def test_the_paper_is_one_json_document() -> None:
    paper = agreement.Paper(study=study(), today=TODAY, found=standing(study(), *both(study())))

    document = json.loads(json.dumps(agreement.to_json(paper)))

    assert (document["state"], document["version"]) == ("approved", 0)
    assert {d["site"]: d["person"] for d in document["decisions"]} == APPROVERS
