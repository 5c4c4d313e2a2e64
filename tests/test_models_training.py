"""What a round may add to plain descent: each against the hand calculation, or the same bits."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from datasets import Dataset, Feature, Split
from models import ModelError, Training
from models._attention import Transformer
from models._engine import Engine
from models._network import network
from models._objective import Objective
from models._program import program

FEATURES = 3
START = np.array([0.5, 1, -2, 3], dtype=np.float32)  # bias, then weights


def split(rows: int, first: int, *, flip: bool = False) -> Split:
    random = np.random.default_rng(first)
    x = random.normal(size=(rows, FEATURES)).astype(np.float32)
    y = ((x[:, 0] > 0) != flip).astype(np.int32)
    return Split(x=x, mask=np.ones_like(x, dtype=bool), y=y, groups=np.arange(first, first + rows))


def made(rows: int = 12, *, flip: bool = False) -> Dataset:
    return Dataset(
        name="made",
        part="all",
        features=tuple(Feature(name=f"f{column}") for column in range(FEATURES)),
        classes=("no", "yes"),
        train=split(rows, 0),
        validation=split(20, 10**6, flip=flip),
        test=split(20, 10**7),
    )


def engine(data: Dataset, model: str = "logistic", **training: Any) -> Engine:
    return Engine(
        model=model,
        config={},
        training=Training(**training),
        data=data,
        seed=7,
        normalisation=None,
    )


def slope(data: Dataset, vector: NDArray[Any]) -> NDArray[np.float64]:
    """Of the mean log loss of logistic regression on all training examples."""
    x = data.train.x.astype(np.float64)
    error = 1 / (1 + np.exp(-(x @ vector[1:] + vector[0]))) - data.train.y
    return np.concatenate([[error.mean()], x.T @ error / len(x)])


@pytest.mark.parametrize(
    ("settings", "factors"),
    [
        ({"schedule": "linear"}, [1, 0.75, 0.5, 0.25]),
        ({"schedule": "cosine"}, [(1 + np.cos(np.pi * t / 4)) / 2 for t in range(4)]),
        ({"warmup": 0.75}, [1 / 3, 2 / 3, 1, 1]),
        ({"schedule": "linear", "warmup": 0.5}, [0.5, 1, 1, 0.5]),
        ({"decay": 0.5}, [0.25] * 4),
    ],
)
def test_a_schedule_is_the_agreed_factor_on_each_step(
    settings: dict[str, Any], factors: list[float]
) -> None:
    data = made()
    by_hand = START.astype(np.float64)
    for factor in factors:
        by_hand -= 0.5 * factor * slope(data, by_hand)

    trained = engine(data, learning_rate=0.5, batch=16, epochs=4, **settings).train(
        START, round=3, stream=0
    )

    np.testing.assert_allclose(trained.vector, by_hand, atol=2e-6)  # float32, four steps


def test_fedprox_pulls_back_to_where_the_round_began() -> None:
    data, mu = made(), 2.0
    by_hand = START.astype(np.float64)
    for _ in range(3):
        by_hand -= 0.3 * (slope(data, by_hand) + mu * (by_hand - START))

    trained = engine(data, learning_rate=0.3, batch=16, epochs=3, proximal=mu).train(
        START, round=1, stream=0
    )

    np.testing.assert_allclose(trained.vector, by_hand, atol=2e-6)  # float32, three steps


def test_early_stopping_gives_back_the_best_epoch_to_the_bit() -> None:
    # The validation split calls everything the other way round: it only gets worse.
    data = made(flip=True)
    start = np.zeros(4, dtype=np.float32)
    heard: list[tuple[int, int, float]] = []

    stopped = engine(data, epochs=20, patience=3).train(
        start, round=1, stream=0, on_progress=lambda *news: heard.append(news)
    )
    first = engine(data, epochs=1).train(start, round=1, stream=0)

    assert (stopped.epoch, stopped.steps) == (1, 4)
    assert stopped.vector.tobytes() == first.vector.tobytes()
    assert heard[-1][:2] == (4, 4)


def test_a_round_that_still_learns_is_not_stopped() -> None:
    data = made()
    start = np.zeros(4, dtype=np.float32)

    patient = engine(data, epochs=6, patience=2).train(start, round=1, stream=0)
    plain = engine(data, epochs=6).train(start, round=1, stream=0)

    assert patient.epoch == 6
    assert patient.vector.tobytes() == plain.vector.tobytes()


@pytest.mark.parametrize(
    "settings",
    [{"class_weights": (0.5, 3.0)}, {"focal": 2.0}, {"focal": 0.5, "class_weights": (1, 2)}],
)
def test_weighted_and_focal_loss_are_the_published_ones(settings: dict[str, Any]) -> None:
    training = Training(**settings)
    random = np.random.default_rng(0)
    x = random.normal(size=(9, FEATURES)).astype(np.float32)
    y = np.array([0, 1] * 4 + [1], dtype=np.int32)
    real = np.arange(9) < 8
    p = 1 / (1 + np.exp(-(x @ START[1:].astype(np.float64) + START[0])))
    true = np.where(y == 1, p, 1 - p)
    weights = np.array(training.class_weights or (1, 1))[y]
    by_hand = (weights * (1 - true) ** training.focal * -np.log(true))[:8].mean()

    net = network("logistic", _config(), gives="table", features=FEATURES, outputs=1)
    aim = Objective(net=net, training=training, outputs=1, narrow=False)
    leaves = [jnp.asarray(START[:1]), jnp.asarray(START[1:, None])]
    found, (plain, _) = aim.share(leaves, jnp.asarray(x), y, real, real.sum(), [])

    assert found == pytest.approx(by_hand, rel=1e-5)  # float32
    assert plain == pytest.approx(-np.log(true)[:8].sum(), rel=1e-5)


def test_class_weights_must_name_every_class() -> None:
    with pytest.raises(ModelError, match=r"^class_weights: name one for each of the 2 classes"):
        engine(made(), class_weights=(1, 2, 3))


def test_bfloat16_computes_coarsely_and_keeps_parameters_in_float32() -> None:
    data = made(200)
    start = engine(data, "mlp").initial()

    fine, coarse = (
        engine(data, "mlp", precision=precision, epochs=3).train(start, round=1, stream=0)
        for precision in ("float32", "bfloat16")
    )

    assert coarse.vector.dtype == np.float32
    assert coarse.vector.tobytes() != fine.vector.tobytes()
    assert coarse.loss == pytest.approx(fine.loss, rel=0.02)  # bfloat16 carries 8 bits


def test_too_little_memory_cuts_batches_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, failures = made(50), 2
    settings: dict[str, Any] = {"batch": 8, "epochs": 2, "momentum": 0.9, "l2": 0.1}
    site = engine(data, "mlp", **settings)
    start = site.initial()
    plain = engine(data, "mlp", **settings).train(start, round=1, stream=0)
    compiled, left = site._compiled, [failures]

    def full(*_: Any) -> None:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 byte")

    def sparse(pieces: int) -> Any:
        left[0] -= 1
        return compiled(pieces) if left[0] <= 0 else replace(compiled(pieces), advance=full)

    site._bench.program = replace(site._bench.program, advance=full)
    monkeypatch.setattr(site, "_compiled", sparse)

    trained = site.train(start, round=1, stream=0)

    assert trained.pieces == 2**failures
    assert trained.steps == plain.steps
    # The same examples in each step, their gradients added in another order.
    np.testing.assert_allclose(trained.vector, plain.vector, atol=1e-5)
    assert trained.loss == pytest.approx(plain.loss, rel=1e-5)


@pytest.mark.slow
def test_a_batch_that_outgrows_the_cache_is_cut_with_the_same_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = made(200)
    settings: dict[str, Any] = {"batch": 96, "epochs": 2, "l2": 0.1, "momentum": 0.9}
    cut = engine(data, "transformer", **settings)
    start = cut.initial()
    trained = cut.train(start, round=1, stream=0)
    program.cache_clear()
    monkeypatch.setattr(Transformer, "AT_ONCE", None)

    whole = engine(data, "transformer", **settings).train(start, round=1, stream=0)

    program.cache_clear()
    assert trained.pieces == whole.pieces == 1  # nothing that an operator must know
    assert trained.vector.tobytes() != whole.vector.tobytes()
    # The same examples in each step, their gradients added in another order.
    np.testing.assert_allclose(trained.vector, whole.vector, atol=1e-5)
    assert trained.loss == pytest.approx(whole.loss, rel=1e-5)


def test_a_device_too_small_for_one_example_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    site = engine(made(), batch=4)

    def full(*_: Any) -> None:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 byte")

    poor = replace(site._bench.program, advance=full, predict=full)
    monkeypatch.setattr(site, "_compiled", lambda _: poor)
    site._bench.program = poor

    with pytest.raises(ModelError, match="train on even one example"):
        site.train(START, round=1, stream=0)
    with pytest.raises(ModelError, match="predict even one example"):
        site.predict(START)


def test_two_devices_share_a_batch_and_give_the_same_numbers() -> None:
    child = """
import json, jax
import datasets
from models._engine import Engine, Training
site = Engine(model="mlp", config={}, data=datasets.load("digits"), seed=3, normalisation=None,
              training=Training(batch=15, learning_rate=0.01, proximal=0.1))
trained = site.train(site.initial(), round=2, stream=9)
print(json.dumps([len(jax.local_devices()), trained.loss, trained.vector.tolist(),
                  site.evaluate(trained.vector).metrics["loss"]]))
"""
    answers = []
    for devices in (1, 2):
        flags = f"--xla_force_host_platform_device_count={devices}"
        answer = subprocess.run(
            [sys.executable, "-W", "error", "-c", child],
            env=os.environ | {"XLA_FLAGS": flags},
            capture_output=True,
            text=True,
            check=True,
        )
        answers.append(json.loads(answer.stdout))

    (one, loss, vector, tested), (two, same_loss, same_vector, same_tested) = answers
    assert (one, two) == (1, 2)
    # The devices add up their halves of a batch: another order of sums, in float32.
    assert same_loss == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(same_vector, vector, atol=2e-5)
    assert same_tested == pytest.approx(tested, rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"schedule": "step"}, "schedule"),
        ({"warmup": 1.0}, "warmup"),
        ({"decay": 0.0}, "decay"),
        ({"decay": 1.5}, "decay"),
        ({"share": 0.0}, "share"),
        ({"share": 1.5}, "share"),
        ({"proximal": -1.0}, "proximal"),
        ({"patience": -1}, "patience"),
        ({"focal": float("nan")}, "focal"),
        ({"class_weights": (1.0, 0.0)}, "class_weights"),
        ({"precision": "float16"}, "precision"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(ModelError, match=f"^{key}: "):
        Training(**settings)


def _config() -> Any:
    from models import logistic

    return logistic.Config()
