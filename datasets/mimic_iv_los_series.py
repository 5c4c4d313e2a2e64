"""MIMIC-IV: who stays in the ICU for more than 3 days, from the first 24 hours by the hour.

Files, features and parts are those of ``mimic_iv``.
"""

from pathlib import Path

from datasets import Dataset
from datasets._mimic import build, check, describe, recognises
from datasets._mimic_sites import PARTS

__all__ = ["CLASSES", "GIVES", "NEEDS_PATH", "PARTS", "check", "describe", "read", "recognises"]

NEEDS_PATH = True
GIVES = ("series",)
CLASSES = 2


def read(*, path: Path | None, part: str, seed: int) -> Dataset:
    """70 % of the patients train, 10 % validate, 20 % test.

    Raises:
        DataError: a file is missing or broken.
    """
    assert path is not None  # NEEDS_PATH
    return build(
        name="mimic_iv_los_series", task="long_stay", series=True, path=path, part=part, seed=seed
    )
