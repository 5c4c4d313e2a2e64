"""Skin lesions, 256 pixels squared: which are melanoma (SIIM-ISIC 2020 and its layout).

A site's folder is Kaggle's, train.csv and jpeg/train, or DecAIHealth's, train_concat.csv and
train/train. ISIC's list of duplicates, if it lies beside, removes the second of each pair. Splits
are by patient. Parts: 'k/n', and who acquired the images where the table has source_site.

References:
    Rotemberg et al., A patient-centric dataset of images and metadata for identifying melanomas
    using clinical context, Scientific Data, 2021. CC BY-NC 4.0.
"""

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
    return build(name="siim_isic", path=path, part=part, seed=seed, size=256)
