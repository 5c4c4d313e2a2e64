"""The small convolutional network for sites without an accelerator."""

import numpy as np
import pytest

import models
from datasets import Dataset, Feature, Pictures, Split
from models import ModelError, Training
from models._engine import Engine


def test_it_learns_what_images_show() -> None:
    random = np.random.default_rng(0)
    y = (np.arange(48) % 2).astype(np.int32)
    image = random.integers(0, 60, (48, 32, 32, 3)) + 60 * y[:, None, None, None]
    pixels = image.astype(np.uint8)

    def split(rows: np.ndarray) -> Split:
        x = np.zeros((len(rows), 1), dtype=np.float32)
        return Split(
            x=x,
            mask=x > 0,
            y=y[rows],
            groups=rows,
            pictures=Pictures(pixels=pixels, rows=rows),
        )

    data = Dataset(
        name="made",
        part="all",
        features=(Feature(name="age"),),
        classes=("dark", "bright"),
        train=split(np.arange(32)),
        validation=split(np.arange(0)),
        test=split(np.arange(32, 48)),
        gives="images",
    )
    engine = Engine(
        model="cnn",
        config={"widths": [8]},
        training=Training(optimizer="adam", learning_rate=0.03, batch=8, epochs=4),
        data=data,
        seed=0,
        normalisation=None,
    )

    trained = engine.train(engine.initial(), round=1, stream=0)

    assert engine.evaluate(trained.vector).metrics["auroc"] == 1.0
    assert engine.manifest.size < 3000


@pytest.mark.parametrize("config", [{"widths": []}, {"widths": [8, 0]}, {"norm": "batch"}])
def test_a_size_that_cannot_be_is_refused_by_name(config: dict[str, object]) -> None:
    with pytest.raises(ModelError, match=next(iter(config))):
        models.configure(models.load("cnn").Config, config)
