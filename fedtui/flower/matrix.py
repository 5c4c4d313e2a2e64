"""The coordinator's part of a validation: ask every site, then fill the matrix of models and sites.

First each site judges the joint model and its own; then, where the study exchanges local models,
each site judges the others'. Both are asked and asked again like any phase of a round.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Message, RecordDict

from fedtui import disclosure, events, keys, modelfile
from fedtui import study as studies
from fedtui.flower import arrays
from fedtui.flower.grid import DirectGrid, Reply
from fedtui.flower.strategy import Terms, judge_metrics
from fedtui.flower.validation import EXCHANGE, VALIDATE
from fedtui.flower.vectors import RefusedError, Vector, bytes_of
from fedtui.keys import PublicKey
from models import _validation

FEW_PATIENTS = "too few patients to be told"
FEW_OUTCOMES = "too few patients with one of the outcomes to be told"
NOT_EXCHANGED = "not exchanged: the study keeps local models at home"
_BAR = "|"
_MOST_EDGES = 1000  # of a histogram; ours have 101


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one site said, checked: rows of the matrix, histograms of scores, its local model."""

    rows: tuple[events.ModelValidated, ...]
    scores: dict[str, _validation.Bins]
    local: Vector | None = None
    signature: str = ""
    kept: str = ""


def validate(
    grid: DirectGrid,
    terms: Terms,
    *,
    attempt: int,
    joint: Vector,
    first: Vector,
    roster: Mapping[str, PublicKey],
    append: Callable[[events.Event], object],
) -> events.ValidationEnded:
    """Ask the sites, journal each cell, and say what came of it.

    Args:
        terms: Of the run, with manifest and normalisation.
        joint: The run's last model, float32 [parameters].
        first: The model before its first round.

    Raises:
        StoppedError: an operator stopped it.
        QuorumError: too few sites gave a valid answer.
    """
    study, size = terms.study, len(joint)
    grid.judge = lambda site, message: _judge(site, message, terms, attempt, size, roster)
    content = {"arrays": arrays.to_record(joint), "first": arrays.to_record(first)}
    config = terms.config(study.rounds, "validate")
    config["attempt"] = attempt
    present = grid.present(study.sites, round=study.rounds, phase="validate")
    contents = {site: RecordDict({**content, "config": config}) for site in present}
    replies = grid.ask(contents, VALIDATE, round=study.rounds, phase="validate")
    answers = {site: _body(replies[site]) for site in sorted(replies)}
    for answer in answers.values():
        for row in answer.rows:
            append(row)
    withheld = {site: "gave no valid answer" for site in study.sites if site not in answers}
    withheld |= _exchange(grid, terms, attempt, joint, answers, append, roster)
    pooled = _pooled(answers)
    return events.ValidationEnded(
        run=terms.run,
        attempt=attempt,
        outcome="completed",
        cause=f"{len(answers)} of {len(study.sites)} sites answered",
        withheld=withheld,
        pooled={} if pooled is None else {k: round(v, 3) for k, v in pooled._asdict().items()},
        pooled_sites=tuple(site for site, answer in answers.items() if answer.scores),
    )


def _exchange(
    grid: DirectGrid,
    terms: Terms,
    attempt: int,
    joint: Vector,
    answers: Mapping[str, Answer],
    append: Callable[[events.Event], object],
    roster: Mapping[str, PublicKey],
) -> dict[str, str]:
    """Each site's local model at the others; returns why a model did not travel, by its name."""
    study = terms.study
    if not study.validation.local:
        return {}
    withheld = {
        f"local:{site}": answer.kept or NOT_EXCHANGED
        for site, answer in answers.items()
        if answer.local is None
    }
    offered = {site: answer for site, answer in answers.items() if answer.local is not None}
    config = terms.config(study.rounds, "exchange")
    config["attempt"] = attempt
    contents = {}
    for site in grid.present(answers, round=study.rounds, phase="exchange"):
        others = {owner: answer for owner, answer in offered.items() if owner != site}
        if others:
            signatures = {owner: answer.signature for owner, answer in others.items()}
            contents[site] = RecordDict(
                {
                    "arrays": arrays.to_record(joint),
                    "config": config,
                    "owners": ConfigRecord(dict(signatures)),
                    **{
                        f"local:{owner}": arrays.to_record(answer.local)
                        for owner, answer in others.items()
                        if answer.local is not None
                    },
                }
            )
    if contents:
        size = len(joint)
        grid.judge = lambda site, message: _judge(site, message, terms, attempt, size, roster)
        replies = grid.ask(contents, EXCHANGE, round=study.rounds, phase="exchange")
        for site in sorted(replies):
            for row in _body(replies[site]).rows:
                append(row)
    return withheld


def _body(reply: Reply) -> Answer:
    assert isinstance(reply.body, Answer)
    return reply.body


def _judge(
    site: str,
    message: Message,
    terms: Terms,
    attempt: int,
    size: int,
    roster: Mapping[str, PublicKey],
) -> tuple[int, dict[str, float], Answer]:
    examples, metrics, content = judge_metrics(message)
    try:
        fields = dict(content["fields"])
        record = json.loads(str(fields["record"]))
        rows = tuple(
            _row(terms.run, attempt, site, model, record, str(fields["primary"]))
            for model in _models(record["measures"])
        )
        scores = {
            name: _bins(bins)
            for name, bins in record["histograms"].items()
            if bins and bins["counts"]
        }
        signature = str(fields.get("signature", ""))
        kept = str(fields.get("kept", ""))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RefusedError("malformed", "the results cannot be read.") from error
    local = None
    if "arrays" in content.array_records:
        local = arrays.from_record(content.array_records["arrays"], size=size)
        text = modelfile.signed_text(
            owner=site,
            run=terms.run,
            kind="local",
            fingerprint=studies.fingerprint(terms.study),
            digest=hashlib.sha256(bytes_of(local)).hexdigest(),
        )
        if site not in roster or not keys.signed(roster[site], signature, text):
            raise RefusedError("unsigned", "its local model does not carry its signature.")
    answer = Answer(
        rows=rows,
        scores=scores if {"cases", "controls"} <= scores.keys() else {},
        local=local,
        signature=signature,
        kept="".join(c for c in kept[:300] if c.isprintable()),
    )
    return examples, metrics, answer


def _bins(told: Mapping[str, Any]) -> _validation.Bins:
    """A histogram that a site told; ValueError if it is none."""
    edges = np.asarray(told["edges"], dtype=np.float64)
    counts = np.asarray(told["counts"], dtype=np.float64)
    sound = edges.ndim == counts.ndim == 1 and len(edges) == len(counts) + 1 <= _MOST_EDGES
    if not sound or not np.isfinite(edges).all() or (np.diff(edges) <= 0).any():
        raise ValueError("no histogram")
    if not np.isfinite(counts).all() or (counts < 0).any():
        raise ValueError("no counts")
    return _validation.Bins(edges, counts)


def _models(measures: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(name.partition(_BAR)[0] for name in measures))


def _row(
    run: str, attempt: int, site: str, model: str, record: Mapping[str, Any], primary: str
) -> events.ModelValidated:
    """One model's measures in a site's record, as an event; every field is checked."""
    told: dict[str, Any] = {"metrics": {}, "low": {}, "high": {}, "subgroups": {}}
    told |= {"difference": {}, "difference_low": {}, "difference_high": {}}
    for name, values in record["measures"].items():
        parts = name.split(_BAR)
        if parts[0] != model:
            continue
        value, low, high = values or (None, None, None)
        metric = parts[-1]
        if len(parts) == 2:
            _keep(told, ("metrics", "low", "high"), metric, (value, low, high))
        elif parts[1] == "less":
            _keep(told, tuple(told)[4:], metric, (value, low, high))
        else:
            group = told["subgroups"].setdefault(parts[1], {})
            group |= {metric: value}
            group |= {} if low is None else {f"{metric}_low": low, f"{metric}_high": high}
    for feature, table in record["tables"].items():
        if feature != "outcome" and table:
            for group, counts in zip(table["rows"], table["counts"], strict=False):
                told["subgroups"].setdefault(f"{feature}: {group}", {})["patients"] = counts[-1]
    *outcomes, patients = record["tables"]["outcome"]["counts"][0]
    withheld = ""
    if not told["metrics"].get(primary) and not told["low"]:
        withheld = FEW_PATIENTS if patients is None and not outcomes else FEW_OUTCOMES
    event = events.accept(
        {
            **told,
            "event": "ModelValidated",
            "run": run,
            "attempt": attempt,
            "site": site,
            "model": model,
            "primary": primary,
            "patients": patients,
            "outcomes": [] if None in outcomes else outcomes,
            "withheld": withheld,
        }
    )
    assert isinstance(event, events.ModelValidated)
    return event


def _keep(
    told: dict[str, Any], into: tuple[str, ...], metric: str, values: tuple[Any, ...]
) -> None:
    for part, value in zip(into, values, strict=True):
        if value is not None or part == "metrics":
            told[part][metric] = value


def _pooled(answers: Mapping[str, Answer]) -> _validation.Bounds | None:
    """The joint model's AUROC over the examples of every site that told its scores."""
    found = [answer.scores for answer in answers.values() if answer.scores]
    return _validation.pooled_auroc(
        [scores["cases"] for scores in found],
        [scores["controls"] for scores in found],
        off=disclosure.ROUNDING // 2,
    )
