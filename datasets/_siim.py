"""SIIM-ISIC's tables and images: which rows count, whose they are, and where the JPEGs lie."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasets import DataError, Dataset, Feature, Pictures, Split, Violation
from datasets._cells import identify, read_raw
from datasets._files import open_rows
from datasets._images import UnreadableImage, decoded, square
from datasets._report import cell
from datasets._schema import parse_schema
from datasets._splits import SITES, Rows, divide, shared
from datasets._tables import within

PARTS = ("all", *SITES)
CLASSES = ("benign", "melanoma")
TEST, VALIDATION = 0.2, 0.1
_TABLES = ("train_concat.csv", "train.csv")
_FOLDERS = ("jpeg/train", "train/train", "train", "jpeg-melanoma-*/train")
_DUPLICATES = "*uplicates*.csv"
_NAME = re.compile(r"[\w\-]{1,80}")
_SITES = ("torso", "head/neck", "upper extremity", "lower extremity", "palms/soles", "oral/genital")
# The ISIC archive's finer words for the same places.
_FINER = {"anterior torso": "torso", "posterior torso": "torso", "lateral torso": "torso"}
SCHEMA = f"""
table = "train.csv"
missing = ["NA", "nan", "NaN", "unknown", "None"]
[label]
column = "target"
classes = ["benign", "melanoma"]
codes = [0, 1]
[columns]
age_approx = {{ unit = "years", low = 0, high = 120, flag = true }}
sex = {{ kind = "binary", codes = ["female", "male"], flag = true }}
[columns.anatom_site_general_challenge]
kind = "category"
codes = {[*_SITES, *_FINER]}
"""
FEATURES = (
    Feature(name="age_approx", unit="years", low=0.0, high=120.0),
    Feature(name="male", kind="binary", low=0.0, high=1.0),
    *(Feature(name=f"at_{s}", kind="category", low=0.0, high=1.0) for s in _SITES[1:]),
)


class Images(NamedTuple):
    """The rows of the table, without duplicates.

    Attributes:
        rows: int64 [images], the row in the table's file.
        x: float64 [images, features], NaN where missing.
        groups: int64 [images], the patient's salted hash; without one the lesion's or the image's.
        names: Of the images, without '.jpg'.
        sites: Who acquired each; all empty where the table does not say.
        duplicates: How many rows the list of duplicates removed.
    """

    rows: NDArray[np.int64]
    x: NDArray[np.float64]
    y: NDArray[np.int32]
    groups: NDArray[np.int64]
    names: tuple[str, ...]
    sites: tuple[str, ...]
    duplicates: int


def table_of(path: Path) -> Path:
    """The site's table. Raises DataError if there is none."""
    for name in _TABLES:
        if (path / name).is_file():
            return path / name
    raise DataError(
        f"Neither {' nor '.join(_TABLES)} is in {path}.",
        remedy="Point it at the folder as Kaggle gives it, unpacked.",
    )


def recognises(path: Path) -> bool:
    """Whether such a table is in the folder."""
    try:
        open_rows(table_of(path), ("image_name", "target"))
    except DataError:
        return False
    return True


def named_parts(path: Path) -> tuple[str, ...]:
    """Who acquired the images, where the table has a column source_site.

    Raises:
        DataError: the table cannot be read.
    """
    return tuple(sorted(set(_words(table_of(path), 0, "source_site")) - {""}))


def _words(file: Path, rows: int, *columns: str) -> list[str]:
    """A column's cells, the first of ``columns`` that is there; else ``rows`` empty ones."""
    header = open_rows(file, ()).header
    column = next((name for name in columns if name in header), None)
    if column is None:
        return [""] * rows
    place = header.index(column)
    found = [cells[place] for _, cells in open_rows(file, (column,)).cells if len(cells) > place]
    return ["" if word in ("NA", "nan", "NaN", "unknown") else word for word in found]


def read_table(path: Path, *, seed: int) -> Images:
    """The table's rows, checked, without duplicates.

    Raises:
        DataError: naming the first row and column that are not right.
    """
    file = table_of(path)
    found, violations = _read(path, seed)
    for violation in violations:
        raise violation.error
    if not len(found.y):
        raise DataError(f"{file.name} has no images left.", remedy="Copy it again.")
    return found


def _read(path: Path, seed: int) -> tuple[Images, list[Violation]]:
    """The table, or nothing and what is wrong with it."""
    file = table_of(path)
    raw = read_raw(file, parse_schema(SCHEMA, name="siim_isic's schema"), seed=seed)
    names = _words(file, 0, "image_name")
    if not names:
        open_rows(file, ("image_name",))
    count = len(raw.rows)
    violations = list(raw.violations)
    if len(names) == count:
        violations += _misnamed(file, raw.rows.tolist(), names)
    if violations:
        nothing = Images(raw.rows, np.empty((count, 0)), np.empty(0, np.int32), raw.rows, (), (), 0)
        return nothing, violations
    people = _words(file, count, "patient_id")
    lesions = _words(file, count, "lesion_id")
    groups = [
        identify(person or lesion or f"image {name}", seed=seed)
        for person, lesion, name in zip(people, lesions, names, strict=True)
    ]
    place = raw.values["anatom_site_general_challenge"]
    torso = np.where(place >= len(_SITES), 0.0, place)  # the finer words are all torso
    spots = [np.where(np.isnan(torso), np.nan, torso == k) for k in range(1, len(_SITES))]
    age = within(raw.values["age_approx"], FEATURES[0])
    twice = _duplicates(path)
    keep = np.array([name not in twice for name in names], dtype=bool)
    if "tfrecord" in open_rows(file, ()).header:  # Deotte's sets mark duplicates with -1
        keep &= np.array(_words(file, count, "tfrecord")) != "-1"
    chosen = np.flatnonzero(keep).tolist()
    sites = _words(file, count, "source_site")
    return Images(
        rows=raw.rows[keep],
        x=np.stack([age, raw.values["sex"], *spots], axis=1)[keep],
        y=raw.labels[keep].astype(np.int32),
        groups=np.array(groups, dtype=np.int64)[keep],
        names=tuple(names[i] for i in chosen),
        sites=tuple(sites[i] for i in chosen),
        duplicates=int(count - keep.sum()),
    ), violations


def _misnamed(file: Path, rows: list[int], names: list[str]) -> list[Violation]:
    """Rows whose image has no name that a file can have, or one that an earlier row has."""
    found = []
    first: dict[str, int] = {}
    remedy = "Download the table again; do not edit it."
    for row, name in zip(rows, names, strict=True):
        what = "" if _NAME.fullmatch(name) else "not the name of an image"
        if name in first:
            what = f"the same image as in row {first[name]}"
        first.setdefault(name, row)
        if what:
            found.append(
                Violation(file=file.name, row=row, column="image_name", what=what, remedy=remedy)
            )
    return found


def _duplicates(path: Path) -> set[str]:
    """Images that ISIC's list calls the second of a pair; empty without a list."""
    found = set()
    for file in sorted(path.glob(_DUPLICATES)):
        found |= set(_words(file, 0, "image_name_2"))
    return found


def image_folder(path: Path, name: str) -> Path:
    """Where the JPEGs lie: the folder that has the first one.

    Raises:
        DataError: none has.
    """
    folders = [folder for pattern in _FOLDERS for folder in sorted(path.glob(pattern))]
    for folder in folders:
        if (folder / f"{name}.jpg").is_file():
            return folder
    raise DataError(
        f"No folder of {path} has the image of the table's first row.",
        remedy=f"Unpack the images into {' or '.join(_FOLDERS[:2])}.",
    )


def build(*, name: str, path: Path, part: str, seed: int, size: int | None) -> Dataset:
    """The site's rows, with images of ``size`` pixels squared unless that is None.

    Raises:
        DataError: the table, or an image, is not right.
    """
    found = read_table(path, seed=seed)
    keep = np.ones(len(found.y), dtype=bool)
    pixels = None
    if size is not None:
        folder = image_folder(path, found.names[0])
        files = [folder / f"{name}.jpg" for name in found.names]
        absent = [row for row, file in zip(found.rows, files, strict=True) if not file.is_file()]
        if absent:
            raise DataError(
                f"{table_of(path).name}, row {absent[0]}: its image is not in {folder.name}; "
                f"{len(absent):,} are missing.",
                remedy="Unpack all images, or take the table that belongs to these.",
            )
        try:
            pixels, prints = decoded("siim_isic", files, size=size)
        except UnreadableImage as error:
            row = found.rows[error.number]
            raise DataError(
                f"{table_of(path).name}, row {row}: its image in {folder.name} {error.cause}.",
                remedy="Download that image again.",
            ) from error
        # Of images with all pixels alike the first stays: two patients' would cross the splits.
        _, once = np.unique(prints, return_index=True)
        keep[:] = False
        keep[once] = True
    if part in SITES:
        keep &= shared(found.groups, part, salt=str(seed))
    elif part != "all":
        home: dict[int, str] = {}
        for group, site in zip(found.groups.tolist(), found.sites, strict=True):
            home.setdefault(group, site)  # a patient is at one site
        keep &= np.array([home[group] == part for group in found.groups.tolist()], dtype=bool)
    division = divide(found.y, found.groups, test=TEST, validation=VALIDATION)
    mask = ~np.isnan(found.x)
    known = np.where(mask, found.x, 0.0).astype(np.float32)

    def split(rows: Rows) -> Split:
        own = rows[keep[rows]]
        return Split(
            x=known[own],
            mask=mask[own],
            y=found.y[own],
            groups=found.groups[own],
            pictures=None if pixels is None else Pictures(pixels=pixels, rows=own),
        )

    return Dataset(
        name=name,
        part=part,
        features=FEATURES,
        classes=CLASSES,
        train=split(division.train),
        validation=split(division.validation),
        test=split(division.test),
        gives="table" if pixels is None else "images",
        identified=True,
    )


def check(path: Path, *, images: bool = True) -> list[Violation]:
    """Cells that do not fit, and images that are missing or whose start cannot be read.

    Raises:
        DataError: there is no table, or it cannot be read.
    """
    file = table_of(path)
    found, violations = _read(path, seed=0)
    if violations:
        return violations
    if not list(path.glob(_DUPLICATES)) and not found.duplicates:
        what, remedy = "no list of duplicates lies beside it", "Get ISIC's: 425 pairs are known."
        violations.append(Violation(file=file.name, what=what, remedy=remedy, blocks=False))
    if not images:
        return violations
    folder = image_folder(path, found.names[0])
    for row, name in zip(found.rows.tolist(), found.names, strict=True):
        image = folder / f"{name}.jpg"
        what = "" if image.is_file() else f"its image is not in {folder.name}"
        if not what:
            try:
                square(image, 8)
            except UnreadableImage as error:
                what = f"its image in {folder.name} {error.cause}"
        if what:
            remedy = "Download that image again."
            violations.append(Violation(file=file.name, row=row, what=what, remedy=remedy))
    return violations


def describe(path: Path, *, minimum: int) -> dict[str, Any]:
    """What ``inspect`` shows beside the usual: duplicates removed, images by site."""
    found = read_table(path, seed=0)
    names, counts = np.unique(np.array(found.sites), return_counts=True)
    sites = {
        str(name): cell(int(count), minimum)
        for name, count in zip(names, counts, strict=True)
        if name
    }
    return {"duplicates_removed": cell(found.duplicates, minimum), "sites": sites}
