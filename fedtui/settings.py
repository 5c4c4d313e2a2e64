"""Hand-written TOML into frozen dataclasses; a mistake is named by file, line and key."""

import dataclasses
import difflib
import re
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, Union

from fedtui.errors import UsageError

T = TypeVar("T")


class UnfitError(ValueError):
    """What a ``__post_init__`` refuses, as "field: what", where it knows better than the rest
    what to write instead.
    """

    def __init__(self, what: str, *, remedy: str) -> None:
        super().__init__(what)
        self.remedy = remedy


class Mistake(ValueError):
    """A value that does not fit, and where: the path of keys that leads to it."""

    def __init__(self, keys: tuple[str, ...], what: str, remedy: str) -> None:
        super().__init__(what)
        self.keys, self.remedy = keys, remedy


def suggestion(word: str, known: Iterable[str]) -> str:
    """What ``word`` was probably meant to be, or all that it could be."""
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1)
    return f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(names)}."


def read(path: Path, kind: type[T]) -> T:
    """The file as ``kind``, a frozen dataclass whose fields say what the file may hold.

    Raises:
        UsageError: not readable, not TOML, an unknown key, a wrong type, or a value that
            ``kind`` refuses with a ValueError in its ``__post_init__``.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        cause = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UsageError(
            f"{path} cannot be read: {cause}.", remedy="Check the path and its permissions."
        ) from error
    return parse(text, kind, name=path.name)


def parse(text: str, kind: type[T], *, name: str) -> T:
    """Like ``read``, from text; ``name`` is what errors call it."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            f"{name} is not valid TOML: {error}.", remedy="Mend that line and try again."
        ) from error
    try:
        return from_mapping(document, kind)
    except Mistake as mistake:
        where = f"{name}, line {_line(text, mistake.keys)}, {'.'.join(mistake.keys) or 'top level'}"
        raise UsageError(f"{where}: {mistake}.", remedy=mistake.remedy) from mistake


def from_mapping(document: Mapping[str, Any], kind: type[T], keys: tuple[str, ...] = ()) -> T:
    """``document`` as ``kind``; lists become tuples, tables nested dataclasses."""
    if not isinstance(document, Mapping):
        raise Mistake(keys, "a table is wanted here", f"Write [{'.'.join(keys)}].")
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in document:
        if key not in fields:
            raise Mistake((*keys, key), "unknown key", suggestion(key, fields))
    for key, field in fields.items():
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if required and key not in document:
            raise Mistake(keys, f"'{key}' is missing", f"Add {key} = … there.")
    values = {}
    for key, value in document.items():
        try:
            values[key] = _convert(value, hints[key], (*keys, key))
        except Mistake as mistake:
            *outer, name = mistake.keys
            if keys or outer != [key] or name not in fields:
                raise
            what, remedy = "it belongs at the top of the file", f"Write it above [{key}]."
            raise Mistake(mistake.keys, what, remedy) from mistake
    try:
        return kind(**values)
    except ValueError as error:  # from the dataclass's own __post_init__, as "field: what"
        name, _, what = str(error).partition(": ")
        place = (*keys, name) if name in fields else keys
        remedy = error.remedy if isinstance(error, UnfitError) else "Change the value."
        raise Mistake(place, what or str(error), remedy) from error


def _convert(value: Any, hint: Any, keys: tuple[str, ...]) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:  # JSON has it, TOML leaves the key out
            return None
        inner = [a for a in arguments if a is not type(None)]
        return _convert(value, inner[0], keys)
    if dataclasses.is_dataclass(hint):
        return from_mapping(value, hint, keys)  # type: ignore[arg-type]
    if origin is dict:
        if not isinstance(value, dict):
            raise Mistake(keys, "a table is wanted here", f"Write [{'.'.join(keys)}].")
        return {k: _convert(v, arguments[1], (*keys, k)) for k, v in value.items()}
    if origin is tuple:
        if not isinstance(value, list):
            raise Mistake(keys, "a list is wanted here", f"Write {keys[-1]} = [ … ].")
        return tuple(_convert(v, arguments[0], keys) for v in value)
    if origin is typing.Literal:
        if value not in arguments:
            raise Mistake(keys, "not one of the choices", f"Choose from {', '.join(arguments)}.")
        return value
    if hint is Any:
        return value
    if hint is float and type(value) is int:
        return float(value)
    if hint is Path and isinstance(value, str):
        try:
            return Path(value).expanduser()
        except RuntimeError as error:
            raise Mistake(keys, "nobody has that name here", "Change the value.") from error
    if type(value) is not hint:
        wanted = {
            str: "text in quotes",
            int: "a whole number",
            float: "a number",
            bool: "true or false",
        }
        raise Mistake(keys, f"{wanted.get(hint, hint)} is wanted here", "Change the value.")
    return value


def _line(text: str, keys: tuple[str, ...]) -> int:
    """The line on which the last of ``keys`` is written, counted from 1; else its table's."""
    table: tuple[str, ...] = ()
    found = 1
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line):
            table = tuple(part.strip().strip("\"'") for part in header[1].split("."))
            if table == keys[: len(table)]:
                found = number
            elif keys and table[: len(keys)] == keys:  # [data.digits] is where 'data' is written
                return number
        elif assignment := re.match(r"\s*([A-Za-z0-9_\-\.\"']+)\s*=", line):
            parts = tuple(part.strip("\"'") for part in assignment[1].split("."))
            path = (*table, *parts)
            if path == keys[: len(path)]:
                found = number
                if path == keys:
                    return number
    return found
