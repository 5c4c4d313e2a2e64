"""Every number in what a federation wrote that counts people of one hospital."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# How many patients a run read is written down exactly, as Swedish law asks, and is far from small;
# progress counts examples by whole batches.
OF_THE_LOG = ("AccessLogged", "TrainingProgressed")


def kind(document: Any) -> str:
    body = document.get("body", document) if isinstance(document, dict) else {}
    return str(body.get("event", "")) if isinstance(body, dict) else ""


def documents(path: Path) -> list[Any]:
    data = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in data.splitlines()]
    return [json.loads(data)]


_COUNTS = re.compile(r"patients|examples|outcomes|counts|members|nonmembers")


def counted(value: Any, name: str = "") -> Iterator[int]:
    """Every number in a document that counts people of Switzerland, and of nobody else besides."""
    if isinstance(value, dict):
        if value.get("site", "switzerland") != "switzerland" or "by_site" in value:
            return
        for key, inner in value.items():
            yield from counted(inner, key if not name or _COUNTS.fullmatch(key) else name)
    elif isinstance(value, list):
        for inner in value:
            yield from counted(inner, name)
    elif isinstance(value, int | float) and not isinstance(value, bool) and _COUNTS.fullmatch(name):
        yield int(value)
