"""How fast local training is, against PyTorch on the same machine: ratios, not milliseconds.

    python -m tests.bench_training [--torch-python PATH] [--only NAME ...] [--repeats 3]

Each measurement is a process of its own; JAX and PyTorch take turns, so that what else the machine
does falls on both. PyTorch comes from another environment; without it, ratios are left out.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

NETWORKS = {
    # Of issue 7: network, settings, batch, steps a measurement, least ratio wanted on a CPU.
    "mlp": ({"hidden": [128, 64]}, 256, 195, 2.2),
    "gru": ({"width": 128}, 128, 12, 0.9),
    "transformer": ({"width": 64, "layers": 2}, 128, 12, 1.1),
    "resnet18": ({}, 8, 4, 0.75),
    "efficientnet_b0": ({}, 8, 2, 0.0),
}
HOURS, FEATURES, SIDE = 48, 40, 128


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--torch-python", help="an interpreter with PyTorch")
    arguments.add_argument("--only", nargs="*", choices=NETWORKS, default=list(NETWORKS))
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.one:
        library, name = given.one
        print(json.dumps({"jax": _jax, "private": _private, "torch": _torch}[library](name)))
        return
    for name in given.only:
        speeds: dict[str, list[float]] = {}
        for _ in range(given.repeats):
            for library in ("jax", "private", "torch"):
                python = given.torch_python if library == "torch" else sys.executable
                if python:
                    speed = _measured(python, library, name)
                    speeds.setdefault(library, []).append(speed)
        _print(name, speeds)


def _print(name: str, speeds: dict[str, list[float]]) -> None:
    middle = {library: statistics.median(found) for library, found in speeds.items()}
    words = [f"{library} {speed:,.0f} examples/s" for library, speed in middle.items()]
    if "torch" in middle:
        wanted = NETWORKS[name][3]
        words.append(f"JAX / PyTorch {middle['jax'] / middle['torch']:.2f} (wanted {wanted})")
    words.append(f"DP-SGD costs {middle['jax'] / middle['private']:.2f} x a plain step")
    print(f"{name}: {'; '.join(words)}", flush=True)


def _measured(python: str, library: str, name: str) -> float:
    answer = subprocess.run(
        [python, "-m", "tests.bench_training", "--one", library, name],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS", "")},
    )
    if answer.returncode:
        sys.exit(f"{library} {name}: {answer.stderr[-2000:]}")
    return float(json.loads(answer.stdout.splitlines()[-1]))


def _speed(stretch: Callable[[], None], examples: int) -> float:
    """Examples a second, the median of five stretches after one that warms up."""
    stretch()
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        stretch()
        seconds.append(time.perf_counter() - began)
    return examples / statistics.median(seconds)


def _inputs(name: str, rows: int) -> tuple[Any, Any]:
    """The same numbers for both libraries: inputs as the network takes them, and labels."""
    import numpy as np

    random = np.random.default_rng(0)
    y = random.integers(0, 2, rows).astype(np.int32)
    if name == "mlp":
        return random.normal(size=(rows, 48)).astype(np.float32), y
    if name in ("gru", "transformer"):  # half of the width are flags of what was measured
        x = random.normal(size=(rows, HOURS, FEATURES // 2)).astype(np.float32)
        return (x, np.ones(x.shape, dtype=bool)), y
    image = random.integers(0, 256, (rows, SIDE, SIDE, 3), dtype=np.uint8)
    return (image, np.zeros((rows, 0), dtype=np.float32)), y


def _private(name: str) -> float:
    return _jax(name, private=True)


def _jax(name: str, *, private: bool = False) -> float:
    """Of the engine's own program: data on the device, all steps of a stretch in one call."""
    import jax
    import numpy as np

    import models
    from models._noise import Guard
    from models._program import Course, program

    settings, batch, steps, _ = NETWORKS[name]
    x, y = _inputs(name, batch * steps)
    gives = "table" if name == "mlp" else "series" if isinstance(x, tuple) else ""
    gives = "images" if name in ("resnet18", "efficientnet_b0") else gives
    features = {"table": 48, "series": FEATURES // 2, "images": 0}[gives]
    functions = program(
        name,
        models.configure(models.load(name).Config, settings),
        models.Training(optimizer="adamw", learning_rate=1e-3),
        features,
        1,
        gives=gives,
        guard=Guard(1.0, 1.0, float(batch)) if private else None,
    )
    state = functions.begin(np.asarray(functions.initial(np.uint32(0))))
    x, y = jax.device_put((x, y))
    order = np.random.default_rng(0).permutation(batch * steps).reshape(steps, batch)
    order = jax.device_put(order.astype(np.int32))
    course = Course([], np.float32(1), np.int32(0), np.int32(steps), np.zeros(2, np.uint32))

    def stretch() -> None:
        nonlocal state
        state, losses = functions.advance(state, x, y, order, np.int32(0), np.int32(steps), course)
        losses.block_until_ready()

    return _speed(stretch, batch * steps)


def _torch(name: str) -> float:
    """Of the usual loop: eager, AdamW, a permutation, batches by index; images channels last."""
    import numpy as np
    import torch
    from torch import nn

    settings, batch, steps, _ = NETWORKS[name]
    x, y = _inputs(name, batch * steps)
    target = torch.from_numpy(y).float()
    network = _torch_network(name, settings)
    images = name in ("resnet18", "efficientnet_b0")
    if images:
        mean, deviation = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
        network = network.to(memory_format=torch.channels_last)
        inputs = torch.from_numpy(x[0])
        scale = torch.from_numpy(mean)[:, None, None], torch.from_numpy(deviation)[:, None, None]
    else:
        joined = np.concatenate([x[0], x[1].astype(np.float32)], -1) if name != "mlp" else x
        inputs = torch.from_numpy(joined)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)

    def stretch() -> None:
        order = torch.randperm(batch * steps)
        for rows in order.split(batch):
            taken = inputs[rows]
            if images:
                taken = (taken.permute(0, 3, 1, 2).float() / 255 - scale[0]) / scale[1]
            loss = nn.functional.binary_cross_entropy_with_logits(
                network(taken)[:, 0], target[rows]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return _speed(stretch, batch * steps)


def _torch_network(name: str, settings: dict[str, Any]) -> Any:
    import torch
    from torch import nn

    from tests import torch_networks

    if name == "mlp":
        a, b = settings["hidden"]
        return nn.Sequential(
            nn.Linear(48, a), nn.ReLU(), nn.Linear(a, b), nn.ReLU(), nn.Linear(b, 1)
        )
    if name in ("resnet18", "efficientnet_b0"):
        return torch_networks.networks()[name]  # its first output is the logit

    class Series(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            width = settings["width"]
            if name == "gru":
                self.body: Any = nn.GRU(FEATURES, width, batch_first=True)
            else:
                self.given = nn.Linear(FEATURES, width)
                layer = nn.TransformerEncoderLayer(
                    width, 4, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
                )
                self.body = nn.TransformerEncoder(
                    layer, settings["layers"], enable_nested_tensor=False
                )
                self.token = nn.Parameter(torch.zeros(1, 1, width))
            self.head = nn.Linear(width, 1)

        def forward(self, x: Any) -> Any:
            if name == "gru":
                return self.head(self.body(x)[0][:, -1])
            x = torch.cat([self.token.expand(len(x), -1, -1), self.given(x)], dim=1)
            return self.head(self.body(x)[:, 0])

    return Series()


if __name__ == "__main__":
    main()
