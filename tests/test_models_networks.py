"""Networks and layers: each against an independent calculation."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.typing import NDArray

import models
from models import ModelError, _convolution, _network, _recurrent
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


@pytest.mark.parametrize(("gives", "layers"), [("table", 1), ("series", 2)])
def test_a_transformer_computes_the_published_formulas(gives: str, layers: int) -> None:
    width = 8
    net = network("transformer", gives, width=width, heads=2, layers=layers)
    drawn = jax.jit(net.initial)(3)
    random = np.random.default_rng(0)
    leaves = [leaf + 0.1 * random.normal(size=leaf.shape) for leaf in drawn]  # no bias is 0
    w = named(net, leaves)
    steps = (HOURS, FEATURES) if gives == "series" else (FEATURES,)
    x = random.normal(size=(2, *steps)).astype(np.float32)
    measured = random.random(x.shape) < 0.7
    inputs = (jnp.asarray(x), jnp.asarray(measured)) if gives == "series" else jnp.asarray(x)

    found = logits(net, [jnp.asarray(leaf, jnp.float32) for leaf in leaves], inputs)

    def normal(v: Any, name: str) -> Any:
        even = (v - v.mean(-1, keepdims=True)) / np.sqrt(v.var(-1, keepdims=True) + 1e-5)
        return even * w[f"{name}.affine.scale"] + w[f"{name}.affine.bias"]

    def dense(v: Any, name: str) -> Any:
        return v @ w[f"{name}.kernel"] + w[f"{name}.bias"]

    def given(example: int) -> Any:
        if gives == "table":
            return x[example].astype(np.float64)[:, None] * w["given.kernel"] + w["given.bias"]
        hours = np.concatenate([x[example], measured[example]], axis=1).astype(np.float64)
        angle = [[t / 10_000 ** (2 * k / width) for k in range(width // 2)] for t in range(HOURS)]
        return dense(hours, "given") + np.hstack([np.sin(angle), np.cos(angle)])

    by_hand = []
    for example in range(2):
        tokens = np.vstack([w["token.value"], given(example)])
        for block in (f"blocks.{number}" for number in range(layers)):
            triple = dense(normal(tokens, f"{block}.first_norm"), f"{block}.attention.given")
            query, key, value = np.split(triple, 3, axis=1)
            heads = []
            for part in (slice(0, 4), slice(4, 8)):
                score = np.exp(query[:, part] @ key[:, part].T / np.sqrt(4))
                heads.append(score / score.sum(1, keepdims=True) @ value[:, part])
            tokens = tokens + dense(np.hstack(heads), f"{block}.attention.joined")
            wide = dense(normal(tokens, f"{block}.second_norm"), f"{block}.wide")
            gelu = wide / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (wide + 0.044715 * wide**3)))
            tokens = tokens + dense(gelu, f"{block}.narrow")
        by_hand.append(dense(normal(tokens[0], "norm"), "head"))
    np.testing.assert_allclose(found, by_hand, atol=2e-5)  # float32


@pytest.mark.parametrize(("gives", "layers"), [("table", 1), ("table", 3), ("series", 2)])
def test_a_transformer_has_the_parameters_of_its_formula(gives: str, layers: int) -> None:
    d = 8

    net = network("transformer", gives, width=d, heads=2, layers=layers)

    given = 2 * FEATURES * d + (d if gives == "series" else 0)  # a weight and an offset a column
    block = 12 * d**2 + 9 * d + 4 * d  # dense layers, their biases, two normalisations
    assert net.manifest.size == given + d + layers * block + 2 * d + (d * 2 + 2)


def test_a_perceptron_is_relu_between_dense_layers() -> None:
    net = network("mlp", "table", hidden=(5, 4))
    random = np.random.default_rng(0)
    leaves = [random.normal(size=entry.shape) for entry in net.manifest.entries]
    w = named(net, leaves)
    x = random.normal(size=(6, FEATURES)).astype(np.float32)

    found = logits(net, [jnp.asarray(leaf, jnp.float32) for leaf in leaves], jnp.asarray(x))

    y = x.astype(np.float64)
    for place in (0, 2):
        y = np.maximum(0, y @ w[f"layers.{place}.kernel"] + w[f"layers.{place}.bias"])
    np.testing.assert_allclose(
        found, y @ w["layers.4.kernel"] + w["layers.4.bias"], atol=2e-5
    )  # float32


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
