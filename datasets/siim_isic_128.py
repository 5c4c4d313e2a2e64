"""Skin lesions as in ``siim_isic``, 128 pixels squared: a quarter of the room and of the work."""

from pathlib import Path

from datasets import Dataset
from datasets._siim import PARTS, build, check, describe, named_parts, recognises

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
GIVES = ("images",)
CLASSES = 2


def read(*, path: Path | None, part: str, seed: int) -> Dataset:
    """20 % of the patients test, a tenth of the rest validates.

    Raises:
        DataError: the table or an image is missing or broken.
    """
    assert path is not None  # NEEDS_PATH
    return build(name="siim_isic_128", path=path, part=part, seed=seed, size=128)
