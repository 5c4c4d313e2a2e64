"""In the trainer: what the joint model is worth here, beside a model of this site's data alone.

What comes out is as it is; the agent's one exit decides what of it leaves.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from datasets import Dataset
from fedtui import disclosure
from fedtui.errors import DataError
from fedtui.flower import crash, kept, vectors, work
from fedtui.flower.vectors import Vector
from fedtui.study import Study
from models import Manifest, _validation

FEDERATED, LOCAL, TUNED, IMPORTED = "federated", "local", "fine-tuned", "imported"
_MOST_BINS = 100  # of scores: half a pair in a hundred is then not known
Predictions = NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What the trainer lends: its data, and an engine for a study.

    Attributes:
        engine: For a study, without record-level privacy: nothing trained here is sent.
        train: From a study, float32 [parameters], ``round``, ``local`` and ``keep`` to what that
            engine's training gives.
        kept: What the site keeps for itself of the joint model, float32 [local].
    """

    data: Dataset
    engine: Callable[[Study], Any]
    train: Callable[..., Any]
    kept: Vector


def validate(order: dict[str, Any], study: Study, bench: Bench) -> dict[str, Any]:
    """The federated, the local and the fine-tuned model on this site's test patients."""
    began = time.monotonic()
    joint = np.fromfile(order["input"], dtype="<f4")
    data = save(_scaled(order, joint), _described(order, study, bench))
    work.write_atomically(Path(order["folder"], "joint.safetensors"), data)
    predictions = {FEDERATED: bench.engine(study).predict(joint, local=bench.kept)}
    digest = ""
    if study.validation.local:
        local, own = _local_model(order, study, bench)
        predictions[LOCAL] = bench.engine(study).predict(local, local=own)
        work.write_atomically(Path(order["output"]), vectors.bytes_of(local))
        digest = vectors.hash_of(local)
    if study.validation.fine_tuning:
        training = {**study.training, "epochs": study.validation.fine_tuning, "share": 1.0}
        longer = dataclasses.replace(study, training=training)
        tuned = bench.train(
            longer,
            joint,
            round=study.rounds + 1,
            local=bench.kept,
            keep=Path(order["folder"], "fine-tuned.mid"),
        )
        predictions[TUNED] = bench.engine(study).predict(tuned.vector, local=tuned.local)
    results = _judged(predictions, study, bench.data)
    if LOCAL in predictions:
        results["differences"] = {
            name: _paired(predictions[name], predictions[LOCAL], study, bench.data)
            for name in (FEDERATED, TUNED)
            if name in predictions
        }
    results["scores"] = _scores(predictions[FEDERATED], bench.data, minimum=order["minimum"])
    return _done(results, bench.data, began, vector=digest)


def exchange(order: dict[str, Any], study: Study, bench: Bench) -> dict[str, Any]:
    """Other sites' models on this site's test patients, and the federated one against each."""
    began = time.monotonic()
    engine = bench.engine(study)
    joint = engine.predict(np.fromfile(order["input"], dtype="<f4"), local=bench.kept)
    predictions = {
        name: engine.predict(np.fromfile(path, dtype="<f4"), local=bench.kept)
        for name, path in sorted(order["models"].items())
    }
    results = _judged(predictions, study, bench.data)
    results["differences"] = {
        name: _paired(joint, other, study, bench.data) for name, other in predictions.items()
    }
    return _done(results, bench.data, began, vector="")


def judge_imported(order: dict[str, Any], study: Study, bench: Bench) -> dict[str, Any]:
    """Another site's model on this site's test patients, and against this site's own if it has one.

    Nothing is trained. What the model's owner keeps for itself did not come with it.
    """
    began = time.monotonic()
    engine = bench.engine(study)
    if difference := engine.manifest.mismatch(Manifest.from_json(json.loads(order["manifest"]))):
        raise DataError(
            f"This model is not the one that the study names: {difference}.",
            remedy="Ask its owner for the model of this very study.",
        )
    foreign = np.fromfile(order["input"], dtype="<f4")
    predictions = {IMPORTED: engine.predict(foreign, local=bench.kept)}
    own = kept.newest(Path(order["folder"]), "local", {"fingerprint": order["fingerprint"]})
    if own is not None:
        predictions[LOCAL] = engine.predict(own[1], local=own[2])
    results = _judged(predictions, study, bench.data)
    if own is not None:
        less = _paired(predictions[IMPORTED], predictions[LOCAL], study, bench.data)
        results["differences"] = {IMPORTED: less}
    return _done(results, bench.data, began, vector="")


def _done(results: dict[str, Any], data: Dataset, began: float, *, vector: str) -> dict[str, Any]:
    return {
        "examples": len(data.test),
        "results": results,
        "seconds": time.monotonic() - began,
        "vector": vector,
    }


def _local_model(order: dict[str, Any], study: Study, bench: Bench) -> tuple[Vector, Vector | None]:
    """Trained on this site's data alone, from the first model, as often as the federation did.

    Every round is kept as it ends, and in its middle, so that a trainer that is killed goes on
    where it was.
    """
    folder = Path(order["folder"])
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    first = np.fromfile(order["first"], dtype="<f4")
    about = {**_described(order, study, bench), "first": vectors.hash_of(first)}
    reached, vector, own = kept.newest(folder, "local", about) or (0, first, None)
    for round in range(reached + 1, study.rounds + 1):
        crash.point("trainer.validating", round)
        trained = bench.train(study, vector, round=round, local=own, keep=folder / "local.mid")
        vector, own = trained.vector, trained.local
        data = save({**_scaled(order, vector), "own": own}, {**about, "round": str(round)})
        work.write_atomically(folder / f"local-{round:05d}.safetensors", data)
        (folder / f"local-{round - 1:05d}.safetensors").unlink(missing_ok=True)
    return vector, own


def _described(order: dict[str, Any], study: Study, bench: Bench) -> dict[str, str]:
    """What a model in the home says of itself, so that it can be handed out as a file."""
    manifest = bench.engine(study).manifest.to_json()
    return {
        "fingerprint": order["fingerprint"],
        "study": order["study"],
        "manifest": json.dumps(manifest, sort_keys=True),
    }


def _scaled(order: dict[str, Any], vector: Vector) -> dict[str, NDArray[Any]]:
    tensors: dict[str, NDArray[Any]] = {"parameters": vector}
    if order["normalisation"] is not None:
        tensors["normalisation"] = np.asarray(order["normalisation"], dtype=np.float64)
    return tensors


def _judged(predictions: Mapping[str, Predictions], study: Study, data: Dataset) -> dict[str, Any]:
    """Metrics of each model, in all and by subgroup, and how many patients stand behind them."""
    test, plan = data.test, study.validation
    by = {
        name: _validation.groups(test, data.features, by=name, bands=plan.age_bands)
        for name in plan.subgroups
    }

    def of(logs: Predictions, rows: Any, *, brief: bool) -> dict[str, Any]:
        judged = _validation.judge(
            test.y[rows],
            logs[rows],
            test.groups[rows],
            specificity=plan.specificity,
            seed=study.seed,
            brief=brief,
        )
        return asdict(judged)

    models = {}
    for name, logs in predictions.items():
        models[name] = of(logs, slice(None), brief=False) | {
            "subgroups": {
                feature: [of(logs, found.members == k, brief=True) for k in range(len(found.names))]
                for feature, found in by.items()
                if found is not None
            }
        }
    outcomes = len(data.classes)
    return {
        "classes": outcomes,
        "primary": _validation.primary(study.metric, outcomes),
        "patients": _patients(test, np.zeros(len(test), dtype=np.int64), 1, outcomes)[0],
        "tables": {
            feature: {
                "names": list(found.names),
                "counts": _patients(test, found.members, len(found.names), outcomes),
            }
            for feature, found in by.items()
            if found is not None
        },
        "models": models,
    }


def _patients(split: Any, members: NDArray[Any], groups: int, outcomes: int) -> list[list[int]]:
    """Patients by group and outcome; one with several examples counts by the first and the worst.

    Returns:
        [groups][outcomes].
    """
    everybody, first, member = np.unique(split.groups, return_index=True, return_inverse=True)
    worst = np.zeros(len(everybody), dtype=np.int64)
    np.maximum.at(worst, member, split.y)
    table = np.zeros((groups, outcomes), dtype=np.int64)
    np.add.at(table, (members[first], worst), 1)
    counts: list[list[int]] = table.tolist()
    return counts


def _paired(
    logs: Predictions, other: Predictions, study: Study, data: Dataset
) -> dict[str, dict[str, float]]:
    found = _validation.differences(
        data.test.y,
        logs,
        other,
        data.test.groups,
        metric=_validation.primary(study.metric, len(data.classes)),
        seed=study.seed,
    )
    return {name: difference._asdict() for name, difference in found.items()}


def _scores(logs: Predictions, data: Dataset, *, minimum: int) -> dict[str, Any]:
    """Probabilities of class 1, by outcome, in bins of ``minimum`` patients or more.

    Of every example, as the metrics beside the pooled area are.
    """
    if len(data.classes) != 2:
        return {}
    probability = np.exp(logs[:, 1].astype(np.float64))
    found = {}
    for name, outcome in (("cases", 1), ("controls", 0)):
        rows = data.test.y == outcome
        bins = disclosure.equal_bins(
            probability[rows],
            data.test.groups[rows],
            low=0.0,
            high=1.0,
            minimum=minimum,
            most=_MOST_BINS,
        )
        people = [] if bins.patients is None else bins.patients.tolist()
        found[name] = {
            "edges": bins.edges.tolist(),
            "counts": bins.counts.tolist(),
            "patients": people,
        }
    return found
