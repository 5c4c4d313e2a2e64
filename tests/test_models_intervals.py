"""Intervals against their definitions."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from models import _intervals, _metrics
from models._metrics import Floats, Labels


def drawn(seed: int, rows: int = 60, *, levels: int = 8) -> tuple[Labels, Floats]:
    random = np.random.default_rng(seed)
    y = np.concatenate([[0, 0, 1, 1], random.integers(0, 2, rows - 4)]).astype(np.int32)
    score = np.round(random.normal(size=rows) + y, 1)  # with ties
    return y, np.clip(score, -levels, levels)


def by_definition(y: Labels, score: Floats) -> tuple[Floats, Floats]:
    wins = np.sign(score[y == 1][:, None] - score[y == 0]) / 2 + 0.5
    return wins.mean(axis=1), wins.mean(axis=0)


@given(seed=st.integers(0, 9999))
def test_delongs_interval_is_the_published_variance(seed: int) -> None:
    y, score = drawn(seed)
    cases, controls = by_definition(y, score)
    error = np.sqrt(cases.var(ddof=1) / len(cases) + controls.var(ddof=1) / len(controls))
    area = roc_auc_score(y, score)

    found = _intervals.delong(y, score)

    assert found is not None
    assert found.low == pytest.approx(max(0, area - 1.959964 * error), rel=1e-6)
    assert found.high == pytest.approx(min(1, area + 1.959964 * error), rel=1e-6)


@given(seed=st.integers(0, 9999))
def test_a_paired_difference_uses_the_covariance(seed: int) -> None:
    y, score = drawn(seed)
    other = score + np.random.default_rng(seed + 1).normal(size=len(y))
    mine, theirs = by_definition(y, score), by_definition(y, other)
    variance = 0.0
    for a, b in zip(mine, theirs, strict=True):
        spread = np.cov(a, b)
        variance += (spread[0, 0] + spread[1, 1] - 2 * spread[0, 1]) / len(a)
    middle = roc_auc_score(y, score) - roc_auc_score(y, other)

    found = _intervals.delong_difference(y, score, other)

    assert found is not None
    reach = 1.959964 * np.sqrt(max(variance, 0))
    assert found == pytest.approx((middle - reach, middle + reach), rel=1e-6, abs=1e-7)


def test_delong_and_the_bootstrap_agree_on_many_examples() -> None:
    y, score = drawn(0, 2000)

    drawn_ = _intervals.bootstrap(
        lambda rows: _metrics.auroc(y[rows], score[rows]), np.arange(2000), seed=0
    )
    known = _intervals.delong(y, score)

    assert drawn_ == pytest.approx(known, abs=0.003)  # 1,000 draws of an error of 0.009


def test_the_bootstrap_draws_patients_not_rows() -> None:
    groups = np.repeat([7, 3, 5], [4, 1, 2])
    seen = []

    _intervals.bootstrap(
        lambda rows: seen.append(np.bincount(rows, minlength=7)) or 0.0, groups, seed=0, draws=50
    )

    for counts in seen:
        assert len(set(counts[:4])) == len(set(counts[5:])) == 1  # whole patients
        assert counts[0] + counts[4] + counts[5] == 3  # as many as there are


@pytest.mark.parametrize(("cases", "controls"), [(2, 2), (5, 40), (50, 50)])
def test_perfect_separation_is_no_certainty(cases: int, controls: int) -> None:
    y = np.repeat([1, 0], [cases, controls]).astype(np.int32)
    score = np.where(y == 1, 10.0, 0.0) + np.arange(len(y)) / len(y)
    fewer = min(cases, controls)

    found, mirrored = _intervals.delong(y, score), _intervals.delong(y, -score)

    assert found is not None
    assert mirrored is not None
    exact = binomtest(fewer, fewer).proportion_ci(0.95, method="exact")
    assert found == pytest.approx((exact.low, 1.0))
    assert mirrored == pytest.approx((0.0, 1 - exact.low))


@pytest.mark.parametrize("true", [0.7, 0.85, 0.95])
def test_the_interval_of_separated_scores_covers_the_true_area(true: float) -> None:
    random = np.random.default_rng(0)
    apart = np.sqrt(2) * NormalDist().inv_cdf(true)
    y = np.repeat([1, 0], 4).astype(np.int32)

    missed = 0
    for _ in range(2000):
        found = _intervals.delong(y, random.normal(size=8) + apart * y)
        assert found is not None
        missed += found.low > true

    assert missed / 2000 < 0.15  # of 4 and 4 DeLong itself is loose; [1, 1] missed 7 in 10 at 0.95


def test_two_models_that_both_separate_may_still_differ() -> None:
    y = np.array([0, 0, 1, 1], dtype=np.int32)
    score = np.array([0.0, 1, 2, 3])

    other = _intervals.delong_difference(y, score, score[[1, 0, 3, 2]])
    same = _intervals.delong_difference(y, score, 2 * score)

    assert other == pytest.approx((0.025**0.5 - 1, 1 - 0.025**0.5))
    assert same == (0, 0)


def test_what_is_undefined_has_no_interval() -> None:
    y = np.array([0, 0, 1], dtype=np.int32)
    score = np.arange(3.0)
    nobody = np.empty(0, dtype=np.int64)

    assert _intervals.delong(y, score) is None
    assert _intervals.delong_difference(y, score, score) is None
    assert _intervals.bootstrap(lambda _: None, np.arange(3), seed=0) is None
    assert _intervals.bootstrap(lambda _: 1.0, nobody, seed=0) is None
