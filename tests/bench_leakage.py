"""How long the leakage gate takes, and what it says of recipes whose leakage differs.

    python -m tests.bench_leakage [--records 2000] [--shadows 64]

48 features, an MLP 48-128-64-1 (and a logistic regression), patients of one record, 70 % of them
members; each row is a new model. Seconds are of the whole audit, compilation included: by the
clock, and of the processor, which what else the machine does changes less.
"""

import argparse
import math
import time
from typing import Any

import numpy as np

from datasets import Dataset, Feature, Split
from models import Privacy, Training
from models._engine import Engine
from models._leakage import Subject, audit

FEATURES = 48
MLP: dict[str, Any] = {"hidden": [128, 64]}
RECIPES: dict[str, tuple[str, int, dict[str, Any], Privacy | None]] = {
    # Name: model, rounds, changes to the training, promise.
    "mlp, 60 steps": ("mlp", 5, {}, None),
    "mlp, 600 steps, overfit": ("mlp", 50, {}, None),
    "mlp, 200 steps, noise 1": ("mlp", 17, {}, Privacy(noise=1.0)),
    "mlp, 200 steps, epsilon 3": ("mlp", 17, {}, Privacy(epsilon=3.0)),
    "mlp, small, l2": ("mlp", 5, {"l2": 0.05, "learning_rate": 3e-4}, None),
    "logistic, 60 steps": ("logistic", 5, {}, None),
    "logistic, 240 steps": ("logistic", 20, {"learning_rate": 1e-2}, None),
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--records", type=int, default=2000)
    arguments.add_argument("--shadows", type=int, default=64)
    arguments.add_argument("--seconds", type=float, default=60.0)
    given = arguments.parse_args()
    data = made(given.records)
    for name, (model, rounds, changes, privacy) in RECIPES.items():
        settings: dict[str, Any] = {"optimizer": "adamw", "learning_rate": 1e-3, "batch": 128}
        training = Training(**settings | changes)
        config = MLP if model == "mlp" else {}
        engine = Engine(
            model=model,
            config=config,
            training=training,
            data=data,
            seed=0,
            normalisation=None,
            privacy=privacy,
            rounds=rounds,
        )
        start = vector = engine.initial()
        for round in range(1, rounds + 1):
            vector = engine.train(vector, round=round, stream=0).vector
        auroc = engine.evaluate(vector).metrics["auroc"]
        began, worked = time.monotonic(), time.process_time()
        found = audit(
            Subject(
                object="local update",
                model=model,
                config=config,
                training=training,
                data=data,
                normalisation=None,
                start=start,
                vector=vector,
                local=np.zeros(0, dtype=np.float32),
                rounds=rounds,
                plan=engine.plan,
                seed=0,
            ),
            seconds=given.seconds,
            shadows=given.shadows,
        )
        spent = time.monotonic() - began, time.process_time() - worked
        _print(name, auroc or math.nan, found, spent)


def _print(name: str, auroc: float, found: Any, spent: tuple[float, float]) -> None:
    measured = found.measured
    rate = "no rate" if found.rate is None else f"TPR at 1 % FPR {found.rate:.3f}"
    between = "" if found.interval is None else " ({:.3f} to {:.3f})".format(*found.interval)
    promise = "" if measured.claimed is None else f" of {measured.claimed:.2f} claimed"
    planted = "none" if measured.epsilon is None else f"{measured.epsilon:.2f}{promise}"
    print(
        f"{name}: test AUROC {auroc:.3f}; {rate}{between}; AUC {measured.auc:.3f}, by loss "
        f"{measured.loss_auc:.3f}; epsilon at least {planted}; {measured.shadows} shadows, "
        f"{measured.attack}; {found.verdict}; {spent[0]:.1f} s, of the processor {spent[1]:.1f} s",
        flush=True,
    )


def made(records: int) -> Dataset:
    """A task of which a linear model learns most and an MLP a little more."""
    random = np.random.default_rng(0)
    x = random.normal(size=(records, FEATURES)).astype(np.float32)
    signal = 1.5 * x @ random.normal(size=FEATURES) / math.sqrt(FEATURES) + np.sin(2 * x[:, 0])
    y = (signal + 0.7 * random.normal(size=records) > 0).astype(np.int32)

    def split(begin: float, end: float) -> Split:
        part = slice(round(begin * records), round(end * records))
        people = np.arange(records)[part]
        return Split(x=x[part], mask=np.ones_like(x[part], dtype=bool), y=y[part], groups=people)

    return Dataset(
        name="made",
        part="all",
        features=tuple(Feature(name=f"f{column}") for column in range(FEATURES)),
        classes=("no", "yes"),
        train=split(0, 0.7),
        validation=split(0.7, 0.8),
        test=split(0.8, 1),
    )


if __name__ == "__main__":
    main()
