"""One logistic regression in fedtui, stock Flower and NVFlare: ``python tests/bench_peers.py``.

Breast cancer, two hospitals with skewed labels: 80/20 split stratified by label, site 1 holds
90 % of the malignant and 10 % of the benign training rows, both scale by the pooled training mean
and deviation; SGD, rate .05, batch 16, L2 .001, 2 local epochs, 20 rounds, seeds 0 to 9.
"""

import argparse
import contextlib
import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

import bench_rounds
import numpy as np
import psutil
from numpy.typing import NDArray
from one_process import Recipe, agreed, at_work, averaged
from peer_programs import CLIENT, JOB, SCRIPT, SERVER, WORK

import datasets
from datasets import Dataset, Split
from fedtui import operations
from fedtui.flower import checkpoints
from fedtui.flower.vectors import Vector
from fedtui.study import Study
from models import Training
from models._engine import Engine

ROUNDS, SEEDS = 20, range(10)
TRAINING = {"learning_rate": 0.05, "batch": 16, "l2": 0.001, "epochs": 2}
RECIPE = Recipe("logistic", Training(**TRAINING), ROUNDS)
SITES = ("halland", "sahlgrenska")  # in the order in which the mean is taken
PARTS = {"sahlgrenska": "1/2", "halland": "2/2"}
# What FedAvg gave on these very splits in another program, and the pooled data beside it.
EXPECTED = {"accuracy": 0.968, "Brier": 0.0277}
TOLERANCE = 0.005


class Scores(NamedTuple):
    """A model on the pooled test rows."""

    accuracy: float
    auroc: float
    brier: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One program's figures. ``memory`` is the sum of its processes' peaks, in MB (1e6 bytes)."""

    name: str
    seconds: float
    start: float
    memory: float
    scores: Scores


def recipe(seed: int) -> tuple[dict[str, Split], Split]:
    """The sites' training rows and the pooled test rows, in the features' own units."""
    from sklearn.model_selection import train_test_split

    whole = datasets.load("breast_cancer", path=None, part="all", seed=0)
    parts = (whole.train, whole.validation, whole.test)
    order = np.argsort(np.concatenate([part.groups for part in parts]))
    x = np.concatenate([part.x for part in parts])[order]
    y = np.concatenate([part.y for part in parts])[order]  # 1 is malignant
    rows = np.arange(len(y))
    train, test = train_test_split(rows, test_size=0.2, stratify=y, random_state=seed)
    random = np.random.default_rng(seed)
    malignant, benign = (random.permutation(train[y[train] == label]) for label in (1, 0))
    most, least = round(0.9 * len(malignant)), round(0.1 * len(benign))

    def split(chosen: NDArray[np.int64]) -> Split:
        mask = np.ones_like(x[chosen], dtype=bool)
        return Split(x=x[chosen], mask=mask, y=y[chosen], groups=chosen)

    first = np.concatenate([malignant[:most], benign[:least]])
    second = np.concatenate([malignant[most:], benign[least:]])
    return {"sahlgrenska": split(first), "halland": split(second)}, split(test)


def score(log_probabilities: NDArray[np.float32], y: NDArray[np.int32]) -> Scores:
    """From log-probabilities float32 [examples, 2], by scikit-learn."""
    from sklearn.metrics import brier_score_loss, roc_auc_score

    p = np.exp(log_probabilities[:, 1].astype(np.float64))
    return Scores(
        accuracy=float(np.mean((p > 0.5) == y)),
        auroc=float(roc_auc_score(y, p)),
        brier=float(brier_score_loss(y, p)),
    )


def federate(sites: dict[str, Dataset], seed: int) -> tuple[Vector, Engine]:
    """Our own engine, exit and mean in this process; the joint model, and an engine to ask."""
    engines = at_work(sites, RECIPE, seed, agreed(sites))
    return averaged(engines, RECIPE, halved=False), engines[SITES[0]]


def by_seed(seed: int) -> Scores:
    """Our numbers on the recipe's rows."""
    training, test = recipe(seed)
    like = datasets.load("breast_cancer", path=None, part="all", seed=0)
    none = Split(x=test.x[:0], mask=test.mask[:0], y=test.y[:0], groups=test.groups[:0])
    sites = {
        name: replace(like, train=training[name], validation=none, test=test) for name in SITES
    }
    joint, engine = federate(sites, seed)
    return score(engine.predict(joint), test.y)


def ours(seed: int, scores: Scores) -> Peer:
    """A real federation of two homes; its model must be the one that this process computes."""
    sources = {
        name: {"breast_cancer": {"part": PARTS[name]}} for name in ("sahlgrenska", "halland")
    }
    agreed = Study(
        id="peers", purpose="Beside other programs", sites=SITES, data="breast_cancer",
        model="logistic", rounds=ROUNDS, seed=seed, training=TRAINING,
    )  # fmt: skip
    with bench_rounds.federation(sources) as homes:
        for home in homes.values():
            operations.up(home)
        bench_rounds.trainers_ready(homes)
        records = bench_rounds.carry_out(homes["sahlgrenska"], agreed)
        file = Path(records[-1].event.file)  # type: ignore[attr-defined]
        joint = checkpoints.parse(file.read_bytes(), name=file.name).parameters
        peaks = bench_rounds.peaks(homes)
        rounds = [
            r.event.seconds["total"] for r in records if type(r.event).__name__ == "RoundEnded"
        ]
    load = {n: datasets.load("breast_cancer", path=None, part=PARTS[n], seed=seed) for n in SITES}
    here, _ = federate(load, seed)
    same = "bit for bit" if np.array_equal(here, joint) else f"within {np.abs(here - joint).max()}"
    print(f"the federation's model after {ROUNDS} rounds equals this process's: {same}")
    np.testing.assert_allclose(joint, here, atol=1e-6)
    return Peer(
        name="fedtui",
        seconds=median(rounds),
        start=bench_rounds.start_up(records),
        memory=sum(peaks.values()),
        scores=scores,
    )


def scaled(seed: int, folder: Path) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """The recipe's rows as files for other programs; returns the pooled test rows, scaled."""
    training, test = recipe(seed)
    x = np.concatenate([training[name].x for name in SITES]).astype(np.float64)
    centre, spread = x.mean(axis=0), x.std(axis=0)
    for name in SITES:
        part = ((training[name].x - centre) / spread).astype(np.float32)
        np.savez(folder / f"{name}.npz", x=part, y=training[name].y)
    return ((test.x - centre) / spread).astype(np.float32), test.y


def predictions(vector: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log-probabilities float32 [examples, 2] of the peers' [bias, weights]."""
    logit = x @ vector[1:] + vector[0]
    return -np.logaddexp(0, np.stack([logit, -logit], axis=1)).astype(np.float32)


def stock(seed: int, rounds: int) -> Peer:
    """Stock Flower's deployment: SuperLink, two SuperNodes, TLS, node keys, `flwr run`."""
    import stock_flower

    with tempfile.TemporaryDirectory() as name:
        x, y = scaled(seed, Path(name))
        os.environ |= {"BENCH_DATA": name, "BENCH_SEED": str(seed)}
        with stock_flower.deployment() as deployed:
            app = {
                "pyproject.toml": stock_flower.PYPROJECT,
                "server.py": SERVER,
                "client.py": CLIENT,
                "work.py": WORK,
            }
            began, notes = deployed.run(app, {"rounds": rounds})
            vector = np.load(f"{deployed.notes}.npy")
            times = [note["time"] for note in notes]
            return Peer(
                name=f"stock Flower ({rounds} rounds, train only)",
                seconds=median(np.diff(times)),
                start=times[0] - began,
                memory=deployed.most,
                scores=score(predictions(vector, x), y),
            )


def nvflare(seed: int, python: Path) -> Peer:
    """NVFlare's simulator: no TLS, no keys, both sites on this host."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        x, y = scaled(seed, folder)
        for file, text in (("job.py", JOB), ("client.py", SCRIPT), ("work.py", WORK)):
            (folder / file).write_text(text)
        notes = folder / "notes"
        environment = os.environ | {
            "BENCH_DATA": name,
            "BENCH_SEED": str(seed),
            "BENCH_NOTES": str(notes),
        }
        began = time.time()
        with (folder / "log").open("wb") as log:
            child = subprocess.Popen(
                [python, "job.py", str(ROUNDS), str(folder / "space")], env=environment,
                cwd=folder, stdout=log, stderr=log,
            )  # fmt: skip
            memory = 0.0
            while child.poll() is None:
                memory = max(memory, _family(child.pid))
                time.sleep(0.25)
        models = sorted(
            (folder / "space").rglob("server.npy"), key=lambda path: path.stat().st_mtime
        )
        if child.returncode or not models:
            raise RuntimeError((folder / "log").read_text()[-3000:])
        times = [json.loads(line)["time"] for line in notes.read_text().splitlines()]
        return Peer(
            name="NVFlare simulator (train only)",
            seconds=median(np.diff(times)),
            start=times[0] - began,
            memory=memory,
            scores=score(predictions(np.load(models[-1]), x), y),
        )


def _family(pid: int) -> float:
    """Resident memory of a process and its descendants, in MB."""
    total = 0.0
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss / 1e6
    return total


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stock-rounds", type=int, default=ROUNDS, help="0 leaves Flower out")
    parser.add_argument("--nvflare", type=Path, help="python of an environment with NVFlare")
    options = parser.parse_args()
    found = [by_seed(seed) for seed in SEEDS]
    middle = Scores(*np.mean(found, axis=0).tolist())
    print(f"fedtui, mean of {len(found)} seeds: accuracy {middle.accuracy:.4f}, AUROC "
          f"{middle.auroc:.4f}, Brier {middle.brier:.4f}; expected {EXPECTED}")  # fmt: skip
    if abs(middle.accuracy - EXPECTED["accuracy"]) > TOLERANCE:
        raise AssertionError("the accuracy is not what FedAvg gives here")
    if abs(middle.brier - EXPECTED["Brier"]) > TOLERANCE:
        raise AssertionError("the Brier score is not what FedAvg gives here")
    peers = [ours(0, found[0])]
    if options.stock_rounds:
        peers.append(stock(0, options.stock_rounds))
    if options.nvflare:
        peers.append(nvflare(0, options.nvflare))
    else:
        print("NVFlare is left out: give --nvflare PYTHON of an environment that has it")
    print(f"seed 0, load {os.getloadavg()[0]:.1f}:")
    for peer in peers:
        accuracy, auroc, brier = peer.scores
        print(
            f"  {peer.name:38} {peer.seconds:6.2f} s a round, start {peer.start:5.2f} s, "
            f"{peer.memory:5.0f} MB, accuracy {accuracy:.4f}, AUROC {auroc:.4f}, Brier {brier:.4f}"
        )


if __name__ == "__main__":
    main()
