"""Record-level privacy: clipping against plain per-example gradients, and a step's noise."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import Array
from numpy.typing import NDArray

from datasets import Dataset, Feature, Split
from models import (
    Privacy,
    Training,
    _descent,
    _engine,
    _ghost,
    _noise,
    _program,
)
from models._attention import Transformer
from models._batches import sampled, widths
from models._efficientnet import Block
from models._engine import Engine
from models._ghost import clipped_sum
from models._layers import Linear
from models._noise import Bits, Guard
from models._recurrent import Gru
from models._resnet import ResNet
from models._rounds import Trained

BATCH, CLIP = 4, 0.5


def table(*shape: int) -> Array:
    return jnp.asarray(np.random.default_rng(1).normal(size=(BATCH, *shape)), jnp.float32)


def series() -> tuple[Array, Array]:
    x = table(6, 3)
    return x, x > -1


def image(side: int = 8) -> tuple[Array, Array]:
    pixels = np.random.default_rng(2).integers(0, 256, (BATCH, side, side, 3), dtype=np.uint8)
    return jnp.asarray(pixels), table(2)


def dense() -> nnx.Module:
    rngs = nnx.Rngs(0)
    return nnx.Sequential(Linear(5, 7, rngs=rngs), nnx.relu, Linear(7, 1, rngs=rngs))


class Inverted(nnx.Module):
    """A block of EfficientNet, which filters each channel alone, and a sum."""

    def __init__(self) -> None:
        self.block = Block(8, 16, expansion=2, size=5, stride=2, norm="group", rngs=nnx.Rngs(0))

    def __call__(self, x: Array) -> Array:
        return jnp.sin(self.block(x, None)).sum(axis=(1, 2, 3))[:, None]


def resnet(norm: Any) -> nnx.Module:
    sizes = {"features": 2, "outputs": 1, "rngs": nnx.Rngs(0)}
    return ResNet(blocks=(1,), norm=norm, **sizes)  # type: ignore[arg-type]


def gru() -> nnx.Module:
    return Gru(features=3, outputs=1, width=4, layers=2, rngs=nnx.Rngs(0))


def transformer(gives: str) -> nnx.Module:
    sizes = {"features": 3, "outputs": 1, "width": 8, "heads": 2, "layers": 1}
    return Transformer(gives=gives, rngs=nnx.Rngs(0), **sizes)  # type: ignore[arg-type]


NETWORKS: dict[str, tuple[Callable[[], nnx.Module], Callable[[], Any]]] = {
    "dense": (dense, lambda: table(5)),
    "recurrent": (gru, series),
    "transformer over a table": (lambda: transformer("table"), lambda: table(3)),
    "transformer over a series": (lambda: transformer("series"), series),
    "convolution, group norm, metadata": (lambda: resnet("group"), image),
    "convolution, frozen norm, metadata": (lambda: resnet("frozen"), image),
    "convolution over more places": (lambda: resnet("group"), lambda: image(24)),
    "depthwise convolution, excitation": (Inverted, lambda: table(6, 6, 8)),
}


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(name, marks=[pytest.mark.slow] if "frozen" in name or "table" in name else [])
        for name in NETWORKS
    ],
)
def test_clipping_by_ghost_norms_is_clipping_of_plain_gradients(kind: str) -> None:
    build, inputs = NETWORKS[kind]
    module, x = build(), inputs()
    graph, state = nnx.split(module)
    leaves, tree = jax.tree.flatten(state)
    # Away from 0, where some blocks start, so that every parameter has a gradient.
    random = np.random.default_rng(3)
    leaves = [leaf + 0.1 * random.random(leaf.shape).astype(np.float32) for leaf in leaves]
    y, spread = jnp.asarray([1.0, -1, 1, 1]), 1000.0 if "frozen" in kind else 1.0

    def losses(leaves: list[Array], x: Any = x, y: Array = y) -> tuple[Array, Array]:
        arguments = x if isinstance(x, tuple) else (x,)
        network: Any = nnx.merge(graph, jax.tree.unflatten(tree, leaves))
        # Logits of unnormalised images are large; a saturated loss has no slope.
        loss = jax.nn.softplus(-y * network(*arguments)[:, 0] / spread)
        return loss, loss

    @jax.jit
    def alone(x: Any, y: Array) -> list[Array]:
        found: list[Array] = jax.grad(lambda v: losses(v, x, y)[0].sum())(leaves)
        return found

    gradients = [
        alone(jax.tree.map(lambda part: part[row : row + 1], x), y[row : row + 1])  # noqa: B023
        for row in range(BATCH)
    ]
    norms = [math.sqrt(sum(float((leaf**2).sum()) for leaf in g)) for g in gradients]
    clip = sorted(norms)[1]  # bites for some and not for all
    real = np.array([True, True, False, True])
    factors = [min(1, clip / norm) * weigh for norm, weigh in zip(norms, real, strict=True)]
    scale = max(1.0, clip)

    found, _ = jax.jit(lambda v: clipped_sum(losses, v, jnp.asarray(real), clip=clip))(leaves)

    for place, leaf in enumerate(found):
        plain = sum(f * np.asarray(g[place]) for f, g in zip(factors, gradients, strict=True))
        np.testing.assert_allclose(leaf / scale, plain / scale, atol=1e-6)


def test_no_gradient_is_longer_than_the_clip_in_bfloat16_either() -> None:
    graph, state = nnx.split(dense())
    leaves, tree = jax.tree.flatten(state)
    clip = 0.7

    @jax.jit
    def length(x: Array) -> Array:
        def losses(leaves: list[Array]) -> tuple[Array, Array]:
            narrow = [leaf.astype(jnp.bfloat16) for leaf in leaves]
            network: Any = nnx.merge(graph, jax.tree.unflatten(tree, narrow))
            loss = 1e3 * network(x)[:, 0].astype(jnp.float32)
            return loss, loss

        def wide(leaves: list[Array]) -> tuple[Array, Array]:
            network: Any = nnx.merge(graph, jax.tree.unflatten(tree, leaves))
            loss = network(x)[:, 0]
            return loss, loss

        found, _ = clipped_sum(losses, leaves, jnp.asarray([True]), clip=clip, wide=wide)
        return jnp.sqrt(sum(jnp.vdot(leaf, leaf) for leaf in found))

    points = np.random.default_rng(0).normal(size=(300, 1, 5)).astype(np.float32)
    lengths = np.array([length(x) for x in points])

    assert lengths.max() <= clip * (1 + 1e-6)
    assert lengths.min() >= clip * (1 - 1e-6)  # they were longer


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_record_moves_a_large_sum_by_no_more_than_the_clip(precision: str) -> None:
    def summed(rows: int) -> NDArray[np.float64]:
        quiet = Privacy(noise=1e-7, clip=1.0)
        engine = site(quiet, rows=rows, columns=1000, alike=True, precision=precision)
        assert engine.plan is not None
        return -trained(engine).vector.astype(np.float64) * engine.plan.batch

    # Of 254 alike the sum's numbers have their last bfloat16 digit where one record's are.
    moved = np.linalg.norm(summed(255) - summed(254))

    assert moved == pytest.approx(1, abs=1e-3)  # float32's rounding of 254 clips, in 1,001 places


@pytest.mark.parametrize("size", [1.0, 300.0, 1e4])
def test_steps_that_cancel_each_other_are_clipped_all_the_same(size: float) -> None:
    random = np.random.default_rng(0)
    x = np.repeat(random.normal(size=(1, 1, 64)), 16, axis=1).astype(np.float32)
    slope = size * random.normal(size=(1, 16, 64))
    slope -= slope.mean(axis=1, keepdims=True)  # what is left is the next line's
    slope[:, 0] += 0.3 * random.normal(size=64)
    slope = slope.astype(np.float32)

    def losses(leaves: list[Array]) -> tuple[Array, Array]:
        output = _ghost.layer(nnx.Module(), lambda x: x @ leaves[0], _ghost.dense, jnp.asarray(x))
        loss = (output * slope).sum(axis=(1, 2))
        return loss, loss

    found, _ = jax.jit(lambda v: clipped_sum(losses, [v], jnp.asarray([True]), clip=1.0))(
        jnp.zeros((64, 64))
    )

    whole = np.einsum("bti,bto->io", x.astype(np.float64), slope.astype(np.float64))
    assert np.linalg.norm(whole) > 10
    assert np.linalg.norm(found[0]) == pytest.approx(1, abs=0.01)  # rounding of terms so large


def split(rows: int, first: int, columns: int, *, alike: bool = False) -> Split:
    random = np.random.default_rng(first)
    x = random.normal(size=(rows, columns)).astype(np.float32)
    x = np.full_like(x, 3.0) if alike else x
    y = (x[:, 0] > 0).astype(np.int32)
    return Split(x=x, mask=np.ones_like(x, dtype=bool), y=y, groups=np.arange(first, first + rows))


def site(
    privacy: Privacy | None,
    *,
    rows: int = 40,
    columns: int = 3000,
    alike: bool = False,
    **other: Any,
) -> Engine:
    data = Dataset(
        name="made",
        part="all",
        features=tuple(Feature(name=f"f{column}") for column in range(columns)),
        classes=("no", "yes"),
        train=split(rows, 0, columns, alike=alike),
        validation=split(4, 10**6, columns),
        test=split(4, 10**7, columns),
    )
    settings: dict[str, Any] = {"secret": 5, "rounds": 1} | {
        key: other.pop(key) for key in ("secret", "rounds", "counted") if key in other
    }
    return Engine(
        model=other.pop("model", "logistic"),
        config={},
        # Two more, for a plan is made for as many: one step takes everybody.
        training=Training(**{"learning_rate": 1.0, "batch": rows + 2} | other),
        data=data,
        seed=7,
        normalisation=None,
        privacy=privacy,
        **settings,
    )


def one_step(engine: Engine) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The change of one step with all examples, and their gradients' sum, clipped by hand: both
    times the number that the step divides by.
    """
    assert engine.plan is not None
    start = np.zeros(engine.manifest.size, dtype=np.float32)
    change = engine.train(start, round=1, stream=0).vector.astype(np.float64)
    train = engine._data.train
    slopes = (0.5 - train.y)[:, None] * np.column_stack([np.ones(len(train)), train.x])
    norms = np.linalg.norm(slopes, axis=1, keepdims=True)
    clipped = slopes * np.minimum(1, CLIP / norms)
    return change * engine.plan.batch, clipped.sum(axis=0)


def check_one_step() -> None:
    """Raises AssertionError unless the step is DP-SGD's: each clipped, the sum noised."""
    noise = 3.0
    change, clipped = one_step(site(Privacy(noise=noise, clip=CLIP)))
    drawn = -change - clipped
    # 3,001 draws know their deviation to 1.3 %, and their mean to 1.8 % of it.
    assert drawn.std() == pytest.approx(noise * CLIP, rel=0.06)
    assert abs(drawn.mean()) < 0.08 * noise * CLIP
    change, clipped = one_step(site(Privacy(noise=1e-6, clip=CLIP)))
    np.testing.assert_allclose(-change, clipped, atol=4e-5)


def test_a_step_clips_each_example_and_noises_the_sum() -> None:
    check_one_step()


def dropped(summed: Any, moves: Any, draws: Any, guard: Guard) -> Any:
    return [leaf / guard.batch for leaf in summed]


def unclipped(losses: Any, leaves: Any, real: Any, *, clip: float, wide: Any) -> Any:
    del clip
    return clipped_sum(losses, leaves, real, clip=1e9, wide=wide)


def clipped_after(summed: Any, moves: Any, draws: Any, guard: Guard) -> Any:
    noisy = _noise.noised(summed, moves, draws, guard._replace(batch=1.0))
    norm = jnp.sqrt(sum((leaf**2).sum() for leaf in noisy))
    factor = jnp.minimum(1.0, guard.clip / norm)
    return [factor * leaf / guard.batch for leaf in noisy]


def half_noise(summed: Any, moves: Any, draws: Any, guard: Guard) -> Any:
    return _noise.noised(summed, moves, draws, guard._replace(noise=guard.noise / 2))


@pytest.mark.parametrize(
    "mutation",
    [
        {"noised": dropped},
        {"noised": half_noise},
        {"clipped_sum": unclipped},
        {"clipped_sum": unclipped, "noised": clipped_after},
    ],
    ids=["no noise", "half the noise", "no clip", "noise before clip"],
)
def test_a_wrong_step_is_noticed(mutation: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_engine, "program", _program.program.__wrapped__)
    for name, wrong in mutation.items():
        monkeypatch.setattr(_descent, name, wrong)

    with pytest.raises(AssertionError):
        check_one_step()


def trained(engine: Engine, round: int = 1) -> Trained:
    start = np.zeros(engine.manifest.size, dtype=np.float32)
    return engine.train(start, round=round, stream=0)


def test_the_noise_is_the_sites_secret_and_repeats_with_it() -> None:
    def bits(secret: int | None, round: int = 1) -> bytes:
        engine = site(Privacy(noise=1.0), columns=5, batch=8, secret=secret)
        return trained(engine, round).vector.tobytes()

    assert bits(5) == bits(5)
    assert len({bits(5), bits(6), bits(None), bits(None), bits(5, round=2)}) == 5


def test_a_batch_in_pieces_has_the_same_noise() -> None:
    whole, cut = (site(Privacy(noise=1.0), columns=5, batch=8, momentum=0.5) for _ in range(2))
    cut._bench.pieces = 2
    cut._bench.program = cut._compiled(2)

    np.testing.assert_allclose(trained(cut).vector, trained(whole).vector, atol=1e-5)


def test_penalties_that_see_no_record_are_not_noised() -> None:
    quiet = Privacy(noise=1e-9, clip=1e3)
    settings: dict[str, Any] = {"columns": 5, "batch": 42, "epochs": 3, "l2": 0.3, "proximal": 0.4}

    private, plain = trained(site(quiet, **settings)), trained(site(None, **settings))

    np.testing.assert_allclose(private.vector, plain.vector, atol=1e-5)  # float32, three steps


def test_steps_of_every_size_are_clipped_and_divided_alike() -> None:
    quiet = Privacy(noise=1e-6, clip=CLIP)
    engine = site(quiet, rows=400, columns=3, batch=100, epochs=6, learning_rate=0.5)
    assert engine.plan is not None
    train, by_hand = engine._data.train, np.zeros(4)
    x = np.column_stack([np.ones(400), train.x])
    used, epochs = set(), [Bits("samples", 5, 7, 1, 0, epoch) for epoch in range(1, 7)]
    for rows in (row for bits in epochs for row in sampled(bits, 400, engine.plan, 6)):
        own = rows[rows >= 0]
        slopes = (1 / (1 + np.exp(-x[own] @ by_hand)) - train.y[own])[:, None] * x[own]
        norms = np.linalg.norm(slopes, axis=1, keepdims=True)
        by_hand = (
            by_hand - 0.5 * (slopes * np.minimum(1, CLIP / norms)).sum(axis=0) / engine.plan.batch
        )
        used.add(np.searchsorted(widths(len(rows), 100), len(own)))

    np.testing.assert_allclose(trained(engine).vector, by_hand, atol=1e-5)
    assert used >= {0, 1}
