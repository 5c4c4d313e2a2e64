"""Local training: right to the hand calculation, and the same bits however it is run."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import datasets
import models
from models import ModelError, Training, _rounds
from models._engine import Engine
from models._network import network
from models._objective import Objective
from models._program import BLOCK
from tests.local_training import FEATURES, engine, few, made


def logistic(outputs: int) -> Objective:
    net = network(
        "logistic", models.load("logistic").Config(), gives="table", features=FEATURES,
        outputs=outputs,
    )  # fmt: skip
    return Objective(net=net, training=Training(), outputs=outputs, narrow=False)


def slope(aim: Objective, leaves: Any, x: Any, y: Any, real: Any) -> tuple[Any, Any]:
    """Of the mean over the real examples by each leaf, as a step takes it, and their loss."""
    found, (loss, _) = jax.grad(aim.share, has_aux=True)(leaves, x, y, real, real.sum(), [])
    return found, loss


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


@pytest.fixture
def compiled() -> Iterator[list[str]]:
    """Grows by one with every compilation by XLA."""
    found: list[str] = []

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            found.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    jax.monitoring.unregister_event_duration_listener(listen)


def test_every_site_starts_from_the_same_parameters() -> None:
    here, there = engine(made(20), "mlp"), engine(made(50), "mlp")

    assert np.array_equal(here.initial(), there.initial())
    assert here.initial().std() > 0


@given(
    seed=st.integers(0, 999),
    garbage=st.lists(
        st.floats(-(2.0**100), 2.0**100, width=32), min_size=FEATURES, max_size=FEATURES
    ),
    padding=st.sampled_from([0, 1, 5]),  # each length is compiled anew
)
@few
def test_padding_contributes_nothing(seed: int, garbage: list[float], padding: int) -> None:
    random = np.random.default_rng(seed)
    leaves = [jnp.asarray(random.normal(size=s), jnp.float32) for s in ((1,), (FEATURES, 1))]
    x = random.normal(size=(8, FEATURES)).astype(np.float32)
    y = random.integers(0, 2, 8).astype(np.int32)
    real = np.arange(8) >= padding
    other = np.where(real[:, None], x, np.array(garbage, dtype=np.float32))

    bare, loss = slope(logistic(1), leaves, x[padding:], y[padding:], real[padding:])
    padded, same = slope(logistic(1), leaves, other, y, real)

    for a, b in zip(bare, padded, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)  # float32, another order of sums
    assert same == pytest.approx(float(loss), rel=1e-5)


@given(seed=st.integers(0, 999), outputs=st.sampled_from([1, 4]))
@few
def test_the_gradient_is_the_closed_form(seed: int, outputs: int) -> None:
    random = np.random.default_rng(seed)
    bias, kernel = random.normal(size=outputs), random.normal(size=(FEATURES, outputs))
    x = random.normal(size=(8, FEATURES))
    y = random.integers(0, max(outputs, 2), 8)
    z = x @ kernel + bias
    if outputs == 1:
        error = sigmoid(z) - y[:, None]
    else:
        error = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) - np.eye(outputs)[y]

    leaves = [jnp.asarray(leaf, jnp.float32) for leaf in (bias, kernel)]
    (by_bias, by_kernel), _ = slope(
        logistic(outputs),
        leaves,
        jnp.asarray(x, jnp.float32),
        y.astype(np.int32),
        np.ones(8, dtype=bool),
    )

    # float32 carries 1e-7 of terms of order 1.
    np.testing.assert_allclose(by_bias, error.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(by_kernel, x.T @ error / 8, atol=1e-5)


@given(
    rows=st.integers(1, 16),
    rate=st.floats(0.01, 1),
    l2=st.floats(0, 1),
    seed=st.integers(0, 999),
)
@settings(max_examples=8, deadline=None)  # each compiles
def test_one_step_of_sgd_is_the_hand_calculation(
    rows: int, rate: float, l2: float, seed: int
) -> None:
    data = made(rows)
    vector = np.random.default_rng(seed).normal(size=FEATURES + 1).astype(np.float32)
    bias, weights = vector[0].astype(np.float64), vector[1:].astype(np.float64)
    x, y = data.train.x.astype(np.float64), data.train.y
    error = sigmoid(x @ weights + bias) - y

    trained = engine(data, learning_rate=rate, l2=l2, batch=16).train(vector, round=1, stream=0)

    by_hand = [bias - rate * error.mean(), *(weights - rate * (x.T @ error / rows + l2 * weights))]
    np.testing.assert_allclose(trained.vector, by_hand, rtol=1e-5, atol=1e-5)  # float32
    likelihood = np.where(y == 1, sigmoid(x @ weights + bias), sigmoid(-x @ weights - bias))
    assert trained.loss == pytest.approx(-np.log(likelihood).mean(), rel=1e-5)
    assert (trained.steps, trained.examples) == (1, rows)


def test_weight_decay_shrinks_weights_and_spares_biases() -> None:
    data = made(20)
    vector = np.ones(FEATURES + 1, dtype=np.float32)

    plain, decayed = (
        engine(data, optimizer="adamw", learning_rate=0.1, weight_decay=decay)
        .train(vector, round=1, stream=0)
        .vector
        for decay in (0.0, 0.5)
    )

    # Decoupled: one step takes learning rate x decay x weight, whatever the gradient was.
    np.testing.assert_allclose(plain - decayed, [0, 0.05, 0.05, 0.05], atol=1e-6)


def test_a_clip_bounds_the_step() -> None:
    start = np.full(FEATURES + 1, 5, dtype=np.float32)

    trained = engine(made(20), learning_rate=1.0, clip=0.001).train(start, round=1, stream=0)

    assert np.linalg.norm(trained.vector - start) == pytest.approx(0.001, rel=1e-2)  # 5 ± 2e-7


@pytest.mark.parametrize("training", [{}, {"momentum": 0.9, "epochs": 3}, {"optimizer": "adam"}])
def test_reporting_more_or_less_often_does_not_change_a_bit(
    monkeypatch: pytest.MonkeyPatch, training: dict[str, Any]
) -> None:
    results = []
    for pace in (1, 3, 7, 1000):
        monkeypatch.setattr(_rounds, "_paced", lambda *_, pace=pace: pace)
        site = engine(made(203), "mlp", batch=8, **training)
        site.train(site.initial(), round=1, stream=1)  # the first call still has its own pace
        trained = site.train(site.initial(), round=2, stream=1)
        results.append((trained.vector.tobytes(), trained.loss, trained.steps))

    assert len(set(results)) == 1


def test_progress_comes_in_order_and_ends_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rounds, "_PACE", 0.0)  # a report after every stretch of one step
    site = engine(made(50), batch=8, epochs=2)
    site.train(site.initial(), round=1, stream=0)
    heard: list[tuple[int, int, float]] = []

    trained = site.train(
        site.initial(), round=1, stream=0, on_progress=lambda *news: heard.append(news)
    )

    assert [step for step, _, _ in heard] == list(range(1, trained.steps + 1))
    assert {steps for _, steps, _ in heard} == {14}
    sizes = [8, 8, 8, 8, 8, 8, 2] * 2
    weighted = np.average([loss for _, _, loss in heard], weights=sizes)
    assert trained.loss == pytest.approx(weighted, rel=1e-12)


def test_round_site_and_seed_each_give_another_order() -> None:
    data = made(50)
    start = engine(data).initial()
    work = [(7, 1, 0), (7, 2, 0), (7, 1, 1), (8, 1, 0)]

    vectors = {
        engine(data, seed=seed, batch=4).train(start, round=round, stream=stream).vector.tobytes()
        for seed, round, stream in work
    }

    assert len(vectors) == len(work)


def test_another_round_or_another_scale_compiles_nothing(compiled: list[str]) -> None:
    data = datasets.load("breast_cancer")
    first = Engine(
        model="logistic", config={}, training=Training(), data=data, seed=0, normalisation=None
    )
    first.evaluate(first.train(first.initial(), round=1, stream=0).vector)
    assert compiled
    compiled.clear()

    scale = datasets.agree(datasets.statistics(data.train), data.features)
    second = Engine(
        model="logistic", config={}, training=Training(), data=data, seed=1, normalisation=scale
    )
    for site in (first, second):
        for round in (2, 3):
            site.evaluate(site.train(site.initial(), round=round, stream=0).vector)

    assert compiled == []


def test_a_restarted_process_repeats_its_work_bit_for_bit(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    child = """
import hashlib, json, sys
from pathlib import Path
import datasets
from models._engine import Engine, Training, use_cache
use_cache(Path(sys.argv[1]))
site = Engine(model="mlp", config={}, training=Training(), data=datasets.load("digits"), seed=3,
              normalisation=None)
trained = site.train(site.initial(), round=2, stream=9)
digest = hashlib.sha256(trained.vector.tobytes()).hexdigest()
print(json.dumps([digest, trained.loss, site.evaluate(trained.vector).metrics]))
"""

    runs = []
    kept = []
    for _ in range(2):
        answer = subprocess.run(
            [sys.executable, "-W", "error", "-c", child, str(cache)],
            capture_output=True,
            text=True,
            check=True,
        )
        runs.append(json.loads(answer.stdout))
        kept.append({file.name for file in cache.iterdir() if file.name.endswith("-cache")})
    site = Engine(
        model="mlp",
        config={},
        training=Training(),
        data=datasets.load("digits"),
        seed=3,
        normalisation=None,
    )
    here = site.train(site.initial(), round=2, stream=9)

    assert runs[0] == runs[1]
    assert runs[0][0] == hashlib.sha256(here.vector.tobytes()).hexdigest()
    assert kept[0]
    assert kept[0] == kept[1], "the second process compiled something again"


def test_a_split_larger_than_a_block_is_predicted_in_its_order() -> None:
    data = made(20, tests=BLOCK + 17)
    site = engine(data)
    vector = np.array([0.5, 1, -2, 3], dtype=np.float32)

    logs = site.predict(vector)

    z = data.test.x @ vector[1:].astype(np.float64) + 0.5
    np.testing.assert_allclose(np.exp(logs[:, 1]), sigmoid(z), rtol=1e-4, atol=1e-6)  # float32
    assert site.evaluate(vector).examples == BLOCK + 17


def test_a_site_without_test_examples_has_no_metrics() -> None:
    site = engine(made(20, tests=0))

    evaluated = site.evaluate(site.initial())

    assert evaluated.examples == 0
    assert set(evaluated.metrics.values()) == {None}


def test_fewer_examples_than_a_batch_are_one_step() -> None:
    site = engine(made(3), batch=64, epochs=5)

    assert site.train(site.initial(), round=1, stream=0).steps == 5


@pytest.mark.parametrize(
    ("vector", "what"),
    [
        (np.zeros(5, dtype=np.float32), r"float32 \[5\]; this model takes float32 \[4\]"),
        (np.zeros(4, dtype=np.float64), r"float64 \[4\]"),
        (np.array([0, np.nan, 0, 0], dtype=np.float32), "finite"),
        (np.array([0, 0, np.inf, 0], dtype=np.float32), "finite"),
    ],
)
def test_parameters_of_another_model_are_refused(vector: NDArray[Any], what: str) -> None:
    site = engine(made(20))

    with pytest.raises(ModelError, match=what):
        site.train(vector, round=1, stream=0)
    with pytest.raises(ModelError, match=what):
        site.evaluate(vector)


def test_training_that_diverges_is_said_with_a_remedy() -> None:
    site = engine(made(50), l2=1e4, learning_rate=1e4, epochs=20)

    with pytest.raises(ModelError, match="diverged") as caught:
        site.train(np.ones(FEATURES + 1, dtype=np.float32), round=1, stream=0)

    assert "learning rate" in caught.value.remedy


def test_a_model_refuses_data_that_it_cannot_eat() -> None:
    with pytest.raises(ModelError, match="logistic needs a table; made gives picture"):
        engine(replace(made(20), gives="picture"))
