"""Our weighted mean beside Flower's own: ``python tests/bench_aggregation.py``.

Flower has two: ``aggregate`` from arrays (its older strategies) and ``aggregate_arrayrecords``
from the bytes as they came. Ours is measured from arrays and from the files in which the strategy
keeps updates; every case gives the same mean. Repeats alternate, so load meets all alike.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

CASES = ((10, 25), (2, 100), (100, 1))  # sites, MB (1e6 bytes) each
WAYS = ("flwr aggregate", "flwr arrayrecords", "fedtui arrays", "fedtui files")


def updates(sites: int, megabytes: float) -> list[np.ndarray]:
    """One float32 vector a site."""
    random = np.random.default_rng(0)
    size = int(megabytes * 1e6 / 4)
    return [random.standard_normal(size, dtype=np.float32) for _ in range(sites)]


def prepare(way: str, vectors: list[np.ndarray], folder: Path) -> Callable[[], np.ndarray]:
    """A function that averages ``vectors`` in one way; what it starts from is made here."""
    weights = list(range(1, len(vectors) + 1))
    if way == "flwr aggregate":
        from flwr.server.strategy.aggregate import aggregate

        results = [([vector], weight) for vector, weight in zip(vectors, weights, strict=True)]
        return lambda: aggregate(results)[0]
    if way == "flwr arrayrecords":
        from flwr.app import ArrayRecord, MetricRecord, RecordDict
        from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords

        records = [
            RecordDict({"a": ArrayRecord([vector]), "m": MetricRecord({"num-examples": weight})})
            for vector, weight in zip(vectors, weights, strict=True)
        ]
        return lambda: aggregate_arrayrecords(records, "num-examples").to_numpy_ndarrays()[0]
    from fedtui.flower.vectors import mean

    if way == "fedtui arrays":
        return lambda: mean(vectors, weights)
    for number, vector in enumerate(vectors):
        vector.tofile(folder / f"{number}.f32")
    files: list[Any] = [
        np.memmap(folder / f"{number}.f32", dtype="<f4", mode="r") for number in range(len(vectors))
    ]
    return lambda: mean(files, weights)


def compare(sites: int, megabytes: float, *, repeats: int) -> None:
    """Print one case: milliseconds and ratio to the first way, and memory beside the updates."""
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        vectors = updates(sites, megabytes)
        ways = {way: prepare(way, vectors, Path(folder)) for way in WAYS}
        expected = np.average(np.stack(vectors), axis=0, weights=np.arange(1, sites + 1))
        for way, average in ways.items():  # also warms the page cache and NumPy
            np.testing.assert_allclose(average(), expected, atol=1e-5, err_msg=way)
        for _ in range(repeats):
            for way, average in ways.items():
                began = time.perf_counter()
                average()
                times[way].append(time.perf_counter() - began)
    base = median(times[WAYS[0]])
    print(f"{sites} x {megabytes:g} MB, median of {repeats}, load {os.getloadavg()[0]:.1f}:")
    for way in WAYS:
        value = median(times[way])
        extra = memory(way, sites, megabytes)
        print(
            f"  {way:18} {1000 * value:7.1f} ms  {base / value:5.1f}x  "
            f"additional memory {extra:5.0f} MB, {extra / megabytes:.1f} models"
        )


def memory(way: str, sites: int, megabytes: float) -> float:
    """Growth of peak memory in MB while averaging once, in a process of its own.

    Without pages of mapped files.
    """
    done = subprocess.run(
        [sys.executable, __file__, "--memory-of", way, str(sites), str(megabytes)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return float(done.stdout)


def weigh(way: str, sites: int, megabytes: float) -> None:
    """The other side of ``memory``."""
    with tempfile.TemporaryDirectory() as folder:
        vectors = updates(sites, megabytes)
        prepare(way, [v[:1000] for v in vectors[:2]], Path(folder))()  # imports
        average = prepare(way, vectors, Path(folder))
        if way == "fedtui files":
            vectors.clear()  # they are on disk
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        before, pages = resident("VmRSS"), resident("RssFile")
        average()
        pages = resident("RssFile") - pages  # the kernel's cache of the files, given up at need
        print((resident("VmHWM") - before - pages) * 1024 / 1e6)


def resident(name: str) -> int:
    """A line of this process's memory status, KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--memory-of", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        way, sites, megabytes = options.memory_of
        weigh(way, int(sites), float(megabytes))
        return
    for sites, megabytes in CASES:
        compare(sites, megabytes, repeats=options.repeats)


if __name__ == "__main__":
    main()
