"""What a data set is: features with units and ranges, and splits that share no patient.

One module here is one data set, and its file name is its name on screen; ``_underscored``
modules are parts that several share. A data set offers ``NEEDS_PATH``, ``PARTS`` and ``read``, as
``Source`` says; ``names`` finds it without importing it.
"""

import hashlib
import importlib
import json
import pkgutil
from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path
from typing import Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from datasets._statistics import (
    Normalisation,
    Statistics,
    agree,
    standardise,
    statistics,
    unsettled,
)

__all__ = [
    "DataError",
    "Dataset",
    "Feature",
    "Normalisation",
    "Source",
    "Split",
    "Statistics",
    "agree",
    "load",
    "names",
    "needs_path",
    "parts",
    "standardise",
    "statistics",
    "unsettled",
]


class DataError(Exception):
    """Data at this site that cannot be used; names file, row and column, never a cell's value.

    Attributes:
        remedy: The next step, as a sentence.
    """

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One column of a table, as the sites agreed on it.

    Attributes:
        unit: As printed, 'mm Hg'; empty where there is none.
        kind: 'number' has a scale; 'binary' is 0 or 1; 'category' is one column, 0 or 1, of a
            code with several values.
        low: Smallest plausible value, in ``unit``; what lies below counts as not measured.
        high: Largest plausible value, likewise. None for either: no bound.
    """

    name: str
    unit: str = ""
    kind: Literal["number", "binary", "category"] = "number"
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Examples for one use. All arrays have the examples in the same order.

    Attributes:
        x: float32 [examples, features], in the features' units; finite, and 0 where not measured.
        mask: bool [examples, features], True where measured.
        y: int32 [examples], the index of the class.
        groups: int64 [examples], the patient; equal numbers mean one and the same.
    """

    x: NDArray[np.float32]
    mask: NDArray[np.bool_]
    y: NDArray[np.int32]
    groups: NDArray[np.int64]

    def __post_init__(self) -> None:
        if not (self.x.shape == self.mask.shape and len(self.x) == len(self.y) == len(self.groups)):
            raise ValueError("the arrays of a split differ in length")
        if not np.isfinite(self.x).all() or self.x[~self.mask].any():
            raise ValueError("x must be finite, and 0 where not measured")

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """What one site holds of a data set.

    Attributes:
        part: Which site's share this is, one of ``parts(name)``.
        features: One for each column of ``x``.
        classes: What the numbers in ``y`` stand for.
        gives: What a model must be able to eat; 'table' is float32 [batch, features].
    """

    name: str
    part: str
    features: tuple[Feature, ...]
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    gives: str = "table"

    def __post_init__(self) -> None:
        if not len(self.train):
            raise DataError(
                f"'{self.name}' has no training examples in part '{self.part}'.",
                remedy="Check that the file holds all of the site's rows.",
            )
        groups = [np.unique(s.groups) for s in (self.train, self.validation, self.test)]
        if len(reduce(np.union1d, groups)) != sum(map(len, groups)):
            raise ValueError("a patient is in two splits")

    @property
    def schema_hash(self) -> str:
        """Hex sha256 of names, units, kinds, ranges and classes: equal at sites that agree."""
        schema = {
            "name": self.name,
            "gives": self.gives,
            "features": [asdict(feature) for feature in self.features],
            "classes": self.classes,
        }
        canonical = json.dumps(schema, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


class Source(Protocol):
    """What a module in this folder offers.

    Attributes:
        NEEDS_PATH: Whether the site must say where its files lie.
        PARTS: What a site can hold; the first is everything.
    """

    NEEDS_PATH: bool
    PARTS: tuple[str, ...]

    def read(self, *, path: Path | None, part: str, seed: int) -> Dataset:
        """The part, split; ``part`` is one of PARTS, ``path`` is there if NEEDS_PATH."""
        ...


def names() -> tuple[str, ...]:
    """The data sets there are, in alphabetical order; none is imported."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in found if not name.startswith("_")))


def parts(name: str) -> tuple[str, ...]:
    """What a site can hold of ``name``; the first is everything."""
    return _source(name).PARTS


def needs_path(name: str) -> bool:
    """Whether a site must say where its files of ``name`` lie."""
    return _source(name).NEEDS_PATH


def load(name: str, *, path: Path | None = None, part: str = "all", seed: int = 0) -> Dataset:
    """This site's part of a data set, in three splits without a patient in common.

    The splits depend on ``seed`` and not on ``part``: the parts' test sets together are the test
    set of 'all', and no site trains on what another tests on.

    Args:
        name: One of ``names()``.
        path: Where the site's files lie, if ``needs_path(name)``.
        part: One of ``parts(name)``.
        seed: The study's, so that all sites split alike; not negative.

    Raises:
        DataError: no such data set or part, or the files are not what they should be.
    """
    source = _source(name)
    if part not in source.PARTS:
        raise DataError(
            f"'{name}' has no part '{part}'.", remedy=f"Choose one of {', '.join(source.PARTS)}."
        )
    if source.NEEDS_PATH and path is None:
        raise DataError(
            f"'{name}' needs the folder with the site's files.",
            remedy="Add its path to the site's settings.",
        )
    return source.read(path=path, part=part, seed=seed)


def _source(name: str) -> Source:
    if name not in names():
        raise DataError(
            f"There is no data set '{name}'.", remedy=f"Choose one of {', '.join(names())}."
        )
    return cast("Source", importlib.import_module(f"datasets.{name}"))
