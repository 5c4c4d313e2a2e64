"""Weights from an unmodified safetensors file of torchvision or timm, under our names and axes."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from models import Entry, Manifest, ModelError

Vector = NDArray[np.float32]
Names = Callable[[str], str]
"""From our name of a layer, 'stages.0.1.conv1', to the file's."""

_PARTS = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "variance": "running_var",
}
_REMEDY = (
    "Give the safetensors file of this very model from timm, or torchvision's .pth as one: "
    "'fedtui guide study' has the line that converts it."
)


def load(path: Path, *, model: str, manifest: Manifest, vector: Vector) -> Vector:
    """``vector`` with the file's weights; the last layer stays where it has other outputs.

    A file says nothing of what its network does between the arrays. timm's ``tf_efficientnet_*``
    have the names and shapes of ``efficientnet_*``, but pad unevenly and normalise with another
    epsilon: such a file cannot be told apart, is taken, and computes something else here.

    Args:
        path: A safetensors file of float16, float32 or float64 arrays, as timm publishes them, or
            torchvision's state dict saved as one.
        model: 'resnet18', 'efficientnet_b0' or 'efficientnet_b2'.
        manifest: Of the model with normalisation 'frozen' or 'local'.
        vector: float32 [parameters], freshly drawn.

    Raises:
        ModelError: the file is unreadable or of another model, or the model's normalisation
            cannot take it.
    """
    if not any(entry.name.endswith("variance") for entry in manifest.entries):
        raise ModelError(
            f"{model}: pretrained weights come with batch normalisation",
            remedy="Set norm to frozen or local in the study's parameters.",
        )
    arrays = _read(path)
    names = _layout(model, arrays)
    found, start, used = vector.copy(), 0, set()
    for entry in manifest.entries:
        end = start + entry.size
        layer, _, part = entry.name.rpartition(".")
        name = f"{names(layer.removesuffix('.affine'))}.{_PARTS[part]}"
        if not layer.startswith("head."):
            found[start:end] = _fitted(arrays, name, entry).ravel()
            used.add(name)
        elif layer == "head.dense" and _head_fits(arrays, name, entry):
            found[start:end] = _fitted(arrays, name, entry).ravel()
        start = end
    head = names("head.dense") + "."
    for name in arrays:
        if name not in used and not name.startswith(head) and "num_batches" not in name:
            raise ModelError(f"{path.name}: {name} is not of {model}.", remedy=_REMEDY)
    return found


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, TypeError) as error:
        raise ModelError(f"{path.name}: it cannot be read.", remedy=_REMEDY) from error


def _fitted(arrays: Mapping[str, NDArray[Any]], name: str, entry: Entry) -> Vector:
    """An array of the file with our axes: filters [size, size, in, out], kernels [in, out]."""
    if name not in arrays:
        raise ModelError(f"The file has no {name}.", remedy=_REMEDY)
    array = _turned(arrays[name], entry)
    if array.shape != entry.shape:
        raise ModelError(
            f"{name} is {list(array.shape)} in the file, {list(entry.shape)} here.", remedy=_REMEDY
        )
    if not np.isfinite(array).all():
        raise ModelError(f"{name}: not every number is finite.", remedy=_REMEDY)
    return array.astype(np.float32)


def _turned(array: NDArray[Any], entry: Entry) -> NDArray[Any]:
    if array.ndim == 4 and len(entry.shape) == 2:  # a dense layer written as a 1 x 1 convolution
        array = array[:, :, 0, 0]
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def _head_fits(arrays: Mapping[str, NDArray[Any]], name: str, entry: Entry) -> bool:
    return name in arrays and _turned(arrays[name], entry).shape == entry.shape


def _layout(model: str, arrays: Mapping[str, Any]) -> Names:
    if model == "resnet18" and "conv1.weight" in arrays:
        return _resnet
    if model.startswith("efficientnet") and "features.0.0.weight" in arrays:
        return _torchvision_efficientnet
    if model.startswith("efficientnet") and "conv_stem.weight" in arrays:
        return _timm_efficientnet
    raise ModelError(f"The file holds no {model}.", remedy=_REMEDY)


def _resnet(layer: str) -> str:
    """Torchvision's and timm's names are the same here."""
    fixed = {"conv": "conv1", "norm": "bn1", "head.dense": "fc", "head.metadata": "metadata"}
    if layer in fixed:
        return fixed[layer]
    stage, block, inner = _placed(layer)
    parts = {
        "conv1": "conv1",
        "norm1": "bn1",
        "conv2": "conv2",
        "norm2": "bn2",
        "short": "downsample.0",
        "short_norm": "downsample.1",
    }
    return f"layer{stage + 1}.{block}.{parts[inner]}"


def _torchvision_efficientnet(layer: str) -> str:
    fixed = {
        "conv": "features.0.0",
        "norm": "features.0.1",
        "last": "features.8.0",
        "last_norm": "features.8.1",
        "head.dense": "classifier.1",
        "head.metadata": "metadata",
    }
    if layer in fixed:
        return fixed[layer]
    stage, block, inner = _placed(layer)
    first = 1 if stage else 0  # the first stage does not expand, and its parts count from there
    parts = {
        "expand": "0.0",
        "expand_norm": "0.1",
        "filter": f"{first}.0",
        "filter_norm": f"{first}.1",
        "excitation.squeeze": f"{first + 1}.fc1",
        "excitation.expand": f"{first + 1}.fc2",
        "project": f"{first + 2}.0",
        "project_norm": f"{first + 2}.1",
    }
    return f"features.{stage + 1}.{block}.block.{parts[inner]}"


def _timm_efficientnet(layer: str) -> str:
    fixed = {
        "conv": "conv_stem",
        "norm": "bn1",
        "last": "conv_head",
        "last_norm": "bn2",
        "head.dense": "classifier",
        "head.metadata": "metadata",
    }
    if layer in fixed:
        return fixed[layer]
    stage, block, inner = _placed(layer)
    parts = {
        "expand": "conv_pw",
        "expand_norm": "bn1",
        "filter": "conv_dw",
        "filter_norm": "bn2" if stage else "bn1",
        "excitation.squeeze": "se.conv_reduce",
        "excitation.expand": "se.conv_expand",
        "project": "conv_pwl" if stage else "conv_pw",
        "project_norm": "bn3" if stage else "bn2",
    }
    return f"blocks.{stage}.{block}.{parts[inner]}"


def _placed(layer: str) -> tuple[int, int, str]:
    """Stage, block and layer of 'stages.0.1.conv1'."""
    match = re.fullmatch(r"stages\.(\d+)\.(\d+)\.(.+)", layer)
    assert match is not None, layer  # our own names
    return int(match[1]), int(match[2]), match[3]
