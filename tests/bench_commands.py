"""How long commands take beside importing typer alone: ``python tests/bench_commands.py``.

Every repeat runs each command once, one after the other, so that load meets all alike.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from fedtui import operations
from fedtui.site import Home

TARGET = 1.5  # times ``import typer``


def commands(home: Path) -> dict[str, list[str]]:
    """What is timed; the first is what the others are measured by."""
    fedtui = str(Path(sys.executable).parent / "fedtui")
    return {
        "import typer": [sys.executable, "-c", "import typer"],
        "fedtui --help": [fedtui, "--help"],
        "fedtui --version": [fedtui, "--version"],
        "fedtui status --json": [fedtui, "status", "--json", "--home", str(home)],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=25)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        home = Home(Path(folder) / "halland")
        operations.create(home, "halland")
        lines = commands(home.path)
        times: dict[str, list[float]] = {name: [] for name in lines}
        for repeat in range(options.repeats + 1):
            for name, words in lines.items():
                began = time.perf_counter()
                subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
                if repeat:  # the first also fills caches
                    times[name].append(time.perf_counter() - began)
    base = times["import typer"]
    print(f"median of {options.repeats}, load {os.getloadavg()[0]:.1f}; target {TARGET}x:")
    for name, found in times.items():
        ratio = median(a / b for a, b in zip(found, base, strict=True))
        middle, best = 1000 * median(found), 1000 * min(found)
        print(f"  {name:22} {middle:5.0f} ms  {ratio:.2f}x  best {best:.0f} ms")


if __name__ == "__main__":
    main()
