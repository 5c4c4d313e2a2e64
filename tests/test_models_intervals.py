"""Intervals and pooled areas against their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from models import _intervals, _metrics
from models._intervals import histogram, pooled_auroc, quantiles, shared_edges
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


def test_what_is_undefined_has_no_interval() -> None:
    y = np.array([0, 0, 1], dtype=np.int32)
    score = np.arange(3.0)
    nobody = np.empty(0, dtype=np.int64)

    assert _intervals.delong(y, score) is None
    assert _intervals.delong_difference(y, score, score) is None
    assert _intervals.bootstrap(lambda _: None, np.arange(3), seed=0) is None
    assert _intervals.bootstrap(lambda _: 1.0, nobody, seed=0) is None
    assert pooled_auroc([histogram(y[:2], score[:2], np.array([0.5]))]) is None


@given(
    seeds=st.lists(st.integers(0, 9999), min_size=1, max_size=4),
    bins=st.integers(1, 20),
    rows=st.integers(10, 200),
)
def test_a_pooled_area_is_off_by_no_more_than_it_says(
    seeds: list[int], bins: int, rows: int
) -> None:
    sites = [drawn(seed, rows) for seed in seeds]
    edges = shared_edges([quantiles(s, bins=bins, minimum=5) for _, s in sites], bins=bins)

    pooled = pooled_auroc([histogram(y, score, edges) for y, score in sites])

    truth = roc_auc_score(*(np.concatenate(part) for part in zip(*sites, strict=True)))
    assert pooled is not None
    assert abs(pooled.area - truth) <= pooled.error + 1e-12
    assert len(edges) < max(bins, 2)


@given(seed=st.integers(0, 9999), bins=st.integers(1, 30), rows=st.integers(1, 200))
def test_bins_hold_the_smallest_cell_and_are_about_even(seed: int, bins: int, rows: int) -> None:
    score = np.random.default_rng(seed).normal(size=rows)

    edges = quantiles(score, bins=bins, minimum=10)

    counts = np.bincount(np.searchsorted(edges, score, side="right"))
    assert len(counts) <= bins
    assert counts.min() >= min(10, rows)
    if rows >= 20 * bins:
        assert counts.max() <= 2 * (rows / bins + 1)


def test_a_hundred_bins_know_the_area_to_a_third_of_a_percent() -> None:
    y, score = drawn(3, 5000, levels=99)
    score = score + np.random.default_rng(0).normal(size=5000) / 100
    edges = quantiles(score, bins=100, minimum=10)

    pooled = pooled_auroc([histogram(y, score, edges)])

    assert pooled is not None
    assert pooled.error < 0.005
    assert abs(pooled.area - roc_auc_score(y, score)) < 0.0005


def test_histograms_over_other_edges_do_not_add_up() -> None:
    y, score = drawn(0)

    with pytest.raises(ValueError, match="same edges"):
        pooled_auroc([histogram(y, score, np.array([0.0])), histogram(y, score, np.array([1.0]))])
