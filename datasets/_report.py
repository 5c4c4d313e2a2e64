"""What a person may see of a data set: counts and histograms without small cells."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets import Dataset, Feature, Split

BINS = 10


def cell(count: int, minimum: int) -> int | None:
    """``count``, or None if it is between 1 and below ``minimum``: too few to be told."""
    return None if 0 < count < minimum else count


def _in_words(*, few_have: bool, few_lack: bool, of: int, minimum: int) -> str:
    """How much is missing where a share would give a small count away; empty where it does not.

    'few' and 'most' say which of the two counts is small, never how small. 'most' is 'nearly all'
    where even the largest small count is a tenth. Where both are small, not even that is said.
    """
    if few_have and few_lack:
        return "hidden"
    if few_have:
        return "nearly all" if of >= 10 * minimum else "most"
    return "few" if few_lack else ""


def report(data: Dataset, *, minimum: int) -> dict[str, Any]:
    """Rows, patients, labels and features as JSON.

    Counts are of patients or rows and follow ``cell``; a share is None where one of its two
    counts is, and 'missing_is' then says 'few', 'most', 'nearly all' or 'hidden'. If exactly one
    class is too small, the next smallest is hidden with it.
    """
    splits = (data.train, data.validation, data.test)
    y = np.concatenate([split.y for split in splits])
    groups = np.concatenate([split.groups for split in splits])
    counts = np.bincount(y, minlength=len(data.classes)).tolist()
    labels = _hidden(counts, minimum)
    known = all(label is not None for label in labels)
    return {
        "name": data.name,
        "part": data.part,
        "gives": data.gives,
        "schema_hash": data.schema_hash,
        "rows": cell(len(y), minimum),
        "patients": cell(len(np.unique(groups)), minimum),
        "splits": {
            name: cell(len(getattr(data, name)), minimum)
            for name in ("train", "validation", "test")
        },
        "classes": dict(zip(data.classes, labels, strict=True)),
        "label_rate": round(1 - counts[0] / len(y), 3) if known and len(counts) == 2 else None,
        "features": [
            _feature(feature, column, splits, minimum)
            for column, feature in enumerate(data.features)
        ],
    }


def summary(data: Dataset, *, minimum: int) -> list[dict[str, Any]]:
    """Count, mean, deviation and missingness of each feature in the training split, as JSON.

    These are what round 0 is about, to three figures. All of a feature is None where fewer than
    ``minimum`` patients have it; where fewer than as many lack it, or of a yes or no fewer have it
    or have it not, what would tell so is None. 'missing_is' is as ``report`` has it.
    """
    split = data.train
    return [_summary(split, f, column, minimum) for column, f in enumerate(data.features)]


def _summary(split: Split, feature: Feature, column: int, minimum: int) -> dict[str, Any]:
    mask = split.mask[..., column]
    values = split.x[..., column][mask].astype(np.float64)
    people = _people(split, mask)
    absent = _people(split, ~mask)
    told = people >= minimum
    if told and feature.kind != "number":
        high = split.x[..., column] > 0
        told = min(_people(split, mask & high), _people(split, mask & ~high)) >= minimum
    words = _in_words(
        few_have=people < minimum,
        few_lack=cell(absent, minimum) is None,
        of=len(np.unique(split.groups)),
        minimum=minimum,
    )
    return {
        "name": feature.name,
        "unit": feature.unit,
        "count": None if words else len(values),
        "mean": float(f"{values.mean():.3g}") if told else None,
        "deviation": float(f"{values.std():.3g}") if told else None,
        "missing": None if words else round(1 - len(values) / mask.size, 3),
        "missing_is": words,
    }


def _people(split: Split, chosen: NDArray[np.bool_]) -> int:
    """Patients with a chosen value."""
    rows = chosen.any(axis=tuple(range(1, chosen.ndim))) if chosen.ndim > 1 else chosen
    return len(np.unique(split.groups[rows]))


def _hidden(counts: list[int], minimum: int) -> list[int | None]:
    """The counts, small ones None; never one alone, which the total would give away."""
    shown = [cell(count, minimum) for count in counts]
    if shown.count(None) == 1 and len(counts) > 1:
        rest = [place for place, count in enumerate(shown) if count]
        if rest:
            shown[min(rest, key=lambda place: counts[place])] = None
    return shown


def _feature(
    feature: Feature, column: int, splits: tuple[Split, ...], minimum: int
) -> dict[str, Any]:
    """Missingness, and a histogram whose bins each hold ``minimum`` patients or more, or None."""
    mask = np.concatenate([split.mask[..., column].ravel() for split in splits])
    values = np.concatenate([split.x[..., column].ravel() for split in splits])[mask]
    members = [
        np.broadcast_to(
            s.groups.reshape(-1, *(1,) * (s.mask.ndim - 2)), s.mask[..., column].shape
        ).ravel()
        for s in splits
    ]
    groups = np.concatenate(members)[mask]
    absent = len(mask) - len(values)
    words = _in_words(
        few_have=cell(len(values), minimum) is None,
        few_lack=cell(absent, minimum) is None,
        of=len(mask),
        minimum=minimum,
    )
    described: dict[str, Any] = {
        "name": feature.name,
        "unit": feature.unit,
        "kind": feature.kind,
        "missing": None if words else round(absent / len(mask), 3),
        "missing_is": words,
        "edges": [],
        "counts": [],
    }
    if len(np.unique(groups)) < 2 * minimum:
        return described
    if feature.kind == "number":
        low, high = np.quantile(values, (0.05, 0.95))  # an extreme is one patient's
        edges = np.linspace(low, high, BINS + 1) if high > low else np.array([low, low + 1])
    else:
        edges = np.array([0.0, 0.5, 1.0])
    bins = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    patients = [len(np.unique(groups[bins == number])) for number in range(len(edges) - 1)]
    counts = np.bincount(bins, minlength=len(edges) - 1).tolist()
    safe = _hidden(patients, minimum)
    described["edges"] = [float(f"{edge:.3g}") for edge in edges]
    described["counts"] = [
        None if known is None else count for known, count in zip(safe, counts, strict=True)
    ]
    return described
