"""A run's models judged at two sites: what a local model is, and what survives a kill."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fedtui import events, modelfile, operations
from fedtui.errors import UsageError
from fedtui.flower import validation
from fedtui.flower.records import Record
from fedtui.report.comparison import Comparison
from tests import federation as fed
from tests.federation import COORDINATOR, SITE, Federation, until

ROUNDS = 2
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def pair() -> Iterator[Federation]:
    with fed.federation(COORDINATOR, SITE) as made:
        yield made


def validated(made: Federation, run: str) -> Comparison:
    ordered = operations.validate(made.coordinator, run)
    found = operations.await_validation(made.coordinator, run, ordered["attempt"])
    assert found.outcome == "completed"
    return found


def test_a_local_model_is_what_the_federation_would_make_of_one_site_bit_for_bit(
    pair: Federation,
) -> None:
    ended = pair.run(fed.study(rounds=ROUNDS), alone=SITE)

    found = validated(pair, ended.run)

    folder = pair.site.models / ended.run
    joint = modelfile.stored(folder / "joint.safetensors")[0]
    local = modelfile.stored(folder / f"local-{ROUNDS:05d}.safetensors")[0]
    assert np.array_equal(joint, local)
    rows = {row.site: row for row in found.own}
    same = rows[SITE].difference
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    assert rows[SITE].verdict == "no clear difference"
    assert rows[COORDINATOR].difference.value != 0.0


@pytest.mark.slow
def test_a_validation_goes_on_after_every_process_was_killed(
    pair: Federation, tmp_path: Path
) -> None:
    ended = pair.run(fed.study(rounds=ROUNDS, seed=5))
    points = {
        SITE: (f"trainer.validating@{ROUNDS}", f"agent.answered@{ROUNDS}"),
        COORDINATOR: (f"coordinator.received@{ROUNDS}", f"agent.persisted@{ROUNDS}"),
    }
    for name, killed in points.items():
        operations.down(pair.homes[name])
        before = fed.head(pair.homes[name])
        pair.up(name, crash={point: tmp_path / point for point in killed})
        pair.linked(name, after=before)

    operations.validate(pair.coordinator, ended.run)
    until(
        pair.coordinator,
        lambda e: isinstance(e, events.ValidationEnded) and e.run == ended.run,
        seconds=120.0,
    )

    first = operations.compare(pair.coordinator, ended.run)
    assert first.outcome == "completed", first.cause
    assert {path.name for path in tmp_path.iterdir()} == {
        p for each in points.values() for p in each
    }
    again = validated(pair, ended.run)
    assert again.attempt == first.attempt + 1
    assert again.own == first.own
    metrics = {key: cell.metrics for key, cell in first.cells.items()}
    assert {key: cell.metrics for key, cell in again.cells.items()} == metrics
    assert len(metrics) == 4  # both models at both sites; none travelled


def test_what_is_not_over_or_not_there_is_not_validated(pair: Federation) -> None:
    with pytest.raises(UsageError, match="none that was completed"):
        operations.validate(pair.coordinator, "never-was")
    with pytest.raises(UsageError, match="not the coordinator"):
        operations.validate(pair.site)


def results(counts: dict[str, list[list[int]]], patients: list[int]) -> dict[str, object]:
    judged = {"metrics": {"auroc": 0.8}, "low": {"auroc": 0.7}, "high": {"auroc": 0.9}}
    return {
        "classes": 2,
        "primary": "auroc",
        "patients": patients,
        "tables": {
            name: {"names": [f"group {k}" for k in range(len(rows))], "counts": rows}
            for name, rows in counts.items()
        },
        "models": {
            "federated": {
                **judged,
                "subgroups": {name: [judged] * len(rows) for name, rows in counts.items()},
            }
        },
        "scores": {"cases": {"edges": [0.0, 1.0], "counts": [300], "patients": [patients[1]]}},
    }


def groups(record: Record) -> set[str]:
    return {name.split("|")[1] for name in record.measures if name.count("|") == 2}


def test_a_small_group_takes_another_with_it() -> None:
    told = results({"sex": [[40, 30], [60, 5]], "age": [[50, 15], [50, 20]]}, [100, 35])

    record = validation.recorded(told, minimum=10, owner="halland")

    assert groups(record) == {"age: group 0", "age: group 1"}  # by sex one would tell the other
    assert set(record.tables) == {"outcome", "sex", "age"}


def test_where_an_outcome_is_rare_no_group_and_no_score_is_told() -> None:
    told = results({"sex": [[4, 60], [3, 50]]}, [7, 110])

    record = validation.recorded(told, minimum=10, owner="halland")

    assert set(record.tables) == {"outcome"}
    assert not record.histograms
    assert not groups(record)
