"""The demo's homes: made, introduced to each other and brought up, as operators do by hand."""

import contextlib
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedtui import operations, processes
from fedtui.demo._plans import SHOWS, SITES, Plan, make_up
from fedtui.site import Home
from fedtui.study import Study, Validation


@dataclass(kw_only=True)
class Federation:
    """The demo's homes, the first one coordinating, and the study that they run.

    Attributes:
        data: Where their data lie; None for what is bundled.
    """

    folder: Path
    data: Path | None
    homes: dict[str, Home]
    study: Study

    @property
    def coordinator(self) -> Home:
        """The home that coordinates."""
        return next(iter(self.homes.values()))


@contextlib.contextmanager
def federation(plan: Plan) -> Iterator[Federation]:
    """Homes made, keys exchanged and processes up; all gone again at the end, however it ends."""
    temporary = plan.home is None
    folder = plan.home or Path(tempfile.mkdtemp(prefix="fedtui-"))
    homes = {name: Home(folder / name) for name in SITES[: plan.sites]}
    try:
        made = Federation(
            folder=folder, data=make_up(plan, folder), homes=homes, study=_study(plan)
        )
        _say(f"Starting {plan.sites} hospitals…")
        _create(made, plan)
        with ThreadPoolExecutor(len(homes)) as pool:
            list(pool.map(operations.up, homes.values()))
        yield made
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave half of it
        _say("Stopping them…")
        with ThreadPoolExecutor(len(homes)) as pool:
            list(pool.map(processes.stop, homes.values()))
        if temporary and not plan.keep:
            shutil.rmtree(folder, ignore_errors=True)
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # a terminal that is gone must not keep processes
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - narration


def _study(plan: Plan) -> Study:
    return Study(
        id=f"demo-{plan.data.replace('_', '-')}",
        purpose="Show a federation at work on data that everybody may see.",
        sites=SITES[: plan.sites],
        data=SHOWS[plan.data].offers,
        rounds=plan.rounds,
        seed=plan.seed,
        **(_agreed(plan) if plan.agreed else SHOWS[plan.data].study),
    )


def _agreed(plan: Plan) -> dict[str, Any]:
    """What a study on patients' data has beside a rehearsal."""
    usual = SHOWS[plan.data].study
    return {
        **usual,
        "training": {**usual["training"], "batch": 32},  # the leakage gate stops smaller ones
        "legal_basis": "a demonstration on published data; none is needed",
        "cohort": "Everybody in the data set.",
        "approvers": {name: f"Dr {name.capitalize()}" for name in SITES[: plan.sites]},
        "validation": Validation(subgroups=("sex",)),
    }


def _create(made: Federation, plan: Plan) -> None:
    """What an operator does by hand at each hospital: init, keys, invitation, join, study."""
    port = _free_port()
    show = SHOWS[plan.data]
    for place, (name, home) in enumerate(made.homes.items()):
        source: dict[str, str | bool] = {"part": show.share(made.data, place, plan.sites)}
        if made.data is not None:
            # Public: one operator on one machine, so nobody has to approve.
            source |= {"path": str(made.data.absolute()), "public": not plan.agreed}
        operations.create(
            home,
            name,
            coordinator=place == 0,
            host="127.0.0.1",
            port=port,
            sources={show.offers: source},
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
