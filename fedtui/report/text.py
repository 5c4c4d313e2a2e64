"""The comparison as a terminal shows it: plain text, no wider than it must be."""

from collections.abc import Iterable, Sequence

from fedtui.events import ModelImported
from fedtui.report.comparison import NOT_EXCHANGED, Comparison, Estimate, Row
from fedtui.report.facts import Facts

_NAMES = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "brier": "Brier score",
    "sensitivity": "sensitivity",
    "calibration_slope": "calibration slope",
    "calibration_intercept": "calibration intercept",
    "calibration_error": "calibration error",
    "loss": "log loss",
}
NONE = "--"
_MOST_ROUNDS = 20  # the last ones; the page has all
PREVALENCE = "holds differences in prevalence between the sites: not what a patient at one meets"


def metric_name(metric: str) -> str:
    """A metric as people write it."""
    return _NAMES.get(metric, metric.replace("_", " "))


def number(value: float | None, *, signed: bool = False) -> str:
    """Three decimals, or '--'."""
    if value is None:
        return NONE
    shown = round(value, 3) + 0.0  # no minus before a zero
    return f"{shown:+.3f}" if signed else f"{shown:.3f}"


def interval(estimate: Estimate, *, signed: bool = False) -> str:
    """'0.812 (0.745 to 0.879)', or '--'."""
    if estimate.value is None:
        return NONE
    shown = number(estimate.value, signed=signed)
    if estimate.low is None or estimate.high is None:
        return shown
    low, high = number(estimate.low, signed=signed), number(estimate.high, signed=signed)
    return f"{shown} ({low} to {high})"


def comparison(found: Comparison) -> list[str]:
    """The whole answer, line by line: the sentence first."""
    name = metric_name(found.metric)
    lines = [found.sentence, ""]
    lines += [f"1. On each site's own test patients, paired ({name}, 95 % intervals)"]
    lines += _table(
        ("site", "patients", "federated", "own model", "federated less own", ""),
        [_own(row) for row in found.own],
    )
    lines += [f"   {row.site}: {row.why}" for row in found.own if row.verdict == "unknown"]
    if any(row.tuned.value is not None for row in found.own):
        lines += ["", "   After local epochs on the federated model"]
        lines += _table(
            ("site", "fine-tuned", "fine-tuned less own"),
            [
                (row.site, interval(row.tuned), interval(row.tuned_difference, signed=True))
                for row in found.own
            ],
        )
    lines += ["", "2. On the other sites' test patients"]
    if any(row.local.value is not None for row in found.others):
        lines += _table(
            ("model of", "at", "its value there", "federated there", "federated less it"),
            [_other(row) for row in found.others if row.local.value is not None],
        )
    lines += [f"   {line}" for line in silences(found)]
    lines += ["", "3. Pooled over all patients"]
    if found.pooled.value is None:
        lines += ["   not known: no site, or one only, told its scores"]
    else:
        pooled, who = found.pooled, ", ".join(found.pooled_sites)
        low, high = number(pooled.low), number(pooled.high)
        lines += [f"   AUROC {number(pooled.value)}, surely between {low} and {high}, of {who}"]
    lines += [f"   {PREVALENCE}"]
    return lines


def silences(found: Comparison) -> list[str]:
    """Why a local model was judged at no other site, once for all that share a reason."""
    owners: dict[str, list[str]] = {}
    travelled = {row.owner for row in found.others if row.local.value is not None}
    for site in found.sites:
        if site not in travelled:
            why = found.withheld.get(f"local:{site}", NOT_EXCHANGED)
            owners.setdefault(why, []).append(site)
    return [f"{', '.join(names)}: {why}" for why, names in owners.items()]


def _own(row: Row) -> tuple[str, ...]:
    return (
        row.site,
        NONE if row.patients is None else f"~{row.patients}",
        interval(row.federated),
        interval(row.local),
        interval(row.difference, signed=True),
        row.verdict,
    )


def _other(row: Row) -> tuple[str, ...]:
    return (
        row.owner,
        row.site,
        interval(row.local),
        interval(row.federated),
        interval(row.difference, signed=True),
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    table = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(row[k]) for row in table) for k in range(len(head))]
    shown = (
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        for row in table
    )
    return [f"   {line}".rstrip() for line in shown]


def imported(found: ModelImported) -> list[str]:
    """A model that came as a file, on this site's own patients, as the matrix would show it."""
    name, metric = metric_name(found.primary), found.primary
    if metric not in found.metrics:
        return [f"{found.kind} model of {found.owner}: too few patients here to be told"]

    def held(values: dict[str, float], prefix: str = "") -> Estimate:
        key = prefix + metric
        return Estimate(value=values.get(metric), low=found.low.get(key), high=found.high.get(key))

    many = NONE if found.patients is None else f"~{found.patients}"
    row = (
        f"{found.kind}:{found.owner}",
        many,
        interval(held(found.metrics)),
        number(found.own.get(metric)),
        interval(held(found.difference, "less "), signed=True),
    )
    return _table(("model", "patients", name, "own model", "imported less own"), [row])


def report(facts: Facts) -> list[str]:
    """The whole report for a terminal."""
    from fedtui.report import papers  # they quote this module's comparison

    run = facts.progress
    lines = [f"{run.study}, run {run.run}", papers.NOT_A_DEVICE, ""]
    if facts.comparison is None:
        lines.append("This run is not validated: 'fedtui validate' at the coordinator.")
    else:
        lines += comparison(facts.comparison)
    lines += ["", f"Training: {len(run.history)} of {run.rounds} rounds, {run.state.lower()}"]
    sites = sorted({site for ended in run.history for site in ended.by_site})
    if run.history:
        shown = run.history if len(run.history) <= _MOST_ROUNDS else run.history[-_MOST_ROUNDS:]
        lines += _table(
            ("round", "all sites", *sites),
            [
                (
                    str(ended.round),
                    number(ended.metrics.get(run.metric)),
                    *(number(ended.by_site.get(site, {}).get(run.metric)) for site in sites),
                )
                for ended in shown
            ],
        )
    for title, pairs in (
        ("What was agreed", papers.terms(facts)),
        ("Approvals", papers.approvals(facts)),
        ("Privacy and leakage", [*papers.privacy_spent(facts), *papers.leakage(facts)]),
    ):
        lines += ["", title, *_table(("", ""), pairs)[1:]]
    lines += ["", f"What left {facts.site}"]
    head = ("what", "times", "bytes", "to", "last")
    lines += _table(
        head,
        [(k, str(n), size, to, last) for k, n, size, to, _, last in papers.released_summary(facts)],
    )
    return lines
