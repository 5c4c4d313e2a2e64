"""What a home costs that waits: ``python -m tests.bench_service [--seconds 60]``.

Two real homes on loopback with TLS; memory is PSS of every process of the waiting site, CPU its
user and system time over the wall time. Then one run is begun cold (its trainers ended for want
of work) and one warm: the difference is what a trainer on demand costs.
"""

import argparse
import os
import time
from statistics import median

import psutil

from fedtui import events, operations, orders, processes
from fedtui.site import Home
from tests import federation as fed
from tests.federation import COORDINATOR, SITE, Federation, records, until

MEGABYTES, PERCENT = 200, 1.0  # what a waiting site may take


def family(home: Home) -> list[psutil.Process]:
    """Every process of the home."""
    found = []
    for name in ("supervisor", "agent", "coordinator"):
        if pid := processes.running(home, name):
            process = psutil.Process(pid)
            found += [process, *process.children(recursive=True)]
    return list({process.pid: process for process in found}.values())


def megabytes(home: Home) -> float:
    """PSS of the home's processes together, in MB: pages shared by two are counted once."""
    return sum(p.memory_full_info().pss for p in family(home)) / 1e6


def percent(home: Home, seconds: float) -> float:
    """CPU of the home's processes over ``seconds``, in percent of one core."""

    def used() -> float:
        times = [process.cpu_times() for process in family(home)]
        return sum(t.user + t.system for t in times)

    before = used()
    time.sleep(seconds)
    return 100 * (used() - before) / seconds


def idle(home: Home) -> None:
    """Wait until the home's trainer has ended."""
    while orders.order(home, "agent", "status")["trainer"]:
        time.sleep(0.5)


def first_round(made: Federation) -> float:
    """Seconds from the order to the first round's end, of a run that this begins."""
    began = time.monotonic()
    run = made.start(fed.study(rounds=1))
    until(made.coordinator, lambda e: isinstance(e, events.RoundEnded) and e.run == run)
    took = time.monotonic() - began
    made.ended(run)
    return took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="over which CPU is measured")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with fed.homes(COORDINATOR, SITE) as made:
        for home in made.homes.values():
            with home.settings.open("a") as file:
                file.write("\n[trainer]\nidle_seconds = 5\n")
        for name in made.homes:
            operations.up(made.homes[name])
        for name in made.homes:
            made.linked(name)
        first_round(made)
        warm, cold = [], []
        for _ in range(options.repeats):
            for home in made.homes.values():
                idle(home)
            cold.append(first_round(made))
            warm.append(first_round(made))
        with_trainer = megabytes(made.site)
        idle(made.site)
        idle(made.coordinator)
        time.sleep(5)
        site, coordinator = megabytes(made.site), megabytes(made.coordinator)
        used = percent(made.site, options.seconds)
        own = percent(made.coordinator, options.seconds)
        starts = len(records(made.site, events.DeviceReported))
    print(f"load {os.getloadavg()[0]:.1f}, {options.seconds:.0f} s, {starts} trainers started")
    print(f"waiting site        {site:6.0f} MB  {used:5.2f} % of a core")
    print(f"  targets           {MEGABYTES:6.0f} MB  {PERCENT:5.2f} %")
    print(f"  with its trainer  {with_trainer:6.0f} MB")
    print(f"waiting coordinator with a site of its own {coordinator:.0f} MB, {own:.2f} %")
    print(
        f"order to the end of round 1: warm {median(warm):.1f} s, cold {median(cold):.1f} s"
        f" (median of {options.repeats})"
    )


if __name__ == "__main__":
    main()
