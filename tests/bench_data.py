"""Seconds and memory of reading: chart rows by polars and pandas, images decoded and from cache.

    python tests/bench_data.py chart --rows 20_000_000
    python tests/bench_data.py images --count 500

Each engine runs in a process of its own, so that its peak memory is its own. pandas is not a
dependency: without it, its line says so.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

TIME = "%Y-%m-%d %H:%M:%S"


def write_chart(folder: Path, rows: int) -> None:
    """MIMIC-IV with ``rows`` chart rows, of which about a third are asked for."""
    from datasets import _synth

    stays = max(100, rows // 4255)  # 4,700 stays for 20 M rows, as in the reference measurement
    _synth.write(
        "mimic_iv", folder, rows=stays, seed=0, distractors=max(0, rows - round(stays * 11 * 33.5))
    )


def by_polars(folder: Path) -> dict[str, Any]:
    """Our own way: streamed, cached, folded; the three tables of events."""
    os.environ["FEDTUI_CACHE"] = tempfile.mkdtemp()
    from datasets._mimic_cohort import cohort
    from datasets._mimic_events import first_day

    found = cohort(folder)
    started = time.perf_counter()
    day = first_day(folder, found)
    first = time.perf_counter() - started
    started = time.perf_counter()
    first_day(folder, found)
    return {
        "seconds": first,
        "seconds_from_cache": time.perf_counter() - started,
        "kept_rows": int(day.events.sum()),
    }


def by_polars_chart(folder: Path) -> dict[str, Any]:
    """The streamed query on chartevents alone."""
    from datasets._mimic_cohort import cohort
    from datasets._mimic_events import _extract

    found = cohort(folder)
    to = Path(tempfile.mkdtemp()) / "chart.parquet"
    started = time.perf_counter()
    _extract(folder, "icu/chartevents", found, lambda _: None, to)
    return {"seconds": time.perf_counter() - started}


def by_pandas(folder: Path) -> dict[str, Any]:
    """The same rows of chartevents by pandas, two million at a time."""
    import pandas as pd

    from datasets._mimic_cohort import cohort
    from datasets._mimic_concepts import CONCEPTS

    known = cohort(folder).stays.select("stay_id", "intime")
    stays = pd.DataFrame(known.to_dict(as_series=False))
    items = {item for c in CONCEPTS if c.table == "icu/chartevents" for item in c.items}
    columns = ["stay_id", "charttime", "storetime", "itemid", "value", "valuenum"]
    started = time.perf_counter()
    kept = []
    for chunk in pd.read_csv(
        folder / "icu" / "chartevents.csv.gz", usecols=columns, chunksize=2_000_000
    ):
        chunk = chunk[chunk.itemid.isin(items) & chunk.valuenum.notna()].merge(stays, on="stay_id")
        after = pd.to_datetime(chunk.charttime, format=TIME) - chunk.intime
        day = pd.Timedelta(days=1)
        kept.append(chunk[(after >= -day / 4) & (after < day)])
    rows = pd.concat(kept)
    rows.groupby(["stay_id", "itemid"]).valuenum.agg(["min", "mean", "max", "last", "count"])
    return {"seconds": time.perf_counter() - started, "kept_rows": len(rows)}


def images(count: int) -> dict[str, Any]:
    """JPEG of 1024 pixels squared to 256, one core and all; batches of 32 from the cache."""
    from PIL import Image

    from datasets import Pictures
    from datasets._images import decoded, square
    from datasets._synth_siim_isic import lesion

    os.environ["FEDTUI_CACHE"] = tempfile.mkdtemp()
    folder = Path(tempfile.mkdtemp())
    random = np.random.default_rng(0)
    made = [lesion(e, 1024, "north", random) for e in range(4)]
    files = []
    for number in range(count):
        files.append(folder / f"{number}.jpg")
        Image.fromarray(np.roll(made[number % 4], number, axis=0)).save(files[-1], quality=90)
    started, cpu = time.perf_counter(), time.process_time()
    for file in files[: count // 2]:
        square(file, 256)
    single = count // 2 / (time.perf_counter() - started)
    core = count // 2 / (time.process_time() - cpu)
    started = time.perf_counter()
    found = decoded("bench", files, size=256)
    whole = count / (time.perf_counter() - started)
    pictures = Pictures(pixels=found.pixels, rows=np.arange(count))
    batches = [random.permutation(count)[:32] for _ in range(200)]
    started, cpu = time.perf_counter(), time.process_time()
    for batch in batches:
        pictures.take(batch).astype(np.float32)
    return {
        "decoded_per_second_one_thread": single,
        "decoded_per_core_second": core,
        "cached_per_second_all_cores": whole,
        "taken_per_second_as_float32": 200 * 32 / (time.perf_counter() - started),
        "taken_per_core_second_as_float32": 200 * 32 / (time.process_time() - cpu),
        "kilobytes_per_file": files[0].stat().st_size / 1000,
        "load": os.getloadavg()[0],
    }


ENGINES = {"polars": by_polars, "polars_chart": by_polars_chart, "pandas": by_pandas}


def measured(engine: str, folder: Path) -> dict[str, Any]:
    """One engine in a fresh process."""
    run = [sys.executable, __file__, "engine", engine, str(folder)]
    answer = subprocess.run(run, capture_output=True, text=True)
    if answer.returncode:
        return {"error": answer.stderr.strip().splitlines()[-1]}
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def main() -> None:
    """Prints one JSON line a measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    chart = commands.add_parser("chart")
    chart.add_argument("--rows", type=int, default=2_000_000)
    chart.add_argument("--folder", type=Path, help="a made-up copy to use again")
    picture = commands.add_parser("images")
    picture.add_argument("--count", type=int, default=200)
    engine = commands.add_parser("engine")
    engine.add_argument("name", choices=ENGINES)
    engine.add_argument("folder", type=Path)
    asked = parser.parse_args()
    if asked.command == "images":
        print(json.dumps(images(asked.count)))
    elif asked.command == "engine":
        cpu = time.process_time()  # of all threads: what counts on a machine that others use too
        found = ENGINES[asked.name](asked.folder)
        found |= {"cpu_seconds": time.process_time() - cpu, "load": os.getloadavg()[0]}
        status = Path("/proc/self/status").read_text()  # ru_maxrss would count who started us
        peak = int(re.findall(r"VmHWM:\s*(\d+) kB", status)[0]) / 1024**2
        print(json.dumps(found | {"peak_gib": round(peak, 3)}))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            folder = asked.folder or Path(temporary) / "mimic"
            if not folder.exists():
                started = time.perf_counter()
                write_chart(folder, asked.rows)
                print(json.dumps({"written_seconds": time.perf_counter() - started}))
            for name in ENGINES:
                print(json.dumps({"engine": name} | measured(name, folder)), flush=True)


if __name__ == "__main__":
    main()
