"""What record-level privacy promises: how much noise it takes, what is spent, what it tells."""

import math
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import Array

import models
from fedtui import disclosure
from models import ModelError, Privacy, Training, _network, _privacy, _program
from models._ghost import clipped_sum
from models._layers import Linear
from models._noise import Guard
from models._privacy import Plan, epsilon, plan
from tests.test_models_privacy import dense, site, trained


def gaussian(steps: int, noise: float, delta: float) -> float:
    """Epsilon of the Gaussian mechanism in closed form: Balle and Wang, ICML 2018, theorem 8."""
    phi, sigma = NormalDist().cdf, noise / math.sqrt(steps)

    def spent(e: float) -> float:
        return phi(0.5 / sigma - e * sigma) - math.exp(e) * phi(-0.5 / sigma - e * sigma)

    low, high = 0.0, 100.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if spent(middle) > delta else (low, middle)
    return high


@pytest.mark.parametrize(("steps", "noise"), [(1, 1.0), (50, 10.0), (10, 20.0)])
def test_accounting_agrees_with_the_closed_form(steps: int, noise: float) -> None:
    truth = gaussian(steps, noise, 1e-5)

    assert epsilon(noise=noise, rate=1, steps=steps, delta=1e-5, by="pld") == pytest.approx(
        truth, rel=5e-3
    )
    rdp = epsilon(noise=noise, rate=1, steps=steps, delta=1e-5)
    assert truth < rdp < 1.3 * truth


@pytest.mark.parametrize(
    ("examples", "target", "noise"),
    [(2000, 3.0, 3.3), (8000, 3.0, 1.9), (40_000, 8.0, 0.72)],
)
def test_the_noise_for_a_promise_is_what_was_measured_before(
    examples: int, target: float, noise: float
) -> None:
    found = plan(Privacy(epsilon=target), examples=examples, batch=512, epochs=1, rounds=20)

    assert found.noise == pytest.approx(noise, rel=0.05)  # TRUST.md 2.2 gives two digits
    assert 0.99 * target < found.spent(20) <= target
    assert found.spent(20, by="pld") < found.spent(20)
    assert 0 == found.spent(0) < found.spent(1) < found.spent(10)


def test_delta_stays_below_one_in_the_number_of_patients() -> None:
    settings: dict[str, int] = {"examples": 1000, "batch": 100, "epochs": 1, "rounds": 1}

    assert plan(Privacy(noise=1.0), **settings).delta == pytest.approx(1e-4, rel=0.003)
    assert plan(Privacy(noise=1.0, delta=9e-4), **settings).delta == 9e-4
    with pytest.raises(ModelError, match=r"^delta: .* one of the site's records, up to 1002"):
        plan(Privacy(noise=1.0, delta=1e-3), **settings)


def test_a_promise_that_no_noise_keeps_is_refused() -> None:
    with pytest.raises(ModelError, match=r"^epsilon: no noise keeps"):
        plan(Privacy(epsilon=1e-6, delta=1e-12), examples=10, batch=10, epochs=100, rounds=100)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({}, "epsilon"),
        ({"epsilon": 1.0, "noise": 1.0}, "epsilon"),
        ({"noise": 0.0}, "noise"),
        ({"noise": 1.0, "clip": -1.0}, "clip"),
        ({"noise": 1.0, "delta": 1.0}, "delta"),
    ],
)
def test_a_wrong_promise_is_named(settings: dict[str, float], key: str) -> None:
    with pytest.raises(ModelError, match=f"^{key}: "):
        Privacy(**settings)


def test_what_privacy_cannot_cover_is_refused() -> None:
    with pytest.raises(ModelError, match=r"^patience: "):
        site(Privacy(noise=1.0), columns=3, patience=2)
    with pytest.raises(ModelError, match=r"^share: "):
        site(Privacy(noise=1.0), columns=3, share=0.5)
    config, guard = models.load("resnet18").Config(norm="local"), Guard(1.0, 1.0, 8.0)
    with pytest.raises(ModelError, match=r"^resnet18: .*per-example"):
        _program.program("resnet18", config, Training(), 0, 1, gives="images", guard=guard)


def test_a_parameter_outside_the_measured_layers_is_found() -> None:
    class Odd(nnx.Module):
        def __init__(self) -> None:
            self.inner = Linear(2, 2, rngs=nnx.Rngs(0))
            self.loose = nnx.Param(jnp.zeros(3))

    assert _network._unmeasured(Odd()) == ("loose",)
    assert _network._unmeasured(dense()) == ()


@pytest.mark.parametrize("tied", [False, True])
def test_parameters_that_are_used_twice_in_a_pass_are_refused(tied: bool) -> None:
    class Twice(nnx.Module):
        def __init__(self) -> None:
            self.first = Linear(2, 2, rngs=nnx.Rngs(0))
            self.second = Linear(2, 2, rngs=nnx.Rngs(0)) if tied else self.first
            if tied:
                self.second.kernel = self.first.kernel

        def __call__(self, x: Array) -> Array:
            return self.second(self.first(x))

    graph, state = nnx.split(Twice())
    leaves, tree = jax.tree.flatten(state)

    def losses(leaves: list[Array]) -> tuple[Array, Array]:
        network: Any = nnx.merge(graph, jax.tree.unflatten(tree, leaves))
        loss = network(jnp.ones((3, 2))).sum(axis=1)
        return loss, loss

    with pytest.raises(ModelError, match=r"^privacy: parameters of a Linear are used twice"):
        clipped_sum(losses, leaves, jnp.ones(3, bool), clip=1.0)


def test_an_engine_tells_its_plan() -> None:
    engine = site(Privacy(epsilon=4.0), columns=3, batch=8, epochs=2, rounds=3)

    assert engine.plan is not None
    assert replace(engine.plan, noise=0.0) == Plan(
        clip=1.0, noise=0.0, rate=8 / 38, batch=8 / 38 * 40, steps=12, rounds=3, delta=1 / 420
    )  # of 40 rows, which are told as those of 38 or 42 are
    assert engine.plan.spent(3) <= 4.0
    assert trained(engine).steps == 12
    assert _privacy.epsilon(
        noise=engine.plan.noise, rate=8 / 38, steps=36, delta=1 / 420
    ) == pytest.approx(4.0, rel=0.01)


@pytest.mark.parametrize(
    ("privacy", "batch"), [(Privacy(epsilon=3.0), 64), (Privacy(noise=1.0), 20)]
)
def test_a_plan_tells_no_more_of_how_many_rows_there_are_than_their_rounded_number(
    privacy: Privacy, batch: int
) -> None:
    def planned(examples: int) -> Plan:
        return plan(privacy, examples=examples, batch=batch, epochs=2, rounds=5)

    plans = {examples: planned(examples) for examples in range(698, 708)}

    assert len({disclosure.rounded(examples) for examples in plans}) == 2
    for examples, found in plans.items():
        assert found == planned(disclosure.rounded(examples))
        # And promises as much to every number that is told alike.
        own = epsilon(
            noise=found.noise,
            rate=batch / examples,
            steps=2 * math.ceil(examples / batch) * 5,
            delta=found.delta,
        )
        assert own <= found.spent(5) < 1.05 * own
        assert found.delta < 1 / examples


def test_counts_are_rounded_as_those_that_leave_a_site() -> None:
    about, fewest, most = np.transpose([_privacy._alike(examples) for examples in range(1, 60)])

    told = [disclosure.rounded(examples) for examples in range(1, 60)]
    for at, examples in enumerate(range(1, 60)):
        alike = [1 + n for n, other in enumerate(told) if other == told[at]]
        assert fewest[at] == min(alike)
        assert most[at] == max(alike) or examples > 57  # whose like go on beyond
    assert about.tolist() == told
    assert _privacy.ROUNDING == disclosure.ROUNDING


def test_a_round_makes_the_steps_that_are_accounted_for() -> None:
    engine, told = site(Privacy(noise=1.0), columns=3, batch=40), []

    work = engine.train(
        engine.initial(), round=1, stream=0, on_progress=lambda *news: told.append(news[:2])
    )

    assert work.steps == 2  # 40 rows make one step, 42 two
    assert told[-1] == (2, 2)


def test_a_plan_made_for_other_rows_holds_for_these() -> None:
    fixed = site(Privacy(noise=1.0), columns=3, batch=8, counted=100)

    assert fixed.plan == plan(Privacy(noise=1.0), examples=100, batch=8, epochs=1, rounds=1)
    assert trained(fixed).steps == fixed.plan.steps == 13


@pytest.mark.parametrize(
    ("privacy", "rows", "remedy"),
    [
        (Privacy(noise=1.0), 80, "Start another run."),
        (Privacy(noise=1.0, delta=0.05), 40, "Propose the study anew with a smaller one."),
    ],
)
def test_data_that_have_outgrown_a_plan_are_refused(
    privacy: Privacy, rows: int, remedy: str
) -> None:
    with pytest.raises(ModelError, match=r"^delta: 0.0\d+ is too large .* grown since") as refused:
        site(privacy, columns=3, rows=rows, counted=1)

    assert refused.value.remedy == remedy


@pytest.mark.parametrize("batch", [1, 2])
def test_the_smallest_batches_train(batch: int) -> None:
    assert trained(site(Privacy(noise=1.0), columns=3, batch=batch)).steps == -(-42 // batch)
