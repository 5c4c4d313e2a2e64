"""What is hidden stays hidden: every range that can be worked out is wide, by a solver's word."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from scipy.optimize import linprog

from fedtui import disclosure
from fedtui.disclosure import Bins

MINIMUM = 10
# Many small cells and zeros, as in a table by ward and outcome.
COUNTS = st.one_of(st.just(0), st.integers(1, 12), st.integers(0, 300))
TABLES = arrays.arrays(np.int64, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=COUNTS)


def ranges(
    full: NDArray[np.int64], hidden: NDArray[np.bool_]
) -> dict[tuple[int, int], tuple[float, float]]:
    """The least and the most that each hidden cell can be, for whoever knows all the others.

    A linear program over the whole table: every row and column adds up to its margin, nothing is
    below zero, and what is told is as told.
    """
    rows, columns = full.shape
    equations = []
    for row in range(rows):
        line = np.zeros(full.shape)
        line[row, :-1], line[row, -1] = 1, -1
        equations.append(line.ravel())
    for column in range(columns):
        line = np.zeros(full.shape)
        line[:-1, column], line[-1, column] = 1, -1
        equations.append(line.ravel())
    bounds = [
        (0, None) if unknown else (value, value)
        for value, unknown in zip(full.ravel(), hidden.ravel(), strict=True)
    ]
    found = {}
    for row, column in np.argwhere(hidden):
        goal = np.zeros(full.shape)
        goal[row, column] = 1
        ends = []
        for sign in (1, -1):
            solved = linprog(
                sign * goal.ravel(), A_eq=np.array(equations), b_eq=np.zeros(len(equations)),
                bounds=bounds,
            )  # fmt: skip
            ends.append(sign * solved.fun if solved.status == 0 else sign * -np.inf)
            assert solved.status in (0, 3)  # solved, or without bound
        found[int(row), int(column)] = (ends[0], ends[1])
    return found


@settings(max_examples=60, deadline=None)
@given(TABLES)
def test_no_hidden_cell_can_be_worked_out_to_within_the_minimum(counts: NDArray[np.int64]) -> None:
    full = disclosure.with_margins(counts)

    hidden = disclosure.hidden(counts, minimum=MINIMUM)

    assert hidden[full < MINIMUM].all()
    for cell, (low, high) in ranges(full, hidden).items():
        assert low <= full[cell] <= high
        assert high - low >= MINIMUM - 1e-6, (cell, low, high)  # the solver's tolerance


@settings(deadline=None)
@given(TABLES)
def test_hidden_cells_are_never_alone_in_their_row_or_column(counts: NDArray[np.int64]) -> None:
    hidden = disclosure.hidden(counts, minimum=MINIMUM)

    for line in (*hidden, *hidden.T):
        assert line.sum() != 1


def test_a_table_of_large_cells_is_told_whole_to_the_nearest_five() -> None:
    counts = np.array([[12, 48], [103, 20]])

    told = disclosure.told(counts, minimum=MINIMUM)

    assert told == [[10, 50, 60], [105, 20, 125], [115, 70, 185]]


def test_one_small_cell_takes_three_others_along_and_no_margin() -> None:
    counts = np.array([[3, 57, 80], [44, 12, 90], [61, 58, 95]])

    hidden = disclosure.hidden(counts, minimum=MINIMUM)

    assert hidden.sum() == 4
    assert not hidden[-1].any()
    assert not hidden[:, -1].any()


def test_a_cell_alone_in_its_table_takes_its_sums_along() -> None:
    assert disclosure.told(np.array([[7]]), minimum=MINIMUM) == [[None, None], [None, None]]
    assert disclosure.told(np.array([[12]]), minimum=MINIMUM) == [[10, 10], [10, 10]]


@given(
    st.lists(st.floats(0, 1), min_size=0, max_size=300),
    st.integers(1, 40),
)
def test_every_bin_of_a_histogram_holds_the_minimum(scores: list[float], repeats: int) -> None:
    values = np.array(scores)
    patients = np.arange(len(values)) // repeats

    bins = disclosure.equal_bins(values, patients, low=0.0, high=1.0, minimum=MINIMUM)

    people = len(np.unique(patients))
    assert bins.counts.sum() == (len(values) if people >= MINIMUM else 0)
    if len(bins.counts):
        place = np.clip(np.searchsorted(bins.edges, values, side="right") - 1, 0, len(bins[1]) - 1)
        behind = [len(np.unique(patients[place == k])) for k in range(len(bins.counts))]
        assert min(behind) >= MINIMUM
        assert bins.patients is not None
        assert bins.patients.tolist() == behind
        assert bins.counts.tolist() == np.bincount(place).tolist()
        assert (bins.edges[0], bins.edges[-1]) == (0, 1)
        assert (np.diff(bins.edges) > 0).all()
        assert len(bins.edges) == len(bins.counts) + 1


def test_bins_whose_patients_may_be_the_same_are_joined_until_one_has_enough() -> None:
    bins = Bins(np.arange(5.0), np.array([50, 50, 50, 50]), np.array([6, 6, 12, 9]))

    joined = disclosure.merged(bins, minimum=MINIMUM)

    assert joined.counts.tolist() == [200]
    assert joined.edges.tolist() == [0, 4]
    apart = disclosure.merged(bins._replace(patients=np.array([6, 10, 12, 10])), minimum=MINIMUM)
    assert apart.counts.tolist() == [100, 50, 50]


def test_patients_with_different_scores_fill_their_bins_about_equally() -> None:
    scores = np.random.default_rng(0).random(1000)

    bins = disclosure.equal_bins(scores, np.arange(1000), low=0.0, high=1.0, minimum=MINIMUM)

    assert len(bins.counts) == 20
    assert bins.counts.min() >= 40  # of 50; edges are rounded to a thousandth
    np.testing.assert_allclose(bins.edges, np.round(bins.edges, 3), atol=1e-12)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=64))
def test_bins_that_are_smoothed_tell_only_sums_of_the_minimum(counts: list[int]) -> None:
    shown = disclosure.smoothed(np.array(counts, dtype=np.float64), minimum=MINIMUM)

    if sum(counts) < MINIMUM:
        assert not shown.any()
    else:
        bins = disclosure.merged(
            Bins(np.arange(len(counts) + 1.0), np.array(counts)), minimum=MINIMUM
        )
        assert shown.sum() == pytest.approx(sum(disclosure.rounded(int(c)) for c in bins.counts))


@given(
    st.lists(st.floats(-1e4, 1e4), min_size=MINIMUM, max_size=200).filter(
        lambda values: float(np.std(values)) > 1e-3
    )
)
def test_coarse_sums_still_give_the_scale_to_a_hundredth_of_the_deviation(
    values: list[float],
) -> None:
    x = np.array(values)

    count, total, square = disclosure.coarse(
        len(x), float(x.sum()), float((x * x).sum()), counts=False
    )

    assert count % disclosure.ROUNDING == 0
    assert abs(count - len(x)) <= disclosure.ROUNDING / 2
    assert total / count == pytest.approx(x.mean(), abs=x.std() / 100)
    again = np.sqrt(max(0.0, square / count - (total / count) ** 2))
    # Half a step, and what a difference of squares up to 1e8 loses in float64.
    assert again == pytest.approx(x.std(), rel=0.01, abs=1e-4)


@given(st.integers(0, 10**6))
def test_a_count_is_told_to_the_nearest_five_and_never_as_nobody(count: int) -> None:
    shown = disclosure.rounded(count)

    assert shown % 5 == 0
    assert (shown == 0) == (count == 0)
    assert abs(shown - count) <= 4 if count < 5 else abs(shown - count) <= 2
