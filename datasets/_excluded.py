"""Patients who opted out: a list of ids that stays at the site, and the data set without them."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from datasets import Dataset, Split


class Excluded(NamedTuple):
    """What the lists of a site did to its data.

    Attributes:
        listed: Ids on them.
        patients: How many of these were in the data and are not any more.
        unmatched: Ids that match nobody in it: mistyped, or of somebody who never was.
    """

    listed: int
    patients: int
    unmatched: int


def people(file: Path) -> tuple[str, ...]:
    """The ids in a list, one a line, without repeats; a line with # in front is a comment.

    Raises:
        DataError: the list cannot be read. Without it nobody trains; an empty file is an empty
            list.
    """
    from datasets import DataError
    from datasets._files import open_rows

    if file.is_file() and not file.stat().st_size:
        return ()
    try:
        cells = open_rows(file, (), order=("patient",), delimiter="\t").cells
        found = [line[0] for _, line in cells if line[0] and not line[0].startswith("#")]
    except DataError as error:
        raise DataError(f"The list of those who opted out: {error}", remedy=error.remedy) from error
    return tuple(dict.fromkeys(found))


def without(data: "Dataset", ids: Iterable[str], *, seed: int) -> "Dataset":
    """``data`` without these patients; nobody else changes splits.

    An image that belongs to no known patient is named by its own name.

    Raises:
        DataError: ids mean nothing in this data set, or nobody is left to train on.
    """
    from datasets import DataError
    from datasets._cells import identify

    listed = tuple(dict.fromkeys(ids))
    if not data.identified:
        raise DataError(
            f"'{data.name}' has no column that tells patients apart, so that nobody on the list "
            "can be left out.",
            remedy="Name the patient column in schema.toml, or take the rows out of the file.",
        )
    numbers = np.array(
        [[identify(word, seed=seed) for word in (id, f"image {id}")] for id in listed],
        dtype=np.int64,
    ).reshape(-1, 2)
    splits = (data.train, data.validation, data.test)
    here = np.unique(np.concatenate([split.groups for split in splits]))
    matched = np.isin(numbers, here)
    gone = numbers[matched]
    return replace(
        data,
        train=_rest(data.train, gone),
        validation=_rest(data.validation, gone),
        test=_rest(data.test, gone),
        excluded=Excluded(
            listed=len(listed),
            patients=len(np.unique(gone)),
            unmatched=int((~matched.any(axis=1)).sum()),
        ),
    )


def _rest(split: "Split", gone: NDArray[np.int64]) -> "Split":
    stays = ~np.isin(split.groups, gone)
    pictures = split.pictures
    if pictures is not None:
        pictures = replace(pictures, rows=pictures.rows[stays])
    return replace(
        split,
        x=split.x[stays],
        mask=split.mask[stays],
        y=split.y[stays],
        groups=split.groups[stays],
        pictures=pictures,
    )
