"""Images that vary while training: seeded, on the device, and labels stay with their images."""

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

import models
from datasets import Dataset, Feature, Pictures, Split
from models import Augmentation, ModelError, Privacy, Training
from models._augmentation import varied
from models._convolution import Head, pixels
from models._engine import Engine

EVERYTHING = Augmentation(flips=True, turns=True, rotation=20, crop=0.2, brightness=0.2)
HOWS = {
    "flips": Augmentation(flips=True),
    "turns": Augmentation(turns=True),
    "rotation": Augmentation(rotation=20),
    "crop": Augmentation(crop=0.3),
    "brightness": Augmentation(brightness=0.3),
    "everything": EVERYTHING,
}


def pictures(count: int = 24, size: int = 16) -> np.ndarray:
    random = np.random.default_rng(0)
    smooth = random.integers(40, 200, (count, size // 4, size // 4, 3), dtype=np.uint8)
    return smooth.repeat(4, axis=1).repeat(4, axis=2)


def one_of(pixels: np.ndarray, sources: list[np.ndarray]) -> bool:
    return any(np.array_equal(pixels, source) for source in sources)


@pytest.mark.parametrize("name", HOWS)
def test_shape_and_kind_stay_and_the_key_decides(name: str) -> None:
    images, rows = pictures(), np.arange(24, dtype=np.int32)
    key, other = jax.random.key(1), jax.random.key(2)

    found = np.asarray(varied(images, rows, key, HOWS[name]))

    assert (found.shape, found.dtype) == (images.shape, np.uint8)
    assert np.array_equal(found, varied(images, rows, key, HOWS[name]))
    assert not np.array_equal(found, varied(images, rows, other, HOWS[name]))
    assert not np.array_equal(found, images)


def test_flips_and_turns_move_pixels_and_change_none() -> None:
    images, rows = pictures(200), np.arange(200, dtype=np.int32)
    how = Augmentation(flips=True, turns=True)

    found = np.asarray(varied(images, rows, jax.random.key(0), how))

    eight = [[np.rot90(m, k) for m in (i, i[:, ::-1]) for k in range(4)] for i in images]
    assert all(one_of(pixels, sources) for pixels, sources in zip(found, eight, strict=True))
    used = [
        next(k for k, s in enumerate(e) if np.array_equal(p, s))
        for p, e in zip(found, eight, strict=True)
    ]
    counts = np.bincount(used, minlength=8)
    assert counts.min() > 8  # 25 expected of each


def test_no_rotation_and_no_crop_resample_to_the_image_itself() -> None:
    images, rows = pictures(4), np.arange(4, dtype=np.int32)
    how = Augmentation(rotation=1e-6, crop=1e-6)

    found = np.asarray(varied(images, rows, jax.random.key(0), how))

    assert np.array_equal(found, images)


def test_a_right_angle_is_what_numpy_calls_one() -> None:
    from models._augmentation import _resampled

    image = pictures(1)[0].astype(np.float32)
    zero = np.zeros(2, np.float32)

    found = _resampled(image, np.float32(np.pi / 2), np.float32(1), zero)

    np.testing.assert_allclose(found, np.rot90(image), atol=0.01)


def test_the_place_in_the_batch_changes_nothing() -> None:
    images, rows = pictures(), np.arange(24, dtype=np.int32)
    order = np.random.default_rng(3).permutation(24)

    found = np.asarray(varied(images, rows, jax.random.key(5), EVERYTHING))
    moved = np.asarray(varied(images[order], rows[order], jax.random.key(5), EVERYTHING))

    assert np.array_equal(found[order], moved)


def lesions(count: int = 24) -> Dataset:
    pixels = pictures(3 * count)
    random = np.random.default_rng(1)

    def split(first: int) -> Split:
        rows = np.arange(first, first + count)
        x = random.normal(size=(count, 1)).astype(np.float32)
        return Split(
            x=x,
            mask=np.ones_like(x, dtype=bool),
            y=(rows % 2).astype(np.int32),
            groups=rows,
            pictures=Pictures(pixels=pixels, rows=rows),
        )

    return Dataset(
        name="lesions",
        part="all",
        features=(Feature(name="age"),),
        classes=("benign", "melanoma"),
        train=split(0),
        validation=split(count),
        test=split(2 * count),
        gives="images",
    )


@dataclass(frozen=True)
class Nothing:
    """The settings of a model that has none."""


class Mean(nnx.Module):
    """The smallest model that eats images: it compiles in a second, ResNet-18 in many."""

    def __init__(self, features: int, outputs: int, rngs: nnx.Rngs) -> None:
        self.head = Head(3, features, outputs, rngs=rngs)

    def __call__(self, images: jax.Array, table: jax.Array) -> jax.Array:
        return self.head(pixels(images), table)


def build(config: Any, *, gives: str, features: int, outputs: int, rngs: nnx.Rngs) -> Mean:
    return Mean(features, outputs, rngs)


@pytest.fixture
def _smallest(monkeypatch: pytest.MonkeyPatch) -> None:
    made = SimpleNamespace(EATS="images", Config=Nothing, build=build)
    monkeypatch.setattr(models, "load", lambda _: made)


def engine(data: Dataset, training: Training, **privacy: Any) -> Engine:
    return Engine(
        model="mean", config={}, training=training, data=data, seed=3, normalisation=None, **privacy
    )


PLAIN = Training(batch=8, learning_rate=0.01)
VARIED = replace(PLAIN, augmentation=EVERYTHING)


@pytest.mark.usefixtures("_smallest")
def test_training_varies_by_seed_and_evaluation_does_not() -> None:
    data = lesions()
    plain, one, again = engine(data, PLAIN), engine(data, VARIED), engine(data, VARIED)
    start = plain.initial()

    trained = one.train(start, round=1, stream=7)

    assert np.array_equal(trained.vector, again.train(start, round=1, stream=7).vector)
    assert not np.array_equal(trained.vector, one.train(start, round=2, stream=7).vector)
    assert not np.array_equal(trained.vector, plain.train(start, round=1, stream=7).vector)
    assert np.array_equal(one.predict(start), plain.predict(start))
    assert one.manifest == plain.manifest
    assert np.array_equal(data.train.y, np.arange(24) % 2)


@pytest.mark.usefixtures("_smallest")
def test_under_privacy_only_the_site_can_tell_how_images_vary() -> None:
    def moved(training: Training, secret: int) -> np.ndarray:
        # One step over everybody with hardly any noise: what is left is how images vary.
        private = engine(lesions(), training, privacy=Privacy(noise=1e-6), secret=secret)
        start = private.initial()
        return private.train(start, round=1, stream=7).vector - start

    alone, varied = replace(PLAIN, batch=27), replace(VARIED, batch=27)
    plain = np.linalg.norm(moved(alone, 1) - moved(alone, 2))
    one, again, other = moved(varied, 1), moved(varied, 1), moved(varied, 2)

    assert np.array_equal(one, again)
    assert np.linalg.norm(one - other) > 100 * plain


def test_a_study_names_it_in_its_training() -> None:
    said = models.configure(Training, {"augmentation": {"flips": True, "rotation": 30}})

    assert said.augmentation == Augmentation(flips=True, rotation=30)
    assert not models.configure(Training, {}).augmentation
    with pytest.raises(ModelError, match=r"augmentation\.crop"):
        models.configure(Training, {"augmentation": {"crop": 1.5}})
    with pytest.raises(ModelError, match="flip: unknown key"):
        models.configure(Training, {"augmentation": {"flip": True}})
    with pytest.raises(ModelError, match="augmentation"):
        models.configure(Training, {"augmentation": True})


def test_a_table_cannot_be_varied() -> None:
    import datasets

    with pytest.raises(ModelError, match="no images"):
        Engine(
            model="logistic",
            config={},
            training=VARIED,
            data=datasets.load("breast_cancer"),
            seed=0,
            normalisation=None,
        )
