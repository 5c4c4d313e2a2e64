"""Handwritten digits, 8 x 8: 1,797 pictures that come with scikit-learn; nobody's secret.

Parts: 'even' and 'odd' digits, or 'k/n', the digits d with d mod n = k - 1 ('1/2' is 'even').

References:
    Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (its test set).
"""

from pathlib import Path

import numpy as np

from datasets import Dataset, Feature
from datasets._splits import SITES, Division, divide, numbered
from datasets._tables import assemble, bundled

NEEDS_PATH = False
GIVES = ("table",)
CLASSES = 10
PARTS = ("all", "even", "odd", *SITES)

_FEATURES = tuple(
    Feature(name=f"row_{row}_column_{column}", unit="ink", low=0.0, high=1.0)
    for row in range(8)
    for column in range(8)
)


def read(*, path: Path | None, part: str, seed: int) -> Dataset:
    """30 % test, a tenth of the rest for validation; ink 0 to 1, white on black."""
    del path
    table = bundled("digits.csv.gz")
    y = table[:, 64].astype(np.int32)
    groups = np.arange(len(y))  # the file does not say who wrote what
    division = divide(y, groups, test=0.3, validation=0.1, random=np.random.default_rng(seed))
    if part != "all":
        site, sites = numbered({"even": "1/2", "odd": "2/2"}.get(part, part))
        division = Division(*(rows[y[rows] % sites == site] for rows in division))
    return assemble(
        name="digits",
        part=part,
        features=_FEATURES,
        classes=tuple("0123456789"),
        x=table[:, :64] / 16,  # the file counts dark pixels, 0 to 16
        y=y,
        groups=groups,
        division=division,
    )
