"""A run's report as one HTML page that needs nothing else: no script, font or picture from afar.

Whatever is printed is escaped; the page's own policy forbids anything but its one style sheet.
"""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape

from fedtui.record import iso
from fedtui.report import charts, text
from fedtui.report.comparison import FEDERATED, Comparison, Estimate, Row, estimate
from fedtui.report.facts import Facts
from fedtui.report.papers import (
    NOT_A_DEVICE,
    approvals,
    leakage,
    privacy_spent,
    released_summary,
    terms,
)
from fedtui.report.style import STYLE


def page(facts: Facts) -> str:
    """The whole report as an HTML document."""
    run = facts.progress
    found = facts.comparison
    parts = [
        f"<h1>{_t(run.study)}: what joining was worth</h1>",
        f'<p class="soft">Run <code>{_t(run.run)}</code>, told from the journal of '
        f"{_t(facts.site)}. {NOT_A_DEVICE}</p>",
        f'<p class="lead">{_t(found.sentence if found else _NOT_VALIDATED)}</p>',
    ]
    if found is not None:
        parts += _own(found)
        parts += _others(found)
        parts += _pooled(found)
        parts += _matrix(found)
        parts += _calibration(found)
        parts += _subgroups(found)
    parts += _rounds(facts)
    parts += _agreed(facts)
    parts += _left(facts)
    parts += _made(facts)
    style = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'"
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{_t(run.run)} - fedtui report</title>",
            f"<style>{STYLE}</style></head><body><main>",
            *parts,
            "</main></body></html>",
            "",
        ]
    )


_NOT_VALIDATED = "This run is not validated: 'fedtui validate' at the coordinator asks every site."


def _own(found: Comparison) -> list[str]:
    name = text.metric_name(found.metric)
    rows = [
        (
            _t(row.site),
            "--" if row.patients is None else f"about {row.patients}",
            _t(text.interval(row.federated)),
            _t(text.interval(row.local)),
            _t(text.interval(row.difference, signed=True)),
            _verdict(row),
        )
        for row in found.own
    ]
    parts = [
        "<h2>On each site's own test patients</h2>",
        f"<p>{_t(name)} of the federated model less that of the site's own model, trained on its "
        "own data alone from the same start with the same budget, on the same patients. Above 0 "
        "the federated model is better. Intervals hold 95 %.</p>",
        *([f"<p>{_t(text.PRIVATE)}</p>"] if found.private else []),
        charts.forest(
            [(row.site, row.difference) for row in found.own],
            title=f"Paired difference in {name} by site, federated less own model",
            axis=f"difference in {name}: worse off < 0 < better off",
            reference=0.0,
            signed=True,
        ),
        _table(
            "Federated against own model, paired",
            ("site", "test patients", "federated", "own model", "difference", ""),
            rows,
        ),
    ]
    if any(row.tuned.value is not None for row in found.own):
        tuned = [
            (
                _t(row.site),
                _t(text.interval(row.tuned)),
                _t(text.interval(row.tuned_difference, signed=True)),
            )
            for row in found.own
        ]
        parts.append(
            _table(
                "The federated model after local epochs (it stays at the site)",
                ("site", "fine-tuned", "less own model"),
                tuned,
            )
        )
    return parts


def _verdict(row: Row) -> str:
    if row.verdict == "unknown":
        return f'<span class="soft">{_t(row.why)}</span>'
    kind = ' class="worse"' if row.verdict == "worse" else ""
    return f"<span{kind}>{_t(row.verdict)}</span>"


def _others(found: Comparison) -> list[str]:
    rows = [
        (
            _t(row.owner),
            _t(row.site),
            _t(text.interval(row.local)),
            _t(text.interval(row.federated)),
            _t(text.interval(row.difference, signed=True)),
        )
        for row in found.others
        if row.local.value is not None
    ]
    parts = ["<h2>On the other sites' test patients</h2>"]
    if rows:
        head = ("model of", "patients of", "its value", "federated", "federated less it")
        caption = "How far each site's own model carries, beside the federated one"
        parts.append(_table(caption, head, rows))
    if silent := "".join(f"<li>{_t(line)}</li>" for line in text.silences(found)):
        parts += ["<p>Own models that were judged at no other site:</p>", f"<ul>{silent}</ul>"]
    return parts


def _pooled(found: Comparison) -> list[str]:
    if found.pooled.value is None:
        told = "No pooled figure: no site, or one only, told its scores."
    else:
        told = (
            f"AUROC {text.number(found.pooled.value)}, surely between "
            f"{text.number(found.pooled.low)} and {text.number(found.pooled.high)}, over the "
            f"patients of {', '.join(found.pooled_sites)}, from histograms of scores."
        )
    return [
        "<h2>Pooled</h2>",
        f"<p>{_t(told)} <strong>It {_t(text.PREVALENCE)}.</strong></p>",
    ]


def _matrix(found: Comparison) -> list[str]:
    rows = []
    for model in found.models:
        cells = [f'<th scope="row">{_t(model)}</th>']
        for site in found.sites:
            shown = text.interval(estimate(found.cells.get((model, site)), found.metric))
            why = found.why(model, site)
            cells.append(
                _t(shown) if shown != text.NONE else f'<span class="soft">{_t(why)}</span>'
            )
        rows.append(tuple(cells))
    name = text.metric_name(found.metric)
    return [
        "<h2>Every model at every site</h2>",
        _table(f"{name} on the test patients of", ("model", *map(_t, found.sites)), rows),
        *_details(found),
    ]


def _details(found: Comparison) -> list[str]:
    metrics = sorted({name for cell in found.cells.values() for name in cell.metrics})
    rows = []
    for model in found.models:
        for site in found.sites:
            cell = found.cells.get((model, site))
            if cell is not None and cell.metrics and not cell.withheld:
                values = (_t(text.interval(estimate(cell, metric))) for metric in metrics)
                rows.append((_t(model), _t(site), *values))
    if not rows:
        return []
    head = ("model", "site", *(text.metric_name(metric) for metric in metrics))
    table = _table("All metrics, 95 % intervals over patients", head, rows)
    return [f"<details><summary>All metrics</summary>{table}</details>"]


def _calibration(found: Comparison) -> list[str]:
    rows = [
        (site, estimate(found.cells.get((FEDERATED, site)), "calibration_slope"))
        for site in found.sites
    ]
    chart = charts.forest(
        rows,
        title="Calibration slope of the federated model by site",
        axis="calibration slope: too extreme < 1 < too timid",
        reference=1.0,
    )
    if not chart:
        return []
    table = _table(
        "Calibration of the federated model",
        ("site", "slope (ideal 1)", "intercept (ideal 0)", "error (ideal 0)"),
        [
            (_t(site), *(_t(text.interval(each)) for each in _calibrated(found, site)))
            for site in found.sites
        ],
    )
    return ["<h2>Calibration</h2>", chart, table]


def _calibrated(found: Comparison, site: str) -> list[Estimate]:
    cell = found.cells.get((FEDERATED, site))
    names = ("calibration_slope", "calibration_intercept", "calibration_error")
    return [estimate(cell, name) for name in names]


def _subgroups(found: Comparison) -> list[str]:
    rows = []
    for site in found.sites:
        cell = found.cells.get((FEDERATED, site))
        for group, told in sorted(cell.subgroups.items()) if cell else ():
            people = told.get("patients")
            shown = "--" if people is None else f"about {people:g}"
            value = Estimate(
                value=told.get(found.metric),
                low=told.get(f"{found.metric}_low"),
                high=told.get(f"{found.metric}_high"),
            )
            rows.append((_t(site), _t(group), shown, _t(text.interval(value))))
    if not rows:
        return []
    name = text.metric_name(found.metric)
    return [
        "<h2>Subgroups, federated model</h2>",
        _table("'--' where too few patients stand behind a number, or another would give it away",
               ("site", "group", "patients", name), rows),
    ]  # fmt: skip


def _rounds(facts: Facts) -> list[str]:
    run = facts.progress
    if not run.history:
        return []
    series: dict[str, list[tuple[int, float]]] = {"all sites": []}
    for ended in run.history:
        if run.metric in ended.metrics:
            series["all sites"].append((ended.round, ended.metrics[run.metric]))
        for site, metrics in sorted(ended.by_site.items()):
            if run.metric in metrics:
                series.setdefault(site, []).append((ended.round, metrics[run.metric]))
    names = [name for name, points in series.items() if points]
    table = _table(
        f"{text.metric_name(run.metric)} after each round",
        ("round", *map(_t, names)),
        [
            (str(ended.round), *(_at(series[name], ended.round) for name in names))
            for ended in run.history
        ],
    )
    return [
        "<h2>Training</h2>",
        f"<p>{len(run.history)} of {run.rounds} rounds, {_t(run.state.lower())}. The mean over "
        "all sites weighs each by its test patients.</p>",
        charts.lines(
            {name: series[name] for name in names},
            title=f"{text.metric_name(run.metric)} by round and site",
            axis="round",
        ),
        f"<details><summary>By round</summary>{table}</details>",
    ]


def _at(points: Iterable[tuple[int, float]], round: int) -> str:
    return text.number(next((value for r, value in points if r == round), None))


def _agreed(facts: Facts) -> list[str]:
    rows = [(_t(name), _t(value)) for name, value in terms(facts)]
    said = [
        (_t(name), _t(value))
        for name, value in (*approvals(facts), *privacy_spent(facts), *leakage(facts))
    ]
    return [
        "<h2>What was agreed</h2>",
        _table("The study", ("", ""), rows),
        "<h2>Approvals, privacy, leakage</h2>",
        _table("From this site's journal", ("", ""), said),
    ]


def _left(facts: Facts) -> list[str]:
    rows = [
        (_t(kind), str(often), _t(size), _t(to), f"<code>{_t(fingerprint[:16])}</code>", _t(last))
        for kind, often, size, to, fingerprint, last in released_summary(facts)
    ]
    if not rows:
        return [f"<h2>What left {_t(facts.site)}</h2>", "<p>Nothing, by this journal.</p>"]
    head = ("what", "times", "bytes in all", "to", "under study", "last")
    return [
        f"<h2>What left {_t(facts.site)}</h2>",
        _table("Every release of this run, summed by kind", head, rows),
    ]


def _made(facts: Facts) -> list[str]:
    begun = iso(facts.progress.submitted)
    rows = [(_t(name), _t(value)) for name, value in facts.versions.items()]
    return [
        "<h2>Made with</h2>",
        _table(f"Submitted {begun}", ("", ""), rows),
        f"<footer><p>{NOT_A_DEVICE} The run's records are in the bundle beside this page; "
        "'fedtui verify' checks them.</p></footer>",
    ]


def _table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are markup already; an empty head makes the first column its heads."""
    named = any(head)
    lines = [f"<caption>{_t(caption)}</caption>"]
    if named:
        lines.append(
            "<thead><tr>" + "".join(f'<th scope="col">{h}</th>' for h in head) + "</tr></thead>"
        )
    lines.append("<tbody>")
    for row in rows:
        cells = []
        for k, cell in enumerate(row):
            if cell.startswith("<th"):
                cells.append(cell)
            elif k == 0:
                cells.append(f'<th scope="row">{cell}</th>')
            else:
                cells.append(f"<td>{cell}</td>")
        lines.append("<tr>" + "".join(cells) + "</tr>")
    lines.append("</tbody>")
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'


def _t(value: object) -> str:
    return escape(str(value), quote=True)
