"""Sites with images: normalisation that federates, the branch for metadata, what stays at home."""

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import models
from datasets import Dataset, Feature, Split
from datasets import Pictures as Images
from models import ModelError, Training, _convolution, _engine, _network, _program
from models._engine import Engine
from models._images import ImageConfig
from models._normalisation import GroupNorm
from models._objective import Objective


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """'resnet18' has one block instead of eight, so that it compiles in a second."""
    from models._resnet import ResNet

    def build(config: ImageConfig, *, gives: str, **sizes: Any) -> ResNet:
        return ResNet(blocks=(1,), norm=config.norm, **sizes)

    source = SimpleNamespace(EATS="images", Config=ImageConfig, build=build)
    monkeypatch.setattr(models, "load", lambda _: source)
    monkeypatch.setattr(_engine, "program", _program.program.__wrapped__)


def pictures(
    norm: str, *, batch: int = 3, features: int = 2, flip: bool = False, **training: Any
) -> Engine:
    """Ten images of 16 x 16, which a few steps of a ResNet-18 tell apart by their brightness.

    Args:
        flip: The validation split calls everything the other way round.
    """

    def split(rows: int, first: int, *, flip: bool = False) -> Split:
        random = np.random.default_rng(first)
        y = (np.arange(rows) % 2).astype(np.int32)
        bright = np.where((y == 1) != flip, 90, 0)[:, None, None, None]
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
        validation=split(4, 10**6, flip=flip),
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


def test_early_stopping_gives_back_the_best_epochs_own_part(small: None) -> None:
    # The validation split calls everything the other way round: it only gets worse.
    start = (site := pictures("local", flip=True, epochs=6, patience=2)).initial()

    stopped = site.train(start, round=1, stream=0)
    best = pictures("local", epochs=stopped.epoch).train(start, round=1, stream=0)
    last = pictures("local", epochs=stopped.epoch + 2).train(start, round=1, stream=0)

    assert stopped.steps == last.steps  # two epochs were trained in vain
    assert stopped.local.tobytes() == best.local.tobytes() != last.local.tobytes()
    assert stopped.vector.tobytes() == best.vector.tobytes() != last.vector.tobytes()


def test_fedprox_pulls_at_what_is_shared_and_not_at_a_sites_own_part() -> None:
    config = models.load("cnn").Config(norm="local", widths=(4,))
    net = _network.network("cnn", config, gives="images", features=2, outputs=1)
    aim = Objective(net=net, training=Training(proximal=3.0), outputs=1, narrow=False)
    shared = len(net.manifest.entries)
    anchor = [jnp.zeros(e.shape) for e in net.manifest.entries + net.local.entries]
    moved = [leaf + 2 for leaf in anchor]

    apart = [float(aim.penalty(anchor[:shared] + moved[shared:], anchor)),
             float(aim.penalty(moved, anchor))]  # fmt: skip

    assert net.local.size
    assert apart == [0.0, 3 / 2 * 4 * net.manifest.size]


@pytest.mark.parametrize(("channels", "groups"), [(7, 1), (16, 2), (24, 3), (512, 32)])
def test_channels_are_normalised_in_groups_as_published(channels: int, groups: int) -> None:
    random = np.random.default_rng(0)
    x = random.normal(1, 3, size=(2, 5, 4, channels)).astype(np.float32)
    layer = GroupNorm(channels, scale=1.0)
    scale, bias = random.normal(size=(2, channels)).astype(np.float32)
    layer.affine.scale[...], layer.affine.bias[...] = jnp.asarray(scale), jnp.asarray(bias)

    found = layer(jnp.asarray(x))

    for example in range(2):  # Wu and He, equation 1, a group at a time
        for some in np.split(np.arange(channels), groups):
            values = x[example, :, :, some].astype(np.float64)
            even = (values - values.mean()) / np.sqrt(values.var() + 1e-5)
            wanted = even * scale[some, None, None] + bias[some, None, None]
            np.testing.assert_allclose(found[example, :, :, some], wanted, atol=2e-5)  # float32


def test_metadata_join_the_pooled_channels_by_a_rectified_layer() -> None:
    head = _convolution.Head(4, 3, 2, rngs=nnx.Rngs(0))
    random = np.random.default_rng(0)
    channels = random.normal(size=(5, 2, 3, 4)).astype(np.float32)
    table = random.normal(size=(5, 3)).astype(np.float32)
    assert head.metadata is not None
    head.metadata.bias[...] = jnp.asarray(random.normal(size=32), jnp.float32)
    head.dense.bias[...] = jnp.asarray(random.normal(size=2), jnp.float32)

    found = head(jnp.asarray(channels), jnp.asarray(table))

    kernels = [np.asarray(layer.kernel[...], np.float64) for layer in (head.metadata, head.dense)]
    branch = np.maximum(0, table @ kernels[0] + np.asarray(head.metadata.bias[...]))
    joined = np.hstack([channels.astype(np.float64).mean(axis=(1, 2)), branch])
    by_hand = joined @ kernels[1] + np.asarray(head.dense.bias[...])
    np.testing.assert_allclose(found, by_hand, atol=1e-5)  # float32


IMAGES = [name for name in models.names() if models.load(name).EATS == "images"]


@pytest.mark.timeout(400)  # EfficientNet compiles for half a minute
@pytest.mark.parametrize(
    "model",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name.startswith("efficient") else [])
        for name in IMAGES
    ],
)
def test_every_image_model_looks_at_the_table_too(model: str) -> None:
    net = _network.network(
        model, models.load(model).Config(), gives="images", features=2, outputs=1
    )
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    same, tables = np.repeat(image, 2, axis=0), np.array([[0, 0], [3, -3]], np.float32)

    random = np.random.default_rng(1)  # drawing them here saves to compile how they are drawn
    leaves = [0.1 * random.normal(size=e.shape).astype(np.float32) for e in net.manifest.entries]
    forward = jax.jit(lambda leaves, x: net.logits(leaves, x, None)[0])
    one, other = np.asarray(forward(leaves, (same, tables)))[:, 0]

    assert abs(one - other) > 1e-3
