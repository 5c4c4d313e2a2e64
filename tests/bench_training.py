"""How fast local training is, against PyTorch on the same machine: ratios, not milliseconds.

    python -m tests.bench_training [--torch-python PATH] [--only NAME ...] [--repeats 3]
    python -m tests.bench_training --start

Each measurement is a process of its own; JAX and PyTorch take turns, so that what else the machine
does falls on both. JAX is measured through the engine, as a site trains, privately with the noise
and the padded Poisson batches of DP-SGD. Image models have the batch's statistics, as PyTorch's do;
privately, and for the plain step beside that, group norm, since a batch's statistics are no one's
own. PyTorch comes from another installation, has a trainer's environment (large pages) too, and
one output; without it, ratios are left out. ``--start`` is from the trainer's start to
ResNet-18's first step, without and with its cache of compiled functions.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Case(NamedTuple):
    """Of issue 7: settings, batch, steps a measurement, least ratios to PyTorch that are wanted.

    ``eager`` on a CPU; ``compiled`` on a GPU, to ``torch.compile`` for images and eager else.
    """

    settings: dict[str, Any]
    batch: int
    steps: int
    eager: float
    compiled: float
    side: int = 0


CPU = {
    "mlp": Case({"hidden": [128, 64]}, 256, 195, 2.2, 5.0),
    "gru": Case({"width": 128}, 128, 12, 0.9, 0.0),
    "transformer": Case({"width": 64, "layers": 2}, 128, 12, 1.1, 0.0),
    "resnet18": Case({}, 8, 4, 0.75, 1.0, 128),
    "efficientnet_b0": Case({}, 8, 2, 0.0, 1.0, 128),
}
GPU = {
    "mlp": CPU["mlp"]._replace(steps=1950),
    "gru": CPU["gru"]._replace(steps=120),
    "transformer": CPU["transformer"]._replace(steps=120),
    "resnet18": Case({}, 128, 20, 0.0, 1.0, 224),
    "efficientnet_b0": Case({}, 128, 20, 0.0, 1.0, 224),
    "efficientnet_b2": Case({}, 64, 20, 0.0, 1.0, 256),
}
FUSED = 1.8  # wanted of the MLP over PyTorch's fused AdamW
PRIVATE = {"mlp": 1.25, "resnet18": 5.0}  # times a plain step, at most
HOURS, FEATURES = 48, 40
EPOCHS = 3  # a measurement, so that what a round costs once weighs little


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--torch-python", help="an interpreter with PyTorch")
    arguments.add_argument("--only", nargs="*", choices=GPU)
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--start", action="store_true")
    arguments.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.one:
        library, name, device = given.one
        print(json.dumps(_LIBRARIES[library](name, (GPU if device == "gpu" else CPU)[name])))
        return
    if given.start:
        _start()
        return
    device = _device()
    cases = GPU if device == "gpu" else CPU
    if device != "gpu":
        print(f"on a GPU: skipped, JAX sees no GPU here (its platform is {device})", flush=True)
    for name in given.only or cases:
        speeds: dict[str, list[float]] = {}
        for _ in range(given.repeats):
            for library in _libraries(name, cases[name]):
                python = given.torch_python if library in ("torch", "fused") else sys.executable
                if python:
                    speed = _measured(python, library, name, device)
                    speeds.setdefault(library, []).append(speed)
        _print(name, cases[name], device, speeds)


def _print(name: str, case: Case, device: str, speeds: dict[str, list[float]]) -> None:
    middle = {library: statistics.median(found) for library, found in speeds.items()}
    words = [f"{library} {speed:,.0f} examples/s" for library, speed in middle.items()]
    if "torch" in middle:
        wanted = case.compiled if device == "gpu" else case.eager
        words.append(f"JAX / PyTorch {middle['jax'] / middle['torch']:.2f} (wanted {wanted})")
    if "fused" in middle:
        words.append(f"to fused AdamW {middle['jax'] / middle['fused']:.2f} (wanted {FUSED})")
    if "private" in middle:
        limit = f" (at most {PRIVATE[name]})" if name in PRIVATE else ""
        plain = middle["group" if case.side else "jax"]
        words.append(f"DP-SGD costs {plain / middle['private']:.2f} x a plain step{limit}")
    print(f"{name}: {'; '.join(words)}", flush=True)


def _libraries(name: str, case: Case) -> tuple[str, ...]:
    if case.side:  # of an EfficientNet a private step alone takes minutes on a processor
        return ("jax", "torch", "group", "private") if name in PRIVATE else ("jax", "torch")
    return ("jax", "private", "torch", "fused") if name == "mlp" else ("jax", "private", "torch")


def _device() -> str:
    """JAX's platform, asked in a process of its own: this one must not hold the device."""
    asked = [sys.executable, "-c", "import jax; print(jax.default_backend())"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def _measured(python: str, library: str, name: str, device: str) -> float:
    from fedtui import processes  # not where PyTorch is measured

    answer = subprocess.run(
        [python, "-m", "tests.bench_training", "--one", library, name, device],
        env=processes.for_training(os.environ),
        capture_output=True,
        text=True,
        check=False,
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


def _inputs(name: str, case: Case) -> tuple[Any, Any]:
    """The same numbers for both libraries: a table, a series or images, and labels."""
    import numpy as np

    random = np.random.default_rng(0)
    rows = case.batch * case.steps
    y = random.integers(0, 2, rows).astype(np.int32)
    if case.side:
        return random.integers(0, 256, (rows, case.side, case.side, 3), dtype=np.uint8), y
    if name == "mlp":
        return random.normal(size=(rows, 48)).astype(np.float32), y
    return random.normal(size=(rows, HOURS, FEATURES // 2)).astype(np.float32), y


def _private(name: str, case: Case) -> float:
    return _group(name, case, private=True)


def _jax(name: str, case: Case) -> float:
    return _group(name, case, **{"norm": "local"} if case.side else {})


def _group(name: str, case: Case, *, private: bool = False, **settings: Any) -> float:
    """Of whole rounds of the engine; image models come with group norm."""
    import numpy as np

    from datasets import Dataset, Feature, Pictures, Split
    from models import Privacy, Training
    from models._engine import Engine

    x, y = _inputs(name, case)
    rows, pictures = len(y), None
    if case.side:
        pictures = Pictures(pixels=x, rows=np.arange(rows))
        x = np.zeros((rows, 0), np.float32)

    def split(part: slice) -> Split:
        return Split(
            x=x[part],
            mask=np.ones_like(x[part], dtype=bool),
            y=y[part],
            groups=np.arange(rows)[part],
            pictures=pictures if part == slice(None) or pictures is None else pictures_of(part),
        )

    def pictures_of(part: slice) -> Pictures:
        return Pictures(pixels=pictures.pixels, rows=pictures.rows[part])

    data = Dataset(
        name="made",
        part="all",
        features=tuple(Feature(name=f"f{column}") for column in range(x.shape[-1])),
        classes=("no", "yes"),
        train=split(slice(None)),
        validation=split(slice(0)),
        test=split(slice(0)),
        gives="images" if case.side else "table" if x.ndim == 2 else "series",
    )
    engine = Engine(
        model=name,
        config=case.settings | settings,
        training=Training(optimizer="adamw", learning_rate=1e-3, batch=case.batch, epochs=EPOCHS),
        data=data,
        seed=0,
        normalisation=None,
        privacy=Privacy(noise=1.0) if private else None,
    )
    vector = engine.initial()
    return _speed(lambda: engine.train(vector, round=1, stream=0) and None, EPOCHS * rows)


def _fused(name: str, case: Case) -> float:
    return _torch(name, case, fused=True)


def _torch(name: str, case: Case, *, fused: bool = False) -> float:
    """Of the usual loop: AdamW, a permutation, batches by index; images channels last.

    Eager on a CPU. On a GPU data are resident, images compiled and in bfloat16.
    """
    import numpy as np
    import torch
    from torch import nn

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    x, y = _inputs(name, case)
    target = torch.from_numpy(y).float().to(device)
    network = _torch_network(name, case.settings).to(device)
    if case.side:
        mean, deviation = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
        network = network.to(memory_format=torch.channels_last)
        scale = [torch.from_numpy(v)[:, None, None].to(device) for v in (mean, deviation)]
        if device.type == "cuda":
            network = torch.compile(network)
    elif name != "mlp":
        x = np.concatenate([x, np.ones_like(x)], -1)
    inputs = torch.from_numpy(x).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=fused or None)
    narrow = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")

    def stretch() -> None:
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(y), device=device).split(case.batch):
                taken = inputs[rows]
                if case.side:
                    taken = (taken.permute(0, 3, 1, 2).float() / 255 - scale[0]) / scale[1]
                with narrow:
                    logits = network(taken)[:, 0]
                loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), target[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        loss.item()  # waits for the device

    return _speed(stretch, EPOCHS * len(y))


def _torch_network(name: str, settings: dict[str, Any]) -> Any:
    import torch
    from torch import nn

    from tests import torch_networks

    if name == "mlp":
        a, b = settings["hidden"]
        return nn.Sequential(
            nn.Linear(48, a), nn.ReLU(), nn.Linear(a, b), nn.ReLU(), nn.Linear(b, 1)
        )
    if name not in ("gru", "transformer"):
        network = torch_networks.networks()[name]
        if name == "resnet18":
            network.fc = nn.Linear(network.fc.in_features, 1)
        else:
            network.classifier[1] = nn.Linear(network.classifier[1].in_features, 1)
        return network

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


_LIBRARIES = {
    "jax": _jax, "group": _group, "private": _private, "torch": _torch, "fused": _fused
}  # fmt: skip


def _start() -> None:
    """Seconds from a trainer's start to the first step of ResNet-18 that it tells of."""
    import datasets

    with tempfile.TemporaryDirectory() as folder:
        os.environ["FEDTUI_CACHE"] = str(Path(folder, "data"))
        datasets.synthesise("siim_isic", Path(folder, "isic"), rows=200)
        Path(folder, "secret").write_bytes(os.urandom(32))
        for kind in ("cold", "warm", "warm"):
            wall, work = _first_step(Path(folder))
            print(
                f"{kind}: first step {wall:.1f} s after the trainer's start ({work:.1f} s of CPU)"
            )


def _first_step(folder: Path) -> tuple[float, float]:
    from fedtui import processes
    from fedtui import study as studies

    study = studies.Study(
        id="start",
        purpose="a benchmark",
        sites=("site",),
        data="siim_isic_128",
        model="resnet18",
        rounds=1,
        normalisation="none",
        training={"batch": 8},
    )
    order = {
        "do": "prepare",
        "study": studies.canonical(study).decode(),
        "source": {"path": str(folder / "isic"), "part": "all"},
        "normalisation": None,
        "initial": True,
        "weights": None,
        "cohorts": str(folder),
        "output": str(folder / "vector"),
        "input": str(folder / "vector"),
        "keep": str(folder / "kept"),
        "local": None,
        "round": 1,
        "question": "start",
        "answered": 0,
    }
    began = time.monotonic()
    words = ["-P", "-m", "fedtui.flower.trainer", "site", str(folder), str(folder / "secret")]
    child = subprocess.Popen(
        [sys.executable, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=processes.for_training(os.environ),
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    for do in ("prepare", "train"):
        child.stdin.write(json.dumps(order | {"do": do}) + "\n")
        child.stdin.flush()
    for line in child.stdout:
        message = json.loads(line)
        if "failed" in message:
            sys.exit(f"the trainer refused: {message['failed']}")
        if "progress" in message:
            break
    wall = time.monotonic() - began
    child.kill()
    _, _, used = os.wait4(child.pid, 0)
    return wall, used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
