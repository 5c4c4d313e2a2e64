"""Federated training as a federation's parts do it, all sites in this one process."""

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import datasets
from datasets import Dataset, Statistics
from fedtui import disclosure
from fedtui.flower.vectors import Vector, from_bfloat16, mean, to_bfloat16
from models import Training
from models._engine import Engine
from models._metrics import auroc

MINIMUM = 10  # patients behind a statistic of round 0, as at a site that changes nothing
Scores = NDArray[np.float64]


class Recipe(NamedTuple):
    """How all sites train."""

    model: str
    training: Training
    rounds: int


def stream(site: str) -> int:
    """The site's own number behind its order of examples, as its trainer takes it."""
    return int.from_bytes(hashlib.sha256(site.encode()).digest()[:4], "big")


def agreed(sites: dict[str, Dataset]) -> datasets.Normalisation:
    """Round 0: what each site's exit tells, added up."""
    told = [_told(data) for data in sites.values()]
    pooled = Statistics(*(np.sum(parts, axis=0) for parts in zip(*told, strict=True)))
    return datasets.agree(pooled, next(iter(sites.values())).features)


def _told(data: Dataset) -> Statistics:
    """One site's sums as it tells them: none of a small cell, and coarse."""
    sums, behind = datasets.statistics(data.train), datasets.support(data.train)
    told = np.zeros((len(data.features), 3))
    for column, feature in enumerate(data.features):
        counts = feature.kind != "number"
        people = [behind.patients[column]]
        if counts:
            people += [behind.positive[column], behind.negative[column]]
        if min(people) >= MINIMUM:
            told[column] = disclosure.coarse(*(float(s[column]) for s in sums), counts=counts)
    return Statistics(*told.T)


def federated(
    sites: dict[str, Dataset], recipe: Recipe, seed: int, *, halved: bool = False
) -> dict[str, Scores]:
    """The joint model's scores on each site's own test rows.

    Args:
        halved: Whether models travel as bfloat16: the joint one whole, a site's as its change.
    """
    engines = at_work(sites, recipe, seed, agreed(sites))
    joint = averaged(engines, recipe, halved=halved)
    return {name: logits(engine.predict(joint)) for name, engine in engines.items()}


def averaged(engines: dict[str, Engine], recipe: Recipe, *, halved: bool) -> Vector:
    """The joint model as sites have it after the last round."""
    joint = next(iter(engines.values())).initial()

    def carried(vector: Vector) -> Vector:
        return from_bfloat16(to_bfloat16(vector)) if halved else vector

    for number in range(1, recipe.rounds + 1):
        sent = carried(joint)
        done = [
            engines[name].train(sent, round=number, stream=stream(name)) for name in sorted(engines)
        ]
        weights = [disclosure.rounded(one.examples) for one in done]
        joint = mean(
            [joint + carried(one.vector - sent) if halved else one.vector for one in done], weights
        )
    return carried(joint)


def alone(sites: dict[str, Dataset], recipe: Recipe, seed: int, own: str) -> dict[str, Scores]:
    """The same work by one site on its own data and scale; the scores on every site's test rows."""
    engines = at_work(sites, recipe, seed, agreed({own: sites[own]}))
    vector = engines[own].initial()
    for number in range(1, recipe.rounds + 1):
        vector = engines[own].train(vector, round=number, stream=stream(own)).vector
    return {name: logits(engine.predict(vector)) for name, engine in engines.items()}


def at_work(
    sites: dict[str, Dataset], recipe: Recipe, seed: int, scale: datasets.Normalisation | None
) -> dict[str, Engine]:
    """An engine for each site."""
    return {
        name: Engine(
            model=recipe.model,
            config={},
            training=recipe.training,
            data=data,
            seed=seed,
            normalisation=scale,
        )
        for name, data in sites.items()
    }


def logits(log_probabilities: NDArray[np.float32]) -> Scores:
    """Of class 1, float64 [examples]."""
    wide = log_probabilities.astype(np.float64)
    found: Scores = wide[:, 1] - wide[:, 0]
    return found


def pooled_logistic(sites: dict[str, Dataset]) -> dict[str, Scores]:
    """scikit-learn's logistic regression (C = 1) on all sites' training rows together."""
    from sklearn.linear_model import LogisticRegression

    scale = agreed(sites)
    x = np.concatenate([datasets.standardise(data.train, scale) for data in sites.values()])
    y = np.concatenate([data.train.y for data in sites.values()])
    model = LogisticRegression(C=1.0, max_iter=5000).fit(x, y)
    return {
        name: model.decision_function(datasets.standardise(data.test, scale))
        for name, data in sites.items()
    }


def together(sites: dict[str, Dataset], scores: dict[str, Scores]) -> float:
    """AUROC over all sites' test rows."""
    y = np.concatenate([data.test.y for data in sites.values()])
    found = auroc(y, np.concatenate([scores[name] for name in sites]))
    assert found is not None
    return found
