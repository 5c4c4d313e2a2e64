"""What joint training is worth, on all sites' raw scores: ``python -m tests.bench_numbers``.

    python -m tests.bench_numbers heart transport mimic_demo mimic_iv ham10000   # or some

Engines, round 0 with what an exit hides and rounds, and the mean are a federation's, in this one
process. 'Alone' is the same recipe on one site's data, its statistics under the same rules. Every
site is at hand here, so raw scores are; none of this leaves a site in a run. Real data are looked
for in FEDTUI_SHARED_DATA (default ../shared/data), five seeds each.
"""

import argparse
import os
import tarfile
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import datasets
from datasets import Dataset, Split
from models import Augmentation, Training
from models._intervals import Interval, bootstrap
from models._metrics import auroc
from tests.one_process import (
    Recipe,
    Scores,
    alone,
    at_work,
    averaged,
    federated,
    pooled_logistic,
    together,
)

SEEDS = range(5)
HOSPITALS = ("cleveland", "hungarian", "switzerland", "va")
UNITS = ("micu", "sicu", "cvicu", "ccu", "neuro")
REFERENCE = {"cleveland": 0.016, "hungarian": -0.005, "switzerland": 0.002, "va": 0.085}
ROWS = (1_000, 3_000, 10_000)
HEART = Training(learning_rate=0.1, batch=16)
MIMIC = Training(learning_rate=0.02, batch=32, l2=0.01)
SKIN_TRAINING = Training(
    optimizer="adam",
    learning_rate=0.001,
    batch=32,
    augmentation=Augmentation(flips=True, turns=True),
)
SKIN = Recipe("cnn", SKIN_TRAINING, 8)
DIGITS = Recipe("mlp", Training(learning_rate=0.01, batch=32, share=0.05), 400)


class Trial(NamedTuple):
    """One site's test rows under one seed, scored by two models."""

    test: Split
    joint: Scores
    own: Scores


def difference(trials: list[Trial]) -> tuple[float | None, float | None, Interval | None]:
    """Own AUROC, joint minus own, both means over the seeds, and the difference's interval.

    Patients are drawn with replacement, a patient with all seeds' rows and both scores together,
    so that the interval is paired and knows that the seeds' test sets overlap. Training sets are
    as they are: their chance is not in it.
    """
    seeds = np.repeat(np.arange(len(trials)), [len(t.test) for t in trials])
    y = np.concatenate([t.test.y for t in trials])
    groups = np.concatenate([t.test.groups for t in trials])
    joint, own = (np.concatenate([getattr(t, k) for t in trials]) for k in ("joint", "own"))

    def gap(rows: NDArray[np.int64]) -> float | None:
        gaps = []
        for seed in range(len(trials)):
            chosen = rows[seeds[rows] == seed]
            a, b = auroc(y[chosen], joint[chosen]), auroc(y[chosen], own[chosen])
            if a is not None and b is not None:
                gaps.append(a - b)
        return float(np.mean(gaps)) if gaps else None

    everybody = np.arange(len(y))
    alone = [a for t in trials if (a := auroc(t.test.y, t.own)) is not None]
    middle = float(np.mean(alone)) if alone else None
    return middle, gap(everybody), bootstrap(gap, groups, seed=0)


def heart(folder: Path) -> None:
    """Heart Disease, all 920 rows, four real hospitals."""
    path = folder / "heart_disease"
    recipe = Recipe("logistic", HEART, 50)
    trials: dict[str, list[Trial]] = {name: [] for name in HOSPITALS}
    pooled: list[tuple[float, float, float]] = []
    for seed in SEEDS:
        sites = {h: datasets.load("heart_disease", path=path, part=h, seed=seed) for h in HOSPITALS}
        joint = federated(sites, recipe, seed)
        own = {h: alone(sites, recipe, seed, h) for h in HOSPITALS}
        for h, data in sites.items():
            trials[h].append(Trial(data.test, joint[h], own[h][h]))
        logistic = pooled_logistic(sites)
        best = max(together(sites, own[h]) for h in HOSPITALS)
        pooled.append((together(sites, joint), together(sites, logistic), best))
    print("Heart Disease, 920 rows: AUROC on the hospital's own test patients, 5 seeds")
    print(f"{'hospital':<14}{'alone':>8}{'joint':>8}{'gain':>8}   95 % interval     reference")
    for h in HOSPITALS:
        separate, gap, interval = difference(trials[h])
        _row(h, separate, gap, interval, f"{REFERENCE[h]:+.3f}")
    ours, logistic_, local = (np.array(column) for column in zip(*pooled, strict=True))
    print(f"pooled AUROC: joint {_spread(ours)}, pooled logistic regression {_spread(logistic_)}, "
          f"difference {(ours - logistic_).mean():+.4f}")  # fmt: skip
    print(f"pooled AUROC of the best hospital's own model {_spread(local)}, "
          f"joint above it by {(ours - local).mean():+.3f}")  # fmt: skip
    _held("pooled AUROC at least .88", ours.mean() >= 0.88)
    _held("within .01 of pooled logistic regression", abs((ours - logistic_).mean()) <= 0.01)
    worse = [h for h in HOSPITALS if (found := difference(trials[h])[2]) and found.high < 0]
    _held(f"no hospital worse beyond its interval {worse or ''}", not worse)


def transport(folder: Path) -> None:
    """What bfloat16 on the wire costs: the same runs with and without, Heart Disease."""
    path = folder / "heart_disease"
    print("bfloat16 on the wire less float32: pooled AUROC, Heart Disease, 5 seeds, 50 rounds")
    worst = 0.0
    for model in ("logistic", "mlp"):
        costs = []
        for seed in SEEDS:
            sites = {
                h: datasets.load("heart_disease", path=path, part=h, seed=seed) for h in HOSPITALS
            }
            recipe = Recipe(model, HEART, 50)
            whole = together(sites, federated(sites, recipe, seed))
            costs.append(together(sites, federated(sites, recipe, seed, halved=True)) - whole)
        found = np.array(costs)
        worst = max(worst, abs(float(found.mean())))
        print(f"  {model:<10}{_apart(found)}, at most {np.abs(found).max():.4f} in a seed")
    _held("costs at most .001 on average", worst <= 0.001)
    _small_steps()


def _small_steps() -> None:
    """The digits, where a round's step is smaller than what bfloat16 rounds the model by."""
    found = []
    for seed in SEEDS:
        sites = {p: datasets.load("digits", part=p, seed=seed) for p in ("even", "odd")}
        y = np.concatenate([data.test.y for data in sites.values()])
        engines = at_work(sites, DIGITS, seed, None)
        row = []
        for halved in (False, True):
            joint = averaged(engines, DIGITS, halved=halved)
            p = np.exp(np.concatenate([e.predict(joint) for e in engines.values()]).astype(float))
            areas = [auroc((y == k).astype(np.int32), p[:, k]) for k in range(10)]
            row += [float(np.mean([a for a in areas if a is not None])), (p.argmax(1) == y).mean()]
        found.append(row)
    area, right, area_halved, right_halved = np.array(found).T
    print(f"the digits, even and odd, {DIGITS.rounds} rounds of a twentieth of an epoch, 5 seeds:")
    print(f"  mean AUROC of a digit against the rest {_spread(area)}, bfloat16 "
          f"{_apart(area_halved - area)}")  # fmt: skip
    print(f"  accuracy {_spread(right)}, bfloat16 {_apart(right_halved - right)}")
    _held("costs at most .002 of that AUROC", abs((area_halved - area).mean()) <= 0.002)
    _held("costs at most .01 of accuracy", abs((right_halved - right).mean()) <= 0.01)


def mimic_demo(folder: Path) -> None:
    """The real MIMIC-IV demo through the code that reads made-up MIMIC-IV."""
    path = folder / "mimic_iv_demo"
    found = []
    for seed in SEEDS:
        whole = datasets.load("mimic_iv", path=path, seed=seed)
        stays, deaths = _size(whole)
        sites = {p: datasets.load("mimic_iv", path=path, part=p, seed=seed) for p in HOMES}
        found.append(together(sites, federated(sites, Recipe("logistic", MIMIC, 10), seed)))
    print(f"MIMIC-IV demo: {stays} stays, {deaths} deaths, two sites, pooled AUROC "
          f"{_spread(np.array(found))} on some 23 stays: a smoke test, no figure")  # fmt: skip
    _held("117 stays, 14 deaths", (stays, deaths) == (117, 14))


HOMES = ("halland", "sahlgrenska")


def mimic_iv(rows: tuple[int, ...]) -> None:
    """Made-up MIMIC-IV, whose best AUROC is known, over five care units."""
    recipe = Recipe("logistic", MIMIC, 30)
    print("Made-up MIMIC-IV, five care units as sites, AUROC on all test stays, 5 seeds, ± between")
    print(f"{'stays':>7}{'joint':>8}{'pooled':>8}{'pooled LR':>11}{'best':>8}"
          f"{'joint - pooled':>19}{'joint - best':>19}")  # fmt: skip
    for count in rows:
        lines = []
        for seed in SEEDS:
            with tempfile.TemporaryDirectory() as name:
                path = Path(name, "mimic")
                written = datasets.synthesise("mimic_iv", path, rows=count, seed=seed)
                whole = datasets.load("mimic_iv", path=path, seed=seed)
                sites = {u: datasets.load("mimic_iv", path=path, part=u, seed=seed) for u in UNITS}
            joint = together(sites, federated(sites, recipe, seed))
            pooled = auroc(whole.test.y, alone({"all": whole}, recipe, seed, "all")["all"])
            lines.append(
                (joint, pooled, together(sites, pooled_logistic(sites)), written.bayes_auroc)
            )
        joint_, pooled_, logistic, best = np.array(lines).T
        print(f"{count:>7,}{joint_.mean():>8.4f}{pooled_.mean():>8.4f}{logistic.mean():>11.4f}"
              f"{best.mean():>8.4f}{_apart(joint_ - pooled_):>19}{_apart(joint_ - best):>19}",
              flush=True)  # fmt: skip
    _held("joint within .01 of pooled at the largest", abs((joint_ - pooled_).mean()) <= 0.01)
    _held("joint within .01 of the best known at the largest", abs((joint_ - best).mean()) <= 0.01)


def ham10000(folder: Path) -> None:
    """HAM10000's four real sites load, and a small network trains on them together."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        (path / "train.csv").write_bytes((folder / "ham10000_small" / "train.csv").read_bytes())
        with tarfile.open(folder / "ham10000_small" / "images_200x150.tar") as packed:
            packed.extractall(path, filter="data")
        began = time.perf_counter()
        whole = datasets.load("siim_isic_128", path=path)
        read = time.perf_counter() - began
        parts = datasets.parts("siim_isic_128", path)[-4:]
        sites = {p: datasets.load("siim_isic_128", path=path, part=p) for p in parts}
        began = time.perf_counter()
        scores = federated(sites, SKIN, 0)
        took = time.perf_counter() - began
    print(f"HAM10000 in SIIM's layout: {_size(whole)[0]:,} images, read in {read:.0f} s")
    for p, data in sites.items():
        images, cases = _size(data)
        own = auroc(data.test.y, scores[p])
        print(f"  {p:<16}{images:>6} images,{cases:>5} melanomas, joint AUROC {own:.3f}")
    print(f"  cnn, {SKIN.rounds} rounds of an epoch in {took:.0f} s: AUROC over all test images "
          f"{together(sites, scores):.3f}, one seed")  # fmt: skip
    _held("four sites load and train", all(np.isfinite(s).all() for s in scores.values()))


def _size(data: Dataset) -> tuple[int, int]:
    splits = (data.train, data.validation, data.test)
    return sum(map(len, splits)), sum(int(split.y.sum()) for split in splits)


def _row(
    name: str, alone: float | None, gap: float | None, interval: Interval | None, reference: str
) -> None:
    if alone is None or gap is None or interval is None:
        print(f"{name:<14}{'not defined: one class only':>40}")
        return
    between = f"[{interval.low:+.3f}, {interval.high:+.3f}]"
    print(f"{name:<14}{alone:>8.3f}{alone + gap:>8.3f}{gap:>+8.3f}   {between:<18}{reference:>9}")


def _spread(values: NDArray[np.float64]) -> str:
    return f"{values.mean():.4f} ± {values.std(ddof=1):.4f}"


def _apart(values: NDArray[np.float64]) -> str:
    return f"{values.mean():+.4f} ± {values.std(ddof=1):.4f}"


def _held(what: str, held: bool) -> None:
    print(f"  {'held  ' if held else 'MISSED'}  {what}")


def main() -> None:
    """Measure and print."""
    folder = Path(os.environ.get("FEDTUI_SHARED_DATA", "../shared/data"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    usual = ["heart", "transport", "mimic_demo", "mimic_iv", "ham10000"]
    parser.add_argument("which", nargs="*", default=usual)
    parser.add_argument("--rows", type=int, nargs="*", default=ROWS, help="of made-up MIMIC-IV")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        os.environ.setdefault("FEDTUI_CACHE", cache)
        measure: dict[str, Callable[[], None]] = {
            "heart": partial(heart, folder),
            "transport": partial(transport, folder),
            "mimic_demo": partial(mimic_demo, folder),
            "mimic_iv": partial(mimic_iv, tuple(options.rows)),
            "ham10000": partial(ham10000, folder),
        }
        for name in options.which:
            began = time.perf_counter()
            measure[name]()
            print(f"  {time.perf_counter() - began:.0f} s, load {os.getloadavg()[0]:.1f}\n")


if __name__ == "__main__":
    main()
