"""The leakage gate on models whose leakage is known: overfit, private, a stranger's."""

import dataclasses
import math
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from datasets import Dataset, Feature, Pictures, Split
from models import Privacy, Training, _descent, _leakage, _program
from models._engine import Engine
from models._intervals import Interval
from models._leakage import Subject
from models._leakage_canaries import plant
from models._leakage_scores import (
    Rates,
    by_patient,
    confidences,
)
from models._leakage_shadows import drawn, pool
from models._leakage_verdict import Leakage, Measured, judge
from models._privacy import plan

FEATURES = 20
ADAM: dict[str, Any] = {"optimizer": "adam", "learning_rate": 3e-3, "batch": 64}
MLP: dict[str, Any] = {"hidden": [32]}


def rows(count: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    random = np.random.default_rng(0)
    weights = random.normal(size=FEATURES)
    x = random.normal(size=(count, FEATURES)).astype(np.float32)
    signal = 1.5 * x @ weights / math.sqrt(FEATURES) + np.sin(2 * x[:, 0])
    return x, (signal + random.normal(size=count) > 0).astype(np.int32)


def site(patients: int = 1000, *, first: int = 0, records: int = 1) -> Dataset:
    """Seven tenths train; each patient has so many records."""
    x, y = rows(2000)

    def split(begin: float, end: float) -> Split:
        part = slice(first + round(begin * patients), first + round(end * patients))
        values = np.repeat(x[part], records, axis=0)
        groups = np.repeat(np.arange(first, first + patients)[: len(x)], records)
        start = round(begin * patients) * records
        return Split(
            x=values,
            mask=np.ones_like(values, dtype=bool),
            y=np.repeat(y[part], records),
            groups=groups[start : start + len(values)],
        )

    return Dataset(
        name="made",
        part="all",
        features=tuple(Feature(name=f"f{column}") for column in range(FEATURES)),
        classes=("no", "yes"),
        train=split(0, 0.7),
        validation=split(0.7, 0.8),
        test=split(0.8, 1),
    )


def trained(
    data: Dataset,
    model: str,
    rounds: int,
    *,
    privacy: Privacy | None = None,
    **training: Any,
) -> Subject:
    """What a site would send after so many rounds alone."""
    settings = Training(**ADAM | training)
    config = MLP if model == "mlp" else {}
    engine = Engine(
        model=model,
        config=config,
        training=settings,
        data=data,
        seed=1,
        normalisation=None,
        privacy=privacy,
        rounds=rounds,
        secret=3,
    )
    start = vector = engine.initial()
    for round in range(1, rounds + 1):
        vector = engine.train(vector, round=round, stream=0).vector
    return Subject(
        object="local update",
        model=model,
        config=config,
        training=settings,
        data=data,
        normalisation=None,
        start=start,
        vector=vector,
        local=np.zeros(0, dtype=np.float32),
        rounds=rounds,
        plan=engine.plan,
        seed=1,
    )


def audit(subject: Subject, **options: Any) -> Leakage:
    """With time enough, however slow the machine."""
    return _leakage.audit(subject, **{"seconds": 600.0} | options)


@pytest.fixture(scope="module")
def overfit() -> Subject:
    return trained(site(), "mlp", 20)


@pytest.fixture(scope="module")
def blocked(overfit: Subject) -> Leakage:
    return audit(overfit)


def test_an_overfit_model_is_blocked(blocked: Leakage) -> None:
    assert (blocked.verdict, blocked.speaks, blocked.measured.attack) == ("BLOCK", "recipe", "lira")
    assert blocked.rate is not None
    assert 0.05 < blocked.rate < 0.15
    measured = blocked.measured
    assert measured.auc is not None
    assert measured.loss_auc is not None
    assert measured.auc > measured.loss_auc + 0.05  # the loss alone misses most of it
    assert (measured.members, measured.held_out_patients, measured.nonmembers) == (700, 300, 1000)


def test_the_model_itself_leaks_as_its_recipe_does(blocked: Leakage) -> None:
    measured = blocked.measured

    assert measured.own_interval is not None
    assert measured.recipe is not None
    own, recipe = measured.own_interval, measured.recipe.interval
    assert own.low < recipe.high  # neither is known better than to its interval
    assert recipe.low < own.high
    assert measured.held_out is not None
    assert measured.held_out.low < 0.01 < measured.held_out.high


def test_a_private_model_passes() -> None:
    subject = trained(
        site(), "logistic", 5, privacy=Privacy(epsilon=1.0), batch=128, learning_rate=1e-2
    )

    found = audit(subject)

    assert found.verdict == "PASS", found
    assert found.interval is not None
    assert found.interval.high <= 0.02
    assert found.measured.claimed == pytest.approx(0.9, abs=0.1)
    assert found.measured.epsilon is not None
    assert found.measured.epsilon < found.measured.claimed


def test_a_model_that_stopped_early_is_in_between() -> None:
    found = audit(trained(site(), "mlp", 2))

    assert found.verdict == "WARN", found
    assert found.interval is not None
    assert 0.02 < found.interval.high <= 0.05


def test_a_model_that_never_saw_the_patients_speaks_for_itself(overfit: Subject) -> None:
    stranger = trained(site(first=1000), "mlp", 20)

    found = audit(dataclasses.replace(overfit, vector=stranger.vector, object="global model"))

    measured = found.measured
    assert found.speaks == "own"
    assert found.verdict in ("PASS", "WARN")
    assert measured.own is not None
    assert measured.held_out is not None
    assert measured.held_out.low < measured.own < measured.held_out.high  # one like the other
    assert measured.auc_interval is not None
    assert measured.auc_interval.low < 0.5 < measured.auc_interval.high


def test_planted_records_refute_a_promise_that_is_not_kept(
    overfit: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(summed: Any, moves: Any, draws: Any, guard: Any) -> Any:
        del moves, draws
        return [leaf / guard.batch for leaf in summed]

    promised = plan(Privacy(noise=50.0), examples=700, batch=64, epochs=1, rounds=20)
    monkeypatch.setattr(_leakage, "program", _program.program.__wrapped__)
    monkeypatch.setattr(_descent, "noised", silent)

    found = audit(dataclasses.replace(overfit, plan=promised))

    assert found.measured.claimed is not None
    assert found.measured.claimed < 0.3
    assert found.verdict == "BLOCK"
    assert "refute" in found.reasons[0]


def test_without_time_for_a_strong_attack_nothing_passes(overfit: Subject) -> None:
    told: list[tuple[int, int]] = []

    found = audit(overfit, seconds=0.0, tell=lambda done, total: told.append((done, total)))

    assert found.measured.attack in ("rmia", "loss")
    assert found.verdict in ("BLOCK", "NOT ASSESSABLE")
    assert found.measured.epsilon is None
    assert told[-1][0] == told[-1][1]


def test_few_patients_are_not_assessable_and_have_no_rate() -> None:
    found = audit(trained(site(400), "logistic", 2), shadows=32)

    assert found.verdict == "NOT ASSESSABLE"
    assert found.rate is found.interval is found.measured.own is None
    assert found.measured.auc is not None


@pytest.mark.slow
def test_series_are_attacked_like_tables() -> None:
    table = site()

    def hourly(split: Split) -> Split:
        x = split.x.reshape(len(split), 4, 5)
        return dataclasses.replace(split, x=x, mask=np.ones_like(x, dtype=bool))

    parts = {name: hourly(getattr(table, name)) for name in ("train", "validation", "test")}
    data = dataclasses.replace(table, features=table.features[:5], gives="series", **parts)

    found = audit(trained(data, "gru", 30), shadows=32)

    assert (found.measured.attack, found.verdict) == ("lira", "BLOCK")


@pytest.mark.slow
def test_images_are_looked_at_and_never_pass() -> None:
    table, random = site(), np.random.default_rng(0)
    pixels = random.integers(0, 256, (1000, 32, 32, 3), dtype=np.uint8)

    def pictured(split: Split) -> Split:
        return dataclasses.replace(split, pictures=Pictures(pixels=pixels, rows=split.groups))

    parts = {name: pictured(getattr(table, name)) for name in ("train", "validation", "test")}
    data = dataclasses.replace(table, gives="images", **parts)

    found = audit(trained(data, "cnn", 1))

    assert (found.measured.attack, found.measured.shadows) == ("loss", 0)
    assert found.verdict == "NOT ASSESSABLE"
    assert found.measured.loss_auc is not None


def test_the_bundle_lets_others_repeat_the_attack(overfit: Subject, tmp_path: Path) -> None:
    path = tmp_path / "bundle.npz"

    found = audit(overfit, shadows=8, bundle=path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with np.load(path) as bundle:
        logits, member, label = bundle["logits"], bundle["member"], bundle["label"]
        assert len(np.unique(bundle["patient"])) == 1000
    assert logits.shape == (9, 1000, 2)
    assert member[-1].sum() == 700
    confidence = confidences(label, logits[-1])
    above = stats.mannwhitneyu(confidence[member[-1]], confidence[~member[-1]]).statistic
    assert above / (700 * 300) == pytest.approx(found.measured.loss_auc)
    with pytest.raises(FileExistsError):
        audit(overfit, shadows=8, bundle=path)


def test_a_patients_records_stay_together() -> None:
    everybody = pool(site(200, records=3), None)
    chosen = drawn(everybody, 8, np.random.default_rng(0))
    planted, theirs = plant(everybody.patients, np.random.default_rng(0))

    assert everybody.people == 200
    assert everybody.members.sum() == 420
    for row in chosen:
        assert len(np.unique(everybody.patients[row])) == 140
        assert not set(everybody.patients[row]) & set(everybody.patients[~row])
    assert len(planted) == 20
    assert theirs.sum() == 60
    scores = np.arange(600.0)
    summed = by_patient(scores, everybody.patients)
    assert summed[7] == scores[everybody.patients == 7].sum()


def measured(**changes: Any) -> Measured:
    usual: dict[str, Any] = {
        "attack": "lira",
        "shadows": 64,
        "recipe": Rates(0.012, Interval(0.01, 0.015), 2.0),
        "own": 0.013,
        "own_interval": Interval(0.008, 0.02),
        "held_out": Interval(0.002, 0.02),
        "auc": 0.51,
        "auc_interval": Interval(0.49, 0.53),
        "loss_auc": 0.5,
        "epsilon": 0.1,
        "claimed": None,
        "members": 1400,
        "held_out_patients": 600,
        "nonmembers": 2000,
    }
    return Measured(**usual | changes)


def rates(low: float, high: float) -> Rates:
    return Rates((low + high) / 2, Interval(low, high), 2.0)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "PASS"),
        ({"recipe": rates(0.01, 0.0201)}, "WARN"),
        ({"recipe": rates(0.03, 0.05), "own_interval": Interval(0.03, 0.06)}, "WARN"),
        ({"recipe": rates(0.03, 0.051), "own_interval": Interval(0.03, 0.06)}, "BLOCK"),
        # The model is shown to leak more, or less, than its recipe.
        ({"own_interval": Interval(0.04, 0.08)}, "BLOCK"),
        ({"recipe": rates(0.2, 0.3)}, "PASS"),
        ({"recipe": rates(0.2, 0.3), "held_out": Interval(0.02, 0.05)}, "NOT ASSESSABLE"),
        # 1 % of the patients are fewer than ten.
        ({"nonmembers": 999}, "NOT ASSESSABLE"),
        # What a weak attack does not find says little; what it finds says enough.
        ({"attack": "rmia"}, "NOT ASSESSABLE"),
        (
            {
                "attack": "rmia",
                "recipe": rates(0.051, 0.1),
                "own_interval": Interval(0.051, 0.1),
            },
            "BLOCK",
        ),
        ({"claimed": 3.0}, "PASS"),
        ({"claimed": 3.0, "epsilon": 3.1}, "BLOCK"),
        ({"claimed": 3.0, "epsilon": None}, "NOT ASSESSABLE"),
    ],
)
def test_the_verdict_follows_the_interval(changes: dict[str, Any], verdict: str) -> None:
    assert judge("local update", measured(**changes), (), seconds=1.0).verdict == verdict


def test_a_weak_recipe_is_blocked_whatever_was_measured() -> None:
    found = judge("global model", measured(), ("a reason.",), seconds=1.0)

    assert (found.verdict, found.reasons) == ("BLOCK", ("a reason.",))
