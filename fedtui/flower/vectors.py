"""Vectors of model parameters: the checks an update must pass, and their weighted mean."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]

MOST_EXAMPLES = (
    1_000_000_000  # above any hospital's rows a round; a larger count is an attack or a fault
)
# Of an update's length to the round's median. Honest sites of the benchmark data stay below 3, also
# with 1 against 16 steps; at 10 a site outweighs nine others.
LARGEST_RATIO = 10.0
_BLOCK = 1 << 18  # elements; 1 MiB of float32 stays in the cores' second-level cache
_THREADS = 2  # two cores use all of the memory's speed: 13 ms for 10 x 25 MB, one takes 19 ms


class RefusedError(Exception):
    """An answer that must not be used, by name.

    Attributes:
        code: Stable name of the reason: arrays, dtype, shape, nan, infinite, count, …
        kind: Where the site itself says why it has no answer, the name of its error.
    """

    def __init__(self, code: str, cause: str, *, kind: str = "") -> None:
        super().__init__(cause)
        self.code, self.kind = code, kind


def check_finite(vector: Vector) -> None:
    """Raise RefusedError 'nan' or 'infinite' unless every element is finite; no copy is made."""
    for start in range(0, vector.size, _BLOCK):
        # Its square is NaN or Inf if any element is, at memory speed; only then look closer.
        block = vector[start : start + _BLOCK]
        with np.errstate(invalid="ignore", over="ignore"):  # an answer here, not a warning
            square = float(np.dot(block, block))
        if not math.isfinite(square):
            if np.isnan(block).any():
                raise RefusedError("nan", "the update holds NaN.")
            if np.isinf(block).any():
                raise RefusedError("infinite", "the update holds infinite values.")


def check_examples(count: object) -> int:
    """A number of examples that may weigh an update: a whole number, 1 to 1e9.

    Raises:
        RefusedError: 'count', naming what is wrong with it.
    """
    if isinstance(count, bool) or not isinstance(count, int):
        raise RefusedError("count", "the number of examples is not a whole number.")
    if count <= 0:
        raise RefusedError("count", f"the number of examples is {count}; it must be positive.")
    if count > MOST_EXAMPLES:
        raise RefusedError("count", f"the number of examples, {count}, is absurd.")
    return count


def distance(vector: Vector, other: Vector) -> float:
    """The Euclidean norm of their difference, by blocks and in float64; ``other`` is finite.

    Raises:
        RefusedError: 'nan' or 'infinite', of ``vector``; it is read once for both.
    """
    total = 0.0
    with np.errstate(invalid="ignore", over="ignore"):  # an answer here, not a warning
        for start in range(0, vector.size, _BLOCK):
            change = vector[start : start + _BLOCK] - other[start : start + _BLOCK]
            total += float(np.dot(change, change))  # float32 within a block of 1 MiB
    if not math.isfinite(total):  # or only very long
        check_finite(vector)
    return math.sqrt(total)


def outliers(norms: Mapping[str, float]) -> dict[str, float]:
    """Whose update is ``LARGEST_RATIO`` times the median of all or longer, and how many times.

    Of two sites neither can be: one of them is at most twice their mean.
    """
    median = float(np.median(list(norms.values()))) if norms else 0.0
    if not median > 0:
        return {}
    return {site: norm / median for site, norm in norms.items() if norm / median >= LARGEST_RATIO}


def mean(vectors: Sequence[Vector], weights: Sequence[int]) -> Vector:
    """The weighted mean of ``vectors``, each float32 [parameters], in their given order.

    Works block by block, so that beside the inputs (which may be files) it holds one result and
    two blocks however many vectors there are.

    References:
        McMahan et al., Communication-Efficient Learning, AISTATS 2017, algorithm 1: the sum of
        n_k / n * w_k.
    """
    if not vectors:
        raise ValueError("the mean of no vectors")
    total = math.fsum(weights)
    factors = [np.float32(weight / total) for weight in weights]
    result: Vector = np.empty_like(vectors[0], subok=False)
    starts = range(0, result.size, _BLOCK)

    def average(blocks: range) -> None:
        scratch: Vector = np.empty(min(_BLOCK, result.size), dtype=np.float32)
        for start in blocks:
            stop = min(start + _BLOCK, result.size)
            block, spare = result[start:stop], scratch[: stop - start]
            np.multiply(vectors[0][start:stop], factors[0], out=block)
            for vector, factor in zip(vectors[1:], factors[1:], strict=True):
                np.multiply(vector[start:stop], factor, out=spare)
                np.add(block, spare, out=block)

    with ThreadPoolExecutor(_THREADS) as pool:  # NumPy lets other threads run meanwhile
        list(pool.map(average, [starts[thread::_THREADS] for thread in range(_THREADS)]))
    return result


def to_bfloat16(vector: Vector) -> NDArray[np.uint16]:
    """The upper halves of float32 values, rounded to the nearest, ties to even; finite stays finite
    up to 3.38e38.

    References:
        Kalamkar et al., A Study of BFLOAT16 for Deep Learning Training, arXiv 1905.12322.
    """
    bits = np.ascontiguousarray(vector, dtype="<f4").view("<u4")
    half: NDArray[np.uint16] = np.empty(bits.size, dtype="<u2")
    for start in range(0, bits.size, _BLOCK):
        block = bits[start : start + _BLOCK]
        half[start : start + _BLOCK] = (block + (0x7FFF + ((block >> 16) & 1))) >> 16
    return half


def from_bfloat16(half: NDArray[np.uint16]) -> Vector:
    """The float32 values of bfloat16 bits, exactly."""
    bits = np.zeros((half.size, 2), dtype="<u2")
    bits[:, 1] = half
    vector: Vector = bits.reshape(-1).view("<f4")
    return vector


def bytes_of(vector: Vector) -> memoryview:
    """The vector's bytes, without a copy."""
    return memoryview(np.ascontiguousarray(vector)).cast("B")  # type: ignore[arg-type]


def hash_of(vector: Vector) -> str:
    """Hex sha256 of the vector's bytes."""
    return hashlib.sha256(bytes_of(vector)).hexdigest()
