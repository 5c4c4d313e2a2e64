"""Data from which nothing can be learned are refused in an operator's words, before any work."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from datasets import Dataset, Feature, Split
from models import ModelError, Training
from models._engine import Engine


def split(rows: int, first: int, features: int) -> Split:
    x = np.random.default_rng(first).normal(size=(rows, features)).astype(np.float32)
    return Split(
        x=x,
        mask=np.ones_like(x, dtype=bool),
        y=(np.arange(rows) % 2).astype(np.int32),
        groups=np.arange(first, first + rows),
    )


def made(
    *, features: int = 2, validation: int = 4, classes: tuple[str, ...] = ("no", "yes")
) -> Any:
    return Dataset(
        name="made",
        part="all",
        features=tuple(Feature(name=f"f{column}") for column in range(features)),
        classes=classes,
        train=split(12, 0, features),
        validation=split(validation, 10**6, features),
        test=split(4, 10**7, features),
    )


def engine(data: Dataset, model: str, **training: Any) -> Engine:
    return Engine(
        model=model,
        config={},
        training=Training(**training),
        data=data,
        seed=0,
        normalisation=None,
    )


@pytest.mark.parametrize("model", ["logistic", "mlp", "transformer"])
def test_a_table_without_columns_is_refused(model: str) -> None:
    with pytest.raises(ModelError, match=f"made has no features, and {model} sees") as caught:
        engine(made(features=0), model)

    assert "data set" in caught.value.remedy


@pytest.mark.parametrize("model", ["logistic", "mlp", "transformer"])
def test_one_class_alone_is_refused(model: str) -> None:
    data = made(classes=("benign",))
    one = replace(data, train=replace(data.train, y=np.zeros(12, np.int32)))

    with pytest.raises(ModelError, match="made has 1 class, and there is nothing to") as caught:
        engine(one, model)

    assert "two classes" in caught.value.remedy


def test_patience_without_anything_to_judge_an_epoch_by_is_refused() -> None:
    with pytest.raises(ModelError, match=r"^patience: made has no validation") as caught:
        engine(made(validation=0), "logistic", patience=2)

    assert "patience" in caught.value.remedy
    engine(made(validation=0), "logistic")  # nobody asks for the best epoch
