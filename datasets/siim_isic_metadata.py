"""Skin lesions as in ``siim_isic``, by age, sex and place on the body only: no image is read."""

from pathlib import Path

from datasets import Dataset, Violation, _siim
from datasets._siim import PARTS, build, describe, named_parts, recognises

__all__ = [
    "CLASSES",
    "GIVES",
    "NEEDS_PATH",
    "PARTS",
    "check",
    "describe",
    "named_parts",
    "read",
    "recognises",
]

NEEDS_PATH = True
GIVES = ("table",)
CLASSES = 2


def read(*, path: Path | None, part: str, seed: int) -> Dataset:
    """20 % of the patients test, a tenth of the rest validates.

    Raises:
        DataError: the table or an image is missing or broken.
    """
    assert path is not None  # NEEDS_PATH
    return build(name="siim_isic_metadata", path=path, part=part, seed=seed, size=None)


def check(path: Path) -> list[Violation]:
    """Cells of the table that do not fit."""
    return _siim.check(path, images=False)
