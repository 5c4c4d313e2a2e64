"""Data and batches on a device that has little room, or that trains unlike it measures."""

import math
from typing import Any

import jax
import numpy as np
import pytest

from datasets import Dataset, Feature, Pictures, Split
from models import ModelError, Privacy, Training, _placement, _rounds
from models._batches import shuffled, widest
from models._engine import Engine

NO_ROOM = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 byte")


def made(rows: int = 20, *, images: bool = False, alike: bool = False) -> Dataset:
    random = np.random.default_rng(0)
    x = random.normal(size=(rows + 12, 0 if images else 3)).astype(np.float32)
    pixels = random.integers(0, 256, (rows + 12, 16, 16, 3), dtype=np.uint8)
    if alike:
        pixels[:] = pixels[0]

    def part(*ends: int) -> Split:
        every = np.arange(*ends)
        return Split(
            x=x[every],
            mask=np.ones_like(x[every], dtype=bool),
            y=(every % 3 == 0).astype(np.int32),
            groups=every,
            pictures=Pictures(pixels=pixels, rows=every) if images else None,
        )

    return Dataset(
        name="made",
        part="all",
        features=tuple(Feature(name=f"f{column}") for column in range(x.shape[1])),
        classes=("no", "yes"),
        train=part(rows),
        validation=part(rows, rows + 6),
        test=part(rows + 6, rows + 12),
        gives="images" if images else "table",
    )


def site(
    data: Dataset, model: str = "mlp", privacy: Privacy | None = None, **training: Any
) -> Engine:
    return Engine(
        model=model,
        config={"norm": "local", "widths": [4, 4]} if model == "cnn" else {},
        training=Training(**{"batch": 8, "learning_rate": 0.1} | training),
        data=data,
        seed=1,
        normalisation=None,
        privacy=privacy,
        secret=5,
    )


def full_at_first(engine: Engine, times: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """So many rounds find no memory; returns how often that was."""
    met: list[int] = []
    run = _rounds.Round.run

    def sparse(self: Any, *arguments: Any) -> Any:
        if len(met) < times:
            met.append(engine._bench.pieces)
            raise NO_ROOM
        return run(self, *arguments)

    monkeypatch.setattr(_rounds.Round, "run", sparse)
    return met


def test_data_that_outgrow_the_device_are_said_to_and_not_one_example(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = site(made())
    start = engine.initial()

    def full(*_: Any) -> Any:
        raise NO_ROOM

    monkeypatch.setattr(_placement.jax, "device_put", full)

    with pytest.raises(ModelError, match=r"^The examples take 0\.0 GB, for which") as found:
        engine.train(start, round=1, stream=0)
    assert found.value.remedy


def test_other_splits_make_room_before_batches_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = site(made())
    start = engine.initial()
    engine.predict(start)
    assert engine._placement.resident == ("test",)
    met = full_at_first(engine, 1, monkeypatch)

    trained = engine.train(start, round=1, stream=0)

    assert met == [1]
    assert trained.pieces == 1
    assert engine._placement.resident == ("train",)


def test_batches_are_cut_down_to_one_row_and_each_cut_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine, told = site(made(), batch=6), []
    whole = site(made(), batch=6)
    start = engine.initial()
    met = full_at_first(engine, 3, monkeypatch)

    trained = engine.train(start, round=1, stream=0, on_split=told.append)

    assert (met, told) == ([1, 2, 4], [2, 4, 6])
    assert trained.pieces == 6
    expected = whole.train(start, round=1, stream=0).vector
    np.testing.assert_allclose(trained.vector, expected, atol=1e-5)  # added in another order


def test_a_batch_is_cut_from_the_start_where_that_is_known() -> None:
    engine = site(made())

    trained = engine.train(engine.initial(), round=1, stream=0, pieces=4)

    assert trained.pieces == 4


def test_a_private_batch_is_cut_down_to_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = site(made(), privacy=Privacy(noise=1.0), batch=4)
    full_at_first(engine, 99, monkeypatch)

    with pytest.raises(ModelError, match="train on even one example"):
        engine.train(engine.initial(), round=1, stream=0)

    assert engine.plan is not None
    room = widest(engine.plan, len(engine._data.train))
    assert 16 < room <= 18  # some more than 4 rows expected, and room for six deviations more
    assert room <= engine._bench.pieces <= room + 1


def test_in_pieces_statistics_move_once_a_step() -> None:
    data = made(16, images=True, alike=True)  # then a piece's moments are the batch's
    whole, cut = site(data, "cnn"), site(data, "cnn")
    start = whole.initial()

    found = cut.train(start, round=1, stream=0, pieces=4)

    expected = whole.train(start, round=1, stream=0)
    assert np.abs(expected.local).max() > 0.01
    # Less than that by the unbiased variance of fewer places alone: 1/63 of a tenth, twice.
    np.testing.assert_allclose(found.local, expected.local, atol=0.01)


def test_a_batch_is_no_wider_than_the_data() -> None:
    order = shuffled(np.random.default_rng(0), 10, 64)

    assert sorted(order.ravel().tolist()) == list(range(10))


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_a_model_is_measured_in_float32_whatever_it_trains_in(model: str) -> None:
    data = made(images=model == "cnn")
    wide, narrow = (site(data, model, precision=name) for name in ("float32", "bfloat16"))
    start = wide.initial()

    assert np.array_equal(narrow.predict(start), wide.predict(start))
    assert not np.array_equal(
        narrow.train(start, round=1, stream=0).vector, wide.train(start, round=1, stream=0).vector
    )


@pytest.mark.parametrize("private", [False, True])
def test_no_loss_is_told_of_private_batches(private: bool) -> None:
    engine, told = site(made(), privacy=Privacy(noise=1.0) if private else None), []

    engine.train(
        engine.initial(), round=1, stream=0, on_progress=lambda *news: told.append(news[2])
    )

    assert told
    assert all(math.isnan(loss) == private for loss in told)


def test_early_stopping_judges_by_what_training_makes_small() -> None:
    settings: dict[str, Any] = {"patience": 1, "focal": 2.0, "class_weights": (1.0, 5.0)}
    engine = site(made(), **settings)
    start = engine.initial()

    found = engine._predictor.loss(start, np.zeros(0, np.float32))

    logs = engine.predict(start, split="validation").astype(np.float64)
    y = engine._data.validation.y
    chosen = logs[np.arange(len(y)), y]
    by_hand = np.where(y == 1, 5, 1) * (1 - np.exp(chosen)) ** 2 * -chosen
    assert found == pytest.approx(by_hand.mean(), rel=1e-5)


def test_other_images_are_another_question() -> None:
    data, other = made(images=True), made(images=True)
    assert data.train.pictures is not None
    assert other.train.pictures is not None
    other.train.pictures.pixels[:] = 255 - other.train.pictures.pixels

    assert site(data, "cnn")._question() == site(made(images=True), "cnn")._question()
    assert site(data, "cnn")._question() != site(other, "cnn")._question()


def test_biases_are_not_made_small() -> None:
    data = made()
    engine = site(data, "transformer", optimizer="adamw", weight_decay=100.0, learning_rate=1e-6)
    vector = np.ones(engine.manifest.size, np.float32)

    after = engine.train(vector, round=1, stream=0).vector

    ends = np.cumsum([entry.size for entry in engine.manifest.entries])[:-1]
    for entry, values in zip(engine.manifest.entries, np.split(after, ends), strict=True):
        # Three steps take 3e-4 of a weight; Adam moves whatever has a slope by 3e-6.
        taken = (1 - values).mean()
        assert (2e-4 < taken < 4e-4) == entry.name.endswith("kernel"), entry.name
        assert (abs(taken) < 1e-5) == (not entry.name.endswith("kernel")), entry.name
