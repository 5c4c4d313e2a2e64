"""What parameters begin with: drawn as the literature says, the same everywhere, without XLA."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from scipy import stats

import models
from models import _initial, _network

KEY = jax.random.key(7)
INPUTS, OUTPUTS = 400, 300
SHAPE = (INPUTS, OUTPUTS)
LECUN, HE = INPUTS**-0.5, (2 / INPUTS) ** 0.5
# A normal number that stays within two deviations has 0.8796 of the deviation.
WITHIN = stats.truncnorm(-2, 2)
Draw = Callable[..., jax.Array]


@pytest.mark.parametrize(
    ("draw", "wanted"),
    [
        (partial(_initial.normal, deviation=0.3), stats.norm(0, 0.3)),
        (partial(_initial.uniform, bound=0.3), stats.uniform(-0.3, 0.6)),
        (_initial.by_inputs, stats.truncnorm(-2, 2, scale=LECUN / WITHIN.std())),
        (partial(_initial.by_inputs, gain=2.0), stats.truncnorm(-2, 2, scale=HE / WITHIN.std())),
    ],
)
def test_numbers_are_distributed_as_they_should_be(draw: Draw, wanted: Any) -> None:
    drawn = np.asarray(draw(KEY, SHAPE))

    assert (drawn.shape, drawn.dtype) == (SHAPE, np.float32)
    assert stats.kstest(drawn.ravel(), wanted.cdf).pvalue > 0.01
    assert drawn.std() == pytest.approx(wanted.std(), rel=0.01)
    assert abs(np.corrcoef(drawn.ravel()[:-1], drawn.ravel()[1:])[0, 1]) < 0.01


@pytest.mark.parametrize(
    "draw",
    [
        partial(_initial.normal, deviation=0.3),
        partial(_initial.uniform, bound=0.3),
        _initial.by_inputs,
        lambda _, shape: _initial.filled(shape, 1.5),
    ],
)
def test_a_traced_function_draws_the_same_numbers(draw: Draw) -> None:
    assert np.array_equal(jax.jit(lambda key: draw(key, SHAPE))(KEY), draw(KEY, SHAPE))


@pytest.mark.parametrize("draw", [partial(_initial.uniform, bound=0.3), _initial.by_inputs])
def test_another_key_draws_others(draw: Draw) -> None:
    assert not np.array_equal(draw(KEY, SHAPE), draw(jax.random.key(8), SHAPE))


@pytest.fixture
def compiled() -> Iterator[list[str]]:
    """The names of functions that XLA compiled in this test."""
    names: list[str] = []

    def heard(event: str, seconds: float, **more: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(str(more.get("fun_name")))

    jax.monitoring.register_event_duration_secs_listener(heard)
    yield names
    jax.monitoring.unregister_event_duration_listener(heard)


@pytest.mark.parametrize(
    ("model", "gives", "config"),
    [
        ("mlp", "table", {"hidden": (9, 8)}),
        ("gru", "series", {"width": 9}),
        ("transformer", "series", {"width": 24}),
        ("cnn", "images", {"widths": (3, 5)}),
        ("efficientnet_b0", "images", {}),
        ("resnet18", "images", {"norm": "local"}),
    ],
)
def test_no_array_of_a_new_network_is_compiled(
    compiled: list[str], model: str, gives: str, config: dict[str, Any]
) -> None:
    def start(seed: int, features: int) -> list[np.ndarray]:
        config_ = models.configure(models.load(model).Config, config)
        net = _network.network(model, config_, gives=gives, features=features, outputs=3)
        return [np.asarray(leaf) for leaf in net.initial(np.uint32(seed))]

    first = start(0, 3)  # what keys need is compiled here
    heard = len(compiled)
    again, other = start(0, 3), start(1, 3)
    wider = start(0, 4)

    assert compiled[heard:] == []
    jax.jit(lambda x: x + 1)(np.zeros(3))
    assert compiled[heard:]  # or nothing would have been heard above
    assert all(map(np.array_equal, first, again))
    drawn = [leaf.size > 1 and leaf.std() > 0 for leaf in first]
    assert any(drawn)
    assert all(
        not np.array_equal(a, b) for a, b, random in zip(first, other, drawn, strict=True) if random
    )
    assert sum(leaf.size for leaf in wider) > sum(leaf.size for leaf in first)
