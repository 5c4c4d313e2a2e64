"""What a phase has to tell beside a model, and what of it may be told: the forms an exit knows.

A phase that is added later puts its results into a ``Record``; there is no other form.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedtui import disclosure
from fedtui.disclosure import Bins
from fedtui.identifiers import scrubbed_tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """Who stands behind an answer: what an exit judges by, and never sends.

    Attributes:
        patients: Different ones.
        cohort: Hex sha256 of who they are, under the site's own secret; the file of this name in
            the exit's folder has them.
        classes: Patients with an example of each class.
        outcome: What the classes are of, so that counts of two outcomes are never mistaken.
        support: ``datasets.Support`` by field, int64 [features] each, where sums are told.
    """

    patients: int
    cohort: str
    classes: tuple[int, ...] = ()
    outcome: str = ""
    support: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Behind":
        """What the trainer says in JSON."""
        return cls(
            patients=document["patients"],
            cohort=document["cohort"],
            classes=tuple(document["classes"]),
            outcome=document["outcome"],
            support={
                name: np.array(people, dtype=np.int64)
                for name, people in document.get("support", {}).items()
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A number, or one with the ends of its interval; told with three decimals, or not at all.

    Attributes:
        patients: It is over; with fewer than the minimum it is not told.
        classes: Patients of each class, for a number that compares classes (AUROC, sensitivity):
            none may be fewer than the minimum. Empty for one that does not (loss).
    """

    values: tuple[float | None, ...]
    patients: int
    classes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Counts of patients, told to the nearest five, without small cells, with margins.

    Attributes:
        variables: What rows and columns are by, e.g. ('age', 'outcome'). A second table by the
            same variables but with other limits is not told, also not in another study.
        counts: int64 [rows, columns]; each patient in one cell.
        model: Whether the counts are a model's doing: another model's are another question.
    """

    variables: tuple[str, str]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    counts: NDArray[np.int64]
    model: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Results of a phase, as the site has them. ``Exit.release`` tells what may be told.

    Attributes:
        histograms: Of patients, or of examples with the patients behind each bin;
            ``disclosure.equal_bins`` makes them where the raw values are.
            Bins below the minimum are joined with their neighbours here in any case.
    """

    measures: Mapping[str, Measure] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    histograms: Mapping[str, Bins] = field(default_factory=dict)


def measure(one: Measure, *, minimum: int) -> list[float | None] | None:
    """The values as they may be told, or None."""
    if min((one.patients, *one.classes)) < minimum:
        return None
    return [disclosure.metric(value) for value in one.values]


def table(one: Table, *, minimum: int) -> dict[str, Any]:
    """Rows, columns and counts with margins, None where hidden."""
    return scrubbed_tree(  # type: ignore[no-any-return]
        {
            "rows": one.rows,
            "columns": one.columns,
            "counts": disclosure.told(one.counts, minimum=minimum),
        }
    )


def histogram(one: Bins, *, minimum: int) -> dict[str, Any]:
    """Edges with three significant digits or decimals, and counts to the nearest five."""
    bins = disclosure.merged(one, minimum=minimum)
    return {
        "edges": [float(f"{edge:.6g}") for edge in bins.edges],
        "counts": [disclosure.rounded(int(count)) for count in bins.counts],
    }


def hidden(document: Any) -> int:
    """How many places in a told record are empty."""
    if isinstance(document, Mapping):
        return sum(hidden(value) for value in document.values())
    if isinstance(document, list):
        return sum(hidden(value) for value in document)
    return int(document is None)


def question(*parts: Any) -> str:
    """Hex sha256 that names a question, from JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
