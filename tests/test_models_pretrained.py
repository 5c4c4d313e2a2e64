"""Unmodified files of torchvision and timm compute here what those libraries compute."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

import models
from models import ModelError, _network, _pretrained
from tests.pretrained_reference import EVERY, drawn, images

REFERENCE = json.loads(Path(__file__).with_name("pretrained_reference.json").read_text())
NEAR = 1e-4  # of a logit, as issue 7 has it; float32 was seen to move one by 3e-5


def network(model: str, norm: str, *, features: int = 0, outputs: int = 1000) -> Any:
    config = models.load(model).Config(norm=norm)
    return _network.network(model, config, gives="images", features=features, outputs=outputs)


def weights(library: str, model: str) -> dict[str, NDArray[Any]]:
    reference = REFERENCE[library][model]
    return drawn(reference["shapes"], reference["statistics"])


def written(
    folder: Path, model: str, *, library: str = "torchvision", without: str = "", **more: Any
) -> Path:
    """A file as it is published: every name, also of what no network here takes."""
    arrays = {name: array for name, array in weights(library, model).items() if name != without}
    save_file({**arrays, **more}, path := folder / f"{library}-{model}.safetensors")
    return path


def loaded(path: Path, model: str, net: Any) -> NDArray[np.float32]:
    vector = np.zeros(net.manifest.size, dtype=np.float32)
    return _pretrained.load(path, model=model, manifest=net.manifest, vector=vector)


def logits(net: Any, vector: NDArray[np.float32]) -> NDArray[np.float32]:
    pieces = np.split(vector, _network.bounds(net.manifest))
    leaves = [
        jnp.asarray(piece.reshape(entry.shape))
        for piece, entry in zip(pieces, net.manifest.entries, strict=True)
    ]
    own = [jnp.zeros(entry.shape) for entry in net.local.entries]
    forward = jax.jit(lambda leaves, x: net.logits(leaves, x, None)[0])
    return np.asarray(forward(leaves + own, (jnp.asarray(images()), jnp.zeros((2, 0)))))


@pytest.mark.timeout(400)  # EfficientNet compiles for half a minute
@pytest.mark.parametrize("norm", ["frozen", pytest.param("local", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("library", "model"),
    [
        ("torchvision", "resnet18"),
        ("timm", "efficientnet_b0"),
        pytest.param("timm", "resnet18", marks=pytest.mark.slow),
        pytest.param("torchvision", "efficientnet_b0", marks=pytest.mark.slow),
        pytest.param("torchvision", "efficientnet_b2", marks=pytest.mark.slow),
        pytest.param("timm", "efficientnet_b2", marks=pytest.mark.slow),
    ],
)
def test_logits_are_those_of_the_library_itself(
    tmp_path: Path, library: str, model: str, norm: str
) -> None:
    net, reference = network(model, norm), REFERENCE[library][model]

    found = logits(net, loaded(written(tmp_path, model, library=library), model, net))

    np.testing.assert_allclose(found[:, ::EVERY], reference["logits"], rtol=0, atol=NEAR)
    lengths = np.linalg.norm(found.astype(np.float64), axis=1)
    np.testing.assert_allclose(lengths, reference["norms"], rtol=0, atol=NEAR * np.sqrt(1000))
    largest = np.abs(found).max(axis=1)
    np.testing.assert_allclose(largest, reference["largest"], rtol=0, atol=NEAR)
    deviations = np.sqrt([variance for _, variance in reference["statistics"].values()])
    for size in (largest, deviations):  # of order 1, or 1e-4 would say another thing
        assert size.min() > 0.1
        assert size.max() < 10


@pytest.mark.parametrize("library", ["torchvision", "timm"])
@pytest.mark.parametrize(
    ("model", "norm"),
    [
        ("resnet18", "group"),
        ("resnet18", "frozen"),
        ("resnet18", "local"),
        ("efficientnet_b0", "group"),
        ("efficientnet_b2", "frozen"),
        pytest.param("efficientnet_b2", "local", marks=pytest.mark.slow),
    ],
)
def test_there_are_as_many_parameters_as_in_the_library(
    library: str, model: str, norm: str
) -> None:
    net = network(model, norm)

    entries = net.manifest.entries + net.local.entries
    trained = sum(e.size for e, moves in zip(entries, net.moves, strict=True) if moves)

    assert trained == REFERENCE[library][model]["parameters"]


@pytest.mark.parametrize(
    "model", ["efficientnet_b0", pytest.param("efficientnet_b2", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_every_array_of_a_file_has_its_place(tmp_path: Path, library: str, model: str) -> None:
    net = network(model, "frozen")
    arrays = weights(library, model)
    counters = [name for name in arrays if name.endswith("num_batches_tracked")]

    vector = loaded(written(tmp_path, model, library=library), model, net)

    assert counters  # which are in a published file and in no network here
    given = np.concatenate([arrays[name].ravel() for name in arrays.keys() - set(counters)])
    assert np.array_equal(np.sort(vector), np.sort(given))


def test_a_new_last_layer_is_left_as_it_was_drawn(tmp_path: Path) -> None:
    net = network("resnet18", "frozen", features=5, outputs=1)
    drawn_ = np.full(net.manifest.size, 7, dtype=np.float32)

    vector = _pretrained.load(
        written(tmp_path, "resnet18"), model="resnet18", manifest=net.manifest, vector=drawn_
    )

    pieces = np.split(vector, _network.bounds(net.manifest))
    names = [entry.name for entry in net.manifest.entries]
    kept = {name for name, piece in zip(names, pieces, strict=True) if (piece == 7).all()}
    assert kept == {f"head.{k}.{p}" for k in ("dense", "metadata") for p in ("bias", "kernel")}


def test_what_does_not_fit_is_refused_by_name(tmp_path: Path) -> None:
    net = network("resnet18", "frozen")

    def refused(path: Path, what: str, model: str = "resnet18", of: Any = net) -> None:
        with pytest.raises(ModelError, match=what) as caught:
            loaded(path, model, of)
        assert caught.value.remedy

    (tmp_path / "text").write_text("no weights")
    refused(tmp_path / "text", "text: it cannot be read")
    refused(tmp_path / "absent", "absent: it cannot be read")
    refused(written(tmp_path, "resnet18", without="layer3.0.bn1.bias"), r"no layer3\.0\.bn1\.bias")
    pth = tmp_path / "resnet18.pth"
    pth.write_bytes(b"PK\x03\x04" + bytes(100))  # what torchvision publishes is a zip of pickles
    refused(pth, r"resnet18\.pth: it cannot be read")
    refused(written(tmp_path, "resnet18", extra=np.zeros(3, np.float32)), "extra is not of")
    wide = {"conv1.weight": np.zeros((64, 1, 7, 7), np.float32)}
    refused(written(tmp_path, "resnet18", **wide), r"conv1\.weight is \[7, 7, 1, 64\]")
    broken = {"bn1.bias": np.full(64, np.nan, np.float32)}
    refused(written(tmp_path, "resnet18", **broken), r"bn1\.bias: not every number is finite")
    refused(written(tmp_path, "efficientnet_b0"), "holds no resnet18")
    refused(
        written(tmp_path, "resnet18"),
        "batch normalisation",
        of=network("resnet18", "group"),
    )
