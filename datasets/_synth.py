"""Made-up data in the layouts of the real sets, with their traps and a known best AUROC.

Nothing here comes from the modules that read such files: what both have in common is the format.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets import DataError

KINDS = ("clinical", "mimic_iv", "siim_isic")


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was made up.

    Attributes:
        rows: Stays, images or rows of the table, with those that a cohort rule leaves out.
        cases: How many of ``usable`` have the label.
        usable: Rows that are left once every trap is avoided.
        bayes_auroc: What the best possible model reaches on ``usable``, in expectation over the
            labels: that of the risks that they were drawn with.
        planted: How often each trap was laid, by its name.
    """

    rows: int
    cases: int
    usable: int
    bayes_auroc: float
    planted: dict[str, int]


def write(kind: str, folder: Path, *, rows: int, seed: int = 0, **options: Any) -> Written:
    """Writes a made-up set of ``kind``, one of KINDS, into ``folder``, which it makes.

    Args:
        rows: ICU stays, images or table rows; 50 or more.
        options: Of the kind's own writer, ``_synth_<kind>.write``.

    Raises:
        DataError: an unknown kind, too few rows, or a folder that is not empty or not writable.
    """
    if kind not in KINDS:
        raise DataError(
            f"There is no made-up '{kind}'.", remedy=f"Choose one of {', '.join(KINDS)}."
        )
    if rows < 50:
        raise DataError("Fewer than 50 rows cannot hold every trap.", remedy="Ask for 50 or more.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise DataError(f"{folder} is not empty.", remedy="Choose a new folder.")
        writer = importlib.import_module(f"datasets._synth_{kind}")
        written: Written = writer.write(folder, rows=rows, seed=seed, **options)
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written: {error.strerror or 'an error'}.",
            remedy="Choose a folder of this account with room.",
        ) from error
    return written


def sigmoid(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    """The probability with these log-odds."""
    probability: NDArray[np.float64] = 1 / (1 + np.exp(-logit))
    return probability


def best_auroc(risk: NDArray[np.float64]) -> float:
    """AUROC of the true risks against labels drawn with them, in expectation over the labels.

    The chance that a pair of a case and a control is ordered rightly, each pair weighted with the
    probability that it is one; ties, which continuous risks do not have, would count half.
    """
    ordered = np.sort(risk)
    below = np.concatenate([[0.0], np.cumsum(1 - ordered)[:-1]])  # controls with lower risks
    pairs = ordered.sum() * (1 - ordered).sum() - (ordered * (1 - ordered)).sum()
    return float((ordered * below).sum() / pairs)
