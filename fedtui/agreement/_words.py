"""A study in plain language: clauses, who decided what, who can see what, what leaves a site."""

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

from fedtui import study as studies
from fedtui.agreement._sights import UNCOVERED, leaving, secure_aggregation, sights
from fedtui.agreement._standing import Standing, State, state
from fedtui.study import Study

_COLUMN = 17  # characters of the titles
_UNITS = ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "kB"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What looking at one site's data said about a study; no patient's value, and no count.

    Attributes:
        features: Columns of the data set.
        parameters: Of the model on them.
        epsilon: What the whole run would spend here under record-level privacy, at ``delta``.
    """

    features: int | None = None
    parameters: int | None = None
    epsilon: float | None = None
    delta: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """Everything that a reader needs before signing.

    Attributes:
        version: Counts the proposals of this id; 0 for a file that was never proposed.
        found: By site, what it decided.
        node_keys: By site, its node key's fingerprint as this site first saw it, to compare by
            phone.
        coordinator: The name of the home that coordinates, where it is known.
        spent: What runs under record-level privacy have spent here on the study's data, in words.
    """

    study: Study
    today: date
    version: int = 0
    found: Mapping[str, Standing] = field(default_factory=dict)
    node_keys: Mapping[str, str] = field(default_factory=dict)
    coordinator: str = ""
    measured: Measured = Measured()
    spent: str = ""

    @property
    def state(self) -> State:
        """The study in one word."""
        known = self.found or {site: Standing(site=site) for site in self.study.sites}
        return state(self.study, known, today=self.today)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """One part of a study in words; ``keys`` are those of study.toml that it speaks of."""

    title: str
    words: str
    keys: tuple[str, ...]


def clauses(study: Study) -> list[Clause]:
    """The study's terms, in the order in which a board reads them."""
    quorum, validation = study.quorum, study.validation
    own = "each site also trains alone, for comparison; " if validation.local else ""
    groups = f"; also by {', '.join(validation.subgroups)}" if validation.subgroups else ""
    tuned = (
        f"; a further row after {validation.fine_tuning} epochs of fine-tuning at the site"
        if validation.fine_tuning
        else ""
    )
    waiting = {
        "wait": "it waits on and says so",
        "continue": f"it goes on with {quorum.minimum_sites} or more",
        "fail": "the run ends",
    }[quorum.on_deadline]
    waiting += "; a slow site does fewer steps and weighs less" * quorum.adaptive
    return [
        Clause(title="purpose", words=study.purpose, keys=("id", "purpose")),
        Clause(title="legal basis", words=study.legal_basis or "NOT GIVEN", keys=("legal_basis",)),
        Clause(
            title="sites",
            words=", ".join(
                f"{site} ({study.approvers[site]} approves)" if site in study.approvers else site
                for site in study.sites
            ),
            keys=("sites", "approvers"),
        ),
        Clause(
            title="data",
            words=f"{study.data}: {study.cohort or 'the data set as its module reads it'}; "
            + (f"schema {study.schema[:12]}" if study.schema else "schema not fixed"),
            keys=("data", "cohort", "schema"),
        ),
        Clause(
            title="scale",
            words=(
                "one mean and deviation for all sites, agreed in round 0; a missing number is the "
                f"{study.imputation}"
                + (f", numbers are cut {study.clipping:g} deviations away" * (study.clipping > 0))
            )
            if study.normalisation == "federated"
            else "the data as they are",
            keys=("normalisation", "imputation", "clipping"),
        ),
        Clause(
            title="model",
            words=f"{study.model}{_settings(study.parameters)}"
            + (f", begun from weights {study.pretrained[:12]}" if study.pretrained else ""),
            keys=("model", "parameters", "pretrained", "seed"),
        ),
        Clause(
            title="training",
            words=f"{study.rounds} rounds{_settings(study.training)}; the sites' models become one "
            f"by {study.strategy}{_settings(study.aggregation)}",
            keys=("rounds", "training", "strategy", "aggregation", "transport"),
        ),
        Clause(
            title="quorum",
            words=f"a round needs {quorum.minimum_sites} of {len(study.sites)} sites; after "
            f"{quorum.deadline_seconds:g} s {waiting}",
            keys=("quorum",),
        ),
        Clause(
            title="privacy",
            words=f"record-level{_settings(study.privacy)}. {UNCOVERED}"
            if study.privacy
            else "NO record-level privacy: a model may tell who was trained on",
            keys=("privacy",),
        ),
        Clause(
            title="validation",
            words=f"{own}sensitivity at specificity {validation.specificity:g}{groups}{tuned}; "
            f"screens show {study.metric}",
            keys=("validation", "metric"),
        ),
        Clause(
            title="exchange",
            words=f"{' and '.join(study.exchange)} models, after the leakage gate"
            if study.exchange
            else "no model is handed out as a file",
            keys=("exchange",),
        ),
        Clause(
            title="stock Flower",
            words="may take part: public or synthetic data only" if study.interop else "kept out",
            keys=("interop",),
        ),
        Clause(
            title="expires",
            words=f"after {study.expires}" if study.expires else "never",
            keys=("expires",),
        ),
    ]


def text(paper: Paper, *, width: int = 80) -> str:
    """The whole paper, wrapped at ``width`` columns."""
    return "\n".join(_lines(paper, width)) + "\n"


def to_json(paper: Paper) -> dict[str, Any]:
    """The same for scripts."""
    study = paper.study
    return {
        "schema": 1,
        "id": study.id,
        "version": paper.version,
        "state": paper.state,
        "fingerprint": studies.fingerprint(study),
        "protocol": studies.PROTOCOL,
        "numeric_code": studies.numeric_code(),
        "study": asdict(study),
        "decisions": [asdict(standing) for standing in paper.found.values()],
        "node_keys": dict(paper.node_keys),
        "coordinator": paper.coordinator or None,
        "sights": [asdict(s) for s in sights(study, coordinator=paper.coordinator)],
        "secure_aggregation": secure_aggregation(study),
        "leaves": [asdict(item) for item in _leaving(paper)],
        "measured": asdict(paper.measured),
        "spent": paper.spent or None,
        "uncovered": UNCOVERED if study.privacy else None,
    }


def _lines(paper: Paper, width: int) -> Iterator[str]:
    study = paper.study
    where = f" v{paper.version}: {paper.state.upper()}" if paper.version else ": NOT PROPOSED"
    yield f"Study {study.id}{where}"
    yield f"fingerprint {studies.fingerprint(study)}"
    yield f"protocol {studies.PROTOCOL}, numeric code {studies.numeric_code()[:12]}"
    yield ""
    for clause in clauses(study):
        yield from _row(clause.title, clause.words, width)
    yield ""
    yield "DECISIONS"
    for site in study.sites:
        yield from _row(site, _said(paper, site), width)
    if paper.measured.epsilon is not None or paper.spent:
        yield ""
        yield "PRIVACY AT THIS SITE"
    if paper.measured.epsilon is not None:
        spent = f"epsilon {paper.measured.epsilon:.3g} at delta {paper.measured.delta:.1g}"
        yield from _row("whole run", f"{spent}. {UNCOVERED}", width)
    if paper.spent:
        yield from _row("spent so far", f"{paper.spent}. This study's comes on top.", width)
    yield ""
    yield f"WHO CAN SEE WHAT, with {len(study.sites)} sites"
    for sight in sights(study, coordinator=paper.coordinator):
        yield from _wrapped(f"* {sight.who}", width, indent=2)
        yield from _wrapped(f"sees     {sight.sees}", width, first=4, indent=13)
        if sight.against:
            yield from _wrapped(f"against  {sight.against}", width, first=4, indent=13)
    yield ""
    yield from _wrapped(secure_aggregation(study), width)
    yield ""
    yield "WHAT LEAVES A SITE"
    for item in _leaving(paper):
        size = "" if item.bytes is None else f" ({_size(item.bytes)})"
        yield from _row(item.when, f"{item.what}{size}", width)
    yield ""
    yield from _wrapped(
        "Rows and images stay at the site. What leaves is bounded there by the site's own minimum "
        "cell and written into its journal first ('fedtui logs').",
        width,
    )


def _leaving(paper: Paper) -> list[Any]:
    measured = paper.measured
    return list(leaving(paper.study, features=measured.features, parameters=measured.parameters))


def _said(paper: Paper, site: str) -> str:
    standing = paper.found.get(site, Standing(site=site))
    words: str = standing.said if standing.said != "missing" else "not yet"
    if standing.person:
        words += f" by {standing.person}"
    if standing.time:
        words += f", {standing.time}"
    if standing.reason:
        words += f": {standing.reason}"
    if standing.refused:
        words += f". A document in its name does not hold: {standing.refused}"
    if key := paper.node_keys.get(site):
        words += f". Its key: {key}"
    return words


def _settings(values: Mapping[str, Any]) -> str:
    if not values:
        return ""
    shown = ", ".join(f"{key} {_plain(value)}" for key, value in values.items())
    return f" ({shown})"


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _size(count: int) -> str:
    for unit, name in _UNITS:
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"


def _row(title: str, words: str, width: int) -> list[str]:
    lines = textwrap.wrap(words, width - _COLUMN, break_on_hyphens=False) or [""]
    head = f"{title:<{_COLUMN}}"
    if len(title) >= _COLUMN:
        return [title, *(" " * _COLUMN + line for line in lines)]
    return [head + lines[0], *(" " * _COLUMN + line for line in lines[1:])]


def _wrapped(words: str, width: int, *, first: int = 0, indent: int = 0) -> list[str]:
    return textwrap.wrap(
        words,
        width,
        initial_indent=" " * first,
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
    )
