"""Sums from each site make the scale that all rows together would have made."""

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

import datasets
from datasets import Feature, Split, Statistics

COLUMNS = 3
# Nine digits of a clinical value; float32 holds seven, so what is compared is float32 already.
VALUES = st.floats(-300, 300, width=32)


def split(x: NDArray[np.float32], mask: NDArray[np.bool_]) -> Split:
    rows = len(x)
    y, groups = np.zeros(rows, dtype=np.int32), np.arange(rows)
    return Split(x=np.where(mask, x, 0).astype(np.float32), mask=mask, y=y, groups=groups)


def pooled(parts: Iterable[Statistics]) -> Statistics:
    return Statistics(*(np.sum(sums, axis=0) for sums in zip(*parts, strict=True)))


@st.composite
def tables(draw: st.DrawFn) -> Split:
    shape = (draw(st.integers(1, 40)), COLUMNS)
    return split(
        draw(arrays.arrays(np.float32, shape, elements=VALUES)),
        draw(arrays.arrays(np.bool_, shape)),
    )


@given(tables(), st.integers(1, 5))
def test_pooled_sums_do_not_depend_on_who_holds_which_row(table: Split, sites: int) -> None:
    shares = [split(table.x[k::sites], table.mask[k::sites]) for k in range(sites)]

    together = pooled(datasets.statistics(share) for share in shares)

    for mine, whole in zip(together, datasets.statistics(table), strict=True):
        # Float64 sums of 40 squares below 1e5 in another order.
        np.testing.assert_allclose(mine, whole, rtol=1e-12, atol=1e-9)


@given(tables())
def test_the_scale_is_the_mean_and_deviation_of_what_was_measured(table: Split) -> None:
    sums = datasets.statistics(table)
    mean, deviation = datasets.agree(sums, minimum=1)

    for column in np.flatnonzero(~datasets.unsettled(sums, minimum=1)):
        measured = table.x[table.mask[:, column], column].astype(np.float64)
        assert mean[column] == pytest.approx(measured.mean(), abs=1e-9)
        # A difference of squares up to 9e4 loses about 1e-11 of variance.
        assert deviation[column] ** 2 == pytest.approx(measured.var(), rel=1e-6, abs=1e-9)


def test_standardised_values_have_mean_0_and_deviation_1_and_missing_ones_are_0() -> None:
    random = np.random.default_rng(0)
    x = random.normal([60, 120, -3], [10, 20, 0.1], (500, 3)).astype(np.float32)
    table = split(x, random.random(x.shape) < 0.8)

    z = datasets.standardise(table, datasets.agree(datasets.statistics(table)))

    assert z.dtype == np.float32
    assert (z[~table.mask] == 0).all()
    for column in range(3):
        measured = z[table.mask[:, column], column]
        assert measured.mean() == pytest.approx(0, abs=1e-5)  # float32
        assert measured.std() == pytest.approx(1, abs=1e-5)


def test_a_feature_measured_too_rarely_takes_its_scale_from_the_agreed_range() -> None:
    sums = Statistics(np.array([9.0, 10.0]), np.array([900.0, 50.0]), np.array([1e5, 300.0]))
    features = [
        Feature(name="troponin", low=0, high=400),
        Feature(name="potassium", low=1, high=10),
    ]

    mean, deviation = datasets.agree(sums, features)

    assert datasets.unsettled(sums).tolist() == [True, False]
    assert (mean[0], deviation[0]) == (200, 200)
    assert (mean[1], deviation[1]) == (5, pytest.approx(np.sqrt(5)))


def test_a_feature_that_never_varies_is_0_after_standardisation_and_divides_by_nothing() -> None:
    table = split(np.full((20, 1), 36.6, dtype=np.float32), np.ones((20, 1), dtype=np.bool_))
    sums = datasets.statistics(table)

    agreed = datasets.agree(sums)

    assert datasets.unsettled(sums).tolist() == [True]
    assert agreed.deviation.tolist() == [1]
    np.testing.assert_allclose(datasets.standardise(table, agreed), 0, atol=1e-6)


def test_a_feature_nobody_measured_is_0_everywhere() -> None:
    table = split(np.zeros((20, 1), dtype=np.float32), np.zeros((20, 1), dtype=np.bool_))

    agreed = datasets.agree(datasets.statistics(table))

    assert (agreed.mean[0], agreed.deviation[0]) == (0, 1)
    assert not datasets.standardise(table, agreed).any()


def test_the_median_from_all_sites_bins_is_that_of_all_patients_to_a_bin() -> None:
    random = np.random.default_rng(3)
    x = random.lognormal(1.0, 0.5, (4000, 2)).astype(np.float32)
    table = split(x, random.random(x.shape) < 0.7)
    shares = [split(x[k::3], table.mask[k::3]) for k in range(3)]
    scale = datasets.agree(pooled(datasets.statistics(share) for share in shares))
    features = [Feature(name="crp"), Feature(name="alt")]

    counts = np.sum([datasets.bins(share, scale) for share in shares], axis=0)
    agreed = datasets.treat(scale, features, counts=counts.astype(np.float64))

    for column in range(2):
        exact = np.median(x[table.mask[:, column], column])
        assert agreed.fill[column] == pytest.approx(exact, abs=scale.deviation[column] / 7)
        assert agreed.fill[column] != pytest.approx(scale.mean[column], rel=0.01)


@given(tables())
def test_every_patient_with_a_value_is_in_one_bin(table: Split) -> None:
    counts = datasets.bins(table, datasets.agree(datasets.statistics(table)))

    assert counts.shape == (COLUMNS, datasets.BINS)
    assert counts.sum(axis=1).tolist() == table.mask.sum(axis=0).tolist()


def test_a_treatment_fills_and_cuts_numbers_and_leaves_codes_at_their_mean() -> None:
    x = np.array([[-100, 1], [5, 0], [100, 1], [0, 0]], dtype=np.float32)
    mask = np.array([[1, 1], [1, 1], [1, 1], [0, 0]], dtype=np.bool_)
    scale = datasets.Normalisation(np.array([4.0, 0.5]), np.array([2.0, 0.5]))
    features = [Feature(name="a"), Feature(name="b", kind="binary")]

    cut = datasets.treat(scale, features, clipping=3)
    z = datasets.standardise(split(x, mask), cut)

    assert z[:, 0].tolist() == [-3, 0.5, 3, 0]
    assert z[:, 1].tolist() == [1, -1, 1, 0]


@given(tables())
def test_a_treatment_without_median_and_limit_is_the_plain_scale(table: Split) -> None:
    scale = datasets.agree(datasets.statistics(table))
    features = [Feature(name=name) for name in "abc"]

    treated = datasets.standardise(table, datasets.treat(scale, features))

    # Where nothing is done, float64 gives way to float32 at another step.
    np.testing.assert_allclose(treated, datasets.standardise(table, scale), rtol=1e-6, atol=1e-6)
