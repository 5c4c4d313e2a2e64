"""The images that a clinical table's rows name: found below its folder, read once, cached."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets import DataError, Violation
from datasets._cells import Raw
from datasets._images import UnreadableImage, decoded, square

_REMEDY = "Write the path from schema.toml's folder on, and put the image there."
_FEW = 8  # pixels; enough to find out whether an image can be read


def locate(
    folder: Path, table: Path, column: str, raw: Raw, chosen: NDArray[np.bool_]
) -> tuple[list[Path], list[Violation]]:
    """The file of each chosen row's image, and what is wrong with the cells that lead to none."""
    root = folder.resolve()
    files, found = [], []
    for place in np.flatnonzero(chosen).tolist():
        file, what = _file(root, raw.images[place])
        files.append(file)
        if what:
            row = int(raw.rows[place])
            found.append(
                Violation(file=table.name, row=row, column=column, what=what, remedy=_REMEDY)
            )
    return files, found


def _file(root: Path, cell: str) -> tuple[Path, str]:
    """The image that a cell means, and what is wrong with it."""
    if not cell:
        return root, "it names no image"
    try:
        file = (root / cell.replace("\\", "/")).resolve()
        if not file.is_relative_to(root):
            return root, "its path leads out of the folder"
        return file, "" if file.is_file() else "its image is not there"
    except (OSError, ValueError, RuntimeError):  # too long, a zero byte, a loop of links
        return root, "not the path of an image"


def pixels_of(
    files: Sequence[Path], tables: Sequence[tuple[str, int]], column: str, *, size: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """All images, uint8 [rows, size, size, 3], memory-mapped, and bool [rows], which to keep.

    Of images with all pixels alike the first stays: two patients' would cross the splits.

    Args:
        tables: Each row's table and number in it, for errors.

    Raises:
        DataError: an image cannot be read, or there is no room for the cache.
    """
    try:
        pixels, prints = decoded("clinical", files, size=size)
    except UnreadableImage as error:
        table, row = tables[error.number]
        raise DataError(
            f"{table}, row {row}, column {column}: its image {error.cause}.",
            remedy="Export that image again as a JPEG or PNG.",
        ) from error
    _, first = np.unique(prints, return_index=True)
    once = np.zeros(len(files), dtype=bool)
    once[first] = True
    return pixels, once


def unreadable(
    files: Sequence[Path], table: Path, column: str, rows: NDArray[np.int64]
) -> list[Violation]:
    """The rows whose image cannot be read."""
    found = []
    for row, file in zip(rows.tolist(), files, strict=True):
        try:
            square(file, _FEW)
        except UnreadableImage as error:
            what, remedy = f"its image {error.cause}", "Export that image again as a JPEG or PNG."
            found.append(
                Violation(file=table.name, row=row, column=column, what=what, remedy=remedy)
            )
    return found
