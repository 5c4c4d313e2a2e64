"""A table in a file as rows of text: CSV in any common dress, gzipped or not, or Parquet."""

import codecs
import csv
import gzip
import io
import stat
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple, cast

from datasets import DataError

LONGEST = 131_072  # characters a cell; Python's csv stops there too
_BLOCK = 1 << 20
_MARKS = (  # what a file's first bytes give away
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_STRANGERS = (
    (b"PK\x03\x04", "an Excel or zip file", "Open it in Excel and save it as 'CSV UTF-8'."),
    (b"\xd0\xcf\x11\xe0", "an old Excel file", "Open it in Excel and save it as 'CSV UTF-8'."),
    (b"%PDF", "a PDF", "Export the table itself as CSV."),
    (b"$FL2", "an SPSS file", "Export it as CSV."),
    (b"BZh", "packed with bzip2", "Unpack it, or pack it with gzip."),
    (b"\xfd7zXZ", "packed with xz", "Unpack it, or pack it with gzip."),
    (b"(\xb5/\xfd", "packed with zstd", "Unpack it, or pack it with gzip."),
)


class Rows(NamedTuple):
    """A table as text.

    Attributes:
        header: What the columns are called.
        cells: The row's number in the file (a header is row 1) and its cells, stripped.
    """

    header: list[str]
    cells: Iterator[tuple[int, list[str]]]


def unreadable(path: Path, cause: str, remedy: str = "") -> DataError:
    """The error for a file that is no table."""
    default = f"Put it into the folder {path.parent}, readable by this account."
    return DataError(f"{path.name} cannot be read: {cause}.", remedy=remedy or default)


def open_rows(
    path: Path,
    wanted: Sequence[str],
    *,
    order: Sequence[str] = (),
    delimiter: str = "",
    encoding: str = "",
) -> Rows:
    """The table in ``path``, read while it is used up.

    Args:
        wanted: Headers that must be there; others may be, in any order.
        order: The headers of a file without.
        delimiter: Left empty, the one that finds most of ``wanted`` in the header.
        encoding: Left empty, it is found out, for which all of the file is read once more.

    Raises:
        DataError: not a table, or a column is missing or there twice. Reading on may raise it too.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise unreadable(path, "it is not a file")
        with path.open("rb") as file:
            start = file.read(64)
            file.seek(max(0, path.stat().st_size - 4))
            end = file.read(4)
    except (OSError, ValueError) as error:
        raise unreadable(path, getattr(error, "strerror", None) or "no such file") from error
    if not start:
        raise DataError(f"{path.name} is empty.", remedy="Copy it again.")
    for mark, what, remedy in _STRANGERS:
        if start.startswith(mark):
            raise unreadable(path, f"it is {what}", remedy)
    if start.startswith(b"PAR1") or path.suffix == ".parquet":
        if start[:4] + end != b"PAR1PAR1":
            raise unreadable(path, "it is not a whole Parquet file", "Copy it again.")
        rows = _parquet(path, wanted)
    else:
        packed = start.startswith(b"\x1f\x8b")
        if path.suffix == ".gz" and not packed:
            raise unreadable(path, "it is not packed with gzip", "Copy it again, or drop .gz.")
        rows = _csv(path, packed, wanted, order, delimiter, encoding)
    _complete(path, rows.header, wanted)
    return rows


def _complete(path: Path, header: list[str], wanted: Sequence[str]) -> None:
    """Raises DataError unless each of ``wanted`` is in the header exactly once."""
    for name in wanted:
        if header.count(name) > 1:
            raise DataError(
                f"{path.name}, column {name}: there are {header.count(name)} of that name.",
                remedy="Rename or remove all but one.",
            )
    if missing := [name for name in wanted if name not in header]:
        raise DataError(
            f"{path.name}: column {', '.join(missing)} is missing.",
            remedy="Add it, or say in schema.toml what the file calls it (called = …).",
        )


def _csv(
    path: Path,
    packed: bool,
    wanted: Sequence[str],
    order: Sequence[str],
    delimiter: str,
    encoding: str,
) -> Rows:
    encoding = encoding or _encoding(path, packed)
    encoding = "utf-8-sig" if encoding == "utf-8" else encoding  # with its mark or without
    lines = _lines(path, packed, encoding)
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        raise DataError(f"{path.name} is empty.", remedy="Copy it again.")
    delimiter = delimiter or _delimiter(first, wanted, len(order))
    reader = csv.reader(_lines(path, packed, encoding), delimiter=delimiter, strict=True)

    def rows() -> Iterator[tuple[int, list[str]]]:
        try:
            for cells in reader:
                if cells and any(cells):
                    yield reader.line_num, [cell.strip() for cell in cells]
        except csv.Error as error:
            raise DataError(
                f"{path.name}, row {reader.line_num}: a quotation mark is not closed, or a cell "
                f"has more than {LONGEST:,} characters.",
                remedy="Look at the quotation marks from that row backwards.",
            ) from error

    cells = rows()
    if order:
        return Rows(list(order), cells)
    header = next(cells, None)
    if header is None:
        raise DataError(f"{path.name} is empty.", remedy="Copy it again.")
    return Rows(header[1], cells)


def _delimiter(line: str, wanted: Sequence[str], columns: int) -> str:
    """The one whose pieces of ``line`` are most of the ``wanted`` names, or ``columns`` many."""

    def score(delimiter: str) -> int:
        try:
            cells = [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
        except csv.Error:
            return -LONGEST
        return -abs(len(cells) - columns) if columns else len(set(cells) & set(wanted))

    return max(",;\t|", key=score)


def _open(path: Path, packed: bool) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path, "rb")) if packed else path.open("rb")


def _lines(path: Path, packed: bool, encoding: str) -> Iterator[str]:
    """The file's lines; one that is longer than a hundred of the longest cells comes in pieces."""
    number = 0
    try:
        with io.TextIOWrapper(_open(path, packed), encoding=encoding, newline="") as file:
            while line := file.readline(LONGEST * 100):
                number += 1
                if "\0" in line:
                    raise DataError(
                        f"{path.name}, row {number}: NUL bytes; the file is damaged.",
                        remedy="Copy it again from where it was made.",
                    )
                yield line
    except (OSError, EOFError, zlib.error, UnicodeError) as error:
        cause = getattr(error, "strerror", None) or (
            "the gzip packing is damaged or cut off" if packed else "it is not a text file"
        )
        raise unreadable(path, f"{cause}, after row {number}", "Copy it again.") from error


def _encoding(path: Path, packed: bool) -> str:
    """What decodes all of the file: its mark, UTF-16's pattern of zeros, UTF-8, or Western."""
    try:
        with _open(path, packed) as file:
            block = file.read(_BLOCK)
            for mark, encoding in _MARKS:
                if block.startswith(mark):
                    return encoding
            if block and block[1::2].count(0) > len(block) // 4:
                return "utf-16-le"
            if block and block[::2].count(0) > len(block) // 4:
                return "utf-16-be"
            decoder = codecs.getincrementaldecoder("utf-8")()
            try:
                while block:
                    decoder.decode(block)
                    block = file.read(_BLOCK)
                decoder.decode(b"", final=True)
            except UnicodeDecodeError:
                # Windows' set has the printable signs of latin-1 and a few more.
                return "cp1252" if not _controls(block) else _binary(path)
    except (OSError, EOFError, zlib.error) as error:
        cause = getattr(error, "strerror", None) or "the gzip packing is damaged or cut off"
        raise unreadable(path, cause, "Copy it again.") from error
    return "utf-8"


def _controls(block: bytes) -> bool:
    return any(byte < 9 or 13 < byte < 32 for byte in set(block))


def _binary(path: Path) -> str:
    raise unreadable(path, "it is not a text file", "Export the table as CSV and try again.")


def _parquet(path: Path, wanted: Sequence[str]) -> Rows:
    import polars

    frame = None
    with suppress(polars.exceptions.PolarsError, OSError):  # not chained: polars quotes cells
        scan = polars.scan_parquet(path)
        header = scan.collect_schema().names()
        _complete(path, header, wanted)
        numbers = polars.selectors.float().fill_nan(None)  # pandas' way of missing
        frame = scan.select(list(wanted)).with_columns(numbers).cast(polars.String).collect()
    if frame is None:
        raise unreadable(
            path, "Parquet columns of plain values are wanted", "Export the table as CSV."
        )
    rows = ([cell or "" for cell in row] for row in frame.iter_rows())
    return Rows(list(wanted), enumerate(rows, start=1))
