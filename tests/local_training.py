"""Small made data and an engine on them."""

from typing import Any

import numpy as np
from hypothesis import settings

from datasets import Dataset, Feature, Split
from models import Training
from models._engine import Engine

FEATURES = 3
few = settings(max_examples=25, deadline=None)  # the first example compiles


def split(rows: int, first: int, classes: int = 2) -> Split:
    random = np.random.default_rng(first)
    x = random.normal(size=(rows, FEATURES)).astype(np.float32)
    y = (np.arange(rows) % classes).astype(np.int32)
    return Split(x=x, mask=np.ones_like(x, dtype=bool), y=y, groups=np.arange(first, first + rows))


def made(rows: int, classes: int = 2, tests: int = 20) -> Dataset:
    return Dataset(
        name="made",
        part="all",
        features=tuple(Feature(name=f"f{column}") for column in range(FEATURES)),
        classes=tuple(map(str, range(classes))),
        train=split(rows, 0, classes),
        validation=split(10, 10**6, classes),
        test=split(tests, 10**7, classes),
    )


def engine(data: Dataset, model: str = "logistic", *, seed: int = 7, **training: Any) -> Engine:
    return Engine(
        model=model,
        config={},
        training=Training(**training),
        data=data,
        seed=seed,
        normalisation=None,
    )
