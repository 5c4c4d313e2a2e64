"""MIMIC-IV: who dies in hospital, from the first 24 hours of an ICU stay, as a table.

A site's folder holds hosp/ and icu/ as PhysioNet gives them, version 2.2 or 3.1, packed or not.
Parts: care units, 'halland' (heart) and 'sahlgrenska' (the rest), years of admission, 'k/n' evenly
and 'dirichlet-alpha:k/n' unevenly; a patient is at one site of each kind.

References:
    Johnson et al., MIMIC-IV, a freely accessible electronic health record dataset, Scientific
    Data, 2023.
"""

from pathlib import Path

from datasets import Dataset
from datasets._mimic import build, check, describe, recognises
from datasets._mimic_sites import PARTS

__all__ = ["CLASSES", "GIVES", "NEEDS_PATH", "PARTS", "check", "describe", "read", "recognises"]

NEEDS_PATH = True
GIVES = ("table",)
CLASSES = 2


def read(*, path: Path | None, part: str, seed: int) -> Dataset:
    """70 % of the patients train, 10 % validate, 20 % test.

    Raises:
        DataError: a file is missing or broken.
    """
    assert path is not None  # NEEDS_PATH
    return build(name="mimic_iv", task="mortality", series=False, path=path, part=part, seed=seed)
