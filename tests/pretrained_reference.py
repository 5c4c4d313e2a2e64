"""What torchvision's and timm's own networks compute, for ``test_models_pretrained``.

``pretrained_reference.json`` was made by their code, and is made again where both are installed:

    python -m tests.pretrained_reference > tests/pretrained_reference.json

It holds names, shapes and results only. Weights and images come from ``drawn`` and ``images``,
without PyTorch, so that a test needs none. Its ``versions`` are those that made it.
"""

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 160  # pixels
SHOWN = 20  # logits of each image that are written down
MODELS = ("resnet18", "efficientnet_b0", "efficientnet_b2")
_LAST_OF_A_BLOCK = re.compile(r"layer\d\.\d\.bn2\.weight")  # of ResNet, whose blocks add up


def drawn(shapes: Mapping[str, Sequence[int]]) -> dict[str, NDArray[Any]]:
    """Arrays by name as a published file has them, at a scale that keeps activations of order 1."""
    random = np.random.default_rng(0)
    weights: dict[str, NDArray[Any]] = {}
    for name in sorted(shapes):
        shape = tuple(shapes[name])
        if name.endswith("num_batches_tracked"):
            weights[name] = np.array(1000, dtype=np.int64)
            continue
        if _LAST_OF_A_BLOCK.fullmatch(name):
            values = random.uniform(0.1, 0.3, shape)
        elif name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
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


def _main() -> None:
    import timm
    import torch
    import torchvision

    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    scaled = ((images() / 255 - mean) / deviation).astype(np.float32).transpose(0, 3, 1, 2)
    given = torch.from_numpy(np.ascontiguousarray(scaled)).double()
    versions = {kind.__name__: kind.__version__ for kind in (torch, torchvision, timm)}
    found: dict[str, Any] = {"versions": versions, "torchvision": {}, "timm": {}}
    for library, model, network in _networks():
        shapes = {name: list(value.shape) for name, value in network.state_dict().items()}
        network.load_state_dict({k: torch.from_numpy(v) for k, v in drawn(shapes).items()})
        with torch.no_grad():
            logits = network.double().eval()(given).numpy()
        found[library][model] = {
            "shapes": shapes,
            "parameters": sum(value.numel() for value in network.parameters()),
            "logits": [[float(f"{v:.8g}") for v in row] for row in logits[:, :SHOWN]],
            "norms": [float(f"{v:.8g}") for v in np.linalg.norm(logits, axis=1)],
        }
    json.dump(found, sys.stdout, separators=(",", ":"))


if __name__ == "__main__":
    _main()
