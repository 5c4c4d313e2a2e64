"""The demo's homes: made, introduced to each other and brought up, as operators do by hand."""

import contextlib
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedtui import operations, processes
from fedtui.errors import UsageError
from fedtui.site import Home
from fedtui.study import Study

SITES = ("sahlgrenska", "halland", "skane", "orebro", "umea")
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


def check(plan: Plan) -> None:
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
