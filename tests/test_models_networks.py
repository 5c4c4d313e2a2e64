"""Networks over series, tables and images: each against an independent calculation."""

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.typing import NDArray

import models
from datasets import Dataset, Feature, Split
from datasets import Pictures as Images
from models import ModelError, Training, _convolution, _engine, _network, _program, _recurrent
from models._engine import Engine
from models._images import ImageConfig
from models._network import Network

HOURS, FEATURES = 5, 3


def network(model: str, gives: str, **config: Any) -> Network:
    settings = models.configure(models.load(model).Config, config)
    return _network.network(model, settings, gives=gives, features=FEATURES, outputs=2)


def named(net: Network, leaves: Any) -> dict[str, NDArray[np.float64]]:
    entries = net.manifest.entries
    return {e.name: np.asarray(leaf, np.float64) for e, leaf in zip(entries, leaves, strict=True)}


def logits(net: Network, leaves: Any, inputs: Any) -> NDArray[np.float32]:
    return np.asarray(jax.jit(lambda *given: net.logits(*given, None)[0])(leaves, inputs))


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def test_a_gru_computes_what_pytorchs_formula_says() -> None:
    net = network("gru", "series", width=4, layers=2)
    leaves = jax.jit(net.initial)(3)
    w = named(net, leaves)
    random = np.random.default_rng(0)
    x = random.normal(size=(2, HOURS, FEATURES)).astype(np.float32)
    measured = random.random(x.shape) < 0.7

    found = logits(net, leaves, (jnp.asarray(x), jnp.asarray(measured)))

    layer = np.concatenate([x, measured], axis=-1).astype(np.float64)
    for number in range(2):  # torch.nn.GRU's documentation, its weights transposed
        state, states = np.zeros((2, 4)), []
        for hour in range(HOURS):
            given = layer[:, hour] @ w[f"given.{number}.kernel"] + w[f"given.{number}.bias"]
            own = state @ w[f"recurrent.{number}.kernel"] + w[f"recurrent.{number}.bias"]
            (ir, iz, in_), (hr, hz, hn) = np.split(given, 3, 1), np.split(own, 3, 1)
            r, z = sigmoid(ir + hr), sigmoid(iz + hz)
            state = (1 - z) * np.tanh(in_ + r * hn) + z * state
            states.append(state)
        layer = np.stack(states, axis=1)
    by_hand = layer[:, -1] @ w["head.kernel"] + w["head.bias"]
    np.testing.assert_allclose(found, by_hand, atol=1e-5)  # float32
    # torch.nn.GRU has 3h(i + h) weights and 6h biases in each layer; the last one is dense.
    torch = sum(3 * 4 * (i + 4) + 6 * 4 for i in (2 * FEATURES, 4)) + 4 * 2 + 2
    assert net.manifest.size == torch


def test_the_gru_s_own_way_back_is_the_derivative() -> None:
    random = np.random.default_rng(1)
    given, kernel, bias = (
        jnp.asarray(random.normal(size=shape), jnp.float32)
        for shape in ((HOURS, 2, 9), (3, 9), (9,))
    )
    aim = jnp.asarray(random.normal(size=(HOURS, 2, 3)), jnp.float32)

    by_hand = jax.grad(lambda *a: (_recurrent._unroll(*a, None) * aim).sum(), argnums=(0, 1, 2))(
        given, kernel, bias
    )
    by_jax = jax.grad(lambda *a: (_recurrent._onward(*a, None)[0] * aim).sum(), argnums=(0, 1, 2))(
        given, kernel, bias
    )

    for a, b in zip(by_hand, by_jax, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)  # float32, another order of sums


def test_a_transformer_over_a_table_computes_the_published_formulas() -> None:
    net = network("transformer", "table", width=8, heads=2, layers=1)
    leaves = jax.jit(net.initial)(3)
    w = named(net, leaves)
    x = np.random.default_rng(0).normal(size=(2, FEATURES)).astype(np.float32)

    found = logits(net, leaves, jnp.asarray(x))

    def normal(v: Any, name: str) -> Any:
        even = (v - v.mean(-1, keepdims=True)) / np.sqrt(v.var(-1, keepdims=True) + 1e-5)
        return even * w[f"{name}.affine.scale"] + w[f"{name}.affine.bias"]

    def dense(v: Any, name: str) -> Any:
        return v @ w[f"{name}.kernel"] + w[f"{name}.bias"]

    by_hand = []
    for row in x.astype(np.float64):
        tokens = np.vstack([w["token.value"], row[:, None] * w["given.kernel"] + w["given.bias"]])
        given = dense(normal(tokens, "blocks.0.first_norm"), "blocks.0.attention.given")
        query, key, value = np.split(given, 3, axis=1)
        heads = []
        for part in (slice(0, 4), slice(4, 8)):
            score = np.exp(query[:, part] @ key[:, part].T / np.sqrt(4))
            heads.append(score / score.sum(1, keepdims=True) @ value[:, part])
        tokens = tokens + dense(np.hstack(heads), "blocks.0.attention.joined")
        wide = dense(normal(tokens, "blocks.0.second_norm"), "blocks.0.wide")
        gelu = wide / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (wide + 0.044715 * wide**3)))
        tokens = tokens + dense(gelu, "blocks.0.narrow")
        by_hand.append(dense(normal(tokens[0], "norm"), "head"))
    np.testing.assert_allclose(found, by_hand, atol=1e-5)  # float32


@pytest.mark.parametrize("model", ["gru", "transformer"])
def test_the_hour_and_the_missing_value_matter(model: str) -> None:
    net = network(model, "series", width=8)
    leaves = jax.jit(net.initial)(0)
    random = np.random.default_rng(0)
    x = jnp.asarray(random.normal(size=(1, HOURS, FEATURES)), jnp.float32)
    seen = jnp.ones(x.shape, dtype=bool)

    plain, late, unseen = (
        logits(net, leaves, inputs)
        for inputs in ((x, seen), (x[:, ::-1], seen), (x, seen.at[0, 2].set(False)))
    )

    assert not np.allclose(plain, late, atol=1e-4)
    assert not np.allclose(plain, unseen, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "stride", "side"), [(1, 1, 7), (1, 2, 7), (1, 2, 8), (3, 1, 7), (3, 2, 8), (7, 2, 7)]
)
def test_a_product_with_patches_is_a_convolution(size: int, stride: int, side: int) -> None:
    random = np.random.default_rng(0)
    x = jnp.asarray(random.normal(size=(2, side, side, 3)), jnp.float32)
    kernel = jnp.asarray(random.normal(size=(size, size, 3, 4)), jnp.float32)

    product, by_xla = jax.jit(
        lambda x, kernel: (
            _convolution._product(x, kernel, stride),
            _convolution._strided(x, kernel, stride),
        )
    )(x, kernel)

    np.testing.assert_allclose(product, by_xla, atol=2e-5)  # float32, another order of sums


@pytest.mark.parametrize(
    ("size", "stride", "side"), [(3, 1, 7), (3, 2, 8), (5, 1, 6), (5, 2, 7), (5, 2, 4)]
)
def test_a_sum_of_shifted_copies_is_a_depthwise_convolution(
    size: int, stride: int, side: int
) -> None:
    random = np.random.default_rng(0)
    x = jnp.asarray(random.normal(size=(2, side, side, 3)), jnp.float32)
    kernel = jnp.asarray(random.normal(size=(size, size, 1, 3)), jnp.float32)

    shifted, by_xla = jax.jit(
        lambda x, kernel: (
            _convolution._shifted(x, kernel, stride),
            _convolution._grouped(x, kernel, stride),
        )
    )(x, kernel)

    np.testing.assert_allclose(shifted, by_xla, atol=2e-5)  # float32, another order of sums


def test_a_convolution_in_a_loop_is_the_one_outside() -> None:
    layer = _convolution.Convolution(3, 4, 3, rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 12, 12, 3)), jnp.float32)

    outside = jax.make_jaxpr(lambda x: layer(x))(x)
    with _convolution.nested():
        inside = jax.make_jaxpr(lambda x: layer(x))(x)
        found = layer(x)

    assert "conv_general_dilated" in str(outside)
    assert "conv_general_dilated" not in str(inside)
    np.testing.assert_allclose(found, layer(x), atol=2e-5)


def test_the_largest_neighbour_is_found_as_xla_does() -> None:
    random = np.random.default_rng(0)
    x = jnp.asarray(random.normal(size=(2, 7, 8, 3)), jnp.float32)
    slope = jnp.asarray(random.normal(size=(2, 4, 4, 3)), jnp.float32)

    def by_xla(x: Any) -> Any:
        margins = ((0, 0), (1, 1), (1, 1), (0, 0))
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), margins)

    found, back = jax.vjp(jax.jit(_convolution.largest), x)
    wanted, wanted_back = jax.vjp(by_xla, x)

    assert np.array_equal(found, wanted)
    np.testing.assert_allclose(back(slope)[0], wanted_back(slope)[0], atol=1e-6)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """'resnet18' has one block instead of eight, so that it compiles in a second."""
    from models._resnet import ResNet

    def build(config: ImageConfig, *, gives: str, **sizes: Any) -> ResNet:
        return ResNet(blocks=(1,), norm=config.norm, **sizes)

    source = SimpleNamespace(EATS="images", Config=ImageConfig, build=build)
    monkeypatch.setattr(models, "load", lambda _: source)
    monkeypatch.setattr(_engine, "program", _program.program.__wrapped__)


def pictures(norm: str, *, batch: int = 3, features: int = 2, **training: Any) -> Engine:
    """Ten images of 16 x 16, which a few steps of a ResNet-18 tell apart by their brightness."""

    def split(rows: int, first: int) -> Split:
        random = np.random.default_rng(first)
        y = (np.arange(rows) % 2).astype(np.int32)
        bright = np.where(y == 1, 90, 0)[:, None, None, None]
        image = random.integers(0, 160, (rows, 16, 16, 3)) + bright
        x = random.normal(size=(rows, features)).astype(np.float32)
        return Split(
            x=x,
            mask=np.ones_like(x, dtype=bool),
            y=y,
            groups=np.arange(first, first + rows),
            pictures=Images(pixels=image.astype(np.uint8), rows=np.arange(rows)),
        )

    data = Dataset(
        name="made",
        part="all",
        features=tuple(Feature(name=f"f{column}") for column in range(features)),
        classes=("dark", "bright"),
        train=split(10, 0),
        validation=split(4, 10**6),
        test=split(6, 10**7),
        gives="images",
    )
    return Engine(
        model="resnet18",
        config={"norm": norm},
        training=Training(batch=batch, optimizer="adam", learning_rate=1e-3, **training),
        data=data,
        seed=0,
        normalisation=None,
    )


def test_site_statistics_stay_at_the_site_and_move_with_its_images(small: None) -> None:
    site = pictures("local")
    start = site.initial()

    first = site.train(start, round=1, stream=0)
    again = site.train(start, round=1, stream=0)
    second = site.train(first.vector, round=2, stream=0, local=first.local)

    shared = {entry.name for entry in site.manifest.entries}
    kept = {entry.name.rpartition(".")[2] for entry in site.local.entries}
    assert kept == {"own_scale", "own_bias", "own_mean", "own_variance"}
    assert not any("own_" in name for name in shared)
    assert first.local.any()
    assert (first.vector.tobytes(), first.local.tobytes()) == (
        again.vector.tobytes(),
        again.local.tobytes(),
    )
    assert second.local.tobytes() != first.local.tobytes()
    # What sites share of normalisation, the start, is not trained.
    places = np.cumsum([0, *(entry.size for entry in site.manifest.entries)])
    for entry, place in zip(site.manifest.entries, places, strict=False):
        if "norm" in entry.name:
            part = slice(place, place + entry.size)
            assert np.array_equal(second.vector[part], start[part]), entry.name
    plain = site.predict(second.vector)
    assert not np.array_equal(plain, site.predict(second.vector, local=second.local))
    with pytest.raises(ModelError, match="round 2 needs what this site kept"):
        site.train(first.vector, round=2, stream=0)
    with pytest.raises(ModelError, match="own part"):
        site.predict(second.vector, local=second.local[1:])


def test_running_statistics_are_those_of_the_real_examples() -> None:
    from models._normalisation import LocalNorm

    layer = LocalNorm(3, scale=1.0)
    layer.mean[...] = jnp.array([1.0, 2.0, 3.0])
    x = np.random.default_rng(0).normal(2, 3, size=(4, 5, 5, 3)).astype(np.float32)
    real = np.array([True, True, False, True])

    y = nnx.jit(lambda layer, x, real: layer(x, real))(layer, jnp.asarray(x), jnp.asarray(real))

    values = x[real].reshape(-1, 3).astype(np.float64)
    even = (x - values.mean(0)) / np.sqrt(values.var(0) + 1e-5)
    np.testing.assert_allclose(y, even, atol=1e-5)  # float32
    # PyTorch's running statistics: 0.9 of the old, 0.1 of the batch, its variance unbiased.
    mean = layer.mean[...] + layer.own_mean[...]
    variance = layer.variance[...] + layer.own_variance[...]
    np.testing.assert_allclose(mean, 0.9 * np.array([1, 2, 3]) + 0.1 * values.mean(0), rtol=1e-5)
    np.testing.assert_allclose(variance, 0.9 + 0.1 * values.var(0, ddof=1), rtol=1e-5)


@pytest.mark.slow
def test_a_network_learns_what_images_show(small: None) -> None:
    site = pictures("group", epochs=8)

    trained = site.train(site.initial(), round=1, stream=0)

    assert trained.local.size == 0
    assert site.evaluate(trained.vector).metrics["auroc"] == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["group", "frozen", "local"])
def test_resnet18_learns_what_images_show(norm: str) -> None:
    site = pictures(norm, epochs=10)

    trained = site.train(site.initial(), round=1, stream=0)

    metrics = site.evaluate(trained.vector, split="train", local=trained.local).metrics
    assert metrics["auroc"] == 1.0


def test_metadata_decides_where_it_differs() -> None:
    head = _convolution.Head(4, 2, 1, rngs=nnx.Rngs(0))
    channels = jnp.zeros((1, 2, 2, 4))

    a, b = (float(head(channels, jnp.asarray(t, jnp.float32))[0, 0]) for t in ([[0, 0]], [[5, -5]]))

    assert a != b


@pytest.mark.parametrize(
    ("model", "settings", "key"),
    [
        ("gru", {"width": 0}, "width"),
        ("gru", {"layers": 0}, "layers"),
        ("transformer", {"heads": 0}, "heads"),
        ("transformer", {"width": 12, "heads": 4}, "width"),
        ("resnet18", {"norm": "batch"}, "norm"),
        ("efficientnet_b2", {"norm": 1}, "norm"),
    ],
)
def test_a_wrong_setting_of_a_model_is_named(
    model: str, settings: dict[str, Any], key: str
) -> None:
    with pytest.raises(ModelError, match=f"^{key}: "):
        models.configure(models.load(model).Config, settings)
