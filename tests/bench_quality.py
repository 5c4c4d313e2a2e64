"""How good a federated ResNet-18 is on HAM10000's four real sites, against the same one pooled.

    python -m tests.bench_quality [--side 48] [--passes 12] [--seeds 3] [--arms WORD ...]

Images alone, from scratch. A seed draws the split by lesion, the initial weights and the order; in
each, a network is trained over the four sites and two on all their images, for as many passes. A
round is a twentieth of one, two to four steps at the three large sites, for sites as unlike as
these drift apart in longer ones; the steps go through FedAvgM, since a round moves the mean of four
sites no further than it moves one. Both were chosen on seed 0's validation images. Of the pooled
ones the first goes the same way, which begins each round without a memory of former gradients, and
the second in whole passes, as one trains who has all images. The round is chosen by the log loss on
all validation images, looked at every fifteenth round, or every pass. The baselines see pixels and
colour histograms of the same images, as those of DATA.md 4.7 do of larger ones. A seed that would
begin after ``--seconds`` is left out.
"""

import argparse
import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasets import Dataset, Split, _siim
from fedtui.flower import rules
from models import Augmentation, Training
from models._metrics import auroc

SITES = ("rosendahl", "vidir_modern", "vidir_molemax", "vienna_dias")
TRAINING = Training(
    optimizer="sgd",
    learning_rate=0.03,
    momentum=0.9,
    batch=16,
    share=0.05,
    clip=1.0,
    decay=0.99,
    augmentation=Augmentation(flips=True, turns=True, brightness=0.1),
)
POOLED_WHOLE = "pooled ResNet-18, whole passes"
SMALL, LEVELS = 24, 16  # of the baselines: pixels a side, stretches of each colour
# 97.5 % quantiles of Student's t, by degrees of freedom.
QUANTILES = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78}

Scores = list[NDArray[np.float64]]


class Way(NamedTuple):
    """How a network is trained.

    Attributes:
        server: Momentum of the joint steps; 0 was behind on seed 0's validation images.
        judged: Every so many rounds.
    """

    training: Training
    server: float
    judged: int

    def rounds(self, passes: float) -> int:
        return round(passes / self.training.share)


SHORT = Way(TRAINING, server=0.75, judged=15)
WHOLE = Way(
    replace(TRAINING, share=1.0, decay=TRAINING.decay ** (1 / TRAINING.share)), server=0.0, judged=1
)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--side", type=int, default=48, help="pixels a side")
    arguments.add_argument("--passes", type=float, default=12, help="over the training images")
    arguments.add_argument("--seeds", type=int, default=3, choices=range(1, 6))
    arguments.add_argument("--arms", nargs="*", help="words that name what to train, e.g. pooled")
    arguments.add_argument("--seconds", type=float, default=7200)
    given = arguments.parse_args()
    shared = Path(os.environ.get("FEDTUI_SHARED_DATA", "../shared/data"), "ham10000_small")
    if not shared.is_dir():
        sys.exit(f"skipped: the images are not in {shared}; set FEDTUI_SHARED_DATA")
    began = time.monotonic()
    found: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FEDTUI_CACHE"] = str(Path(folder, "cache"))
        with tarfile.open(shared / "images_200x150.tar") as images:
            images.extractall(folder, filter="data")
        Path(folder, "train.csv").write_bytes((shared / "train.csv").read_bytes())
        for seed in range(given.seeds):
            if time.monotonic() - began > given.seconds:
                print(f"seed {seed} and later: left out, the time is over", flush=True)
                break
            sites = [bare(Path(folder), part, seed, given.side) for part in SITES]
            found.append(one(sites, seed, given.passes, given.arms))
    summary(found)


def bare(folder: Path, part: str, seed: int, side: int) -> Dataset:
    """A site's images without their table."""
    data = _siim.build(name="ham10000", path=folder, part=part, seed=seed, size=side)

    def alone(split: Split) -> Split:
        nothing = np.zeros((len(split), 0))
        return replace(split, x=nothing.astype(np.float32), mask=nothing.astype(bool))

    splits = {name: alone(getattr(data, name)) for name in ("train", "validation", "test")}
    return replace(data, features=(), **splits)


def pooled(sites: Sequence[Dataset]) -> Dataset:
    """All sites' images as one site's."""

    def joined(name: str) -> Split:
        splits = [getattr(site, name) for site in sites]
        pictures = splits[0].pictures
        rows = np.concatenate([split.pictures.rows for split in splits])
        arrays = {
            key: np.concatenate([getattr(split, key) for split in splits])
            for key in ("x", "mask", "y", "groups")
        }
        return Split(**arrays, pictures=replace(pictures, rows=rows))

    splits = {name: joined(name) for name in ("train", "validation", "test")}
    return replace(sites[0], part="all", **splits)


def one(
    sites: Sequence[Dataset], seed: int, passes: float, only: Sequence[str] | None
) -> dict[str, float]:
    """AUROC by arm, macro over sites and over all test images together."""
    measured: dict[str, float] = {}
    arms: dict[str, Callable[[], Scores]] = {
        "logistic regression on pixels": lambda: baseline(sites, "logistic"),
        "boosted trees on pixels": lambda: baseline(sites, "trees"),
        "federated ResNet-18": lambda: trained(sites, sites, seed, passes, SHORT),
        "pooled ResNet-18": lambda: trained(sites, [pooled(sites)], seed, passes, SHORT),
        POOLED_WHOLE: lambda: trained(sites, [pooled(sites)], seed, passes, WHOLE),
    }
    truth = [site.test.y for site in sites]
    for arm, scores in arms.items():
        if only and not any(word in arm for word in only):
            continue
        began = time.monotonic()
        found = scores()
        by_site = [auroc(y, score) for y, score in zip(truth, found, strict=True)]
        defined = [value for value in by_site if value is not None]
        measured[f"{arm}, macro"] = float(np.mean(defined))
        measured[f"{arm}, all"] = auroc(np.concatenate(truth), np.concatenate(found)) or 0.0
        shown = " ".join("-" if value is None else f"{value:.3f}" for value in by_site)
        print(
            f"seed {seed}: {arm}: macro {measured[f'{arm}, macro']:.3f}, "
            f"all {measured[f'{arm}, all']:.3f}, by site {shown} "
            f"({time.monotonic() - began:.0f} s)",
            flush=True,
        )
    return measured


def trained(
    sites: Sequence[Dataset], at: Sequence[Dataset], seed: int, passes: float, way: Way
) -> Scores:
    """Logits on each site's test images of the best round of so many passes over the sites ``at``.

    References:
        Hsu et al., Measuring the Effects of Non-Identical Data, arXiv 1909.06335, section 4.3.
    """
    from models._engine import Engine

    def engine(data: Dataset) -> Any:
        return Engine(
            model="resnet18",
            config={},
            training=way.training,
            data=data,
            seed=seed,
            normalisation=None,
        )

    engines, judges = [engine(data) for data in at], [engine(data) for data in sites]
    join = rules.rule("fedavgm", {"momentum": way.server})
    memory: rules.State = {}
    vector, best, kept = engines[0].initial(), np.inf, None
    for round in range(1, way.rounds(passes) + 1):
        work = [each.train(vector, round=round, stream=k) for k, each in enumerate(engines)]
        weights = [done.examples for done in work]
        vector, memory = join(vector, [done.vector for done in work], weights, memory)
        if round % way.judged:
            continue
        judged = [judge.evaluate(vector, split="validation") for judge in judges]
        losses = [each.metrics["loss"] * each.examples for each in judged]
        loss = sum(losses) / sum(each.examples for each in judged)
        if loss < best:
            best, kept = loss, vector
        told = np.average([done.loss for done in work], weights=weights)
        print(f"  round {round}: train {told:.3f}, validation {loss:.3f}", file=sys.stderr)
    logs = [judge.predict(kept, split="test").astype(np.float64) for judge in judges]
    return [each[:, 1] - each[:, 0] for each in logs]


def baseline(sites: Sequence[Dataset], kind: str) -> Scores:
    """The same of a pooled model on 24 x 24 pixels and colour histograms."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model: Any = HistGradientBoostingClassifier(random_state=0)
    if kind == "logistic":
        model = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=1000))
    x = np.concatenate([seen(part) for site in sites for part in (site.train, site.validation)])
    y = np.concatenate([part.y for site in sites for part in (site.train, site.validation)])
    model.fit(x, y)
    return [model.predict_proba(seen(site.test))[:, 1] for site in sites]


def seen(split: Split) -> NDArray[np.float32]:
    """Pixels and histograms, float32 [examples, 3 x 24 x 24 + 3 x 16]."""
    from PIL import Image

    assert split.pictures is not None
    images = split.pictures.take(np.arange(len(split)))
    size = (SMALL, SMALL)
    small = [np.asarray(Image.fromarray(i).resize(size, Image.Resampling.BOX)) for i in images]
    histograms = [
        np.concatenate([np.histogram(i[..., c], LEVELS, (0, 256))[0] for c in range(3)]) / i.size
        for i in images
    ]
    flat = np.array(small, dtype=np.float32).reshape(len(images), -1) / 255
    return np.concatenate([flat, np.array(histograms, dtype=np.float32)], axis=1)


def summary(found: Sequence[dict[str, float]]) -> None:
    """Means over the seeds, and differences of the federated one with 95 % t intervals."""
    for name in found[0] if found else ():
        values = [seed[name] for seed in found]
        spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
        print(f"{name}: {np.mean(values):.3f}{spread} over {len(values)} seeds")
    for over in ("macro", "all"):
        for other in ("pooled ResNet-18", POOLED_WHOLE, "boosted trees on pixels"):
            pair = f"federated ResNet-18, {over}", f"{other}, {over}"
            gaps = [s[pair[0]] - s[pair[1]] for s in found if s.keys() >= set(pair)]
            if len(gaps) > 1:
                half = QUANTILES[len(gaps) - 1] * np.std(gaps, ddof=1) / len(gaps) ** 0.5
                print(
                    f"federated less {other}, {over}: {np.mean(gaps):+.3f} "
                    f"[{np.mean(gaps) - half:+.3f}, {np.mean(gaps) + half:+.3f}]"
                )


if __name__ == "__main__":
    main()
