"""What a hospital says about its own table: ``schema.toml``, written by hand, read with care."""

import dataclasses
import difflib
import re
import tomllib
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from datasets import DataError

Code = str | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column that the model sees, or a date that another one is counted from.

    Attributes:
        called: What the file's header calls it, if the site has another name for it.
        kind: 'number'; 'binary', the second of two ``codes`` is 1; 'category' gives each code but
            the first a column of its own; 'date' gives none.
        low: Smallest plausible value, in ``unit``; what lies outside counts as not measured.
        codes: The only values. Numbers match as numbers, text letter by letter.
        missing: Values that mean 'not measured', beside the table's.
        flag: Whether '<name>_missing', 1 where not measured, is a feature too.
        format: How a date is written, as Python's strptime has it.
        since: A date column: this one is the time from there to ``until``, in ``unit``.
        sure: The unit was looked at and is right, whatever its values look like.
    """

    called: str = ""
    kind: Literal["number", "binary", "category", "date"] = "number"
    unit: str = ""
    low: float | None = None
    high: float | None = None
    codes: tuple[Code, ...] = ()
    missing: tuple[Code, ...] = ()
    flag: bool = False
    format: str = "%Y-%m-%d"
    since: str = ""
    until: str = ""
    sure: bool = False

    def __post_init__(self) -> None:
        if self.kind == "binary" and len(self.codes or (0, 1)) != 2:
            raise ValueError("codes: a binary column has two")
        if self.kind == "category" and len(self.codes) < 2:
            raise ValueError("codes: name the codes of a category, at least two")
        if len(set(self.codes)) != len(self.codes):
            raise ValueError("codes: one is named twice")
        if self.codes and len({isinstance(code, str) for code in self.codes}) != 1:
            raise ValueError("codes: all numbers, or all text in quotes")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError("low: it must be less than high")
        if bool(self.since) != bool(self.until):
            raise ValueError("since: since and until go together")
        if self.since and (self.kind != "number" or self.unit not in ("days", "years", "hours")):
            raise ValueError("unit: a time is a number in hours, days or years")
        if self.kind == "number" and any(isinstance(code, str) for code in self.codes):
            raise ValueError("codes: a number has numbers; make it a category")


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """The rule that gives a row its class; exactly one of positive, above and codes decides.

    Attributes:
        classes: What 0, 1 and so on stand for, in that order.
        codes: The only values; without ``positive`` or ``above``, one for each class.
        positive: Codes that are class 1; the others are class 0.
        above: Numbers above it are class 1.
        drop_missing: Leave out rows without a label, which are refused otherwise.
    """

    column: str
    classes: tuple[str, ...]
    codes: tuple[Code, ...] = ()
    positive: tuple[Code, ...] = ()
    above: float | None = None
    missing: tuple[Code, ...] = ()
    drop_missing: bool = False

    def __post_init__(self) -> None:
        rules = bool(self.positive) + (self.above is not None)
        if rules > 1:
            raise ValueError("above: choose one of positive and above")
        if not rules and len(self.codes) != len(self.classes):
            raise ValueError("codes: name one for each class, or say positive or above")
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            raise ValueError("classes: name at least two, each once")
        if rules and len(self.classes) != 2:
            raise ValueError("classes: positive and above make two")
        if self.positive and self.codes and not set(self.positive) <= set(self.codes):
            raise ValueError("positive: it names what codes does not")
        if self.above is not None and any(isinstance(code, str) for code in self.codes):
            raise ValueError("codes: above compares numbers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """Where each row's image lies, and how large all sites see it.

    Attributes:
        column: Holds the path of a JPEG or PNG, from schema.toml's folder on.
        size: Pixels along a side of the square that its middle is scaled to; all sites agree.
    """

    column: str
    size: int = 128

    def __post_init__(self) -> None:
        if not 16 <= self.size <= 1024:
            raise ValueError("size: it must lie between 16 and 1024")


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """A table and what it means.

    Attributes:
        table: The file, beside schema.toml; '{site}' in it stands for one file a site.
        order: The columns of a file without a header, from left to right.
        delimiter: Found out if left empty.
        decimal: Likewise.
        encoding: Likewise: UTF-8, UTF-16 by its mark or its pattern, else Western European.
        missing: Cells that mean 'not measured' in every column.
        blank: Whether an empty cell does, too; else it is a mistake.
        patient: The column that tells patients apart; without it every row is another patient.
        site: The column that tells sites apart; ``sites`` are its values.
        image: Gives each row an image, with the columns as its table.
        excluded: A file with one patient a line who takes no part, beside schema.toml.
        test: Share of the patients for the test split.
        validation: Share of the rest for validation.
    """

    table: str
    label: Label
    columns: dict[str, Column]
    order: tuple[str, ...] = ()
    delimiter: Literal["", ",", ";", "\t", "|"] = ""
    decimal: Literal["", ".", ","] = ""
    encoding: Literal["", "utf-8", "utf-16", "latin-1"] = ""
    missing: tuple[Code, ...] = ()
    blank: bool = True
    patient: str = ""
    site: str = ""
    sites: tuple[str, ...] = ()
    image: Image | None = None
    excluded: str = ""
    test: float = 0.2
    validation: float = 0.1

    def __post_init__(self) -> None:
        if not self.columns or all(c.kind == "date" for c in self.columns.values()):
            raise ValueError("columns: name at least one that is not a date")
        if ("{site}" in self.table or bool(self.site)) != bool(self.sites):
            raise ValueError("sites: a site column, or {site} in table, and sites go together")
        if "{site}" in self.table and self.site:
            raise ValueError("site: a column, or {site} in table, but not both")
        if len({*self.sites, "all"}) <= len(self.sites):
            raise ValueError("sites: each once, and none is called all")
        if self.excluded and not self.patient:
            raise ValueError("excluded: a list of patients needs a patient column")
        if not (0 < self.test < 1 and 0 <= self.validation < 1):
            raise ValueError("test: shares lie between 0 and 1")
        if self.label.column in self.headers:
            raise ValueError("label: its column is a feature as well, which gives the answer away")
        if self.image is not None and self.image.column in (*self.headers, self.label.column):
            raise ValueError("image.column: it is a feature or the label as well")
        for name, column in self.columns.items():
            for end in (column.since, column.until):
                if end and (end not in self.columns or self.columns[end].kind != "date"):
                    raise ValueError(f"columns.{name}.since: there is no date column of that name")

    @property
    def headers(self) -> dict[str, str]:
        """What the file calls the columns it must hold for features, and our name for each."""
        return {c.called or n: n for n, c in self.columns.items() if not c.since}

    @property
    def wanted(self) -> tuple[str, ...]:
        """Every header the file must hold."""
        photo = self.image.column if self.image is not None else ""
        own = (self.label.column, self.patient, self.site, photo)
        return tuple(dict.fromkeys((*self.headers, *filter(None, own))))


class _Mistake(ValueError):
    """A value that does not fit, and the path of keys that leads to it."""

    def __init__(self, keys: tuple[str, ...], what: str, remedy: str = "Change it.") -> None:
        super().__init__(what)
        self.keys, self.remedy = keys, remedy


def read_schema(path: Path) -> Schema:
    """The schema in a file.

    Raises:
        DataError: naming line and key.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        cause = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise DataError(
            f"{path.name} cannot be read: {cause}.",
            remedy=f"Describe the table in {path}; the README has an example.",
        ) from error
    return parse_schema(text, name=path.name)


def parse_schema(text: str, *, name: str) -> Schema:
    """Like ``read_schema``, from text; ``name`` is what errors call it."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DataError(
            f"{name} is not valid TOML: {error}.", remedy="Mend that line and try again."
        ) from error
    except RecursionError as error:
        raise DataError(
            f"{name} is nested too deeply.", remedy="Write one table for each column."
        ) from error
    try:
        schema: Schema = _build(document, Schema)
    except _Mistake as mistake:
        place = ".".join(mistake.keys) or "top level"
        raise DataError(
            f"{name}, line {_line(text, mistake.keys)}, {place}: {mistake}.", remedy=mistake.remedy
        ) from mistake
    return schema


def _build(document: object, kind: Any, keys: tuple[str, ...] = ()) -> Any:
    if not isinstance(document, dict):
        raise _Mistake(keys, "a table is wanted here", f"Write [{'.'.join(keys)}].")
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for key in document:
        if key not in fields:
            close = difflib.get_close_matches(key, fields, n=1)
            remedy = f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(fields)}."
            raise _Mistake((*keys, key), "unknown key", remedy)
    for key, known in fields.items():
        optional = (known.default, known.default_factory) != (dataclasses.MISSING,) * 2
        if key not in document and not optional:
            raise _Mistake(keys, f"'{key}' is missing", f"Add {key} there.")
    values = {key: _fit(value, hints[key], (*keys, key)) for key, value in document.items()}
    try:
        return kind(**values)
    except ValueError as error:  # from __post_init__, as 'key: what'
        place, _, what = str(error).partition(": ")
        raise _Mistake((*keys, *place.split(".")), what) from error


def _fit(value: object, hint: Any, keys: tuple[str, ...]) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _build(value, hint, keys)
    if origin is dict:
        if not isinstance(value, dict):
            raise _Mistake(keys, "a table is wanted here", f"Write [{'.'.join(keys)}.<name>].")
        return {key: _build(v, arguments[1], (*keys, key)) for key, v in value.items()}
    if origin is tuple:
        if not isinstance(value, list):
            raise _Mistake(keys, "a list is wanted here", f"Write {keys[-1]} = [ … ].")
        return tuple(_fit(item, arguments[0], keys) for item in value)
    if origin is Literal:
        if value not in arguments:
            choices = ", ".join(repr(choice) for choice in arguments if choice)
            raise _Mistake(keys, "not one of the choices", f"Choose from {choices}.")
        return value
    if origin in (types.UnionType, typing.Union):
        if dataclasses.is_dataclass(arguments[0]):  # or None, which nobody can write
            return _build(value, arguments[0], keys)
        for argument in arguments:
            if _is(value, argument):
                return float(value) if argument is float else value  # type: ignore[arg-type]
    elif _is(value, hint):
        return float(value) if hint is float else value  # type: ignore[arg-type]
    wanted = {str: "text in quotes", bool: "true or false"}.get(hint, "a number")
    raise _Mistake(keys, f"{wanted} is wanted here")


def _is(value: object, hint: Any) -> bool:
    if isinstance(value, bool):
        return hint is bool
    if hint is float:
        return isinstance(value, (int, float)) and abs(value) < 1e300
    return isinstance(value, hint)


def _line(text: str, keys: tuple[str, ...]) -> int:
    """The line on which the last of ``keys`` is written, counted from 1; else its table's."""
    table: tuple[str, ...] = ()
    found = 1
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\s*(.+?)\s*\]\s*(#.*)?$", line):
            table = _dotted(header[1])
            if table == keys[: len(table)]:
                found = number
        elif assignment := re.match(r"\s*((?:\"[^\"]*\"|'[^']*'|[\w\-.])+)\s*=", line):
            path = (*table, *_dotted(assignment[1]))
            if path == keys[: len(path)]:
                found = number
                if path == keys:
                    break
    return found


def _dotted(key: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in re.findall(r"\"[^\"]*\"|'[^']*'|[^.]+", key))
