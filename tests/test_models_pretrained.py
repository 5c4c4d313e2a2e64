"""Unmodified weights of torchvision and timm compute here what they compute in PyTorch."""

import json
from collections.abc import Mapping
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
from tests.torch_networks import drawn, image

TORCH = json.loads((Path(__file__).parent / "torch_logits.json").read_text())
Weights = dict[str, NDArray[np.float32]]


def network(model: str, norm: str, *, features: int = 0, outputs: int = 1000) -> Any:
    config = models.load(model).Config(norm=norm)
    return _network.network(model, config, gives="images", features=features, outputs=outputs)


def written(folder: Path, model: str, *, without: str = "", **more: NDArray[Any]) -> Path:
    arrays: Weights = {
        name: array for name, array in drawn(TORCH[model]["shapes"]).items() if name != without
    }
    save_file({**arrays, **more}, path := folder / f"{model}.safetensors")
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
    return np.asarray(forward(leaves + own, (jnp.asarray(image()), jnp.zeros((2, 0)))))


@pytest.mark.parametrize(
    ("model", "norm"),
    [
        ("resnet18", "frozen"),
        pytest.param("resnet18", "local", marks=pytest.mark.slow),
        pytest.param("efficientnet_b0", "frozen", marks=pytest.mark.slow),
        pytest.param("efficientnet_b0", "local", marks=pytest.mark.slow),
        pytest.param("efficientnet_b2", "frozen", marks=pytest.mark.slow),
        pytest.param("efficientnet_b2", "local", marks=pytest.mark.slow),
    ],
)
def test_logits_are_those_of_pytorch(tmp_path: Path, model: str, norm: str) -> None:
    net = network(model, norm)

    found = logits(net, loaded(written(tmp_path, model), model, net))

    np.testing.assert_allclose(
        found[:, :20], TORCH[model]["logits"], atol=1e-4
    )  # as issue 7 has it


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
def test_there_are_as_many_parameters_as_in_pytorch(model: str, norm: str) -> None:
    net = network(model, norm)

    entries = net.manifest.entries + net.local.entries
    trained = sum(e.size for e, moves in zip(entries, net.moves, strict=True) if moves)

    assert trained == TORCH[model]["parameters"]


@pytest.mark.parametrize(
    "model", ["efficientnet_b0", pytest.param("efficientnet_b2", marks=pytest.mark.slow)]
)
def test_timms_names_load_like_torchvisions(tmp_path: Path, model: str) -> None:
    net = network(model, "frozen")
    weights = drawn(TORCH[model]["shapes"])
    save_file(_as_timm(weights), renamed := tmp_path / "timm.safetensors")

    assert np.array_equal(loaded(renamed, model, net), loaded(written(tmp_path, model), model, net))


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


def _as_timm(weights: Mapping[str, NDArray[Any]]) -> Weights:
    """Torchvision's EfficientNet under timm's names, from a listing of timm's."""
    whole = {
        "features.0.0": "conv_stem",
        "features.0.1": "bn1",
        "features.8.0": "conv_head",
        "features.8.1": "bn2",
        "classifier.1": "classifier",
    }
    separable = {
        "0.0": "conv_dw",
        "0.1": "bn1",
        "1.fc1": "se.conv_reduce",
        "1.fc2": "se.conv_expand",
        "2.0": "conv_pw",
        "2.1": "bn2",
    }
    inverted = {
        "0.0": "conv_pw",
        "0.1": "bn1",
        "1.0": "conv_dw",
        "1.1": "bn2",
        "2.fc1": "se.conv_reduce",
        "2.fc2": "se.conv_expand",
        "3.0": "conv_pwl",
        "3.1": "bn3",
    }
    renamed = {}
    for name, array in weights.items():
        layer, _, part = name.rpartition(".")
        if layer not in whole:
            _, stage, block, _, inner = layer.split(".", 4)
            inner = (separable if stage == "1" else inverted)[inner]
            layer = f"blocks.{int(stage) - 1}.{block}.{inner}"
        else:
            layer = whole[layer]
        renamed[f"{layer}.{part}"] = np.ascontiguousarray(array)
    return renamed
