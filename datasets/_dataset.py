"""What a data set is made of: every source in this folder gives it, or says what is wrong."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import reduce
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from datasets._excluded import Excluded


class DataError(Exception):
    """Data at this site that cannot be used; names file, row and column, never a cell's value.

    Attributes:
        remedy: The next step, as a sentence.
    """

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """Something in a file that does not fit; it never holds a cell's value.

    Attributes:
        row: As an editor counts lines, a header is 1; None for the whole file or column.
        what: What is wrong, as a clause.
        remedy: What to do, as a sentence.
        blocks: Whether the data cannot be used before it is mended; else it is a warning.
    """

    file: str
    what: str
    remedy: str
    row: int | None = None
    column: str = ""
    blocks: bool = True

    @property
    def place(self) -> str:
        """'patients.csv, row 118, column age'."""
        row = "" if self.row is None else f", row {self.row}"
        return f"{self.file}{row}" + (f", column {self.column}" if self.column else "")

    @property
    def error(self) -> DataError:
        """The same as an error."""
        return DataError(f"{self.place}: {self.what}.", remedy=self.remedy)


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
class Pictures:
    """A split's images, which stay on disk until a batch is taken.

    Attributes:
        pixels: uint8 [images, height, width, 3] red, green, blue; all of the site's, memory-mapped.
        rows: int64 [examples], each example's image.
    """

    pixels: NDArray[np.uint8]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, examples: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Copies of these examples' images, uint8 [batch, height, width, 3]."""
        return cast("NDArray[np.uint8]", np.asarray(self.pixels[self.rows[examples]]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Examples for one use. All arrays have the examples in the same order.

    Attributes:
        x: float32 [examples, features], or [examples, hours, features] in a series, in the
            features' units; finite, and 0 where not measured.
        mask: bool, shaped like ``x``, True where measured.
        y: int32 [examples], the index of the class.
        groups: int64 [examples], the patient; equal numbers mean one and the same.
        pictures: One image for each example, where the set has any; ``x`` is its table then.

    Raises:
        ValueError: the arrays are not of as many examples, or ``x`` is not finite, or not 0 where
            not measured.
    """

    x: NDArray[np.float32]
    mask: NDArray[np.bool_]
    y: NDArray[np.int32]
    groups: NDArray[np.int64]
    pictures: Pictures | None = None

    def __post_init__(self) -> None:
        if self.pictures is not None and len(self.pictures) != len(self.y):
            raise ValueError("the pictures of a split are not as many as its examples")
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
        features: One for each column, the last axis, of ``x``.
        classes: What the numbers in ``y`` stand for.
        gives: What a model must be able to eat: 'table' is float32 [batch, features], 'series'
            float32 [batch, hours, features], 'images' uint8 [batch, height, width, 3] with a table.
        identified: Whether ``groups`` are made of patients' ids, so that one can be left out.
        excluded: What the site's lists of patients who opted out did; None without a list.

    Raises:
        DataError: there is no training example.
        ValueError: a patient is in two splits.
    """

    name: str
    part: str
    features: tuple[Feature, ...]
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    gives: str = "table"
    identified: bool = False
    excluded: Excluded | None = None

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
        """Hex sha256 of names, units, kinds, ranges, classes and the images' size.

        Equal at sites that agree.
        """
        pictures = self.train.pictures
        schema = {
            "name": self.name,
            "gives": self.gives,
            "pixels": None if pictures is None else pictures.pixels.shape[1:],
            "features": [asdict(feature) for feature in self.features],
            "classes": self.classes,
        }
        canonical = json.dumps(schema, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def cohort_hash(self) -> str:
        """Hex sha256 of who is in it: changes when anybody is added, removed or excluded.

        For this site's own records: with all patients but one, the last could be guessed from it.
        """
        everybody = np.concatenate([s.groups for s in (self.train, self.validation, self.test)])
        people = np.unique(everybody).astype("<i8").tobytes()
        return hashlib.sha256(self.schema_hash.encode() + people).hexdigest()
