"""The one exit for data: whatever leaves this site passes here, is bounded and is journaled.

Cells below the site's minimum are hidden, with them what would give them away; counts go to the
nearest five and metrics to three decimals; what was told of almost the same patients before is
told again, not anew; identifiers are taken out of words. What went to whom, under which study, is
in the journal before it leaves. A test walks the syntax tree: nothing else sends.
"""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.app import Error as FlowerError
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from numpy.typing import NDArray

from fedtui import disclosure, events
from fedtui.errors import OperatorError, PrivacyError
from fedtui.flower import arrays, records
from fedtui.flower.records import Behind, Record
from fedtui.flower.releases import Earlier, Releases
from fedtui.flower.vectors import Vector, check_finite
from fedtui.flower.work import Key
from fedtui.identifiers import scrubbed, scrubbed_tree
from fedtui.journal import Journal

FAILED = 100  # Flower error code of an answer that is one of our own named errors
_KINDS = {
    "prepare": "statistics",
    "train": "model update",
    "evaluate": "metrics",
    "validate": "validation",
    "exchange": "validation of others' models",
}
# A share of the right answers is a count: where nearly all are ill, of those who are not.
_OF_NO_CLASS = ("loss", "seconds", "epsilon")
_OF_THE_WORK = ("seconds", "epsilon")  # not of the patients: never taken from an earlier release
# A signed head is the site's own key and numbers; taking anything out would break the signature.
_HEAD = re.compile(r"[A-Za-z0-9+/=\s.:-]*")

Statistics = Mapping[str, NDArray[np.float64]]


class Exit:
    """The exit of one site: knows its minimum cell, its journal and what it told before.

    Three ways lead out. ``release`` answers a message: a model, sums, metrics, or a ``Record`` of
    measures, tables and histograms, which is all that a further phase needs, e.g. validation::

        exit.release(
            key, fingerprint, reply_to=message, examples=n, metrics={}, behind=behind,
            question=vectors.hash_of(model),
            record=Record(
                measures={"auroc": Measure(values=(0.83, 0.79, 0.86), patients=n, classes=(a, b))},
                tables={"sex": Table(variables=("sex", "outcome"), rows=…, columns=…, counts=…)},
                histograms={"score": disclosure.equal_bins(scores, patients, low=0, high=1, …)},
            ),
        )

    ``failure`` answers with a named error, and ``words`` bounds what a site says of its link, its
    progress and itself.

    Args:
        releases: What was told before, of whom.
        recipient: Who gets it, as the journal will say.
    """

    def __init__(
        self, journal: Journal, *, minimum_cell: int, recipient: str, releases: Releases
    ) -> None:
        self._journal, self._minimum, self._recipient = journal, minimum_cell, recipient
        self._releases = releases

    @property
    def cohorts(self) -> Path:
        """Where the trainer leaves who stands behind an answer: '<cohort>.u64', see ``Behind``."""
        return self._releases.cohorts

    def release(
        self,
        key: Key,
        fingerprint: str,
        *,
        reply_to: Message,
        examples: int,
        metrics: Mapping[str, float],
        behind: Behind,
        question: str = "",
        vector: Vector | None = None,
        transport: arrays.Transport = "float32",
        statistics: Statistics | None = None,
        bins: NDArray[np.int64] | None = None,
        record: Record | None = None,
        fields: Mapping[str, Any] | None = None,
        private: bool = False,
    ) -> Message:
        """The reply to ``reply_to``, holding what may leave and nothing else.

        Args:
            examples: Behind the whole answer, told to the nearest five; that is also what weighs
                a model in the mean, by at most 2 examples off.
            metrics: Dropped where not finite, or where they compare classes of too few patients.
            question: Names what metrics and model tables are of, e.g. the model's sha256: about
                the same question and almost the same patients the earlier answer goes out again.
                Empty where an answer is never the same, as a trained model's.
            statistics: 'count', 'total' and 'square', float64 [features]; what is hidden is zero.
            bins: Patients in bins that all sites agreed on, int64 [features, bins]; small
                neighbours share what they hold together.
            record: Of a later phase; arrives as JSON, field 'record'.
            fields: Texts and JSON values by name, e.g. the manifest; the latter arrive as JSON.
            private: Whether the study promises record-level privacy, which no noise gives a
                training loss; that one is not told either where it is over too few examples.

        Raises:
            PrivacyError: the answer stands on fewer patients than the minimum cell.
            ResourceError: what is told cannot be written down first.
        """
        if behind.patients < self._minimum:
            raise PrivacyError(
                f"This site has {key.phase} data of fewer than {self._minimum} patients; "
                "nothing was sent.",
                remedy="Take part with more patients, or ask for a study without this site.",
            )
        sheet = _Sheet(self._releases, behind.cohort, self._minimum)
        if key.phase == "train" and (private or examples < self._minimum):
            metrics = {name: value for name, value in metrics.items() if name in _OF_THE_WORK}
        told: dict[str, Any] = {
            "num-examples": disclosure.rounded(examples),
            **_bounded(metrics, behind, sheet),
        }
        if question and key.phase == "evaluate":
            own = {name: told[name] for name in _OF_THE_WORK if name in told}
            told = {**sheet.stand("metrics", question, told), **own}
        shown: dict[str, Any] = {name: _text(value) for name, value in (fields or {}).items()}
        content: dict[str, ArrayRecord | MetricRecord | ConfigRecord] = {}
        if vector is not None:
            check_finite(vector)
            content["arrays"] = arrays.to_record(vector, transport)
        if statistics is not None:
            features = (fields or {})["features"]
            for name, values in sheet.sums(statistics, behind, features).items():
                shown[name] = values.tobytes()
            shown["labels"] = json.dumps(sheet.labels(behind, (fields or {})["classes"]))
        if bins is not None:
            shown["bins"] = sheet.bins(bins, (fields or {})["features"]).tobytes()
        if record is not None:
            shown["record"] = json.dumps(sheet.record(record, behind, question))
        content |= {"metrics": MetricRecord(told), "fields": ConfigRecord(shown)}
        whole = RecordDict(content)
        self._journal.append(
            events.Released(
                run=key.run,
                round=key.round,
                kind=_kind(key.phase, model=vector is not None),
                recipient=self._recipient,
                fingerprint=fingerprint,
                bytes=written(whole),
                patients=disclosure.rounded(behind.patients),
                suppressed=sheet.suppressed,
                earlier=sheet.earlier,
                withheld=tuple(sheet.withheld),
            )
        )
        return Message(whole, reply_to=reply_to)

    def progress(
        self,
        event: events.TrainingProgressed,
        *,
        before: events.TrainingProgressed | None,
        private: bool,
    ) -> events.TrainingProgressed:
        """A report of training under way as others may see it.

        Without its loss under record-level privacy, where that has no noise, and over a stretch of
        fewer examples than the minimum cell.

        Args:
            before: The report before it, up to which the stretch goes back.
        """
        place = (event.run, event.round, event.site)
        follows = before is not None and (before.run, before.round, before.site) == place
        since = before.examples if before is not None and follows else 0
        few = event.examples - (since if since <= event.examples else 0) < self._minimum
        return replace(event, loss=None) if private or few else event

    def nothing(self, *, reply_to: Message) -> Message:
        """The answer to a probe of the link: that it came, and nothing of this site."""
        return Message(
            RecordDict({"metrics": MetricRecord({"num-examples": 1})}), reply_to=reply_to
        )

    def failure(self, error: OperatorError, *, reply_to: Message) -> Message:
        """The reply that says in our own words why there is no answer."""
        words = json.dumps(scrubbed_tree(error.to_json()))
        return Message(FlowerError(FAILED, words), reply_to=reply_to)

    def words(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A request's body about this site itself, without identifiers and with rounded losses.

        Raises:
            PrivacyError: the journal's signed head holds something else than keys and hashes.
        """
        signed = {name: body[name] for name in ("head", "heads") if name in body}
        heads = [signed.get("head") or {}, *(kept["head"] for kept in signed.get("heads", ()))]
        if not all(_HEAD.fullmatch(str(value)) for head in heads for value in head.values()):
            raise PrivacyError("The signed head holds what is no head.", remedy="Restart fedtui.")
        rest: dict[str, Any] = scrubbed_tree({k: v for k, v in body.items() if k not in signed})
        if (progress := rest.get("progress")) is not None:
            progress["loss"] = disclosure.metric(progress["loss"])
        return rest | signed


class _Sheet:
    """One release in the making, and what the journal will say of it."""

    def __init__(self, releases: Releases, cohort: str, minimum: int) -> None:
        self._releases, self._cohort, self.minimum = releases, cohort, minimum
        self.suppressed = 0
        self.withheld: list[str] = []
        self.earlier = ""

    def stand(self, kind: str, question: str, answer: Any, *, across: bool = False) -> Any:
        """``answer``, or what stands in its place; None where nothing may be told."""
        before = self._before(kind, question, across=across)
        if before is not None and (before.changed or before.answer is None):
            return before.answer
        self._releases.keep(kind, self._cohort, {question: answer})
        return answer

    def sums(
        self, raw: Statistics, behind: Behind, features: list[dict[str, Any]]
    ) -> dict[str, NDArray[np.float64]]:
        """Each feature's sums, by themselves: known ones as told before, hidden ones zero."""
        told = np.zeros((len(features), 3))
        fresh: dict[str, list[float]] = {}
        for column, feature in enumerate(features):
            question = records.question(feature)
            before = self._before("statistics", question)
            if before is not None and before.changed:
                told[column] = before.answer
            else:
                exact = [float(raw[name][column]) for name in ("count", "total", "square")]
                told[column] = fresh[question] = self._sum(exact, behind, column, feature)
        self.suppressed += int((told[:, 0] == 0).sum())
        self._releases.keep("statistics", self._cohort, fresh)
        return dict(zip(("count", "total", "square"), told.T.copy(), strict=True))

    def bins(
        self, counts: NDArray[np.int64], features: list[dict[str, Any]]
    ) -> NDArray[np.float64]:
        """Histograms for medians, float64 [features, bins]; all zero where there are too few."""
        told = np.zeros(counts.shape)
        fresh: dict[str, list[float]] = {}
        for column, feature in enumerate(features):
            question = records.question(feature)
            before = self._before("bins", question)
            if before is not None and before.changed:
                told[column] = before.answer
            elif feature["kind"] == "number":  # a yes or no needs no median
                row = counts[column].astype(np.float64)
                told[column] = disclosure.smoothed(row, minimum=self.minimum)
                fresh[question] = told[column].tolist()
                self.suppressed += int(not told[column].any())
        self._releases.keep("bins", self._cohort, fresh)
        return told

    def labels(self, behind: Behind, classes: list[str]) -> list[int | None]:
        """Patients of each class, None where hidden."""
        counts = np.array([behind.classes], dtype=np.int64)
        told = disclosure.told(counts, minimum=self.minimum)[0][:-1]
        shown: list[int | None] = self.stand("labels", records.question(classes), told)
        self.suppressed += shown.count(None)
        return shown

    def record(self, record: Record, behind: Behind, question: str) -> dict[str, Any]:
        """Every part of a record as it is told; of a table that is withheld, no count is."""
        measures: dict[str, Any] = {
            name: records.measure(one, minimum=self.minimum)
            for name, one in record.measures.items()
        }
        histograms = {
            name: records.histogram(one, minimum=self.minimum)
            for name, one in record.histograms.items()
        }
        if question:
            for told in (measures, histograms):
                for name, value in told.items():
                    told[name] = self.stand("measure", records.question(name, question), value)
        tables = {}
        for name, one in record.tables.items():
            by = records.question(one.variables, one.rows, one.columns)
            kind = records.question("table", one.variables, behind.outcome)
            told_table = records.table(one, minimum=self.minimum)
            if one.model:
                asked = records.question(name, by, question)
                tables[name] = self.stand("model table", asked, told_table) if question else (
                    told_table
                )  # fmt: skip
            else:
                stood = self.stand(kind, by, told_table, across=True)
                if stood is None:
                    self.withheld.append(name)
                tables[name] = stood or {
                    **told_table,
                    "counts": [[None] * len(row) for row in told_table["counts"]],
                }
        whole = {"measures": measures, "tables": tables, "histograms": histograms}
        self.suppressed += records.hidden(whole)
        return scrubbed_tree(whole)  # type: ignore[no-any-return]

    def _before(self, kind: str, question: str, *, across: bool = False) -> Earlier | None:
        if not self._cohort:
            raise ValueError("an exact number needs to know whom it is of")
        before = self._releases.earlier(kind, question, self._cohort, across=across)
        if before is not None and before.changed and before.answer is not None:
            self.earlier = time.strftime("%Y-%m-%d", time.gmtime(before.time))
        return before

    def _sum(
        self, exact: list[float], behind: Behind, column: int, feature: dict[str, Any]
    ) -> list[float]:
        counts = feature["kind"] != "number"
        people = [behind.support["patients"][column]]
        if counts:  # how many have it, and how many have it not
            people += [behind.support["positive"][column], behind.support["negative"][column]]
        if min(people) < self.minimum:
            return [0.0, 0.0, 0.0]
        return list(disclosure.coarse(exact[0], exact[1], exact[2], counts=counts))


def written(content: RecordDict) -> int:
    """Bytes of ``content`` with all its parts as Flower writes them, before HTTP and TLS."""
    return sum(len(part.deflate()) for part in get_all_nested_objects(content).values())


def _text(value: Any) -> str:
    return scrubbed(value) if isinstance(value, str) else json.dumps(scrubbed_tree(value))


def _kind(phase: str, *, model: bool) -> str:
    kind = _KINDS.get(phase, phase)
    return f"{kind} and local model" if model and phase == "validate" else kind


def bounded_metrics(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """Finite metrics, rounded; one that is undefined (None, NaN) is left out, never zero."""
    told = {name: disclosure.metric(value) for name, value in metrics.items()}
    return {name: value for name, value in told.items() if value is not None}


def _bounded(metrics: Mapping[str, float], behind: Behind, sheet: _Sheet) -> dict[str, float]:
    # Of two classes both are compared; of many, those that occur.
    classes = [n for n in behind.classes if n or len(behind.classes) == 2]
    few = bool(classes) and min(classes) < sheet.minimum
    kept = {k: v for k, v in metrics.items() if k in _OF_NO_CLASS or not few}
    sheet.suppressed += len(metrics) - len(kept)
    return bounded_metrics(kept)
