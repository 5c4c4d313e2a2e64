"""Metrics with intervals, paired differences and pooled areas against independent sources."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from datasets import Feature, Split
from models import _intervals, _metrics, _validation
from models._metrics import Labels
from models._validation import Bins


def predicted(
    seed: int, rows: int = 120, *, shift: float = 1.0
) -> tuple[Labels, NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    y = np.concatenate([[0] * 12, [1] * 12, random.integers(0, 2, rows - 24)]).astype(np.int32)
    score = random.normal(size=rows) + shift * y
    return y, logs_of(score)


def logs_of(score: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.stack([-np.logaddexp(0, score), -np.logaddexp(0, -score)], axis=1).astype(np.float32)


def test_metrics_are_scikit_learns() -> None:
    y, logs = predicted(0)
    probability = np.exp(logs[:, 1].astype(np.float64))

    found = _validation.judge(y, logs, np.arange(len(y)), specificity=0.9, seed=0)

    assert found.metrics["auroc"] == pytest.approx(roc_auc_score(y, logs[:, 1]))
    assert found.metrics["auprc"] == pytest.approx(average_precision_score(y, logs[:, 1]))
    assert found.metrics["brier"] == pytest.approx(brier_score_loss(y, probability))
    for name in found.low:
        value = found.metrics[name]
        assert value is not None
        assert found.low[name] <= value <= found.high[name]


def test_the_calibration_intercept_is_a_logistic_fit_with_the_slope_held_at_one() -> None:
    y, logs = predicted(1, 4000)
    score = (logs[:, 1] - logs[:, 0]).astype(np.float64)

    found = _validation.calibration_intercept(y, score)

    assert found is not None
    expected = (1 / (1 + np.exp(-(score + found)))).sum()
    assert expected == pytest.approx(y.sum(), abs=0.02)
    # Near the truth both degrees of freedom agree: a free slope finds 1 for scores like these.
    free = LogisticRegression(C=1e9, tol=1e-10).fit(score[:, None], y)
    assert found == pytest.approx(free.intercept_[0] / free.coef_[0, 0], abs=0.1)


def test_an_intercept_far_from_zero_is_found() -> None:
    y, logs = predicted(1, 4000)
    score = (logs[:, 1] - logs[:, 0]).astype(np.float64)
    near = _validation.calibration_intercept(y, score)

    far = _validation.calibration_intercept(y, score - 300)

    assert near is not None
    assert far == pytest.approx(near + 300, abs=1e-6)


def test_every_metric_of_two_classes_has_an_interval_from_a_thousand_draws() -> None:
    y, logs = predicted(6)
    patients = np.arange(len(y))
    wide = logs.astype(np.float64)

    found = _validation.judge(y, logs, patients, specificity=0.9, seed=0)

    assert set(found.low) == set(found.high) == set(found.metrics)
    assert {"loss", "balanced_accuracy"} <= set(found.metrics)
    assert found.metrics["loss"] == pytest.approx(log_loss(y, np.exp(wide)), rel=1e-6)
    interval = _intervals.bootstrap(
        lambda rows: _metrics.log_loss(y[rows], wide[rows]), patients, seed=0, draws=1000
    )
    assert (found.low["loss"], found.high["loss"]) == interval


def test_scores_that_separate_the_classes_have_no_certain_ends() -> None:
    y = np.repeat([0, 0, 1, 1], 3).astype(np.int32)
    logs = logs_of(np.where(y == 1, 4.0, -4.0) + np.arange(12) / 10)
    patients = np.arange(12) // 3  # four, three examples each

    single = _validation.judge(y, logs, np.arange(12), specificity=0.9, seed=0)
    several = _validation.judge(y, logs, patients, specificity=0.9, seed=0)

    assert (single.low["auroc"], single.high["auroc"]) == pytest.approx((0.025 ** (1 / 6), 1.0))
    assert (several.low["auroc"], several.high["auroc"]) == pytest.approx((0.025**0.5, 1.0))
    assert several.metrics["accuracy"] == 1
    assert not {"accuracy", "auprc", "sensitivity", "balanced_accuracy"} & set(several.low)


def test_a_paired_difference_is_narrower_than_two_intervals_apart() -> None:
    y, logs = predicted(2, 400)
    noise = np.random.default_rng(3).normal(scale=0.2, size=len(y))
    other = logs_of((logs[:, 1] - logs[:, 0]).astype(np.float64) + noise)
    patients = np.arange(len(y))

    found = _validation.differences(y, logs, other, patients, metric="auroc", seed=0)["auroc"]
    alone = _validation.judge(y, logs, patients, specificity=0.9, seed=0)

    assert found.value == pytest.approx(
        roc_auc_score(y, logs[:, 1]) - roc_auc_score(y, other[:, 1]), abs=1e-9
    )
    assert found.high - found.low < (alone.high["auroc"] - alone.low["auroc"]) / 3


def test_a_model_against_itself_differs_by_nothing() -> None:
    y, logs = predicted(4)

    found = _validation.differences(y, logs, logs, np.arange(len(y)), metric="auroc", seed=0)

    assert [difference.value for difference in found.values()] == [0.0, 0.0]
    assert max(abs(found["brier"].low), abs(found["brier"].high)) == 0


def test_patients_with_several_examples_are_drawn_whole() -> None:
    y, logs = predicted(5, 60)
    rows = np.repeat(np.arange(60), 5)

    single = _validation.judge(y, logs, np.arange(60), specificity=0.9, seed=0)
    copies = _validation.judge(y[rows], logs[rows], rows, specificity=0.9, seed=0)

    # Copies of a patient tell nothing new; as rows of their own they would halve the interval.
    wide = single.high["brier"] - single.low["brier"]
    assert copies.high["brier"] - copies.low["brier"] == pytest.approx(wide, rel=0.05)


def test_ages_fall_into_bands_and_what_was_not_measured_is_a_group() -> None:
    features = (Feature(name="age", unit="years"), Feature(name="sex", kind="binary"))
    x = np.array([[44.0, 1], [45.0, 0], [90.0, 1], [0.0, 1]], dtype=np.float32)
    mask = np.array([[1, 1], [1, 1], [1, 1], [0, 1]], dtype=bool)
    split = Split(x=x, mask=mask, y=np.zeros(4, dtype=np.int32), groups=np.arange(4))

    age = _validation.groups(split, features, by="age", bands=(45.0, 65.0))
    sex = _validation.groups(split, features, by="sex", bands=())

    assert age is not None
    assert [age.names[k] for k in age.members] == [
        "under 45", "45 to 65", "65 and over", "not measured",
    ]  # fmt: skip
    assert sex is not None
    assert sex.members.tolist() == [1, 0, 1, 1]
    assert _validation.groups(split, features, by="weight", bands=()) is None


@pytest.mark.parametrize("whose", ["cases", "controls"])
@pytest.mark.parametrize("true", [(12.0, 0, 18), (8.0, 0, 22)])  # told to the nearest five
def test_the_bounds_know_that_counts_were_rounded(whose: str, true: tuple[float, ...]) -> None:
    edges = np.array([0, 0.3, 0.7, 1])
    split, middle = Bins(edges, np.array([10.0, 0, 20])), Bins(edges, np.array([0.0, 25, 0]))
    cases, controls = ([split], [middle]) if whose == "cases" else ([middle], [split])
    # No case shares a bin with a control: nothing but the rounding is unknown.
    exact = true[2 if whose == "cases" else 0] / sum(true)

    found = _validation.pooled_auroc(cases, controls, off=2)
    known = _validation.pooled_auroc(cases, controls, off=0)

    assert found is not None
    assert known is not None
    assert known.low == known.high == pytest.approx(2 / 3 if whose == "cases" else 1 / 3)
    assert abs(exact - known.area) > 0.06
    assert found.low <= exact <= found.high
    assert found.high - found.low < 0.4


@given(seed=st.integers(0, 999), sites=st.integers(1, 3), off=st.sampled_from([0, 2]))
def test_the_pooled_area_lies_within_its_bounds_whatever_the_rounding_hid(
    seed: int, sites: int, off: int
) -> None:
    random = np.random.default_rng(seed)
    labels, scores = [], []
    cases, controls = [], []
    for _ in range(sites):
        y = np.concatenate([[0] * 12, [1] * 12, random.integers(0, 2, 30)])
        probability = np.clip(0.5 + 0.2 * y + random.normal(scale=0.2, size=len(y)), 0, 1)
        labels.append(y)
        scores.append(probability)
        for kept, outcome in ((cases, 1), (controls, 0)):
            own = np.sort(probability[y == outcome])
            edges = np.unique([0.0, *own[10:-9:10], 1.0])
            counts = np.histogram(own, edges)[0].astype(np.float64)
            told = counts + random.integers(-off, off + 1, len(counts))
            kept.append(Bins(edges, told))
    exact = roc_auc_score(np.concatenate(labels), np.concatenate(scores))

    found = _validation.pooled_auroc(cases, controls, off=off)

    assert found is not None
    assert found.low - 1e-12 <= exact <= found.high + 1e-12
    assert found.low <= found.area <= found.high
