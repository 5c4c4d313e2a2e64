"""Round 0: what the sites tell of their data, the scale they agree on, and what looks wrong."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import datasets
from datasets import Feature
from fedtui import events
from fedtui.events import ShiftFound
from fedtui.flower import checkpoints, preparation
from fedtui.flower.grid import Reply
from tests import federation as fed
from tests.federation import COORDINATOR, SITE, Federation, records
from tests.test_datasets_clinical import folder, text

FEATURES = [
    Feature(name="age", unit="years", low=18, high=110),
    Feature(name="crp", unit="mg/l"),
    Feature(name="lactate", unit="mmol/l"),
    Feature(name="smoker", kind="binary", low=0, high=1),
]


def reply(site: str, x: np.ndarray, labels: list[int | None]) -> Reply:
    """A site's answer, as its exit would tell of rows without a missing value."""
    sums = (np.full(x.shape[1], float(len(x))), x.sum(axis=0), (x * x).sum(axis=0))
    fields: dict[str, Any] = {
        "features": json.dumps([asdict(feature) for feature in FEATURES]),
        "labels": json.dumps(labels),
    }
    for name, values in zip(datasets.Statistics._fields, sums, strict=True):
        fields[name] = values.astype("<f8").tobytes()
    return Reply(
        site=site, examples=len(x), metrics={}, seconds=0, trained=0, body={"fields": fields}
    )


def people(seed: int, rows: int = 300) -> np.ndarray:
    random = np.random.default_rng(seed)
    numbers = random.normal([65, 40, 2], [14, 20, 1], (rows, 3))
    return np.column_stack([numbers, random.random(rows) < 0.3])


def found(*replies: Reply) -> list[ShiftFound]:
    return list(preparation.warnings("r", {reply.site: reply for reply in replies}))


@pytest.mark.parametrize("seed", range(20))
def test_sites_with_the_same_kind_of_patients_are_not_warned_about(seed: int) -> None:
    sites = [reply(name, people(10 * seed + k, 60), [40, 20]) for k, name in enumerate("abc")]

    assert found(*sites) == []


def test_a_feature_that_is_elsewhere_at_one_site_is_named_with_its_size() -> None:
    odd = people(3)
    odd[:, 2] += 1.0  # one deviation

    warned = found(
        reply("a", people(1), [200, 100]),
        reply("b", people(2), [200, 100]),
        reply("c", odd, [200, 100]),
    )

    told = {event.site: event for event in warned}
    assert set(told["c"].found) == {"lactate"}
    # By hand: the others' mean and deviation are those of the population, to their errors.
    assert told["c"].found["lactate"] == pytest.approx(1.0, abs=0.2)
    assert told["c"].level == "WARN"
    assert "c differs from the other sites" in told["c"].sentence
    assert "lactate +" in told["c"].sentence


def test_other_shares_of_the_label_are_named() -> None:
    warned = found(
        reply("a", people(1), [270, 30]),
        reply("b", people(2), [150, 150]),
    )

    # (0.9 - 0.5) ln(0.9 / 0.5) + (0.1 - 0.5) ln(0.1 / 0.5), worked out by hand
    assert [event.found["labels"] for event in warned] == [0.879, 0.879]
    assert all(event.kind == "labels" for event in warned)


@pytest.mark.parametrize("labels", [[None, None], []])
def test_hidden_labels_are_taken_for_unknown(labels: list[int | None]) -> None:
    assert found(reply("a", people(1), [270, 30]), reply("b", people(2), labels)) == []


def test_hidden_features_are_taken_for_unknown() -> None:
    hidden = reply("b", people(2), [200, 100])
    for name in datasets.Statistics._fields:
        hidden.body["fields"][name] = np.zeros(len(FEATURES)).tobytes()

    assert found(reply("a", people(1), [200, 100]), hidden) == []


def test_a_site_that_scaled_its_own_data_is_named_even_where_all_did() -> None:
    def scaled(seed: int) -> np.ndarray:
        x = people(seed)
        x[:, :3] = (x[:, :3] - x[:, :3].mean(axis=0)) / x[:, :3].std(axis=0)
        return x

    warned = found(reply("a", scaled(1), [200, 100]), reply("b", scaled(2), [200, 100]))

    assert [(event.site, event.kind) for event in warned] == [("a", "scaling"), ("b", "scaling")]
    assert set(warned[0].found) == {"age", "crp", "lactate"}
    assert "agreed units" in warned[0].sentence


def rows(site: int) -> list[list[str]]:
    """120 patients; at site 1 they are older by 20 years and die three times as often."""
    random = np.random.default_rng(site)
    return [
        [
            f"P{site}-{patient}",
            str(int(np.clip(random.normal(45 + 20 * site, 10), 18, 110))),
            "" if random.random() < 0.3 else f"{np.clip(random.gamma(2, 0.4) + 36, 30, 45):.2f}",
            "KM"[patient % 2],
            "abc"[patient % 3],
            ["no", "yes"][random.random() < (0.6 if site else 0.2)],
        ]
        for patient in range(160)
    ]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """Two hospitals with different patients in one kind of table."""
    with fed.homes(COORDINATOR, SITE) as made:
        for number, home in enumerate(made.homes.values()):
            path = folder(tmp_path_factory.mktemp(f"site{number}"), text(rows(number)))
            with home.settings.open("a") as file:
                file.write(f'\n[data.clinical]\npath = "{path}"\npublic = true\n')
                file.write('excluded = "optout.txt"\n')
            (home.path / "optout.txt").write_text("")
            made.up(home.path.name)
        for name in made.homes:
            made.linked(name)
        yield made


def agreed_scale(made: Federation, run: str) -> tuple[np.ndarray, ...]:
    checkpoint = sorted((made.coordinator.runs / run).glob("checkpoint-*"))[-1]
    scale = checkpoints.parse(checkpoint.read_bytes(), name=checkpoint.name).normalisation
    assert scale is not None
    return scale


def test_sites_warn_agree_on_a_treatment_and_tell_nothing_of_who_opts_out(
    pair: Federation,
) -> None:
    study = fed.study(
        id="zero", data="clinical", model="logistic", metric="auroc", rounds=1,
        normalisation="federated", imputation="median", clipping=4.0,
    )  # fmt: skip
    first = pair.start(study)
    ended = pair.ended(first)
    assert ended.outcome == "completed", ended.cause

    # One patient of the training split or another leaves.
    (pair.site.path / "optout.txt").write_text("P1-7\nP1-8\nP1-9\n")
    second = pair.start(study)
    assert pair.ended(second).outcome == "completed"

    warned = {(e.site, e.kind): e for _, e in records(pair.coordinator, ShiftFound, run=first)}
    assert "ålder" in warned[SITE, "features"].found
    assert (SITE, "labels") in warned
    news = fed.until(pair.site, lambda e: isinstance(e, ShiftFound) and e.run == first)
    assert news.event.level == "WARN"  # and so it is among the alarms that screens show

    mean, deviation, fill, low, high = agreed_scale(pair, first)
    temp = 1
    sites = [
        datasets.load("clinical", path=folder_of(pair, name), seed=study.seed).train
        for name in pair.homes
    ]
    values = np.concatenate([s.x[s.mask[:, temp], temp] for s in sites]).astype(np.float64)
    # A joined bin holds ten patients of a site or more, of 80 that are measured.
    assert fill[temp] == pytest.approx(np.median(values), abs=values.std() / 3)
    np.testing.assert_allclose(high[temp] - low[temp], 8 * deviation[temp])
    assert np.isinf(high[2])  # a code is not cut
    assert mean[temp] == pytest.approx(values.mean(), abs=values.std() / 20)

    for before, after in zip(agreed_scale(pair, first), agreed_scale(pair, second), strict=True):
        np.testing.assert_array_equal(before, after)
    told = [e for _, e in records(pair.site, events.Released, run=second)]
    assert [e.kind for e in told][:2] == ["statistics", "statistics"]
    assert told[0].earlier
    assert told[0].level == "WARN"
    assert not any(e.earlier for _, e in records(pair.coordinator, events.Released, run=second))


def folder_of(made: Federation, name: str) -> Path:
    line = next(
        line for line in made.homes[name].settings.read_text().splitlines() if "path = " in line
    )
    return Path(line.split('"')[1])
