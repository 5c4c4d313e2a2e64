"""In the trainer: the data at hand, and whose they are, for the site's lists, journal and exit."""

import hashlib
import hmac
from pathlib import Path
from typing import Any

import numpy as np

import datasets
from datasets import Dataset
from datasets._splits import sealed
from fedtui import study as studies
from fedtui.errors import DataError
from fedtui.flower import brought, patients, work
from fedtui.study import Study


class Cohorts:
    """One data set after the other, each loaded once.

    Args:
        secret: The site's own, under which patients are listed and numbered; None where nobody is.
    """

    def __init__(self, secret: bytes | None) -> None:
        self._secret = secret
        self._data: dict[str, Dataset] = {}
        self._fresh: dict[str, Any] | None = None
        self._people: dict[str, dict[str, Any]] = {}  # by split, of the data at hand
        self._listed: tuple[Dataset | None, dict[str, Any]] = (None, {})

    def load(self, study: Study, source: dict[str, Any]) -> Dataset:
        """The study's data, from their ``source`` at this site.

        Raises:
            DataError: their schema is not the one that the study agreed on.
        """
        key = brought.data_key(study, source)
        if key not in self._data:
            self._data = {}  # one at a time: a hospital's memory is not ours
            self._people = {}
            data = datasets.load(
                study.data, part=source["part"], seed=study.seed, **brought.places(source)
            )
            self._data = {key: data}
            self._fresh = {
                "data": data.name,
                "part": data.part,
                # In the journal, of which a part is exported: nobody else may guess from it.
                "cohort": patients.cohort(data, self._secret) if self._secret else "",
                "excluded": data.excluded.patients if data.excluded else 0,
                "unmatched": data.excluded.unmatched if data.excluded else 0,
            }
        if study.schema and (here := self._data[key].schema_hash) != study.schema:
            raise DataError(
                f"The data of {study.data} have schema {here[:12]} here, and study {study.id} is "
                f"of {study.schema[:12]}.",
                remedy="Bring names, units, ranges and classes to what was agreed on.",
            )
        return self._data[key]

    def behind(self, data: Dataset, split: str, order: dict[str, Any]) -> dict[str, Any]:
        """Whom an answer is of, for the exit: how many, and a file with their sealed numbers."""
        if split not in self._people:
            examples = getattr(data, split)
            digest = ""
            if self._secret is not None:
                # One data set's numbers mean nothing in another, unless both are of one folder.
                domain = order["source"]["path"] or data.name
                key = hmac.digest(self._secret, f"cohort {domain}".encode(), "sha256")
                people = sealed(examples.groups, key=key).astype("<u8").tobytes()
                digest = hashlib.sha256(people).hexdigest()
                file = Path(order["cohorts"], f"{digest}.u64")
                if not file.exists():
                    work.write_atomically(file, people, durable=True)
            self._people[split] = {
                "patients": len(np.unique(examples.groups)),
                "classes": [
                    len(np.unique(examples.groups[examples.y == label]))
                    for label in range(len(data.classes))
                ],
                "outcome": f"{data.name}: {', '.join(data.classes)}",
                "cohort": digest,
            }
        return self._people[split]

    def listed(self, order: dict[str, Any]) -> dict[str, Any] | None:
        """Load an order's data and list whose they are, where the site keeps such lists."""
        if not order.get("audit") or self._secret is None:
            return None
        data = self.load(studies.parse(order["study"].encode()), order["source"])
        if self._listed[0] is not data:
            self._listed = (data, patients.keep(data, Path(order["audit"]), self._secret))
        return {**self._listed[1], "action": order["do"]}

    def loaded(self) -> dict[str, Any] | None:
        """Which data were read since this was asked last, for the site's own journal."""
        fresh, self._fresh = self._fresh, None
        return fresh
