"""The papers that go with a model: its card, the data sheet, the annex to an impact assessment.

Each line comes from the study or the journal; what is not known is said to be not known.
"""

from collections.abc import Iterable

from fedtui import events
from fedtui.record import iso
from fedtui.report import text
from fedtui.report.comparison import FEDERATED, Comparison, estimate
from fedtui.report.facts import Facts

NOT_A_DEVICE = "For research use only; not a medical device."
_UNKNOWN = "not known here"

Line = tuple[str, str]


def terms(facts: Facts) -> list[Line]:
    """What was agreed on, as name and value."""
    run, study = facts.progress, facts.study
    lines = [("study", run.study), ("fingerprint", run.fingerprint)]
    if study is None:
        return [*lines, ("terms", "this home does not hold the study's text")]
    privacy = ", ".join(f"{k} {v}" for k, v in study.privacy.items()) or "none at record level"
    training = ", ".join(f"{k} {v}" for k, v in study.training.items())
    plan = study.validation
    return [
        *lines,
        ("purpose", study.purpose),
        ("legal basis", study.legal_basis or _UNKNOWN),
        ("cohort", study.cohort or f"the data set '{study.data}' as each site holds it"),
        ("sites", ", ".join(study.sites)),
        ("data", study.data),
        ("schema", study.schema or "compared between the sites in round 0"),
        ("scale of inputs", f"{study.normalisation}, agreed on in round 0"
            if study.normalisation == "federated" else "taken as they are"),
        ("model", study.model),
        ("training", f"{study.rounds} rounds; {training or 'as fedtui sets it'}"),
        ("strategy", study.strategy),
        ("privacy", privacy),
        ("exchange of models", ", ".join(study.exchange) or "none leaves as a file"),
        ("validation", f"own models {'trained' if plan.local else 'not trained'}, subgroups "
            f"{', '.join(plan.subgroups) or 'none'}, "
            f"fine-tuning epochs {plan.fine_tuning}"),
        ("expires", study.expires or "no end"),
    ]  # fmt: skip


def approvals(facts: Facts) -> list[Line]:
    """Who decided what, as this journal tells it."""
    decided = [(r.time, r.event) for r in facts.records if isinstance(r.event, events.StudyDecided)]
    if not decided:
        return [("approvals", "none in this journal: data declared public, or an older study")]
    words = {"approve": "approved", "decline": "declined", "withdraw": "withdrew"}
    return [
        (e.site, f"{words[e.word]} by {e.person or 'the site'} on {iso(at)[:10]}"
         + (f": {e.reason}" if e.reason else ""))
        for at, e in decided
    ]  # fmt: skip


def privacy_spent(facts: Facts) -> list[Line]:
    """The record-level privacy that this site spent, in the run and in all runs on its data."""
    spent = [r.event for r in facts.records if isinstance(r.event, events.PrivacySpent)]
    if not spent:
        wanted = facts.study is not None and facts.study.privacy
        return [("privacy spent here", _UNKNOWN if wanted else "the study promises none")]
    last = spent[-1]
    lines = [("privacy spent here", f"epsilon {_epsilons(last)} at delta {last.delta:.1g}")]
    if facts.spending is not None:
        lines.append(("on these data by all runs", facts.spending.words))
    return lines


def _epsilons(spent: events.PrivacySpent) -> str:
    """By both accounts, where the run came to the end that the tight one is worked out at."""
    if spent.tight is None:
        return f"{spent.epsilon:.3g} (RDP)"
    return f"{spent.tight:.2f} (PLD, tight), {spent.epsilon:.2f} (RDP, the promise)"


def leakage(facts: Facts) -> list[Line]:
    """What the leakage audits of this site found."""
    audits = facts.of("LeakageAudited")
    if not audits:
        return [("leakage", "not audited here: no model may leave as a file")]
    return [("leakage", audit.event.sentence) for audit in audits]


def released_summary(facts: Facts) -> list[tuple[str, int, str, str, str, str]]:
    """What left this site: kind, how often, bytes, to whom, fingerprint, when last."""
    sums: dict[tuple[str, str, str], tuple[int, int, float]] = {}
    for at, event in facts.released:
        key = (event.kind, event.recipient, event.fingerprint)
        often, size, _ = sums.get(key, (0, 0, 0.0))
        sums[key] = (often + 1, size + event.bytes, at)
    return [
        (kind, often, f"{size:,}", to, fingerprint, iso(at))
        for (kind, to, fingerprint), (often, size, at) in sums.items()
    ]


def model_card(facts: Facts) -> str:
    """The model card, in Markdown.

    References:
        Mitchell et al., Model Cards for Model Reporting, FAT* 2019: its sections.
    """
    run, found = facts.progress, facts.comparison
    parts = [
        f"# Model card: {run.study}, run {run.run}",
        NOT_A_DEVICE,
        "## Model details",
        *_list(terms(facts)),
        f"- file: {_model_file(facts)}",
        "## Intended use",
        f"{facts.study.purpose if facts.study else _UNKNOWN}. Any other use, and any use in care, "
        "is outside what was agreed.",
        "## What it was worth",
        found.sentence if found else "Not validated.",
        *(["```", *text.comparison(found), "```"] if found else []),
        "## Performance by site and group",
        *_performance(found),
        "## Training data",
        "See datasheet.md. No patient's record left a site; what did is in released.json.",
        "## Privacy and leakage",
        *_list([*privacy_spent(facts), *leakage(facts)]),
        "## Approvals",
        *_list(approvals(facts)),
    ]
    return "\n\n".join(_joined(parts)) + "\n"


def data_sheet(facts: Facts) -> str:
    """What is told of the data behind the run, in Markdown: what this site's journal holds.

    References:
        Gebru et al., Datasheets for Datasets, CACM 64, 2021.
    """
    study = facts.study
    loaded = facts.of("AccessLogged", "CohortLoaded")
    found = facts.comparison
    tested = []
    for row in found.own if found else ():
        many = "too few to be told" if row.patients is None else f"about {row.patients}"
        tested.append((row.site, f"{many} test patients"))
    parts = [
        f"# Data sheet: {study.data if study else _UNKNOWN}, run {facts.progress.run}",
        "Counts are to the nearest five, and hidden where they are small or would give away one "
        "that is.",
        "## Composition",
        *_list(
            [
                ("cohort", (study.cohort if study else "") or _UNKNOWN),
                ("sites", ", ".join(study.sites) if study else _UNKNOWN),
                *tested,
            ]
        ),
        "## Collection and use at this site",
        *([f"- {record.event.sentence}" for record in loaded] or [f"- {_UNKNOWN}"]),
        "## Splits",
        "Each site keeps its own test patients; no patient is in two splits. The split follows "
        f"from the study's seed ({study.seed if study else _UNKNOWN}).",
    ]
    return "\n\n".join(_joined(parts)) + "\n"


def impact_annex(facts: Facts) -> str:
    """An annex to a data protection impact assessment, in Markdown: facts, no judgement."""
    study = facts.study
    recipients = sorted({event.recipient for _, event in facts.released})
    released = [
        (f"{kind} ({often} times, {size} bytes)", f"to {to}, last {last}")
        for kind, often, size, to, _, last in released_summary(facts)
    ]
    parts = [
        f"# Annex to a data protection impact assessment: run {facts.progress.run}",
        f"Filled in from the journal of {facts.site} and the study. It holds facts for the data "
        "protection officer; it is no assessment and no legal advice.",
        "## Purpose and legal basis",
        *_list(
            [
                ("purpose", study.purpose if study else _UNKNOWN),
                ("legal basis", (study.legal_basis if study else "") or _UNKNOWN),
            ]
        ),
        "## Categories of data",
        *_list([("data set", study.data if study else _UNKNOWN)]),
        "Patients' records are read at the site by its own trainer and stay there.",
        "## Recipients",
        *_list([("recipient", name) for name in recipients] or [("recipient", "none")]),
        "## What left this site",
        *_list(released or [("nothing", "by this journal")]),
        "## Measures",
        *_list(
            [
                (
                    "minimum cell",
                    f"no released number stands on fewer than {facts.minimum_cell} patients",
                ),
                ("rounding", "counts to the nearest five, metrics to three decimals"),
                ("transport", "TLS 1.3 with the federation's own authority; requests signed"),
                *privacy_spent(facts),
                *leakage(facts),
            ]
        ),
        "## Access to patients' data",
        *(
            [f"- {r.event.sentence}" for r in facts.of("AccessLogged")]
            or ["- no access of this run is in this journal"]
        ),
        "## Decisions",
        *_list(approvals(facts)),
        "## Retention",
        "The journal is kept for five years and more; the list of patients stays at the site.",
    ]
    return "\n\n".join(_joined(parts)) + "\n"


def _performance(found: Comparison | None) -> list[str]:
    if found is None:
        return ["Not validated."]
    lines = []
    for site in found.sites:
        cell = found.cells.get((FEDERATED, site))
        shown = text.interval(estimate(cell, found.metric))
        why = found.why(FEDERATED, site) if shown == text.NONE else ""
        lines.append(f"- {site}: {text.metric_name(found.metric)} {shown} {why}".rstrip())
        for group, told in sorted(cell.subgroups.items()) if cell else ():
            value = text.number(told.get(found.metric))
            lines.append(f"  - {group}: {value}")
    return lines


def _model_file(facts: Facts) -> str:
    ended = [r.event for r in facts.records if isinstance(r.event, events.RunEnded)]
    if not ended or not ended[-1].sha256:
        return "none: the run did not come to its end"
    return f"model.safetensors, sha256 {ended[-1].sha256}"


def _list(lines: Iterable[Line]) -> list[str]:
    return [f"- {name}: {' '.join(value.split())}" for name, value in lines]


def _joined(parts: Iterable[str]) -> list[str]:
    """Paragraphs, with the items of one list and the lines of one block together."""
    paragraphs: list[str] = []
    fenced = False
    for part in parts:
        item = part.lstrip().startswith("- ")
        follows = bool(paragraphs) and item and paragraphs[-1].split("\n")[-1].lstrip()[:2] == "- "
        if paragraphs and (fenced or follows):
            paragraphs[-1] += f"\n{part}"
        else:
            paragraphs.append(part)
        if part == "```":
            fenced = not fenced
    return paragraphs
