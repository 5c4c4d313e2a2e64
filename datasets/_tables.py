"""Numbers in a table, and how they become a data set."""

import importlib.util
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets import DataError, Dataset, Feature, Pictures, Split
from datasets._splits import Division, Rows

Table = NDArray[np.float64]


def within(values: Table, feature: Feature) -> Table:
    """``values`` with NaN where they are implausible, outside the feature's agreed range."""
    low = -math.inf if feature.low is None else feature.low
    high = math.inf if feature.high is None else feature.high
    return np.where((values >= low) & (values <= high), values, math.nan)


def assemble(
    *,
    name: str,
    part: str,
    features: tuple[Feature, ...],
    classes: tuple[str, ...],
    x: Table,
    y: NDArray[np.int32],
    groups: NDArray[np.int64],
    division: Division,
    pixels: NDArray[np.uint8] | None = None,
    identified: bool = False,
) -> Dataset:
    """The rows of ``division`` as a data set; an implausible value is missing.

    ``x`` is float64 [rows, features] in the features' units, NaN where missing; ``y`` int32 [rows]
    the index in ``classes``; ``groups`` int64 [rows] the patient, made of ids if ``identified``;
    ``pixels`` uint8 [rows, height, width, 3] each row's image, where there are any.
    """
    plausible = np.stack([within(v, f) for v, f in zip(x.T, features, strict=True)], axis=1)
    mask = ~np.isnan(plausible)
    known = np.where(mask, plausible, 0.0).astype(np.float32)

    def split(rows: Rows) -> Split:
        return Split(
            x=known[rows],
            mask=mask[rows],
            y=y[rows],
            groups=groups[rows],
            pictures=None if pixels is None else Pictures(pixels=pixels, rows=rows),
        )

    return Dataset(
        name=name,
        part=part,
        features=features,
        classes=classes,
        train=split(division.train),
        validation=split(division.validation),
        test=split(division.test),
        gives="table" if pixels is None else "images",
        identified=identified,
    )


def bundled(file: str, *, skip: int = 0) -> Table:
    """A csv that scikit-learn ships, float64 [rows, columns]; ``skip`` lines come first.

    Only the folder is looked up: importing scikit-learn takes 3 s.

    Raises:
        DataError: scikit-learn, or the file in it, is missing.
    """
    spec = importlib.util.find_spec("sklearn")
    folders = spec.submodule_search_locations if spec else None
    path = Path(folders[0], "datasets", "data", file) if folders else None
    if path is None or not path.is_file():
        raise DataError(
            f"{file} is missing: scikit-learn brings it.",
            remedy="Install scikit-learn in fedtui's environment again.",
        )
    return np.loadtxt(path, delimiter=",", skiprows=skip, dtype=np.float64, ndmin=2)
