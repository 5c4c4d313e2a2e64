"""The site's part of a validation: models judged on its own test patients, told as far as may be.

What the trainer finds becomes a ``Record``, of which the exit tells what may be told; a group whose
numbers would follow from the others' by subtraction is not even in it.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from fedtui import disclosure, events, keys, modelfile, operations
from fedtui.disclosure import Bins
from fedtui.errors import DataError, TrustError
from fedtui.flower import arrays, work
from fedtui.flower.assignment import Assignment
from fedtui.flower.client import SiteClient
from fedtui.flower.records import Measure, Record, Table
from fedtui.flower.release import Exit
from fedtui.flower.vectors import RefusedError, Vector, bytes_of
from fedtui.journal import Journal
from fedtui.site import Home

VALIDATE, EXCHANGE = "query.validate", "query.exchange"
_COUNTED = ("counts", "patients")  # of a histogram of examples
_COARSE = ("sensitivity", "accuracy", "balanced_accuracy")  # shares of few: told in hundredths


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """What is this site's own in a validation."""

    home: Home
    name: str
    journal: Journal


def register(
    app: ClientApp,
    read: Callable[[Message], Assignment],
    make_client: Callable[[Assignment], SiteClient],
    exit: Exit,
    own: Own,
) -> None:
    """Add the two phases of a validation to the site's ClientApp."""

    @app.query("validate")
    def validate(message: Message, _: Context) -> Message:
        task = read(message)
        client = make_client(task)
        joint, first = _vector(message, "arrays", task), _vector(message, "first", task)
        folder = own.home.models / task.key.run
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        start = folder / "first.f32"
        work.write_atomically(start, bytes_of(first))
        answer, local = client.validate(
            joint,
            {"folder": str(folder), "first": str(start), "minimum": client.minimum_cell},
            _terms(message, hashlib.sha256(bytes_of(first)).hexdigest()),
        )
        start.unlink(missing_ok=True)
        sent, fields = None, dict[str, str]()
        if local is not None and "local" in task.study.exchange:
            if cause := _kept(task, own):
                own.journal.append(events.ModelWithheld(run=task.key.run, cause=cause))
                fields["kept"] = cause
            else:
                sent = local
                key = keys.load_private(own.home.keys / "node.key")  # it may have been changed
                fields["signature"] = keys.sign(key, _text(own.name, task, local))
        results = answer.fields["results"]
        return exit.release(
            task.key,
            task.fingerprint,
            reply_to=message,
            examples=answer.examples,
            metrics={"seconds": client.seconds},
            behind=client.behind,
            question=answer.question,
            vector=sent,
            record=recorded(results, minimum=client.minimum_cell, owner=own.name),
            fields={"primary": results["primary"], **fields},
        )

    @app.query("exchange")
    def exchange(message: Message, _: Context) -> Message:
        task = read(message)
        client = make_client(task)
        joint = _vector(message, "arrays", task)
        folder = own.home.models / task.key.run
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        models: dict[str, str] = {}
        digests = []
        for owner, signature in sorted(dict(message.content.config_records["owners"]).items()):
            vector = _vector(message, f"local:{owner}", task)
            _check_owner(owner, str(signature), task, vector, own)
            path = folder / f"from-{owner}.f32"
            work.write_atomically(path, bytes_of(vector))
            models[f"local:{owner}"] = str(path)
            digests.append(hashlib.sha256(bytes_of(vector)).hexdigest())
        answer, none = client.validate(joint, {"models": models}, _terms(message, *digests))
        assert none is None
        for name in models.values():
            Path(name).unlink(missing_ok=True)
        results = answer.fields["results"]
        return exit.release(
            task.key,
            task.fingerprint,
            reply_to=message,
            examples=answer.examples,
            metrics={"seconds": client.seconds},
            behind=client.behind,
            question=answer.question,
            record=recorded(results, minimum=client.minimum_cell, owner=own.name),
            fields={"primary": results["primary"]},
        )


def recorded(results: Mapping[str, Any], *, minimum: int, owner: str) -> Record:
    """One site's results as the exit takes them.

    Measures are named 'model|metric', 'model|feature: group|metric' and 'model|less|metric' for a
    paired difference; tables by feature, and 'outcome' for all patients.

    Args:
        minimum: Fewest patients that anything may stand on.
        owner: Whose local model 'local' is.
    """
    binary = results["classes"] == 2
    totals = tuple(results["patients"])
    counts = {
        name: np.array(table["counts"], dtype=np.int64) for name, table in results["tables"].items()
    }
    masks = {name: disclosure.hidden(table, minimum=minimum) for name, table in counts.items()}
    tables = {"outcome": _table("all", ("all",), np.array([totals], dtype=np.int64))}
    # Sums over the groups of one feature are those of every other: hidden once, hidden always.
    if not any(mask[-1].any() for mask in masks.values()) and min(totals) >= minimum:
        tables |= {
            name: _table(name, tuple(results["tables"][name]["names"]), counts[name])
            for name in counts
        }
    compared = totals if binary else ()
    measures: dict[str, Measure] = {}
    for name, judged in results["models"].items():
        model = f"local:{owner}" if name == "local" else name
        for metric, values in _values(judged).items():
            measures[f"{model}|{metric}"] = Measure(
                values=values, patients=sum(totals), classes=compared
            )
        for metric, found in results.get("differences", {}).get(name, {}).items():
            values = tuple(_shown(metric, found[part]) for part in ("value", "low", "high"))
            measures[f"{model}|less|{metric}"] = Measure(
                values=values, patients=sum(totals), classes=compared
            )
        for feature in tables.keys() - {"outcome"}:
            for k, group in enumerate(results["tables"][feature]["names"]):
                row = masks[feature][k]
                if row[-1] or (binary and row.any()):  # with the others' it would be told
                    continue
                people = counts[feature][k].tolist()
                for metric, values in _values(judged["subgroups"][feature][k]).items():
                    measures[f"{model}|{feature}: {group}|{metric}"] = Measure(
                        values=values, patients=sum(people), classes=people if binary else ()
                    )
    whole = not any(mask[-1].any() for mask in masks.values()) and min(totals) >= minimum
    histograms = {
        name: Bins(np.array(bins["edges"]), *(np.array(bins[k], dtype=np.int64) for k in _COUNTED))
        for name, bins in results.get("scores", {}).items()
        if whole
    }
    return Record(measures=measures, tables=tables, histograms=histograms)


def _table(name: str, rows: tuple[str, ...], counts: NDArray[np.int64]) -> Table:
    columns = tuple(str(k) for k in range(counts.shape[1]))
    return Table(variables=(name, "outcome"), rows=rows, columns=columns, counts=counts)


def _values(judged: Mapping[str, Any]) -> dict[str, tuple[float | None, ...]]:
    return {
        metric: (
            _shown(metric, value),
            _shown(metric, judged["low"].get(metric)),
            _shown(metric, judged["high"].get(metric)),
        )
        for metric, value in judged["metrics"].items()
    }


def _shown(metric: str, value: float | None) -> float | None:
    return round(value, 2) if value is not None and metric in _COARSE else value


def _terms(message: Message, *digests: str) -> bytes:
    """What makes this question another one than the same of an earlier attempt."""
    config = message.content.config_records["config"]
    return json.dumps([int(str(config["attempt"])), *digests]).encode()


def _vector(message: Message, name: str, task: Assignment) -> Vector:
    try:
        return arrays.from_record(message.content.array_records[name], size=task.size or 0)
    except (RefusedError, KeyError) as error:
        raise DataError(
            f"The model '{name}' does not fit the manifest: {error}",
            remedy="Check that the coordinator and this site run the same fedtui.",
        ) from error


def _text(owner: str, task: Assignment, vector: Vector) -> bytes:
    digest = hashlib.sha256(bytes_of(vector)).hexdigest()
    return modelfile.signed_text(
        owner=owner, run=task.key.run, kind="local", fingerprint=task.fingerprint, digest=digest
    )


def _kept(task: Assignment, own: Own) -> str:
    """Why this site's local model stays here although the study exchanges them; empty if not."""
    if task.study.privacy:
        return "the study's record-level privacy pays for the joint model only"
    return operations.release_refusal(own.home, task.key.run, "local")


def _check_owner(owner: str, signature: str, task: Assignment, vector: Vector, own: Own) -> None:
    """Raise TrustError unless ``owner`` signed this model with the key that this site knows."""
    known = modelfile.known_keys(own.home).get(owner, ())
    if not known:
        raise TrustError(
            f"A model came in the name of {owner}, whose key this site does not know.",
            remedy="Let the agent run until the federation's directory has come.",
        )
    text = _text(owner, task, vector)
    if not any(keys.signed(key, signature, text) for key in known):
        raise TrustError(
            f"The model that came in the name of {owner} does not carry its signature.",
            remedy="It was changed on the way. Tell the coordinator's operator and that site.",
        )
