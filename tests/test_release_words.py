"""What leaves after training, in words, and what the journal says of every byte."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.common.serde import recorddict_to_proto

from datasets import Split
from fedtui.disclosure import equal_bins, rounded
from fedtui.errors import DataError, PrivacyError
from fedtui.flower.records import Measure, Record, Table
from fedtui.flower.work import Key
from fedtui.identifiers import PERSONAL
from tests.exits import (
    MINIMUM,
    Way,
    behind,
    message,
    patients,
    prepare,
    way_out,
)


@pytest.fixture
def way(tmp_path: Path) -> Iterator[Way]:
    with way_out(tmp_path) as made:
        yield made


def validate(way: Way, record: Record, split: Split, question: str = "m") -> dict[str, Any]:
    reply = way.exit.release(
        Key("r", 9, "validate"),  # type: ignore[arg-type]  # whatever phase comes later
        "f" * 64,
        reply_to=message(),
        examples=len(split),
        metrics={},
        behind=behind(way, split),
        question=question,
        record=record,
    )
    told: dict[str, Any] = json.loads(str(reply.content.config_records["fields"]["record"]))
    return told


def by_age(limits: tuple[str, ...], *counts: tuple[int, int]) -> Table:
    return Table(
        variables=("age", "outcome"),
        rows=limits,
        columns=("alive", "dead"),
        counts=np.array(counts, dtype=np.int64),
    )


def test_a_later_phase_tells_measures_tables_and_histograms_without_small_cells(way: Way) -> None:
    split = patients(range(100))
    scores = np.random.default_rng(0).random(100)
    record = Record(
        measures={
            "auroc": Measure(values=(0.83333, 0.7, None), patients=100, classes=(66, 34)),
            "auroc among smokers": Measure(values=(0.9, 0.8, 1.0), patients=12, classes=(9, 3)),
        },
        tables={
            "age": by_age(("<45", "45-65", ">65"), (30, 3), (21, 17), (15, 14)),
        },
        histograms={"score": equal_bins(scores, split.groups, low=0.0, high=1.0, minimum=MINIMUM)},
    )

    told = validate(way, record, split)

    assert told["measures"] == {"auroc": [0.833, 0.7, None], "auroc among smokers": None}
    counts = told["tables"]["age"]["counts"]
    assert counts[0][1] is None
    assert sum(cell is None for row in counts for cell in row) == 4
    assert [row[-1] for row in counts] == [35, 40, 30, 100]
    assert all(cell is None or cell % 5 == 0 for row in counts for cell in row)
    assert all(count >= MINIMUM for count in told["histograms"]["score"]["counts"])
    assert way.released().kind == "validation"
    assert way.released().suppressed == 6


def test_a_second_table_by_other_limits_is_withheld_and_the_journal_says_so(way: Way) -> None:
    split = patients(range(100))
    first = Record(tables={"age": by_age(("<45", "rest"), (30, 20), (25, 25))})
    shifted = Record(tables={"age": by_age(("<46", "rest"), (31, 20), (24, 25))})

    told = validate(way, first, split)
    again = validate(way, first, split)
    other = validate(way, shifted, split)

    assert told == again
    assert other["tables"]["age"]["counts"] == [[None] * 3] * 3
    assert way.released().withheld == ("age",)
    assert way.released().level == "WARN"


def test_identifiers_in_words_that_leave_are_taken_out(way: Way) -> None:
    error = DataError("Row 7: '900101-2385' is odd.", remedy="See subject_id 10000032.")
    reply = way.exit.failure(error, reply_to=message())
    body = way.exit.words(
        {
            "state": {"state": "train", "run": "digits-261123-152507"},
            "checked": {"unwell": {"data": "the cell 19900101-2385"}},
            "progress": {"loss": 0.123456, "examples": 9001012385},
            "head": {"run": "r", "at": 5, "head": "ab" * 32, "signature": "9001012385=="},
        }
    )

    assert "2385" not in reply.error.reason
    assert "10000032" not in reply.error.reason
    assert body["checked"]["unwell"]["data"] == f"the cell {PERSONAL}"
    assert body["progress"] == {"loss": 0.123, "examples": 9001012385}
    assert body["head"]["signature"] == "9001012385=="


def test_a_head_that_holds_words_does_not_leave(way: Way) -> None:
    with pytest.raises(PrivacyError):
        way.exit.words({"head": {"signature": "Åsa Canary, 900101-2385"}})


def test_the_journal_names_recipient_study_and_patients_before_anything_leaves(way: Way) -> None:
    prepare(way, patients(range(103)))

    told = way.released()

    assert (told.recipient, told.fingerprint) == ("coordinator a:1", "f" * 64)
    assert told.patients == rounded(103)


def test_the_journal_counts_every_byte_of_an_answer_that_leaves(way: Way) -> None:
    prepared = prepare(way, patients(range(103)))["reply"].content
    sums = way.released().bytes
    split = patients(range(103))
    evaluated = way.exit.release(
        Key("r", 1, "evaluate"),
        "f" * 64,
        reply_to=message(),
        examples=len(split),
        metrics={"auroc": 0.8, "loss": 0.4},
        behind=behind(way, split),
    ).content
    metrics = way.released().bytes

    for content, told in ((prepared, sums), (evaluated, metrics)):
        whole = len(recorddict_to_proto(content).SerializeToString())
        assert 0 < whole <= told <= whole + 400  # each part has a head with its children's ids
