"""The comparison as a terminal shows it: plain text in 80 columns."""

import textwrap
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
_WIDTH = 80  # columns of the smallest terminal that a screen is made for
_MOST_ROUNDS = 20  # the last ones; the page has all
PRIVATE = (
    "The joint model was trained under record-level privacy, whose noise costs it some of its "
    "quality; the own models, of which nothing is sent, were not."
)
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
    lines = [*_wrapped(found.sentence), ""]
    lines += [f"1. On each site's own test patients, paired ({name}, 95 % interval)"]
    lines += _table(
        ("site", "n", "joint", "own", "joint less own", ""), [_own(row) for row in found.own]
    )
    if found.private:
        lines += _wrapped(PRIVATE, indent=1)
    for row in found.own:
        if row.verdict == "unknown":
            lines += _wrapped(f"{row.site}: {row.why}", indent=1)
    if any(row.tuned.value is not None for row in found.own):
        lines += ["", " After local epochs on the joint model"]
        lines += _table(
            ("site", "fine-tuned", "fine-tuned less own"),
            [
                (row.site, number(row.tuned.value), _between(row.tuned_difference))
                for row in found.own
            ],
        )
    lines += ["", "2. On the other sites' test patients"]
    if any(row.local.value is not None for row in found.others):
        lines += _table(
            ("model of", "at", "its", "joint", "joint less it"),
            [_other(row) for row in found.others if row.local.value is not None],
        )
    for line in silences(found):
        lines += _wrapped(line, indent=1)
    lines += ["", "3. Pooled over all patients"]
    if found.pooled.value is None:
        lines += [" not known: no site, or one only, told its scores"]
    else:
        pooled, who = found.pooled, ", ".join(found.pooled_sites)
        low, high = number(pooled.low), number(pooled.high)
        told = f"AUROC {number(pooled.value)}, surely between {low} and {high}, of {who}"
        lines += _wrapped(told, indent=1)
    return [*lines, *_wrapped(PREVALENCE, indent=1)]


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
        number(row.federated.value),
        number(row.local.value),
        _between(row.difference),
        row.verdict,
    )


def _other(row: Row) -> tuple[str, ...]:
    return (
        row.owner,
        row.site,
        number(row.local.value),
        number(row.federated.value),
        _between(row.difference),
    )


def _between(difference: Estimate) -> str:
    """'+0.030 (-0.010, +0.070)', or '--': shorter than ``interval``, as the dashboard has it."""
    return interval(difference, signed=True).replace(" to ", ", ")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    table = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(row[k]) for row in table) for k in range(len(head))]
    if 1 + sum(widths) + 2 * (len(widths) - 1) > _WIDTH:
        return _listed(head, table[1:])
    shown = (
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        for row in table
    )
    return [f" {line}".rstrip() for line in shown]


def _listed(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table that is too wide, as a paragraph a row."""
    lines = []
    for first, *rest in rows:
        lines += _wrapped(first, indent=1)
        told = [f"{name} {cell}".strip() for name, cell in zip(head[1:], rest, strict=True)]
        lines += _wrapped(", ".join(told), indent=4)
    return lines


def _pairs(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Names and what they are, wrapped beside them."""
    pairs = list(pairs)
    names = max((len(name) for name, _ in pairs), default=0)
    lines = []
    for name, value in pairs:
        head = f" {name:<{names}}  "
        if max(map(len, value.split()), default=0) > _WIDTH - len(head):  # e.g. a fingerprint
            lines += [head.rstrip(), *_wrapped(value, indent=4)]
        else:
            lines += textwrap.wrap(
                " ".join(value.split()), _WIDTH, initial_indent=head,
                subsequent_indent=" " * len(head), break_on_hyphens=False,
            ) or [head.rstrip()]  # fmt: skip
    return lines


def _wrapped(words: str, *, indent: int = 0) -> list[str]:
    space = " " * indent
    return textwrap.wrap(
        words, _WIDTH, initial_indent=space, subsequent_indent=space, break_on_hyphens=False
    )


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
        number(found.metrics.get(metric)),
        number(found.own.get(metric)),
        _between(held(found.difference, "less ")),
    )
    return _table(("model", "n", name, "own", "imported less own"), [row])


def report(facts: Facts) -> list[str]:
    """The whole report for a terminal."""
    from fedtui.report import papers  # they quote this module's comparison

    run = facts.progress
    lines = [f"{run.study}, run {run.run}", papers.NOT_A_DEVICE, ""]
    if facts.comparison is None:
        lines += ["This run is not validated: 'fedtui validate' at the coordinator."]
    else:
        lines += comparison(facts.comparison)
    lines += ["", f"Training: {len(run.history)} of {run.rounds} rounds, {run.state.lower()}"]
    sites = sorted({site for ended in run.history for site in ended.by_site})
    if run.history:
        shown = run.history if len(run.history) <= _MOST_ROUNDS else run.history[-_MOST_ROUNDS:]
        for some in _columns(sites):
            lines += _table(
                ("round", "all sites", *some),
                [
                    (
                        str(ended.round),
                        number(ended.metrics.get(run.metric)),
                        *(number(ended.by_site.get(site, {}).get(run.metric)) for site in some),
                    )
                    for ended in shown
                ],
            )
    for title, pairs in (
        ("What was agreed", papers.terms(facts)),
        ("Approvals", papers.approvals(facts)),
        ("Privacy and leakage", [*papers.privacy_spent(facts), *papers.leakage(facts)]),
    ):
        lines += ["", title, *_pairs(pairs)]
    left = papers.released_summary(facts)
    for to in dict.fromkeys(row[3] for row in left):
        rows = [(k, str(n), size, last[:19]) for k, n, size, to_, _, last in left if to_ == to]
        lines += ["", *_wrapped(f"What left {facts.site} for {to}")]
        lines += _table(("what", "times", "bytes", "last"), rows)
    if not left:
        lines += ["", f"Nothing left {facts.site}, by this journal"]
    return lines


def _columns(sites: Sequence[str]) -> list[list[str]]:
    """Sites as many a table as fit beside the round and the mean; at least one table."""
    blocks: list[list[str]] = [[]]
    for site in sites:
        taken = 1 + len("round  all sites") + sum(2 + max(5, len(name)) for name in blocks[-1])
        if blocks[-1] and taken + 2 + max(5, len(site)) > _WIDTH:
            blocks.append([])
        blocks[-1].append(site)
    return blocks
