"""A whole federation on one machine: a script over the operations that an operator uses.

DecAIHealth's own first example by default: handwritten digits, even ones at one hospital and odd
ones at the other. Each site has its own home, keys, journal and processes; nothing is simulated.
"""

import contextlib
import json
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedtui import events, journal, operations, processes
from fedtui.errors import RunError, UsageError
from fedtui.events import RoundEnded
from fedtui.journal import Journal, Record
from fedtui.progress import Progress, RunProgress, advance
from fedtui.site import Home
from fedtui.study import Study

SITES = ("sahlgrenska", "halland", "skane", "orebro", "umea")
_NEWS_SECONDS = 10.0  # sites hear the news once a second
_HOSPITALS = ("cleveland", "hungarian", "switzerland", "va")  # the parts of heart_disease
_DIGITS = {"model": "mlp", "metric": "accuracy", "normalisation": "none"}
_STUDIES: dict[str, dict[str, Any]] = {
    "digits": {
        **_DIGITS,
        "parameters": {"hidden": [64, 64]},
        "training": {"learning_rate": 0.1, "batch": 32, "epochs": 1},
    },
    "breast_cancer": {
        "model": "logistic",
        "metric": "accuracy",
        "training": {"learning_rate": 0.05, "batch": 16, "epochs": 2, "l2": 0.001},
    },
    "heart_disease": {
        "model": "logistic",
        "metric": "auroc",
        "training": {"learning_rate": 0.1, "batch": 16, "epochs": 1},
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the operator asked for. ``home``: folder for the sites' homes, default temporary."""

    rounds: int = 15
    sites: int = 2
    data: str = "digits"
    path: Path | None = None
    seed: int = 0
    home: Path | None = None
    keep: bool = False


@dataclass(kw_only=True)
class Federation:
    """The demo's homes, the first one coordinating, and the study that they run."""

    folder: Path
    homes: dict[str, Home]
    study: Study

    @property
    def coordinator(self) -> Home:
        """The home that coordinates."""
        return next(iter(self.homes.values()))


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


def show(plan: Plan, *, json_: bool, screen: Callable[[Home], int] | None = None) -> int:
    """Run the demo with a line a round (or JSON lines) on stdout; returns the exit code.

    Args:
        screen: Opens the dashboard on a home until the operator leaves it; the federation runs
            on meanwhile and afterwards.

    Raises:
        OperatorError: what kept it from running; everything is cleaned up.
    """
    _check(plan)
    with _terminable(), federation(plan) as made:
        teller = _JsonTeller() if json_ else _PlainTeller(made, plan)
        with contextlib.closing(teller):
            if screen is None:
                alone, joint = _carry_out_all(made, teller)
            else:
                teller.hold()
                runs: Future[tuple[dict[str, RoundEnded], RunProgress]] = Future()
                # A daemon, since leaving the demo must not wait for its runs.
                threading.Thread(target=_into, args=(runs, made, teller), daemon=True).start()
                if code := screen(list(made.homes.values())[-1]):
                    raise SystemExit(code)
                teller.release()
                alone, joint = runs.result()
        outcome = Outcome(joint=joint, alone=alone, bytes=_traffic(made, joint.run))
        if json_:
            print(json.dumps({"schema": 1, "summary": summary(made, outcome, plan)}))  # noqa: T201
        else:
            print(table(made, outcome, plan))  # noqa: T201
    return 0


@contextlib.contextmanager
def federation(plan: Plan) -> Iterator[Federation]:
    """Homes made, keys exchanged and processes up; all gone again at the end, however it ends."""
    temporary = plan.home is None
    folder = plan.home or Path(tempfile.mkdtemp(prefix="fedtui-"))
    homes = {name: Home(folder / name) for name in SITES[: plan.sites]}
    try:
        made = Federation(folder=folder, homes=homes, study=_study(plan))
        _create(made, plan)
        with ThreadPoolExecutor(len(homes)) as pool:
            list(pool.map(operations.up, homes.values()))
        yield made
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave half of it
        with ThreadPoolExecutor(len(homes)) as pool:
            list(pool.map(processes.stop, homes.values()))
        if temporary and not plan.keep:
            shutil.rmtree(folder, ignore_errors=True)
        signal.signal(signal.SIGINT, signal.default_int_handler)


def carry_out(made: Federation, alone: str, teller: "Teller") -> RunProgress:
    """Submit the study (with one site ``alone`` training, or all), follow it to its end.

    Raises:
        RunError: the run failed.
    """
    book = Journal(made.coordinator.journal, source="viewer")
    after = book.head()[0]
    book.close()
    run = operations.run(made.coordinator, made.study, alone=alone)
    state = Progress()
    for record in journal.follow(made.coordinator.journal, after=after, seconds=0.05):
        state = advance(state, record)
        teller.tell(record, state.runs.get(run), alone)
        if isinstance(record.event, events.RunEnded) and record.event.run == run:
            if record.event.outcome != "completed":
                raise RunError(
                    f"Run {run} {record.event.outcome}: {record.event.cause}",
                    remedy="Run the demo again with --keep and read the homes' logs.",
                )
            break
    return state.runs[run]


def _await_end(home: Home, run: str) -> None:
    """Wait until the news of the run's end is in this site's own journal, at most 10 s."""
    until = time.monotonic() + _NEWS_SECONDS
    for record in journal.follow(home.journal, stop=lambda: time.monotonic() > until):
        if isinstance(record.event, events.RunEnded) and record.event.run == run:
            return


def _into(
    runs: Future[tuple[dict[str, RoundEnded], RunProgress]], made: Federation, teller: "Teller"
) -> None:
    try:
        runs.set_result(_carry_out_all(made, teller))
    except Exception as error:  # handed to the thread that asks for the result
        runs.set_exception(error)


def _carry_out_all(made: Federation, teller: "Teller") -> tuple[dict[str, RoundEnded], RunProgress]:
    """Each site alone with the same budget, then all together."""
    alone = {name: carry_out(made, name, teller).history[-1] for name in made.homes}
    joint = carry_out(made, "", teller)
    for home in made.homes.values():
        _await_end(home, joint.run)
    return alone, joint


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


class _JsonTeller(Teller):
    """One event a line, as ``watch --json`` of the coordinator would."""

    def tell(self, record: Record, run: RunProgress | None, alone: str) -> None:
        print(json.dumps(record.line, ensure_ascii=False), flush=True)  # noqa: T201


class _PlainTeller(Teller):
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
    if result["kept"]:
        lines += [f"journals  {made.folder}/*/journal.db", f"model     {result['model']}"]
    else:
        lines.append("Journals and model were temporary: --keep or --home DIR leaves them.")
    return "\n".join(lines)


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


def _traffic(made: Federation, run: str) -> dict[str, tuple[int, int]]:
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


def _check(plan: Plan) -> None:
    if plan.data not in _STUDIES:
        raise UsageError(
            f"The demo knows no data set '{plan.data}'.",
            remedy=f"Choose one of {', '.join(_STUDIES)}.",
        )
    if plan.data == "heart_disease":
        if plan.path is None:
            raise UsageError(
                "heart_disease needs --path: the folder with processed.cleveland.data and others.",
                remedy="The UCI Machine Learning Repository offers it as 'Heart Disease'.",
            )
        if plan.sites > len(_HOSPITALS):
            raise UsageError("heart_disease has four hospitals.", remedy="Use --sites 2, 3 or 4.")
    if plan.path is not None and not plan.path.is_dir():
        raise UsageError(f"{plan.path} is not a folder.", remedy="Give the folder with the files.")
    if plan.home is not None and plan.home.exists() and any(plan.home.iterdir()):
        raise UsageError(f"{plan.home} is not empty.", remedy="Give a new folder with --home.")


def _study(plan: Plan) -> Study:
    return Study(
        id=f"demo-{plan.data.replace('_', '-')}",
        purpose="Show a federation at work on data that everybody may see.",
        sites=SITES[: plan.sites],
        data=plan.data,
        rounds=plan.rounds,
        seed=plan.seed,
        **_STUDIES[plan.data],
    )


def _part(plan: Plan, place: int) -> str:
    if plan.data == "heart_disease":
        return _HOSPITALS[place]
    if plan.data == "digits" and plan.sites == 2:
        return ("even", "odd")[place]
    return f"{place + 1}/{plan.sites}"


def _create(made: Federation, plan: Plan) -> None:
    """What an operator does by hand at each hospital: init, keys, invitation, join, study."""
    port = _free_port()
    for place, (name, home) in enumerate(made.homes.items()):
        source = {"part": _part(plan, place)}
        if plan.path is not None:
            source["path"] = str(plan.path.absolute())
        operations.create(
            home,
            name,
            coordinator=place == 0,
            host="127.0.0.1",
            port=port,
            sources={plan.data: source},
        )
        if place > 0:
            text = operations.invite(made.coordinator, name, public_key=home.keys / "node.pub")
            invitation = made.folder / f"{name}.invitation"
            invitation.write_text(text, encoding="utf-8")
            operations.join(home, invitation)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind like Ctrl-C, so that the processes of the demo end too."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    old = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, action in old.items():
            signal.signal(number, action)
