"""What this site does when Flower calls: a genuine ``NumPyClient`` behind a ``ClientApp``."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Context, Message
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from fedtui import events
from fedtui.errors import DataError
from fedtui.flower import arrays, crash, work
from fedtui.flower.assignment import Assignment
from fedtui.flower.ledger import Ledger
from fedtui.flower.records import Behind
from fedtui.flower.release import Exit
from fedtui.flower.vectors import RefusedError, Vector, hash_of
from fedtui.flower.work import Answer, Work
from fedtui.flower.workbench import Progress, Workbench
from fedtui.site import Site
from fedtui.study import Study

Config = dict[str, Any]
_FIELDS = ("manifest", "features", "classes", "schema", "statistics", "bins", "behind", "results")
_AGREED = ("manifest", "features", "classes", "schema")  # must be the same at all sites


class SiteClient(NumPyClient):
    """One assignment at this site: answered from the store, or worked out by the trainer."""

    def __init__(
        self,
        assignment: Assignment,
        *,
        site: Site,
        work: Work,
        bench: Workbench,
        ledger: Ledger,
        on_progress: Callable[[events.TrainingProgressed], None],
        on_event: Callable[[events.Event], None],
        cohorts: Path,
        audit: Path,
        on_access: Callable[[str, Study, str, dict[str, Any]], None],
    ) -> None:
        self._assignment, self._site = assignment, site
        self._work, self._bench, self._on_progress = work, bench, on_progress
        self._ledger, self._on_event, self._cohorts = ledger, on_event, cohorts
        self._audit, self._on_access = audit, on_access
        self._vector: Vector | None = None
        self.behind = Behind(patients=0, cohort="")  # of the last answer
        self.seconds = 0.0
        self.stored = False

    def get_properties(self, config: Config) -> Config:
        """What this site brings to the study: manifest, schema, count, sum, square."""
        answer, vector = self._answer(None)
        self._vector = vector
        return {**answer.fields, "examples": answer.examples}

    def get_parameters(self, config: Config) -> list[Vector]:
        """The first model, where this site was asked to draw it."""
        return [] if self._vector is None else [self._vector]

    def fit(
        self, parameters: list[NDArray[Any]], config: Config
    ) -> tuple[list[Vector], int, Config]:
        """One round of local work from the joint model."""
        answer, vector = self._answer(parameters[0])
        assert vector is not None
        return [vector], answer.examples, dict(answer.metrics)

    def evaluate(self, parameters: list[NDArray[Any]], config: Config) -> tuple[float, int, Config]:
        """The joint model on this site's own test examples."""
        answer, _ = self._answer(parameters[0])
        return answer.metrics.get("loss", math.nan), answer.examples, dict(answer.metrics)

    def validate(
        self, joint: Vector, more: dict[str, Any], terms: bytes
    ) -> tuple[Answer, Vector | None]:
        """What the run's models are worth here; ``more`` joins the trainer's order."""
        return self._answer(joint, more, terms)

    @property
    def minimum_cell(self) -> int:
        """Fewest patients that a number of this site may stand on."""
        return self._site.limits.minimum_cell

    def _answer(
        self, vector: Vector | None, more: dict[str, Any] | None = None, terms: bytes = b""
    ) -> tuple[Answer, Vector | None]:
        task = self._assignment
        terms += json.dumps([task.normalisation, task.initial]).encode()
        terms += f"share {task.share!r}".encode() if task.share < 1 else b""
        question = work.question(task.fingerprint, vector, terms)
        if stored := self._work.answer(task.key, question):
            self.stored = True
            self.behind = Behind.of(stored[0].fields["behind"])
            return stored
        self._work.begin(task.key, vector)
        crash.point("agent.persisted", task.key.round)
        self._work.finish(task.key, answer := self._compute(question, more or {}))
        crash.point("agent.answered", task.key.round)
        self.seconds = answer.seconds
        self.behind = Behind.of(answer.fields["behind"])
        result = self._work.answer(task.key, question)
        if result is None:
            raise DataError(
                "The trainer's answer was damaged on its way to the disk.",
                remedy="Check the disk under the home, then start the run again.",
            )
        return result

    def _beside(self, more: dict[str, Any]) -> list[Path]:
        """Also where a validation keeps its models, which outlast the work."""
        return [Path(more["folder"], "validate.terms")] if "folder" in more else []

    def _compute(self, question: str, more: dict[str, Any]) -> Answer:
        task = self._assignment
        source = self._site.data.get(task.study.data)
        if source is None:
            raise DataError(
                f"This site offers no data set '{task.study.data}'.",
                remedy=f"Add [data.{task.study.data}] to site.toml if it should take part.",
            )
        private = bool(task.study.privacy) and task.key.phase == "train"
        order = {
            "do": task.key.phase,
            "study": task.text,
            "source": {
                "path": _path(source.path),
                "part": source.part,
                "excluded": _path(source.excluded),
            },
            "round": task.key.round,
            "normalisation": task.normalisation,
            "initial": task.initial,
            "share": task.share,
            "input": str(self._work.input(task.key)),
            "output": str(self._work.output(task.key)),
            "local": _path(self._work.local_before(task.key)),
            "keep": str(self._work.local(task.key)),
            "bookmark": str(self._work.bookmark(task.key)),
            "question": question,
            "cohorts": str(self._cohorts),
            "answered": 0,
            "counted": self._ledger.counted(task.key.run) if task.study.privacy else None,
            "weights": _path(self._site.weights.get(task.study.model)),
            "fingerprint": task.fingerprint,
            "audit": _path(self._audit) if source.path is not None else None,
            **more,
        }

        promise = self._promised(order) if private else {}
        for place in (self._work.terms(task.key), *self._beside(more)):  # an audit repeats it
            work.write_atomically(place, json.dumps(order).encode())

        def progress(step: int, steps: int, loss: float | None, examples: int) -> None:
            self._on_progress(
                events.TrainingProgressed(
                    run=task.key.run,
                    round=task.key.round,
                    site=self._site.name,
                    step=step,
                    steps=steps,
                    loss=loss,
                    examples=examples,
                )
            )

        done = self._ordered(order, progress)
        if task.normalisation and (task.key.round, task.key.phase) == (1, "evaluate"):
            mean, deviation = (tuple(row) for row in task.normalisation[:2])
            self._on_event(
                events.ScaleAgreed(
                    run=task.key.run, data=task.study.data, mean=mean, deviation=deviation
                )
            )
        metrics = done.get("metrics", {})
        if "epsilon" in done:
            metrics["epsilon"] = done["epsilon"]
            self._ledger.spend(
                task.key,
                task.study,
                promise["question"],
                place=promise["place"],
                epsilon=done["epsilon"],
                delta=done["delta"],
                tight=done.get("tight"),
                counted=promise["counted"],
            )
        fields = {name: done[name] for name in _FIELDS if name in done}
        return Answer(
            question=question,
            examples=done["examples"],
            metrics={k: v for k, v in done.get("metrics", {}).items() if v is not None},
            seconds=done.get("seconds", 0.0),
            fields=fields,
            vector=done.get("vector", ""),
        )

    def _ordered(self, order: dict[str, Any], progress: Progress | None = None) -> dict[str, Any]:
        """Have the trainer do it; whose data it read is journaled."""
        task = self._assignment
        done = self._bench.do(
            order,
            progress,
            lambda read: self._on_access(task.key.run, task.study, task.fingerprint, read),
            lambda pieces: self._on_event(
                events.BatchSplit(run=task.key.run, round=task.key.round, pieces=pieces)
            ),
        )
        if loaded := done.get("loaded"):
            self._on_event(events.CohortLoaded(**loaded))
        return done

    def _promised(self, order: dict[str, Any]) -> dict[str, Any]:
        """What the trainer says of a round under record-level privacy, admitted by the ledger.

        Completes ``order``: an answer over other data than were paid for is refused there.
        """
        task = self._assignment
        promise = self._ordered({**order, "do": "promise"})
        order["paid"] = promise["question"]
        order["answered"] = self._ledger.admit(
            task.key,
            task.study,
            promise["question"],
            place=promise["place"],
            wanted=promise["epsilon"],
        )
        return promise


def _path(path: Path | None) -> str | None:
    return None if path is None else str(path)


def create_app(
    read: Callable[[Message], Assignment],
    make_client: Callable[[Assignment], SiteClient],
    exit: Exit,
) -> ClientApp:
    """The ClientApp of this site: the only code that a Flower message can reach."""
    app = ClientApp()

    def parameters(message: Message, task: Assignment) -> list[NDArray[Any]]:
        record, size = message.content.array_records["arrays"], task.size
        if size is None:
            size = math.prod(record[arrays.NAME].shape) if arrays.NAME in record else 0
        try:
            return [arrays.from_record(record, size=size, transport=task.transport)]
        except RefusedError as error:
            raise DataError(
                f"The joint model does not fit the manifest: {error}",
                remedy="Check that the coordinator and this site run the same fedtui.",
            ) from error

    @app.query()
    def prepare(message: Message, _: Context) -> Message:
        task = read(message)
        client = make_client(task)
        properties = client.get_properties({})
        if task.normalisation is not None:  # the second step: counts on the agreed scale
            return exit.release(
                task.key,
                task.fingerprint,
                reply_to=message,
                examples=properties["examples"],
                metrics={"seconds": client.seconds},
                behind=client.behind,
                bins=np.asarray(properties["bins"], dtype=np.int64),
                fields={"features": properties["features"]},
            )
        first = client.get_parameters({})
        statistics = {
            name: np.asarray(values, dtype=np.float64)
            for name, values in properties["statistics"].items()
        }
        return exit.release(
            task.key,
            task.fingerprint,
            reply_to=message,
            examples=properties["examples"],
            metrics={"seconds": client.seconds},
            behind=client.behind,
            vector=first[0] if first else None,
            statistics=statistics,
            fields={name: properties[name] for name in _AGREED},
        )

    @app.train()
    def train(message: Message, _: Context) -> Message:
        task = read(message)
        client = make_client(task)
        start = parameters(message, task)
        vectors, examples, metrics = client.fit(start, {})
        change = task.transport == "bfloat16"  # 8 bits of a small step, not of a large sum
        return exit.release(
            task.key,
            task.fingerprint,
            reply_to=message,
            examples=examples,
            metrics={**metrics, "seconds": client.seconds},
            behind=client.behind,
            vector=vectors[0] - start[0] if change else vectors[0],
            transport=task.transport,
            private=bool(task.study.privacy),
        )

    @app.evaluate()
    def evaluate(message: Message, _: Context) -> Message:
        task = read(message)
        client = make_client(task)
        joint = parameters(message, task)
        loss, examples, metrics = client.evaluate(joint, {})
        return exit.release(
            task.key,
            task.fingerprint,
            reply_to=message,
            examples=examples,
            metrics={"loss": loss, **metrics, "seconds": client.seconds},
            behind=client.behind,
            question=hash_of(joint[0]),
        )

    return app
