"""What torchvision's and timm's own networks compute, for ``test_models_pretrained``.

``pretrained_reference.json`` was made by their code, and is made again where both are installed:

    python -m tests.pretrained_reference > tests/pretrained_reference.json

It holds names, shapes, two statistics of each normalisation and results only. Weights and images
come from ``drawn`` and ``images``, without PyTorch, so that a test needs none. Its ``versions``
are those that made it.
"""

import copy
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 160  # pixels
EVERY = 10  # of the 1,000 logits of an image, each tenth is written down
MODELS = ("resnet18", "efficientnet_b0", "efficientnet_b2")


Statistics = Mapping[str, Sequence[float]]
"""Mean and variance of what a normalisation is given, over its channels and places, by its name."""


def drawn(shapes: Mapping[str, Sequence[int]], statistics: Statistics) -> dict[str, NDArray[Any]]:
    """Arrays by name as a published file has them; activations are of order 1 in every layer.

    They neither grow nor vanish since running means and variances, as those of trained weights, are
    about what the layer is given, though of each channel another.
    """
    random = np.random.default_rng(0)
    weights: dict[str, NDArray[Any]] = {}
    for name in sorted(shapes):
        shape = tuple(shapes[name])
        layer, _, part = name.rpartition(".")
        mean, variance = statistics.get(layer, (0.0, 1.0))
        if part == "num_batches_tracked":
            weights[name] = np.array(1000, dtype=np.int64)
            continue
        if part == "running_var":
            values = variance * random.uniform(0.5, 1.5, shape)
        elif part == "running_mean":
            values = mean + 0.1 * math.sqrt(variance) * random.normal(size=shape)
        elif part == "weight" and len(shape) == 1:
            values = random.uniform(0.5, 1.5, shape)
        elif len(shape) == 1:
            values = 0.1 * random.normal(size=shape)
        else:
            values = math.sqrt(2 / math.prod(shape[1:])) * random.normal(size=shape)
        weights[name] = values.astype(np.float32)
    return weights


def images() -> NDArray[np.uint8]:
    """Two of them [2, SIDE, SIDE, 3]: noise, and a slope of light from one corner to the other."""
    random = np.random.default_rng(1)
    noise = random.integers(0, 256, (SIDE, SIDE, 3))
    ramp = np.add.outer(np.arange(SIDE), np.arange(SIDE))[..., None] * np.array([1, 2, 3]) // 4
    return np.stack([noise, ramp % 256]).astype(np.uint8)


def _networks() -> Iterator[tuple[str, str, Any]]:
    import timm
    import torchvision

    for model in MODELS:
        yield "torchvision", model, getattr(torchvision.models, model)(weights=None)
        yield "timm", model, timm.create_model(model, pretrained=False)


def _measured(network: Any, given: Any) -> dict[str, list[float]]:
    """``Statistics`` of a network whose weights were ``drawn`` without; each is set before use."""
    import torch

    found: dict[str, list[float]] = {}

    def measure(name: str, layer: Any, x: Any) -> None:
        mean, variance = found[name] = [float(f"{v:.3g}") for v in (x.mean(), x.var())]
        layer.running_mean.mul_(math.sqrt(variance)).add_(mean)
        layer.running_var.mul_(variance)

    for name, layer in network.named_modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.register_forward_pre_hook(
                lambda layer, inputs, name=name: measure(name, layer, inputs[0])
            )
    network(given)
    return found


def _main() -> None:
    import timm
    import torch
    import torchvision

    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    scaled = ((images() / 255 - mean) / deviation).astype(np.float32).transpose(0, 3, 1, 2)
    given = torch.from_numpy(np.ascontiguousarray(scaled)).double()
    versions = {kind.__name__: kind.__version__ for kind in (torch, torchvision, timm)}
    found: dict[str, Any] = {"versions": versions, "torchvision": {}, "timm": {}}

    def filled(network: Any, statistics: Statistics) -> Any:
        weights = drawn({name: v.shape for name, v in network.state_dict().items()}, statistics)
        network.load_state_dict({name: torch.from_numpy(v) for name, v in weights.items()})
        return network.double().eval()

    for library, model, network in _networks():
        with torch.no_grad():
            statistics = _measured(filled(copy.deepcopy(network), {}), given)
            logits = filled(network, statistics)(given).numpy()
        found[library][model] = {
            "shapes": {name: list(value.shape) for name, value in network.state_dict().items()},
            "parameters": sum(value.numel() for value in network.parameters()),
            "statistics": statistics,
            "logits": [[float(f"{v:.7g}") for v in row] for row in logits[:, ::EVERY]],
            "largest": [float(f"{v:.7g}") for v in np.abs(logits).max(axis=1)],
            "norms": [float(f"{v:.7g}") for v in np.linalg.norm(logits, axis=1)],
        }
    json.dump(found, sys.stdout, separators=(",", ":"))


if __name__ == "__main__":
    _main()
