"""Updates as vectors: their mean, their length, and which of them are refused."""

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedtui.flower import arrays, vectors
from fedtui.flower.vectors import RefusedError
from tests import hostile
from tests.averages import GOOD, SIZE, average

# Bounds so that rounding of float32 stays below the tolerance of 1e-6: weights of real models.
NUMBERS = st.floats(-4, 4, width=32)
WEIGHTS = st.integers(1, 1_000_000)


@st.composite
def updates(draw: st.DrawFn) -> tuple[list[np.ndarray], list[int]]:
    sites = draw(st.integers(1, 5))
    size = draw(st.integers(1, 40))
    made = [draw(hnp.arrays(np.float32, size, elements=NUMBERS)) for _ in range(sites)]
    return made, draw(st.lists(WEIGHTS, min_size=sites, max_size=sites))


def test_numbers_whose_square_overflows_are_finite_still() -> None:
    vectors.check_finite(np.array([3e38, -3e38, 1e-45, 0], np.float32))


@given(updates())
def test_the_mean_is_federated_averaging(given_: tuple[list[np.ndarray], list[int]]) -> None:
    models, weights = given_

    joint = vectors.mean(models, weights)

    assert joint.dtype == np.float32
    np.testing.assert_allclose(joint, average(models, weights), rtol=0, atol=1e-6)


def test_the_mean_over_several_blocks_has_no_seams() -> None:
    random = np.random.default_rng(7)
    size = 2 * vectors._BLOCK + 3
    models = [random.normal(size=size).astype(np.float32) for _ in range(3)]

    joint = vectors.mean(models, [3, 5, 9])

    np.testing.assert_allclose(joint, average(models, [3, 5, 9]), rtol=0, atol=1e-6)


def test_the_mean_takes_no_more_memory_than_its_result_and_a_block_a_thread(tmp_path: Path) -> None:
    size, sites = 1 << 21, 6
    for number in range(sites):
        np.full(size, number, np.float32).tofile(tmp_path / f"{number}.f32")
    files = [np.memmap(tmp_path / f"{n}.f32", dtype="<f4", mode="r") for n in range(sites)]
    tracemalloc.start()

    vectors.mean(files, [1] * sites)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    blocks = vectors._THREADS * vectors._BLOCK
    assert peak < 4 * (size + blocks) + 100_000  # bytes; the last for Python's own objects


BAD_ARRAYS: dict[str, tuple[ArrayRecord, str]] = {
    "NaN": (hostile.record(np.array([0, np.nan, 0, 0], np.float32)), "nan"),
    "infinite": (hostile.record(np.array([0, np.inf, 0, 0], np.float32)), "infinite"),
    "both infinities": (hostile.record(np.array([0, np.inf, -np.inf, 0], np.float32)), "infinite"),
    "another length": (hostile.record(np.zeros(SIZE + 1, np.float32)), "shape"),
    "a shape that would broadcast": (hostile.record(np.zeros((SIZE, 1), np.float32)), "shape"),
    "a scalar": (hostile.record(np.zeros((), np.float32)), "shape"),
    "float64": (hostile.record(np.zeros(SIZE)), "dtype"),
    "int8": (hostile.record(np.zeros(SIZE, np.int8)), "dtype"),
    "big endian": (hostile.record(np.zeros(SIZE, ">f4")), "dtype"),
    "complex": (hostile.record(np.zeros(SIZE, np.complex64)), "dtype"),
    "an extra layer": (ArrayRecord({"parameters": Array(GOOD), "more": Array(GOOD)}), "arrays"),
    "another name": (ArrayRecord({"weights": Array(GOOD)}), "arrays"),
    "no array": (ArrayRecord({}), "arrays"),
    "a header of 16 TiB": (hostile.raw(hostile.huge_header()), "shape"),
    "a pickle": (hostile.raw(hostile.npy(np.array([{}] * SIZE), pickled=True)), "dtype"),
    "truncated": (hostile.raw(hostile.npy(GOOD)[:-5]), "shape"),
    "longer than its shape": (hostile.raw(hostile.npy(GOOD) + b"more"), "shape"),
    "half a header": (hostile.raw(hostile.npy(GOOD)[:20]), "arrays"),
    "no header": (hostile.raw(b"not numpy at all"), "arrays"),
    "nothing": (hostile.raw(b""), "arrays"),
    "a gzip bomb": (hostile.raw(gzip.compress(bytes(1 << 24))), "arrays"),
    "a zip bomb": (hostile.raw(hostile.zipped(1 << 24)), "arrays"),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_an_update_that_is_not_one_sound_vector_is_refused_by_name(name: str) -> None:
    record, code = BAD_ARRAYS[name]

    with pytest.raises(RefusedError) as refused:
        arrays.from_record(record, size=SIZE)

    assert refused.value.code == code


@given(st.binary(max_size=200))
def test_no_bytes_of_a_site_raise_anything_but_a_refusal(data: bytes) -> None:
    for content in (data, b"\x93NUMPY\x01\x00" + data, hostile.npy(GOOD)[:60] + data):
        try:
            vector = arrays.from_record(hostile.raw(content), size=SIZE)
        except RefusedError:
            continue
        assert vector.shape == (SIZE,)


@pytest.mark.parametrize(
    "count", [0, -1, -(10**18), 10**18, vectors.MOST_EXAMPLES + 1, 1.5, True, None, "7", [7]]
)
def test_a_count_that_cannot_weigh_is_refused(count: object) -> None:
    with pytest.raises(RefusedError) as refused:
        vectors.check_examples(count)

    assert refused.value.code == "count"


@given(updates())
def test_an_updates_length_is_its_euclidean_distance(
    given_: tuple[list[np.ndarray], list[int]],
) -> None:
    models, _ = given_
    first, last = models[0], models[-1]

    length = vectors.distance(first, last)

    np.testing.assert_allclose(
        length, np.linalg.norm(first.astype(np.float64) - last), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(("odd", "code"), [(np.nan, "nan"), (np.inf, "infinite")])
def test_a_length_is_refused_where_an_element_is_not_finite(odd: float, code: str) -> None:
    here = np.zeros(700_000, np.float32)
    odd_one = here.copy()
    odd_one[600_000] = odd

    with pytest.raises(RefusedError) as refused:
        vectors.distance(odd_one, here)

    assert refused.value.code == code
    odd_one[600_000] = 3e38  # its square is infinite, it is not: an outlier
    assert vectors.distance(odd_one, here) == np.inf


@given(st.lists(st.floats(0.1, 3.0), min_size=2, max_size=9), st.floats(30.0, 1e30))
def test_honest_lengths_stay_and_one_above_ten_medians_goes(
    honest: list[float], long: float
) -> None:
    lengths = {f"site{number}": length for number, length in enumerate(honest)}

    assert vectors.outliers({"a": honest[0], "b": long}) == {}  # two sites have no majority
    assert not any(
        length < 10 * float(np.median(honest)) and site in vectors.outliers(lengths)
        for site, length in lengths.items()
    )
    assert "late" in vectors.outliers({**lengths, "late": long * 100})
