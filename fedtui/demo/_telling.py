"""What the demo says: a line a round, JSON lines, the table at the end."""

import json
import sys
from dataclasses import dataclass, field
from typing import Any

from fedtui import events
from fedtui.demo._federation import Federation
from fedtui.demo._plans import SHOWS, Plan
from fedtui.events import RoundEnded
from fedtui.journal import Journal
from fedtui.progress import RunProgress
from fedtui.record import Record


@dataclass(kw_only=True)
class Outcome:
    """What the demo found, for the table and for ``--json``.

    Attributes:
        joint: The joint run's last round.
        alone: Each site's own run's last round, by site.
        bytes: Sent and received by each site in the joint run.
    """

    joint: RunProgress
    alone: dict[str, RoundEnded]
    bytes: dict[str, tuple[int, int]] = field(default_factory=dict)


def announce(plan: Plan) -> None:
    """Say, before anything happens, what it will be and about how long it takes."""
    show = SHOWS[plan.data]
    if plan.path is None and show.made is not None:
        print(  # noqa: T201 - narration, on stderr
            f"No --path: {show.made['rows']:,} made-up rows in the layout of {plan.data} are "
            "written first; nothing in them is of a patient.",
            file=sys.stderr,
        )
    if plan.path is None or plan.data == "heart_disease":
        print(f"About {show.expects} on two cores.", file=sys.stderr)  # noqa: T201


class Teller:
    """Says what happens while the demo runs."""

    def hold(self) -> None:
        """Keep quiet: the screen belongs to the dashboard."""

    def release(self) -> None:
        """Speak again."""

    def tell(self, record: Record, run: RunProgress | None, alone: str) -> None:
        """A record of the coordinator's journal was written."""

    def close(self) -> None:
        """The runs are over."""


class JsonTeller(Teller):
    """One event a line, as ``watch --json`` of the coordinator would."""

    def tell(self, record: Record, run: RunProgress | None, alone: str) -> None:
        print(json.dumps(record.line, ensure_ascii=False), flush=True)  # noqa: T201


class PlainTeller(Teller):
    """One line a round on stdout, and on a terminal a progress bar on stderr."""

    def __init__(self, made: Federation, plan: Plan) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._metric = made.study.metric
        out = Console(stderr=True)
        out.print(
            f"{len(made.homes)} hospitals, each with its own processes, keys and journal, "
            f"in {made.folder}"
        )
        if not plan.agreed:
            out.print("Each trains alone first, then all together; the first round starts JAX.")
        self._bar = Progress(
            TextColumn("{task.description:<18}"),
            BarColumn(),
            MofNCompleteColumn(),
            console=out,
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("rounds", total=plan.rounds * (1 + plan.sites))
        self._quiet = False
        self._bar.start()

    def hold(self) -> None:
        self._quiet = True
        self._bar.stop()

    def release(self) -> None:
        self._quiet = False
        self._bar.start()

    def tell(self, record: Record, run: RunProgress | None, alone: str) -> None:
        event = record.event
        if isinstance(event, events.RunSubmitted):
            self._bar.update(self._task, description=f"{alone} alone" if alone else "together")
        if isinstance(event, RoundEnded) and self._quiet:
            self._bar.advance(self._task)
        elif isinstance(event, RoundEnded):
            who = f"{alone} alone" if alone else "together"
            value = event.metrics.get(self._metric)
            print(  # noqa: T201 - results go to stdout
                f"{who:<18} round {event.round:>3}  {self._metric} {_number(value)}  "
                f"loss {_number(event.metrics.get('loss'))}  {event.seconds['total']:.2f} s",
                flush=True,
            )
            self._bar.advance(self._task)

    def close(self) -> None:
        self._bar.stop()


def summary(made: Federation, outcome: Outcome, plan: Plan) -> dict[str, Any]:
    """The demo's result as JSON: metrics alone and joint, seconds, bytes, files."""
    joint = outcome.joint
    metric = made.study.metric
    kept = plan.keep or plan.home is not None
    return {
        "run": joint.run,
        "rounds": len(joint.history),
        "metric": metric,
        "joint": joint.history[-1].metrics.get(metric),
        "sites": {
            name: {
                "alone": outcome.alone[name].metrics.get(metric),
                "alone_on_own": outcome.alone[name].by_site.get(name, {}).get(metric),
                "joint_on_own": joint.history[-1].by_site.get(name, {}).get(metric),
                "seconds": _seconds(joint, name),
                "bytes_sent": outcome.bytes[name][0],
                "bytes_received": outcome.bytes[name][1],
                "journal": str(made.homes[name].journal),
            }
            for name in made.homes
        },
        "aggregation_seconds": _aggregation(joint),
        "model": joint.file,
        "kept": kept,
    }


def table(made: Federation, outcome: Outcome, plan: Plan) -> str:
    """The demo's result in 80 columns."""
    result = summary(made, outcome, plan)
    metric = result["metric"]
    lines = [
        "",
        f"{'trained':<20}{metric + ', all hospitals':>24}",
        *(
            f"{name + ' alone':<20}{_number(site['alone']):>24}"
            for name, site in result["sites"].items()
        ),
        f"{'together':<20}{_number(result['joint']):>24}",
        "",
        *(_on_own(result) if plan.data != "digits" else ()),
        f"{'seconds':<14}{'training':>10}{'transfer':>10}{'waiting':>10}{'sent':>12}{'received':>12}",
    ]
    for name, site in result["sites"].items():
        seconds = site["seconds"]
        lines.append(
            f"{name:<14}{seconds['train']:>10.2f}{seconds['transfer']:>10.2f}"
            f"{seconds['waiting']:>10.2f}{_size(site['bytes_sent']):>12}"
            f"{_size(site['bytes_received']):>12}"
        )
    lines += [f"{'aggregation':<14}{result['aggregation_seconds']:>10.2f}", ""]
    if plan.data == "digits":
        lines += [
            "A hospital alone has never seen the others' digits: this shows that the",
            "machinery works, not what joint training is worth.",
            "",
        ]
    if plan.path is None and SHOWS[plan.data].made is not None:
        lines += [
            "The data were made up for this demo: no figure here says anything of a",
            "patient.",
            "",
        ]
    if result["kept"]:
        lines += [f"journals  {made.folder}/*/journal.db", f"model     {result['model']}"]
    else:
        lines.append("Journals and model were temporary: --keep or --home DIR leaves them.")
    return "\n".join(lines)


def _on_own(result: dict[str, Any]) -> list[str]:
    """Each hospital's own test patients, by its own model and by the joint one."""
    return [
        f"{'on own patients':<20}{'alone':>12}{'together':>12}",
        *(
            f"{name:<20}{_number(site['alone_on_own']):>12}{_number(site['joint_on_own']):>12}"
            for name, site in result["sites"].items()
        ),
        "",
    ]


def _seconds(joint: RunProgress, name: str) -> dict[str, float]:
    """A site's share of the joint run's train exchanges, by part."""
    own = joint.sites[name].seconds
    slowest = max(site.seconds.get("total", 0.0) for site in joint.sites.values())
    return {
        "train": round(own.get("train", 0.0), 3),
        "transfer": round(own.get("transfer", 0.0), 3),
        "waiting": round(slowest - own.get("total", 0.0), 3),
    }


def _aggregation(joint: RunProgress) -> float:
    parts = ("aggregation", "checkpoint")
    return round(sum(r.seconds.get(part, 0.0) for r in joint.history for part in parts), 3)


def traffic(made: Federation, run: str) -> dict[str, tuple[int, int]]:
    found = {}
    for name, home in made.homes.items():
        book = Journal(home.journal, source="viewer")
        answered = [
            r.event
            for r in book.own(("WorkAnswered",))
            if isinstance(r.event, events.WorkAnswered) and r.event.run == run
        ]
        book.close()
        found[name] = (
            sum(event.bytes_sent for event in answered),
            sum(event.bytes_received for event in answered),
        )
    return found


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _size(count: int) -> str:
    return f"{count / 1e6:.2f} MB"
