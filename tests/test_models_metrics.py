"""Every metric equals scikit-learn's, ties and absent classes included."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sklearn

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


@given(predictions(classes=2))
def test_two_classes_are_measured_as_scikit_learn_does(case: Case) -> None:
    y, logs = case
    probability = np.exp(logs.astype(np.float64))[:, 1]
    score = logs[:, 1].astype(np.float64) - logs[:, 0]
    chosen = logs.argmax(axis=1)

    measured = _metrics.measure(y, logs)

    # float32 log-probabilities do not add up to one; everything else is float64 on both sides.
    assert measured == pytest.approx(
        {
            "loss": sklearn.log_loss(y, probability),
            "accuracy": sklearn.accuracy_score(y, chosen),
            "balanced_accuracy": sklearn.balanced_accuracy_score(y, chosen),
            "brier": sklearn.brier_score_loss(y, probability),
            "auroc": sklearn.roc_auc_score(y, score),
            "auprc": sklearn.average_precision_score(y, score),
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
    assert measured["accuracy"] == 1 - label  # a tie goes to the first class


def test_no_examples_have_no_metrics() -> None:
    measured = _metrics.measure(np.empty(0, dtype=np.int32), np.empty((0, 2), dtype=np.float32))

    assert set(measured.values()) == {None}


def test_ranking_survives_where_probabilities_round_to_1() -> None:
    logits = np.array([20.0, 30.0], dtype=np.float32)
    logs = -np.logaddexp(0, np.stack([logits, -logits], axis=1))  # [log p(0), log p(1)]

    assert _metrics.measure(np.array([0, 1], dtype=np.int32), logs)["auroc"] == 1.0
