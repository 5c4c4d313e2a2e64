"""A large CSV streamed through a query into Parquet, with progress, and stoppable at any time."""

import gzip
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

_PACE = 0.5  # seconds between reports
_PROBE = 1 << 20  # bytes of text that tell how long a row is


def sink(
    rows: "pl.LazyFrame",
    query: Callable[["pl.LazyFrame"], "pl.LazyFrame"],
    *,
    file: Path,
    to: Path,
    tell: Callable[[float], None],
) -> None:
    """Writes ``query(rows)`` to ``to``.

    Args:
        rows: A scan of ``file``.
        tell: Gets the share done, about, from this thread; what it raises stops the reading.

    Raises:
        polars' own errors, OSError, or what gzip raises of a damaged file.
    """
    stop = threading.Event()
    expected, seen = estimated(file), [0]

    def count(batch: "pl.DataFrame") -> "pl.DataFrame":
        if stop.is_set():
            raise RuntimeError("stopped")
        seen[0] += len(batch)  # threads may lose an addition: it is an estimate
        return batch

    counted = rows.map_batches(count, streamable=True, validate_output_schema=False)
    with ThreadPoolExecutor(1) as pool:  # polars computes there, and this thread can tell and stop
        try:
            done = pool.submit(query(counted).sink_parquet, to, compression="lz4")
            while wait([done], timeout=_PACE).not_done:
                tell(min(1.0, seen[0] / expected))
            done.result()
        except BaseException:
            stop.set()
            raise


def estimated(file: Path) -> int:
    """About how many rows there are, from the size of the first ones; 1 at least."""
    with file.open("rb") as raw:
        packed = file.suffix == ".gz"
        text = gzip.GzipFile(fileobj=raw).read(_PROBE) if packed else raw.read(_PROBE)
        return max(1, text.count(b"\n") * file.stat().st_size // max(1, raw.tell()))
