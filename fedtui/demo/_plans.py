"""What the demo can show: data sets, how each is trained and who holds what of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedtui.errors import DataError, UsageError

SITES = ("sahlgrenska", "halland", "skane", "orebro", "umea")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the operator asked for.

    Attributes:
        rounds: Of each run; 0 takes what suits the data.
        sites: Hospitals; 0 likewise.
        path: Where the data lie; None for bundled ones, and to make some up where none are.
        home: Folder for the sites' homes, default temporary.
        agreed: Whether the data are treated as patients' are: the hospitals approve of the study
            first, and judge the model afterwards.
    """

    rounds: int = 0
    sites: int = 0
    data: str = "digits"
    path: Path | None = None
    seed: int = 0
    home: Path | None = None
    keep: bool = False
    agreed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """How the demo shows one data set.

    Attributes:
        offers: The data set as studies name it.
        study: Fields of the study.
        share: (folder or None, place from 0, sites) to the part that a hospital holds.
        made: Rows and options of what is made up without a path; empty where nothing is.
        needs: What --path must be where nothing is bundled or made up, and where to get it.
        expects: How long it takes on two cores with made-up or bundled data, in words.
    """

    offers: str
    study: dict[str, Any]
    share: Callable[[Path | None, int, int], str]
    rounds: int = 15
    sites: int = 2
    most_sites: int = len(SITES)
    made: dict[str, Any] | None = None
    needs: tuple[str, str] | None = None
    expects: str = "half a minute"


def _evenly(_path: Path | None, place: int, sites: int) -> str:
    return f"{place + 1}/{sites}"


def _digits(path: Path | None, place: int, sites: int) -> str:
    return ("even", "odd")[place] if sites == 2 else _evenly(path, place, sites)


def _hospital(_path: Path | None, place: int, _sites: int) -> str:
    return ("cleveland", "hungarian", "switzerland", "va")[place]


def _care_unit(_path: Path | None, place: int, sites: int) -> str:
    """As DecAIHealth's two hospitals would share them, or a unit each."""
    return SITES[place] if sites == 2 else ("micu", "sicu", "cvicu", "ccu", "neuro")[place]


def _camera(path: Path | None, place: int, sites: int) -> str:
    """Who acquired the images, where the table says it of enough sites."""
    import datasets

    if path is not None:
        try:
            named = [
                p for p in datasets.parts("siim_isic_128", path) if "/" not in p and p != "all"
            ]
        except datasets.DataError as error:
            raise DataError(str(error), remedy=error.remedy) from error
        if len(named) >= sites:
            return named[place]
    return _evenly(path, place, sites)


SHOWS = {
    "digits": Show(
        offers="digits",
        study={
            "model": "mlp",
            "metric": "accuracy",
            "normalisation": "none",
            "parameters": {"hidden": [64, 64]},
            "training": {"learning_rate": 0.1, "batch": 32, "epochs": 1},
        },
        share=_digits,
    ),
    "breast_cancer": Show(
        offers="breast_cancer",
        study={
            "model": "logistic",
            "metric": "accuracy",
            "training": {"learning_rate": 0.05, "batch": 16, "epochs": 2, "l2": 0.001},
        },
        share=_evenly,
    ),
    "heart_disease": Show(
        offers="heart_disease",
        study={
            "model": "logistic",
            "metric": "auroc",
            "training": {"learning_rate": 0.1, "batch": 16, "epochs": 1},
        },
        share=_hospital,
        sites=4,
        most_sites=4,
        needs=(
            "the folder with processed.cleveland.data and others",
            "The UCI Machine Learning Repository offers it as 'Heart Disease'.",
        ),
        expects="a minute",
    ),
    "mimic_iv": Show(
        offers="mimic_iv",
        study={
            "model": "logistic",
            "metric": "auroc",
            "training": {"learning_rate": 0.02, "batch": 32, "epochs": 1, "l2": 0.01},
        },
        share=_care_unit,
        rounds=10,
        made={"rows": 8000},  # stays; each hospital's test then has ten who died
        expects="a minute",
    ),
    "siim_isic": Show(
        offers="siim_isic_128",
        study={
            "model": "cnn",
            "metric": "auroc",
            "training": {
                "optimizer": "adam",
                "learning_rate": 0.001,
                "batch": 16,
                "epochs": 1,
                "augmentation": {"flips": True, "turns": True},
            },
        },
        share=_camera,
        rounds=4,
        made={"rows": 1500, "layout": "decaihealth", "size": 128, "each": 3},
        expects="a minute and a half",
    ),
}


def settled(plan: Plan) -> Plan:
    """The plan with what suits its data where the operator left it open.

    Raises:
        UsageError: it asks for what there is not.
    """
    from dataclasses import replace

    show = SHOWS.get(plan.data)
    if show is None:
        raise UsageError(
            f"The demo knows no data set '{plan.data}'.",
            remedy=f"Choose one of {', '.join(SHOWS)}.",
        )
    if show.needs is not None and plan.path is None:
        what, where = show.needs
        raise UsageError(f"{plan.data} needs --path: {what}.", remedy=where)
    if plan.sites == 1 or plan.sites > show.most_sites:
        raise UsageError(
            f"The demo on {plan.data} has 2 to {show.most_sites} hospitals.",
            remedy=f"Use --sites 2 to {show.most_sites}.",
        )
    if plan.path is not None and not plan.path.is_dir():
        raise UsageError(f"{plan.path} is not a folder.", remedy="Give the folder with the files.")
    if plan.home is not None and plan.home.exists() and any(plan.home.iterdir()):
        raise UsageError(f"{plan.home} is not empty.", remedy="Give a new folder with --home.")
    return replace(plan, rounds=plan.rounds or show.rounds, sites=plan.sites or show.sites)


def make_up(plan: Plan, folder: Path) -> Path | None:
    """Where the data lie: the operator's path, or what is made up in ``folder`` if none is there.

    Raises:
        DataError: there is no room for them.
    """
    import datasets

    made = SHOWS[plan.data].made
    if plan.path is not None or made is None:
        return plan.path
    place = folder / "made-up"
    try:
        datasets.synthesise(plan.data, place, seed=plan.seed, **made)
    except datasets.DataError as error:
        raise DataError(str(error), remedy=error.remedy) from error
    return place
