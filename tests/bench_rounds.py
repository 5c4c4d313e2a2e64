"""Seconds and memory of a round between two sites: ``python tests/bench_rounds.py [--stock]``.

TLS, node keys, fsync, validation of updates and checkpoints are all on. The numbers come from the
coordinator's journal: a round's wall time, from asking for it to asking for the next, less the
time in which the slowest site computed.
"""

import argparse
import contextlib
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from fedtui import events, operations
from fedtui.journal import Journal
from fedtui.record import Record
from fedtui.site import Home
from fedtui.study import Study

NAMES = ("sahlgrenska", "halland")
_FEATURES = 30  # of breast_cancer, whose two classes need one output


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round's wall time in seconds, by part, without the slowest site's own computing.

    Attributes:
        exchange: From asking for training to asking for evaluation.
        whole: From asking for training to asking for the next round.
        train: The slowest site's training, which is not in the other two.
    """

    exchange: float
    whole: float
    train: float


def hidden(megabytes: float) -> tuple[int, int]:
    """Two equal layers that make an mlp of about ``megabytes`` (1e6 bytes of float32)."""
    parameters = megabytes * 1e6 / 4
    # n * n + (features + 3) * n + 1 parameters
    width = ((_FEATURES + 3) ** 2 + 4 * parameters) ** 0.5 / 2 - (_FEATURES + 3) / 2
    return round(width), round(width)


def study(megabytes: float, *, rounds: int) -> Study:
    """One step a round on a network of the wanted size: little to compute, all to carry."""
    return Study(
        id="bench",
        purpose="How long a round takes",
        sites=NAMES,
        data="breast_cancer",
        model="mlp",
        rounds=rounds,
        parameters={"hidden": list(hidden(megabytes))},
        training={"learning_rate": 0.001, "batch": 256},
    )


@contextlib.contextmanager
def federation(sources: dict[str, dict[str, dict[str, str]]]) -> Iterator[dict[str, Home]]:
    """Two homes of a federation, made as operators make them, not yet up; downed at the end."""
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        homes = {name: Home(Path(folder) / name) for name in sources}
        first, *others = homes
        operations.create(
            homes[first], first, coordinator=True, host="127.0.0.1", port=free_port(),
            sources=sources[first],
        )  # fmt: skip
        for name in others:
            operations.create(homes[name], name, sources=sources[name])
            public = homes[name].keys / "node.pub"
            invitation = Path(folder) / f"{name}.json"
            invitation.write_text(operations.invite(homes[first], name, public_key=public))
            operations.join(homes[name], invitation)
        try:
            yield homes
        finally:
            for home in homes.values():
                operations.down(home)


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def carry_out(home: Home, agreed: Study, *, seconds: float = 600.0) -> list[Record]:
    """Run ``agreed`` to its end; returns the coordinator's records of this run."""
    book = Journal(home.journal, source="viewer")
    after, run = book.head()[0], operations.run(home, agreed)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.2)
        records = [r for r in book.read(after) if getattr(r.event, "run", None) == run]
        ended = [r.event for r in records if isinstance(r.event, events.RunEnded)]
        if ended:
            if ended[0].outcome != "completed":
                raise RuntimeError(ended[0].cause)
            return records
    raise TimeoutError(f"the run was not over after {seconds:.0f} s")


def rounds_of(records: list[Record]) -> list[Round]:
    """Every round's time, from the coordinator's records of one run."""
    asked = [
        r for r in records if isinstance(r.event, events.PhaseStarted) and r.event.round > 0
    ] + records[-1:]
    ended = [r.event for r in records if isinstance(r.event, events.RoundEnded)]
    found = []
    for number, event in enumerate(ended):
        train, evaluate, following = asked[2 * number : 2 * number + 3]
        worked = event.seconds["train"]
        found.append(
            Round(
                exchange=evaluate.time - train.time - worked,
                whole=following.time - train.time - worked - event.seconds["evaluate"],
                train=worked,
            )
        )
    return found


def start_up(records: list[Record]) -> float:
    """Seconds from the submitted run to its first round, round 0 included."""
    first = next(
        r for r in records if isinstance(r.event, events.PhaseStarted) and r.event.round == 1
    )
    return first.time - records[0].time


def trainers_ready(homes: dict[str, Home]) -> None:
    """Wait until every trainer has imported JAX."""
    for home in homes.values():
        book = Journal(home.journal, source="viewer")
        while not book.own(("DeviceReported",)):
            time.sleep(0.1)
        book.close()


def peaks(homes: dict[str, Home]) -> dict[str, float]:
    """Peak resident memory in MB of every process, by site and name."""
    found = {}
    for name, home in homes.items():
        status = operations.status(home)
        pids = dict(status["processes"])
        if "agent" in status:
            pids["trainer"] = status["agent"]["trainer"]
        found |= {f"{name} {process}": peak(pid) for process, pid in pids.items()}
    return found


def peak(pid: int) -> float:
    """Peak resident memory of a process so far, in MB (1e6 bytes)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6


def measure(megabytes: float, rounds: int) -> dict[str, Any]:
    """All figures of one size, in homes of their own."""
    halves = {name: {"breast_cancer": {"part": f"{i}/2"}} for i, name in enumerate(NAMES, start=1)}
    with federation(halves) as homes:
        first = homes[NAMES[0]]
        began = time.monotonic()
        for home in homes.values():
            operations.up(home)
        up = time.monotonic() - began
        cold = start_up(carry_out(first, study(megabytes, rounds=1)))
        trainers_ready(homes)
        records = carry_out(first, study(megabytes, rounds=rounds))
        return {
            "rounds": rounds_of(records),
            "up": up,
            "cold": cold,
            "warm": start_up(records),
            "peaks": peaks(homes),
            "load": os.getloadavg()[0],
        }


def report(megabytes: float, found: dict[str, Any]) -> None:
    """One size in words."""
    rounds = found["rounds"]
    exchanges, wholes = [r.exchange for r in rounds], [r.whole for r in rounds]
    print(f"fedtui, {megabytes:g} MB, {len(rounds)} rounds, load {found['load']:.1f}:")
    print(f"  train exchange      {median(exchanges):7.3f} s median, {max(exchanges):.3f} worst")
    print(f"  train and evaluate  {median(wholes):7.3f} s median, {max(wholes):.3f} worst")
    print(f"  (training itself    {median(r.train for r in rounds):7.3f} s, taken off)")
    print(f"  submitted to first round {found['warm']:.2f} s warm, {found['cold']:.2f} s cold")
    print(f"  both homes up in {found['up']:.2f} s")
    print("  peak memory, MB: " + ", ".join(f"{k} {v:.0f}" for k, v in found["peaks"].items()))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=float, nargs="+", default=[0.03, 1, 100])
    parser.add_argument("--rounds", type=int, default=0, help="0: 30 below 10 MB, else 8")
    parser.add_argument("--stock", action="store_true", help="stock Flower beside it")
    options = parser.parse_args()
    for megabytes in options.megabytes:
        rounds = options.rounds or (30 if megabytes < 10 else 8)
        report(megabytes, measure(megabytes, rounds))
        if options.stock:
            import stock_flower

            stock_flower.report(megabytes, stock_flower.measure(megabytes, rounds=3))


if __name__ == "__main__":
    main()
