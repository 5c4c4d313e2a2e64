"""Every metric equals scikit-learn's, ties and absent classes included."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from sklearn import metrics as sklearn
from sklearn.linear_model import LogisticRegression

from models import _metrics

Case = tuple[NDArray[np.int32], NDArray[np.float32]]


@st.composite
def predictions(draw: st.DrawFn, *, classes: int) -> Case:
    """Labels in which every class occurs, and log-probabilities with many ties."""
    more = draw(st.lists(st.integers(0, classes - 1), max_size=30))
    y = np.array([*range(classes), *more], dtype=np.int32)
    coarse = st.lists(st.integers(-3, 3), min_size=classes, max_size=classes)
    logits = np.array([draw(coarse) for _ in y], dtype=np.float64)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return y, logs.astype(np.float32)


def found_at(specificity: float, y: NDArray[np.int32], score: NDArray[np.float64]) -> float:
    false, true, _ = sklearn.roc_curve(y, score, drop_intermediate=False)
    return float(true[false <= 1 - specificity + 1e-9].max())


@given(predictions(classes=2))
def test_two_classes_are_measured_as_scikit_learn_does(case: Case) -> None:
    y, logs = case
    probability = np.exp(logs.astype(np.float64))[:, 1]
    score = logs[:, 1].astype(np.float64) - logs[:, 0]
    chosen = logs.argmax(axis=1)

    measured = _metrics.measure(y, logs)
    calibration = {name: measured.pop(name) for name in list(measured) if "calib" in name}

    assert set(calibration) == {"calibration_slope", "calibration_error"}
    # float32 log-probabilities do not add up to one; everything else is float64 on both sides.
    assert measured == pytest.approx(
        {
            "loss": sklearn.log_loss(y, probability),
            "accuracy": sklearn.accuracy_score(y, chosen),
            "balanced_accuracy": sklearn.balanced_accuracy_score(y, chosen),
            "brier": sklearn.brier_score_loss(y, probability),
            "auroc": sklearn.roc_auc_score(y, score),
            "auprc": sklearn.average_precision_score(y, score),
            "sensitivity_at_90": found_at(0.9, y, score),
            "sensitivity_at_95": found_at(0.95, y, score),
        },
        rel=1e-6,
    )


@given(predictions(classes=3))
def test_three_classes_are_measured_as_scikit_learn_does(case: Case) -> None:
    y, logs = case
    probabilities = np.exp(logs.astype(np.float64))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    chosen = logs.argmax(axis=1)

    measured = _metrics.measure(y, logs)

    assert measured == pytest.approx(
        {
            "loss": sklearn.log_loss(y, probabilities),
            "accuracy": sklearn.accuracy_score(y, chosen),
            "balanced_accuracy": sklearn.balanced_accuracy_score(y, chosen),
            "brier": sklearn.brier_score_loss(y, probabilities, scale_by_half=False),
        },
        rel=1e-6,
    )


@pytest.mark.parametrize("label", [0, 1])
def test_a_site_with_one_class_has_no_ranking_but_an_accuracy(label: int) -> None:
    y = np.full(5, label, dtype=np.int32)
    logs = np.log(np.full((5, 2), 0.5, dtype=np.float32))

    measured = _metrics.measure(y, logs)

    assert measured["auroc"] is None
    assert measured["auprc"] is None
    assert measured["sensitivity_at_90"] is None
    assert measured["calibration_slope"] is None
    assert measured["calibration_error"] == pytest.approx(0.5)
    assert measured["accuracy"] == 1 - label  # a tie goes to the first class


def test_no_examples_have_no_metrics() -> None:
    measured = _metrics.measure(np.empty(0, dtype=np.int32), np.empty((0, 2), dtype=np.float32))

    assert set(measured.values()) == {None}


def test_ranking_survives_where_probabilities_round_to_1() -> None:
    logits = np.array([20.0, 30.0], dtype=np.float32)
    logs = -np.logaddexp(0, np.stack([logits, -logits], axis=1))  # [log p(0), log p(1)]

    assert _metrics.measure(np.array([0, 1], dtype=np.int32), logs)["auroc"] == 1.0


@given(
    seed=st.integers(0, 999),
    scale=st.floats(0.1, 5),
    shift=st.floats(-2, 2),
    rows=st.integers(30, 90),
)
@settings(max_examples=25)
def test_the_calibration_slope_is_that_of_a_logistic_regression_on_the_logit(
    seed: int, scale: float, shift: float, rows: int
) -> None:
    random = np.random.default_rng(seed)
    score = random.normal(size=rows)
    y = (random.random(rows) < 1 / (1 + np.exp(-score - shift))).astype(np.int32)
    assume(3 < y.sum() < rows - 3)

    found = _metrics.calibration_slope(y, score * scale)

    assert found is not None
    fit = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(score[:, None], y)
    assert found * scale == pytest.approx(fit.coef_[0, 0], rel=1e-3, abs=1e-4)  # lbfgs's own end


def test_a_score_that_separates_the_classes_has_no_calibration_slope() -> None:
    y = np.array([0, 0, 1, 1], dtype=np.int32)

    assert _metrics.calibration_slope(y, np.array([-2.0, 0, 0, 3])) is None
    assert _metrics.calibration_slope(y, np.zeros(4)) is None
    assert _metrics.calibration_slope(y, np.array([-2.0, 1, 0, 3])) is not None


@pytest.mark.parametrize("seed", range(40))
def test_the_calibration_slope_is_the_likeliest_also_beside_one_extreme_logit(seed: int) -> None:
    random = np.random.default_rng(seed)
    score = random.standard_cauchy(60) if seed % 4 == 0 else random.normal(size=60)
    if seed % 4:
        score[0] = (-1) ** seed * 10 ** random.uniform(2, 5)
    steep = random.uniform(0.1, 8)
    y = (random.random(60) < expit(np.clip(steep * score, -50, 50))).astype(np.int32)
    y[:2], y[2:4] = 1, 0

    found = _metrics.calibration_slope(y, score)

    deviation = score.std()
    x = np.stack([np.ones(60), (score - score.mean()) / deviation], axis=1)

    def loss(at: np.ndarray) -> float:
        return float((np.logaddexp(0, x @ at) - y * (x @ at)).sum())

    def slope(at: np.ndarray) -> np.ndarray:
        return np.asarray(x.T @ (expit(x @ at) - y))

    def curve(at: np.ndarray) -> np.ndarray:
        p = expit(x @ at)
        return np.asarray((x * (p * (1 - p))[:, None]).T @ x)

    rough = minimize(loss, np.zeros(2), jac=slope, method="BFGS", options={"maxiter": 5000})
    fit = minimize(loss, rough.x, jac=slope, hess=curve, method="Newton-CG",
                   options={"xtol": 1e-12, "maxiter": 2000})  # fmt: skip
    separated = score[y == 1].min() >= score[y == 0].max()
    if separated:
        assert found is None
    else:
        assert found == pytest.approx(fit.x[1] / deviation, rel=1e-2, abs=1e-6 / deviation)


def test_the_calibration_error_is_the_mean_gap_of_equal_bins() -> None:
    probability = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.9])
    y = np.array([0, 1, 0, 0, 1, 1], dtype=np.int32)

    error = _metrics.calibration_error(y, probability, bins=3)

    gaps = [0.5 - 0.15, 0.35 - 0.0, 1.0 - 0.75]  # two examples each
    assert error == pytest.approx(sum(gaps) / 3)
    tied = _metrics.calibration_error(y, np.full(6, 0.25), bins=3)
    assert tied == pytest.approx(0.25)  # one bin, observed 1/2


def test_calibrated_predictions_are_found_calibrated() -> None:
    random = np.random.default_rng(0)
    score = random.normal(size=200_000)
    p = 1 / (1 + np.exp(-score))
    y = (random.random(len(p)) < p).astype(np.int32)

    assert _metrics.calibration_slope(y, score) == pytest.approx(1, abs=0.03)  # 3 standard errors
    assert _metrics.calibration_slope(y, 2 * score) == pytest.approx(0.5, abs=0.02)
    assert _metrics.calibration_error(y, p) < 0.01
