"""Which numbers about patients may be told: small cells, tables, histograms, rounding.

Pure rules without a site. A cell is small below the minimum, zero included: that nobody, or
everybody, has something is said of each patient. What is hidden stays hidden against subtraction.
"""

import heapq
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ROUNDING = 5  # counts are told to the nearest five
DECIMALS = 3  # of a metric; at 500 patients one of them moves a mean by about as much
DIGITS = 100  # a mean and a deviation are told to the nearest hundredth of the deviation, or finer

Counts = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Bins(NamedTuple):
    """A histogram.

    Attributes:
        edges: float64 [bins + 1], ascending.
        counts: int64 [bins], patients; or examples, where ``patients`` says how many have them.
        patients: int64 [bins], different ones behind each bin; None where ``counts`` are those.
    """

    edges: NDArray[np.float64]
    counts: Counts
    patients: Counts | None = None


def rounded(count: int) -> int:
    """``count`` to the nearest five; a half goes up, and nothing above zero becomes zero."""
    return max((count + ROUNDING // 2) // ROUNDING * ROUNDING, ROUNDING if count else 0)


def with_margins(counts: Counts) -> Counts:
    """``counts`` [rows, columns] with a last row and a last column of sums."""
    wide = np.concatenate([counts, counts.sum(axis=1, keepdims=True)], axis=1)
    return np.concatenate([wide, wide.sum(axis=0, keepdims=True)], axis=0)


def hidden(counts: Counts, *, minimum: int) -> Mask:
    """Which cells and margins of a table are not told, bool [rows + 1, columns + 1].

    Small cells are hidden, and with them others, so that sums give nothing away: each hidden cell
    lies on a cycle of hidden cells around which ``minimum`` patients can be moved with every
    margin kept. Whoever knows all that is told finds each hidden cell in a range at least
    ``minimum`` wide. The cycle that hides the fewest patients is taken, cell after cell.

    Args:
        counts: int64 [rows, columns] of patients, each of them in one cell.

    References:
        Castro, A shortest-paths heuristic for statistical data protection in positive tables,
        INFORMS Journal on Computing 19(4), 2007.
    """
    if counts.ndim != 2 or not counts.size or (counts < 0).any():
        raise ValueError("a table of counts has rows and columns, and nothing below zero")
    full = with_margins(counts)
    small = full < minimum
    mask = small.copy()
    for row, column in np.argwhere(small):
        for cell in _cycle(full, mask, (int(row), int(column)), minimum):
            mask[cell] = True
    return mask


def told(counts: Counts, *, minimum: int) -> list[list[int | None]]:
    """The table with its margins as it may be shown: counts to the nearest five, None if hidden."""
    full, mask = with_margins(counts), hidden(counts, minimum=minimum)
    return [
        [None if mask[r, c] else rounded(int(full[r, c])) for c in range(full.shape[1])]
        for r in range(full.shape[0])
    ]


def equal_bins(
    values: NDArray[np.float64],
    patients: NDArray[np.int64],
    *,
    low: float,
    high: float,
    minimum: int,
    most: int = 20,
) -> Bins:
    """A histogram of ``values`` with about as many in every bin, of ``minimum`` patients or more.

    Every value counts, as it does in a metric; a patient with many fills no bin alone. The ends are
    ``low`` and ``high``, since a smallest value is one patient's; the edges within are rounded to a
    thousandth of the range.

    Returns:
        One bin where values are too alike for two; none below ``minimum`` patients.
    """
    everybody = len(np.unique(patients))
    if everybody < minimum:
        return Bins(np.empty(0), np.empty(0, dtype=np.int64))
    number = max(1, min(most, everybody // minimum))
    step = (high - low) / 1000
    inner = np.quantile(values, np.arange(1, number) / number)
    inner = np.unique(np.round((inner - low) / step)) * step + low
    inner = inner[(inner > low) & (inner < high)]
    place = np.searchsorted(inner, values, side="right")
    firsts = [0]  # of each bin that stays, in order; the last takes what is too small at the end
    for end in range(1, len(inner) + 1):
        within = patients[(place >= firsts[-1]) & (place < end)]
        if len(np.unique(within)) >= minimum:
            firsts.append(end)
    if len(np.unique(patients[place >= firsts[-1]])) < minimum:
        firsts.pop()
    member = np.searchsorted(firsts, place, side="right") - 1
    people = [len(np.unique(patients[member == k])) for k in range(len(firsts))]
    edges = np.concatenate([[low], inner[np.array(firsts[1:], dtype=np.int64) - 1], [high]])
    return Bins(edges, np.bincount(member), np.array(people, dtype=np.int64))


def merged(bins: Bins, *, minimum: int) -> Bins:
    """``bins`` with neighbours joined until each holds ``minimum``; none if all hold fewer.

    Patients of two bins may be the same ones: there are at least as many as in the fuller bin.
    """
    edges, counts, held = [bins.edges[0]] if len(bins.edges) else [], list[int](), 0
    people = bins.counts if bins.patients is None else bins.patients
    enough = 0
    for place, count in enumerate(bins.counts.tolist()):
        held += count
        here = int(people[place])
        enough = enough + here if bins.patients is None else max(enough, here)
        if enough >= minimum:
            counts.append(held)
            edges.append(bins.edges[place + 1])
            held = enough = 0
    if not counts:
        return Bins(np.empty(0), np.empty(0, dtype=np.int64))
    counts[-1] += held
    edges[-1] = bins.edges[-1]
    return Bins(np.array(edges, dtype=np.float64), np.array(counts, dtype=np.int64))


def smoothed(counts: NDArray[np.float64], *, minimum: int) -> NDArray[np.float64]:
    """Counts of fixed bins, float64 [bins], where small neighbours share what they hold together.

    For bins whose edges all sites agreed on: nothing is told but the sums that ``merged`` tells,
    and their order. All zero if there are fewer than ``minimum`` in all.
    """
    edges = np.arange(len(counts) + 1, dtype=np.float64)
    groups = merged(Bins(edges, counts.astype(np.int64)), minimum=minimum)
    shared = np.zeros(len(counts))
    for held, first, after in zip(groups.counts, groups.edges[:-1], groups.edges[1:], strict=True):
        shared[int(first) : int(after)] = rounded(int(held)) / (after - first)
    return shared


def coarse(
    count: float, total: float, square: float, *, counts: bool
) -> tuple[float, float, float]:
    """Sums of one feature, as far as a scale needs them and no further.

    Exact sums tell the exact count, and with it who joined or left. The count goes to the nearest
    five, a total of zeros and ones too (``counts``); else mean and deviation to a hundredth of the
    deviation or finer, by powers of ten.
    """
    shown = float(rounded(round(count)))
    if counts:
        positive = min(shown, float(rounded(round(total))))
        return shown, positive, positive
    mean = total / count
    deviation = math.sqrt(max(0.0, square / count - mean * mean))
    if deviation > 0:
        step = 10.0 ** math.floor(math.log10(deviation / DIGITS))
        mean, deviation = round(mean / step) * step, round(deviation / step) * step
    return shown, shown * mean, shown * (deviation * deviation + mean * mean)


def metric(value: float | None) -> float | None:
    """A metric as it is told, or None if it is not finite."""
    return None if value is None or not math.isfinite(value) else round(float(value), DECIMALS)


Cell = tuple[int, int]


def _cycle(full: Counts, mask: Mask, start: Cell, minimum: int) -> Sequence[Cell]:
    """The cells of the cheapest cycle through ``start`` that can take ``minimum`` more patients.

    The table is a flow: from the root to every row its margin, from there to columns the cells,
    and from columns back to the root theirs. More can flow along any cell, and less along one
    that holds at least ``minimum``; a cell that is told costs what it holds.
    """
    rows, columns = full.shape[0] - 1, full.shape[1] - 1
    root_in, root_out = rows + columns, rows + columns + 1

    def ends(cell: Cell) -> tuple[int, int]:
        row, column = cell
        if row == rows and column == columns:
            return root_out, root_in
        if column == columns:
            return root_in, row
        return (row if row < rows else rows + column), (rows + column if row < rows else root_out)

    arcs: dict[int, list[tuple[int, Cell]]] = {}
    for row in range(rows + 1):
        for column in range(columns + 1):
            if (cell := (row, column)) == start:
                continue
            tail, head = ends(cell)
            arcs.setdefault(tail, []).append((head, cell))
            if full[cell] >= minimum:
                arcs.setdefault(head, []).append((tail, cell))
    goal, source = ends(start)
    best: dict[int, float] = {source: 0.0}
    came: dict[int, tuple[int, Cell]] = {}
    queue = [(0.0, source)]
    while queue:
        cost, node = heapq.heappop(queue)
        if node == goal:
            break
        if cost > best[node]:
            continue
        for after, cell in arcs.get(node, ()):
            further = cost + (0.0 if mask[cell] else float(full[cell]))
            if further < best.get(after, math.inf):
                best[after], came[after] = further, (node, cell)
                heapq.heappush(queue, (further, after))
    path = []
    node = goal
    while node != source:
        node, cell = came[node]
        path.append(cell)
    return path
