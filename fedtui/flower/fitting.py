"""Whether a study's data set, model, settings and metric go together, before any data are read."""

import math
from collections.abc import Collection

import datasets
import models
from fedtui import roster
from fedtui.errors import UsageError
from fedtui.flower import rules
from fedtui.site import Home
from fedtui.study import TWO_CLASS_METRICS, Study

# How a site stands that a study names and no message reaches: in words, and what to do.
_STANDING = {
    "pending": ("is pending", "fedtui sites --confirm {}"),
    "invited": ("is invited and has not joined", "there, fedtui join CODE"),
    "suspended": ("is suspended", "fedtui sites --resume {}"),
    "revoked": ("was revoked", "fedtui invite {}"),
    "left": ("has left", "fedtui invite {}"),
}


def check(study: Study) -> None:
    """Refuse what no site could carry out.

    What only a site's files say, such as the classes of a table of its own, is left to the site.

    Raises:
        UsageError: naming what does not exist, or what does not fit what.
    """
    if study.data not in datasets.names():
        raise UsageError(
            f"There is no data set '{study.data}'.",
            remedy=f"Choose one of {', '.join(datasets.names())}.",
        )
    try:
        config = models.configure(models.load(study.model).Config, study.parameters)
        training = models.configure(models.Training, study.training)
        if study.privacy:
            models.configure(models.Privacy, study.privacy)
        rules.rule(study.strategy, study.aggregation)
    except models.ModelError as error:
        raise UsageError(f"The study's {error}.", remedy=error.remedy) from error
    except ValueError as error:
        raise UsageError(
            f"The study's aggregation, {error}.", remedy="Change it in study.toml."
        ) from error
    if why := models.unfit(study.model, study.data, given := datasets.gives(study.data)):
        fitting = [name for name in models.names() if not models.unfit(name, study.data, given)]
        raise UsageError(f"{why}.", remedy=f"Choose one of {', '.join(fitting)}.")
    try:
        models.require_together(
            study.model,
            config,
            training,
            private=bool(study.privacy),
            gives=given,
            classes=datasets.classes(study.data),
            pretrained=bool(study.pretrained),
        )
    except models.ModelError as error:
        raise UsageError(f"The study's {error}.", remedy=error.remedy) from error
    if getattr(config, "norm", "") == "frozen" and not study.pretrained:
        raise UsageError(
            "The study's norm is frozen, which keeps the statistics of pretrained weights, and it "
            "names no such weights.",
            remedy="Name them with pretrained, or set norm to group or local.",
        )
    if study.strategy == "fedprox" and not study.training.get("proximal"):
        raise UsageError(
            "The study's strategy is fedprox, and its training has no proximal term.",
            remedy="Add proximal under [training], 0.01 for example, or choose fedavg.",
        )
    if study.strategy == "trimmed_mean":
        trains = len(study.sites)
        fewest = study.quorum.needed(trains, of=trains)
        _check_trim(study.aggregation.get("trim", rules.TRIM), fewest)
    check_metric(study, datasets.classes(study.data))


def _check_trim(trim: float, fewest: int) -> None:
    """Refuse a trimmed mean that is a plain one: any site could move it as far as it likes.

    Args:
        fewest: Sites that a round goes on with.
    """
    if rules.trimmed(trim, fewest):
        return
    least = math.ceil(100 / fewest) / 100  # leaves out one
    remedy = f"Set trim under [aggregation] to at least {least:g}, or choose median."
    if fewest < 3:
        remedy = (
            "Choose fedavg, or more sites in [quorum]: of fewer than three nobody can tell which "
            "is astray."
        )
    raise UsageError(
        f"The study's strategy is trimmed_mean, and a trim of {trim:g} leaves out none of the "
        f"{fewest} sites that a round may have.",
        remedy=remedy,
    )


def check_sites(home: Home, study: Study, enrolled: Collection[str]) -> None:
    """Refuse a study of which a site does not belong to this coordinator's federation.

    Raises:
        UsageError: naming each, how it stands and what to do.
    """
    strangers = [name for name in study.sites if name not in enrolled]
    if not strangers:
        return
    standing = {entry.site: entry.standing for entry in roster.entries(home)}
    unknown = ("is not on this coordinator's roster", "fedtui invite {}")
    told = [(name, *_STANDING.get(standing.get(name, ""), unknown)) for name in strangers]
    raise UsageError(
        "; ".join(f"{name} {how}: {what.format(name)}" for name, how, what in told) + ".",
        remedy=f"Or take {', '.join(strangers)} out of the study's sites.",
    )


def check_metric(study: Study, classes: int | None) -> None:
    """Refuse a metric that such data do not have.

    Args:
        classes: Of the data; None where that is not known yet.

    Raises:
        UsageError: the metric is defined for two classes only.
    """
    if classes is not None and classes > 2 and study.metric in TWO_CLASS_METRICS:
        raise UsageError(
            f"The study's metric, {study.metric}, is of two classes, and {study.data} has "
            f"{classes}.",
            remedy="Choose accuracy, balanced_accuracy, brier or loss.",
        )
