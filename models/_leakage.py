"""The leakage gate: how well a stranger tells from a model who was in its training data.

The model that is to leave is attacked with this site's training patients as members and its
held-out patients as non-members. So are the shadow models, one by one, each with the patients that
it happened to see: there every patient is a non-member of some, so that 1 % of them is a number.
"""

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import models
from datasets import Dataset
from models import ModelError, Training, _leakage_canaries, _metrics
from models._inputs import Scale
from models._intervals import delong
from models._leakage_scores import (
    FALSE_POSITIVES,
    Flags,
    by_patient,
    clopper_pearson,
    confidences,
    lira,
    pooled,
    rmia,
)
from models._leakage_shadows import WIDTH, Pool, Recipe, Shadows, drawn, pool
from models._leakage_verdict import FEWEST, Leakage, Measured, Object, judge, weaknesses
from models._metrics import Floats
from models._noise import Guard
from models._privacy import Plan
from models._program import program
from models._rounds import Vector

SHADOWS = 64
SECONDS = 60.0  # what training shadows may take

_FOR_LIRA = 32  # shadows; below, a record's two distributions are guesses
Tell = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is attacked, and how it was made.

    Attributes:
        start: float32 [parameters], the first model of the study.
        vector: float32 [parameters], the model that is to leave.
        local: float32 [local], what this site adds to it and keeps; empty for most models.
        rounds: After which it leaves.
        plan: Of record-level privacy; None without.
        seed: The study's; the audit's own draws follow from it, so that it can be repeated.
    """

    object: Object
    model: str
    config: Mapping[str, Any]
    training: Training
    data: Dataset
    normalisation: Scale | None
    start: Vector
    vector: Vector
    local: Vector
    rounds: int
    plan: Plan | None
    seed: int


def audit(
    subject: Subject,
    *,
    seconds: float = SECONDS,
    shadows: int = SHADOWS,
    tell: Tell | None = None,
    bundle: Path | None = None,
) -> Leakage:
    """Attack the model and judge it.

    Where the time does not suffice for all shadow models there are fewer of them, or none, and the
    attack is a weaker one; images have none.

    Args:
        seconds: For training shadow models.
        shadows: How many, a multiple of 8.
        tell: Called with pieces of work done, and in all.
        bundle: Where to leave what others need to repeat the attack; see ``_write``.

    Raises:
        ModelError: the vector is not this model's.
    """
    began = time.monotonic()
    everybody = pool(subject.data, subject.normalisation)
    recipe = _recipe(subject)
    if subject.vector.shape != (recipe.program.manifest.size,):
        raise ModelError(f"The model to audit is not a {subject.model} of this study.")
    bench = Shadows(recipe, everybody)
    target = bench.predict(subject.vector[None], subject.local[None])[0]
    work = _Work(bench, everybody, subject, total=shadows + WIDTH, tell=tell)
    share = shadows / (shadows + WIDTH)  # the rest is for planted records
    logs, inside = work.shadows(shadows, until=began + seconds * share)
    measured = _attacked(subject, everybody, target, logs, inside)
    claimed = None if subject.plan is None else subject.plan.spent(subject.rounds, by="pld")
    epsilon = work.epsilon(logs, inside) if measured.attack == "lira" else None
    work.end()
    if bundle is not None:
        _write(bundle, everybody, target, logs, inside)
    return judge(
        subject.object,
        replace(measured, epsilon=epsilon, claimed=claimed),
        weaknesses(subject.training, examples=len(subject.data.train)),
        seconds=time.monotonic() - began,
    )


def _recipe(subject: Subject) -> Recipe:
    data, plan = subject.data, subject.plan
    classes = len(data.classes)
    functions = program(
        subject.model,
        models.configure(models.load(subject.model).Config, subject.config),
        subject.training,
        len(data.features),
        1 if classes == 2 else classes,
        gives=data.gives,
        guard=None if plan is None else Guard(plan.clip, plan.noise, plan.batch),
    )
    return Recipe(
        program=functions,
        training=subject.training,
        start=subject.start,
        rounds=subject.rounds,
        plan=plan,
    )


class _Work:
    """The training that an audit takes, told in rounds of groups of models."""

    def __init__(
        self, bench: Shadows, everybody: Pool, subject: Subject, *, total: int, tell: Tell | None
    ) -> None:
        self._bench, self._pool, self._subject, self._tell = bench, everybody, subject, tell
        self._random = np.random.Generator(np.random.PCG64([subject.seed, subject.rounds]))
        self._done, self._total = 0, total // WIDTH * subject.rounds

    def shadows(self, count: int, *, until: float) -> tuple[NDArray[np.float32], Flags]:
        """Log-probabilities [models, records, classes], and who was in; fewer when time is up."""
        logs: list[NDArray[np.float32]] = []
        inside: list[Flags] = []
        records, classes = len(self._pool.y), len(self._subject.data.classes)
        while len(logs) < count // WIDTH and self._subject.data.gives != "images":
            began = time.monotonic()
            chosen = drawn(self._pool, WIDTH, self._random)
            trained = self._train(chosen, self._pool.y, until)
            if trained is None:
                break
            logs.append(trained)
            inside.append(chosen)
            if 2 * time.monotonic() - began > until:  # the next group would end too late
                break
        return (
            np.concatenate([np.empty((0, records, classes), np.float32), *logs]),
            np.concatenate([np.empty((0, records), bool), *inside]),
        )

    def epsilon(self, logs: NDArray[np.float32], inside: Flags) -> float:
        """What planted records refute, in ``WIDTH`` dry runs."""
        everybody, plan = self._pool, self._subject.plan
        records, of_planted = _leakage_canaries.plant(everybody.patients, self._random)
        y = everybody.y.copy()
        y[records] = logs.mean(axis=0)[records].argmin(axis=1)  # what models think least of
        chosen = drawn(everybody, WIDTH, self._random) & ~of_planted
        coins = self._random.random((WIDTH, len(records))) < 0.5
        chosen[:, records] = coins
        trained = self._train(chosen, y, math.inf)
        assert trained is not None
        planted = confidences(y, trained)[:, records]
        out = ~inside[:, records]
        usual = (confidences(y, logs)[:, records] * out).sum(axis=0) / np.maximum(
            out.sum(axis=0), 1
        )
        delta = 0.0 if plan is None else plan.delta
        return _leakage_canaries.epsilon(planted - usual, coins, delta=delta)

    def end(self) -> None:
        """Tell that all is done, however little of it there was."""
        if self._tell is not None:
            self._tell(self._total, self._total)

    def _train(
        self, chosen: Flags, y: NDArray[np.int32], until: float
    ) -> NDArray[np.float32] | None:
        seed = int(self._random.integers(0, 2**63))
        return self._bench.train(chosen, y, seed=seed, until=until, tell=self._told)

    def _told(self) -> None:
        self._done += 1
        if self._tell is not None:
            self._tell(self._done, self._total)


def _attacked(
    subject: Subject,
    everybody: Pool,
    target: NDArray[np.float32],
    logs: NDArray[np.float32],
    inside: Flags,
) -> Measured:
    """Everything but the planted records."""
    y, patients = everybody.y, everybody.patients
    confidence, others = confidences(y, target), confidences(y, logs)
    members = _people(everybody.members, patients)
    attack: Literal["lira", "rmia", "loss"] = (
        "lira" if len(logs) >= _FOR_LIRA else "rmia" if len(logs) else "loss"
    )

    def scored(at: Floats, seen: Flags, rest: Floats, rest_in: Flags) -> Floats:
        if attack == "lira":
            return by_patient(lira(at, seen, y, rest, rest_in), patients)
        return by_patient(rmia(at, rest), patients)

    loss = by_patient(confidence, patients)
    own = loss if attack == "loss" else scored(confidence, everybody.members, others, inside)
    recipe, rate, interval, held_out = None, None, None, None
    nonmembers = int((~members).sum())
    if attack != "loss":
        every = np.stack(
            [
                scored(others[k], inside[k], np.delete(others, k, 0), np.delete(inside, k, 0))
                for k in range(len(others))
            ]
        )
        people = np.stack([_people(each, patients) for each in inside])
        recipe = pooled(every, people, seed=subject.seed)
        nonmembers = int((~people).any(axis=0).sum())
        threshold = recipe.threshold
    else:
        threshold = float(np.quantile(own[~members], 1 - FALSE_POSITIVES, method="higher"))
    if nonmembers * FALSE_POSITIVES >= FEWEST:
        hits = own > threshold
        rate = float(hits[members].mean())
        interval = clopper_pearson(int(hits[members].sum()), int(members.sum()))
        held_out = clopper_pearson(int(hits[~members].sum()), int((~members).sum()))
    flags = members.astype(np.int32)
    return Measured(
        attack=attack,
        shadows=len(logs),
        recipe=recipe,
        own=rate,
        own_interval=interval,
        held_out=held_out,
        auc=_metrics.auroc(flags, own),
        auc_interval=delong(flags, own),
        loss_auc=_metrics.auroc(flags, loss),
        epsilon=None,
        claimed=None,
        members=int(members.sum()),
        held_out_patients=int((~members).sum()),
        nonmembers=nonmembers,
    )


def _people(records: Flags, patients: NDArray[np.int64]) -> Flags:
    """Which patients these records are of, bool [patients]."""
    found = np.zeros(int(patients.max()) + 1, dtype=bool)
    found[patients[records]] = True
    return found


def _write(
    path: Path,
    everybody: Pool,
    target: NDArray[np.float32],
    logs: NDArray[np.float32],
    inside: Flags,
) -> None:
    """What others need to repeat the attack with their own tools, as npz, mode 0600.

    ``logits`` float32 [models, records, classes] are log-probabilities, the last model is the
    attacked one; ``member`` bool [models, records]; ``label`` int32 and ``patient`` int64
    [records]. Records and patients are numbered anew, by chance.

    Raises:
        FileExistsError: there is such a file.
    """
    chance = np.random.default_rng()
    order = chance.permutation(len(everybody.y))
    names = chance.permutation(everybody.people)
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        np.savez_compressed(
            file,
            logits=np.concatenate([logs, target[None]])[:, order],
            member=np.concatenate([inside, everybody.members[None]])[:, order],
            label=everybody.y[order],
            patient=names[everybody.patients[order]],
        )
