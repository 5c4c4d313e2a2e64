"""Many sites, many rounds, large models: ``python -m tests.bench_load --sites 8 --megabytes 5``.

Every site is a home with processes of its own on this one host; a round has one step, so that what
is measured is the federation. With ``--journal N`` instead: a journal of so many events.
"""

import argparse
import os
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median

from fedtui import events, journal, processes, progress
from fedtui.journal import Journal
from fedtui.study import Study
from tests import federation as fed
from tests.bench_rounds import hidden


def resident(pid: int) -> float:
    """Resident memory of a process now, in MB (1e6 bytes)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def study(sites: tuple[str, ...], megabytes: float, rounds: int) -> Study:
    """One step a round on a network of the wanted size."""
    return Study(
        id="load",
        purpose="What many sites and large models cost",
        sites=sites,
        data="breast_cancer",
        model="mlp",
        rounds=rounds,
        parameters={"hidden": list(hidden(megabytes))},
        training={"learning_rate": 0.0001, "batch": 600},
    )


def federation(count: int, megabytes: float, rounds: int, seconds: float) -> None:
    """So many sites and rounds; prints the seconds a round and the coordinator's memory."""
    names = tuple(f"site{number:02d}" for number in range(1, count + 1))
    with fed.homes(*names) as made:
        for home in made.homes.values():
            text = home.settings.read_text(encoding="utf-8")
            source = '\n[data.breast_cancer]\npart = "all"\n'
            home.settings.write_text(text + source, encoding="utf-8")
        for name in names:
            made.up(name)
        for name in names:
            fed.until(made.homes[name], lambda e: isinstance(e, events.DeviceReported), seconds=300)
        run = made.start(study(names, megabytes, rounds))
        sizes: dict[int, float] = {}
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(0.2)
            done = fed.records(made.coordinator, events.RoundEnded, run=run)
            pid = processes.running(made.coordinator, "coordinator")
            if done and pid is not None:
                sizes[done[-1][1].round] = resident(pid)
            if fed.records(made.coordinator, events.RunEnded, run=run):
                break
        else:
            print(f"{seconds:.0f} s are over (--seconds): the run is stopped")
            made.idle()
        done = fed.records(made.coordinator, events.RoundEnded, run=run)
        ended = made.ended(run)
        if len(done) < 2:
            print(f"{count} sites, {megabytes:g} MB: {len(done)} rounds; {ended.cause}")
            return
        times = [record.time for record, _ in done]
        spent = [later - earlier for earlier, later in pairwise(times)]
        parts = [record.seconds for _, record in done[1:]]
        judged = sum(part["judging"] for part in parts) / sum(spent)
        print(
            f"{count} sites, {megabytes:g} MB: {len(done)} of {rounds} rounds, "
            f"{median(spent):.3f} s a round ({max(spent):.3f} worst), {judged:.2%} of it to judge "
            "what came, coordinator "
            + ", ".join(f"{sizes[n]:.0f} MB after {n}" for n in milestones(sorted(sizes)))
            + f"; {ended.outcome}, load {os.getloadavg()[0]:.1f}"
        )


def milestones(rounds: list[int]) -> list[int]:
    """The first round of those seen, the first from the tenth on, the middle, the last."""
    tenth = next((n for n in rounds if n >= 10), rounds[-1])
    return sorted({rounds[0], tenth, rounds[len(rounds) // 2], rounds[-1]})


def book(count: int) -> None:
    """A journal of so many events: seconds to write, open, verify, fold, and follow its end."""
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        path = Path(folder) / "journal.db"
        journal.create(path)
        writer = Journal(path, source="coordinator")

        def timed(what: str, began: float) -> None:
            print(f"  {what:<28} {time.monotonic() - began:9.3f} s")

        print(f"A journal of {count} events, load {os.getloadavg()[0]:.1f}:")
        began = time.monotonic()
        for first in range(0, count, 1000):
            writer.append_all(
                [
                    (
                        events.TrainingProgressed(
                            run="r", round=n // 100 + 1, site="halland", step=n % 100, steps=100,
                            loss=0.5, examples=n % 100,
                        ),
                        0,
                    )
                    for n in range(first, min(first + 1000, count))
                ]
            )  # fmt: skip
        timed("written, 1000 at a time", began)
        print(f"  {'on disk':<28} {path.stat().st_size / 1e6:9.0f} MB")
        began = time.monotonic()
        writer.append(events.SiteSeen(site="halland", here=True))
        timed("one more", began)
        began = time.monotonic()
        reader = Journal(path, source="viewer")
        reader.head()
        timed("opened, its head read", began)
        began = time.monotonic()
        next(journal.follow(path, after=count - 1))
        timed("its end followed", began)
        began = time.monotonic()
        journal.verify(path)
        timed("verified", began)
        began = time.monotonic()
        whole = progress.fold(reader.pages())
        timed("read and folded", began)
        began = time.monotonic()
        outline = progress.fold(record for batch in reader.outline() for record in batch)
        timed("its outline folded", began)
        assert outline == whole
        print(f"  {'this process holds':<28} {resident(os.getpid()):9.0f} MB")
        reader.close()
        writer.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sites", type=int, default=2)
    parser.add_argument("--megabytes", type=float, default=0.06)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=600.0, help="then the run is stopped")
    parser.add_argument("--journal", type=int, default=0)
    asked = parser.parse_args()
    if asked.journal:
        book(asked.journal)
    else:
        federation(asked.sites, asked.megabytes, asked.rounds, asked.seconds)


if __name__ == "__main__":
    main()
