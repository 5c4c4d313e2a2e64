"""The one exit for data: whatever leaves this site passes here, is bounded and is journaled.

Statistics below the site's minimum cell are not sent, metrics on too few examples are null, and
numbers are rounded; what went to whom, under which study, is written to the journal first.
"""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from numpy.typing import NDArray

from fedtui import events
from fedtui.errors import PrivacyError
from fedtui.flower import arrays
from fedtui.flower.vectors import Vector, check_finite
from fedtui.flower.work import Key
from fedtui.journal import Journal

METRIC_DECIMALS = 4  # enough to follow a loss, too few to tell one patient's share of it
Scalars = Mapping[str, str | int | float | bytes]


class Exit:
    """The exit of one site: knows its minimum cell and its journal."""

    def __init__(self, journal: Journal, *, minimum_cell: int, recipient: str) -> None:
        self._journal, self._minimum, self._recipient = journal, minimum_cell, recipient

    def release(
        self,
        key: Key,
        fingerprint: str,
        *,
        reply_to: Message,
        examples: int,
        metrics: Mapping[str, float],
        vector: Vector | None = None,
        transport: arrays.Transport = "float32",
        statistics: Mapping[str, NDArray[np.float64]] | None = None,
        fields: Scalars | None = None,
    ) -> Message:
        """The reply to ``reply_to``, holding what may leave and nothing else.

        Args:
            examples: Behind the whole answer; below the minimum cell nothing leaves.
            metrics: Dropped where they are not finite, rounded otherwise.
            statistics: 'count', 'total' and 'square', float64 [features]; a feature measured in
                fewer patients than the minimum cell is sent as all zero.

        Raises:
            PrivacyError: the answer stands on fewer patients than the minimum cell.
        """
        if examples < self._minimum:
            raise PrivacyError(
                f"This site has {key.phase} data of fewer than {self._minimum} patients; "
                "nothing was sent.",
                remedy="Take part with more patients, or ask for a study without this site.",
            )
        shown = ConfigRecord(dict(fields or {}))
        numbers = MetricRecord({"num-examples": examples, **bounded_metrics(metrics)})
        records: dict[str, ArrayRecord | MetricRecord | ConfigRecord] = {
            "metrics": numbers,
            "fields": shown,
        }
        size = 0
        if vector is not None:
            check_finite(vector)
            records["arrays"] = arrays.to_record(vector, transport)
            size += vector.nbytes // (2 if transport == "bfloat16" else 1)
        if statistics is not None:
            safe = suppressed(statistics, minimum=self._minimum)
            for name, values in safe.items():
                shown[name] = values.tobytes()
                size += values.nbytes
        kind = {"prepare": "statistics", "train": "model update", "evaluate": "metrics"}[key.phase]
        self._journal.append(
            events.Released(
                run=key.run,
                round=key.round,
                kind=kind,
                recipient=self._recipient,
                fingerprint=fingerprint,
                bytes=size,
            )
        )
        return Message(RecordDict(records), reply_to=reply_to)

    def progress(self, event: events.TrainingProgressed) -> events.TrainingProgressed:
        """Progress as it may be shown at the other sites: the loss rounded, like any metric."""
        loss = event.loss
        if loss is not None:
            loss = round(loss, METRIC_DECIMALS) if math.isfinite(loss) else None
        return dataclasses.replace(event, loss=loss)


def bounded_metrics(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """Finite metrics, rounded; one that is undefined (None, NaN) is left out, never zero."""
    return {
        name: round(float(value), METRIC_DECIMALS)
        for name, value in metrics.items()
        if value is not None and math.isfinite(value)
    }


def suppressed(
    statistics: Mapping[str, NDArray[np.float64]], *, minimum: int
) -> dict[str, NDArray[np.float64]]:
    """``statistics`` with every feature below ``minimum`` patients set to zero throughout."""
    keep = statistics["count"] >= minimum
    return {name: np.where(keep, values, 0.0) for name, values in statistics.items()}
