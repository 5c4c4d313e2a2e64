"""Breaks a real federation on purpose, in the middle of runs, and checks that nothing is lost.

    python -m tests.faults                  tier 1, as the tests run it
    python -m tests.faults --tier 2         every kill at ten moments, and what takes minutes
    python -m tests.faults --tier 3         a slow line, and 10,000 rounds with flat memory
    python -m tests.faults --only NAME --seed S     one scenario again
    python -m tests.faults --list           their names

What was done is recorded, an operation a line; after each scenario one checker asserts the same
invariants (``tests.invariants``), not just that it ended.
"""

import argparse
import sys
import time
from collections import Counter

from tests import fault_moments, fault_patience, fault_scenarios
from tests.fault_bench import SCENARIOS, Bench, Operation, Scenario, Skipped, carry_out, prepared

__all__ = ["SCENARIOS", "Bench", "Operation", "Scenario", "Skipped", "carry_out", "prepared"]
_REGISTERED = (fault_scenarios, fault_moments, fault_patience)


def _told(bench: Bench, one: Scenario, seed: int, *, history: bool) -> str:
    """Carry a scenario out, print its line and what does not hold; returns the verdict.

    Args:
        history: Whether what was done is printed though everything held.
    """
    began = time.monotonic()
    try:
        broken = carry_out(bench, one, seed)
    except Skipped as reason:
        print(f"{one.name:<58} SKIPPED: {reason}")
        return "skipped"
    verdict = "broken" if broken else "held"
    took = time.monotonic() - began
    print(f"{one.name:<58} seed {seed:<3} {took:6.1f} s  {verdict.upper()}")
    for operation in bench.history if broken or history else ():
        print(f"    {operation.at:7.2f} s  {operation.what}  {operation.target}")
    for what in broken:
        print(f"    {what}")
    if broken:
        print(f"    again: python -m tests.faults --only {one.name} --seed {seed}")
    sys.stdout.flush()
    return verdict


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tier", type=int, default=1, choices=(1, 2, 3))
    parser.add_argument("--only", default="", choices=["", *SCENARIOS], metavar="NAME")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--list", action="store_true", help="name the scenarios of all tiers")
    asked = parser.parse_args()
    if asked.list:
        for one in sorted(SCENARIOS.values(), key=lambda one: one.tier):
            print(f"tier {one.tier}  {one.name}  x {one.repeats}")
        return 0
    chosen = [
        one
        for one in SCENARIOS.values()
        if (one.name == asked.only if asked.only else one.tier == asked.tier)
    ]
    began, verdicts = time.monotonic(), Counter[str]()
    with prepared() as bench:
        for one in chosen:
            for seed in range(asked.seed, asked.seed + (1 if asked.only else one.repeats)):
                verdicts[_told(bench, one, seed, history=bool(asked.only))] += 1
    counts = ", ".join(
        f"{verdicts[verdict]} {verdict}" for verdict in ("held", "broken", "skipped")
    )
    print(f"{counts}; {(time.monotonic() - began) / 60:.1f} minutes")
    return 1 if verdicts["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
