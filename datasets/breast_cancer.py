"""Breast masses, 30 measurements of cell nuclei a patient: 569 patients, with scikit-learn.

Parts: 'k/n', n made-up sites with skewed labels. For two, site 1 has 90 % of the malignant and
10 % of the benign patients and site 2 the rest; for more, the shares fall evenly in between.

References:
    Street, Wolberg and Mangasarian, Nuclear Feature Extraction for Breast Tumor Diagnosis, 1993.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets import Dataset, Feature
from datasets._splits import SITES, Division, Rows, divide, numbered
from datasets._tables import assemble, bundled

NEEDS_PATH = False
GIVES = ("table",)
CLASSES = 2
PARTS = ("all", *SITES)

# Highest plausible values, two to four times the largest that were ever recorded here.
_MEASURES = {
    "radius": 100.0,
    "texture": 100.0,
    "perimeter": 600.0,
    "area": 10_000.0,
    "smoothness": 1.0,
    "compactness": 4.0,
    "concavity": 4.0,
    "concave_points": 1.0,
    "symmetry": 2.0,
    "fractal_dimension": 1.0,
}
_UNITS = {"radius": "pixel", "perimeter": "pixel", "area": "pixel²", "texture": "grey level"}
_FEATURES = tuple(
    Feature(name=f"{summary}_{measure}", unit=_UNITS.get(measure, ""), low=0.0, high=high)
    for summary in ("mean", "error", "worst")
    for measure, high in _MEASURES.items()
)


def read(*, path: Path | None, part: str, seed: int) -> Dataset:
    """20 % test, a tenth of the rest for validation; each row is one patient."""
    del path
    table = bundled("breast_cancer.csv", skip=1)
    y = (table[:, 30] == 0).astype(np.int32)  # the file writes malignant as 0
    groups = np.arange(len(y))
    division = divide(y, groups, test=0.2, validation=0.1, random=np.random.default_rng(seed))
    if part != "all":
        site, sites = numbered(part)
        division = Division(*(_skewed(rows, y, site, sites, seed) for rows in division))
    return assemble(
        name="breast_cancer",
        part=part,
        features=_FEATURES,
        classes=("benign", "malignant"),
        x=table[:, :30],
        y=y,
        groups=groups,
        division=division,
    )


def _skewed(rows: Rows, y: NDArray[np.int32], site: int, sites: int, seed: int) -> Rows:
    """The rows of one of ``sites``, site counted from 0; together the sites have each row once."""
    random = np.random.default_rng(seed)
    share = np.linspace(0.9, 0.1, sites)
    share /= share.sum()
    chosen = []
    for label, shares in ((1, share), (0, share[::-1])):
        shuffled = random.permutation(rows[y[rows] == label])
        bounds = np.rint(np.cumsum(shares) * len(shuffled)).astype(int)[:-1]
        chosen.append(np.split(shuffled, bounds)[site])
    return np.sort(np.concatenate(chosen))
