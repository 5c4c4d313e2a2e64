"""Who can see what of a study, worked out for its own sites, coordinator and settings."""

from dataclasses import dataclass

from fedtui.study import Study

# Said wherever an epsilon is shown.
UNCOVERED = (
    "Epsilon covers the training updates only: the sums of round 0, the metrics of every round, "
    "and the choice of model, settings and round are not covered by it. It counts rows, not "
    "patients: whoever has several is covered less. Its noise is float32 arithmetic, and does not "
    "stand up to attacks on the last bits of numbers (Mironov, CCS 2012)."
)
_LOSSES = (
    ", and the mean loss of the last second's training examples and of the round's; none of fewer "
    "examples than the minimum cell"
)
_BINS = 64  # as ``datasets.BINS``; a test holds them equal
_SECURE_MINIMUM = 3  # responding sites; of two, each subtracts its own part
_MEANS = ("fedavg", "fedprox", "fedavgm", "fedadam", "fedyogi")  # each gives away the sites' sum


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One actor's view.

    Attributes:
        sees: What reaches it, or can be worked out by it.
        against: What stands against more than that.
    """

    who: str
    sees: str
    against: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """Something that leaves a site.

    Attributes:
        when: How often: 'once', 'each round', 'meanwhile', 'afterwards'.
        bytes: An occasion's size; None where it is not known yet.
    """

    what: str
    when: str
    bytes: int | None


def sights(study: Study, *, coordinator: str = "") -> list[Sight]:
    """Everybody who could learn something, the least trusted first.

    Args:
        coordinator: The name of the home that coordinates; empty where that is not known, which
            counts as one that is no site of the study.

    References:
        Bonawitz et al., Practical Secure Aggregation, CCS 2017, for what a sum hides.
    """
    record = _record_level(study)
    rows = [
        Sight(
            who="somebody on the network",
            sees="that the sites talk, when, and how much",
            against="TLS with the federation's own authority; nothing else is trusted",
        ),
        _coordinating(study, coordinator, record),
        _other(study, record),
        Sight(
            who="whoever gets the joint model",
            sees="a model; from it may be told, better than by chance, whether somebody's data "
            "were trained on",
            against=record
            or "the leakage gate measures it before a model leaves; nothing bounds it",
        ),
        Sight(
            who="staff with a login at this site",
            sees="this site's data, as before",
            against="the file permissions of its host; every access by a run is journaled there",
        ),
    ]
    if study.exchange:
        rows.append(
            Sight(
                who="sites that are handed models",
                sees=f"{' and '.join(study.exchange)} models as files",
                against="each passes the leakage gate first; " + (record or "nothing bounds it"),
            )
        )
    if study.interop:
        rows.append(
            Sight(
                who="stock Flower nodes",
                sees="all of the above, without fedtui's checks",
                against="nothing: public or synthetic data only, which each site enforces",
            )
        )
    return rows


def secure_aggregation(study: Study) -> str:
    """What secure aggregation would add here, in one or two sentences; fedtui does not use it."""
    sites = len(study.sites)
    if sites < _SECURE_MINIMUM:
        return (
            "With two sites, secure aggregation would hide nothing from the other site: it can "
            "subtract its own part from the sum. " + _what_protects(study)
            if sites == 2
            else "With one site there is nothing to aggregate."
        )
    fewest = study.quorum.minimum_sites
    words = (
        f"Secure aggregation is not used. Among {sites} sites that do not collude it would show "
        "the coordinator their sum only"
    )
    if fewest < _SECURE_MINIMUM:
        words += (
            f"; this study goes on with {fewest} answering, and below three it would hide nothing"
        )
    return f"{words}. {_what_protects(study)}"


def leaving(study: Study, *, features: int | None, parameters: int | None) -> list[Leaving]:
    """What leaves a site that takes part, with sizes where its data have been looked at.

    Args:
        features: Columns of the data set.
        parameters: Of the model; both None where no site's data were looked at yet.
    """
    each = 2 if study.transport == "bfloat16" else 4
    update = "change of" if study.transport == "bfloat16" else "all"
    count = f"{parameters} " if parameters is not None else ""
    found = [
        Leaving(
            what="for each feature its name, unit and range, and the count, sum and sum of "
            "squares of its values; how many patients are of each class; nothing over fewer "
            "patients than the minimum cell",
            when="once",
            bytes=None if features is None else 3 * 8 * features,
        ),
        Leaving(
            what=f"{update} {count}parameters of the model trained here"
            + (", clipped and with noise at every step" if study.privacy else ""),
            when="each round",
            bytes=None if parameters is None else each * parameters,
        ),
        Leaving(
            what="the number of training and test patients or rows, and metrics on the test "
            "split, rounded; none over fewer patients than the minimum cell",
            when="each round",
            bytes=None,
        ),
        Leaving(
            what="steps done, while training"
            + ("; no loss, which has no noise" if study.privacy else _LOSSES),
            when="each second",
            bytes=None,
        ),
        Leaving(
            what="the position and hash of this site's journal, signed",
            when="each round",
            bytes=None,
        ),
    ]
    if study.imputation == "median":
        found.insert(
            1,
            Leaving(
                what=f"for each number how many patients lie in {_BINS} bins around the agreed "
                "mean, smoothed, for the median; nothing over fewer than the minimum cell",
                when="once",
                bytes=None if features is None else _BINS * 8 * features,
            ),
        )
    judged = "the joint model's" + (" and this site's own" if study.validation.local else "")
    found.append(
        Leaving(
            what=f"{judged} results on the test patients here, for the comparison; none over fewer "
            "patients than the minimum cell",
            when="afterwards",
            bytes=None,
        )
    )
    # Of one epsilon the joint model takes all: with privacy no local model travels.
    if study.validation.local and "local" in study.exchange and not study.privacy:
        found.append(
            Leaving(
                what="this site's own model, trained alone, if it passes the leakage gate or a "
                "person here signs for it",
                when="afterwards",
                bytes=None if parameters is None else 4 * parameters,
            )
        )
    return found


def _record_level(study: Study) -> str:
    """What record-level privacy promises here, as a clause; empty without it."""
    if not study.privacy:
        return ""
    epsilon, noise = study.privacy.get("epsilon"), study.privacy.get("noise")
    amount = f"epsilon {epsilon:g}" if epsilon is not None else f"noise {noise:g} of the clip"
    return (
        f"record-level privacy ({amount} a site, whole run) bounds it for each row; a patient with "
        "several rows is covered less"
    )


def _what_protects(study: Study) -> str:
    if study.privacy:
        return (
            "What protects a patient here is the noise in training, the minimum counts and the "
            f"leakage gate. {UNCOVERED}"
        )
    return (
        "Without record-level privacy, what protects a patient here is that only models and "
        "bounded numbers leave, and the leakage gate."
    )


def _coordinating(study: Study, coordinator: str, record: str) -> Sight:
    against = record or "nothing but its operator's word: it is trusted with them"
    what = "each site's update of every round, the sums of round 0, metrics and counts"
    if coordinator in study.sites:
        others = ", ".join(site for site in study.sites if site != coordinator)
        return Sight(
            who=f"the coordinator, run by {coordinator}, itself a site",
            sees=f"{what}: so {coordinator} sees what {others} sends",
            against=against,
        )
    name = f"the coordinator, {coordinator}, " if coordinator else "the coordinator, "
    return Sight(who=f"{name}apart from the sites", sees=what, against=against)


def _other(study: Study, record: str) -> Sight:
    sites = len(study.sites)
    if sites == 1:
        return Sight(who="another site", sees="nothing: there is none", against="")
    if sites == 2:
        return Sight(
            who="the other site",
            sees="the joint model of every round, and from it, exactly, this site's update: it "
            "subtracts its own part",
            against=record or "nothing",
        )
    if study.strategy in _MEANS:
        sees = (
            f"the joint model of every round, and from it the mean of the other {sites - 1} "
            f"sites' updates; {sites - 1} that collude get the last one's exactly"
        )
    else:
        sees = (
            f"the joint model of every round; {study.strategy.replace('_', ' ')} gives single "
            "sites' parameters away here and there"
        )
    return Sight(who="another site", sees=sees, against=record or "nothing")
