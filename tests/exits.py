"""A site's exit with its journal, and answers that are to leave through it."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

import datasets
from datasets import Feature, Split
from fedtui import events, journal
from fedtui.flower.records import Behind
from fedtui.flower.release import Exit
from fedtui.flower.releases import Releases
from fedtui.flower.work import Key
from fedtui.journal import Journal

MINIMUM = 10
FEATURES = (
    Feature(name="age", unit="years", low=18, high=110),
    Feature(name="smoker", kind="binary", low=0, high=1),
    Feature(name="lactate", unit="mmol/l"),
)
CLASSES = ["alive", "dead"]


@dataclass
class Way:
    """An exit with a real journal and a real memory."""

    exit: Exit
    book: Journal
    folder: Path

    def cohort(self, people: range | list[int]) -> str:
        """Leaves who is in it where the trainer would; returns its name."""
        name = f"{min(people)}-{max(people)}-{len(people)}"
        np.array(sorted(people), dtype="<u8").tofile(self.exit.cohorts / f"{name}.u64")
        return name

    def released(self) -> events.Released:
        event = self.book.own(("Released",))[-1].event
        assert isinstance(event, events.Released)
        return event


def message() -> Message:
    TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1
    return Message(RecordDict({"config": ConfigRecord()}), 7, "query")


def patients(people: range | list[int], *, smokers: int = 40, lactate: int = 60) -> Split:
    """One row a patient; values depend on the patient alone."""
    ids = np.array(people)
    x = np.stack([20 + ids % 70, ids < smokers, 1 + ids / 50], axis=1).astype(np.float32)
    mask = np.ones(x.shape, dtype=np.bool_)
    mask[:, 2] = ids < lactate
    y = (ids % 3 == 0).astype(np.int32)
    return Split(x=np.where(mask, x, 0), mask=mask, y=y, groups=ids.astype(np.int64))


def behind(way: Way, split: Split) -> Behind:
    people = np.unique(split.groups)
    support = datasets.support(split)._asdict()
    classes = tuple(len(np.unique(split.groups[split.y == label])) for label in (0, 1))
    return Behind(
        patients=len(people), cohort=way.cohort(people.tolist()), classes=classes, support=support
    )


def prepare(way: Way, split: Split, features: tuple[Feature, ...] = FEATURES) -> dict[str, Any]:
    """Round 0 through the exit: what arrives."""
    reply = way.exit.release(
        Key("r", 0, "prepare"),
        "f" * 64,
        reply_to=message(),
        examples=len(split),
        metrics={"seconds": 1.0},
        behind=behind(way, split),
        statistics=datasets.statistics(split)._asdict(),
        fields={"features": [asdict(f) for f in features], "classes": CLASSES},
    )
    fields = dict(reply.content.config_records["fields"])
    sums = {
        name: np.frombuffer(fields[name], dtype="<f8")  # type: ignore[arg-type]
        for name in ("count", "total", "square")
    }
    return {**sums, "labels": json.loads(str(fields["labels"])), "reply": reply}


def evaluate(way: Way, split: Split, question: str, **metrics: float) -> dict[str, Any]:
    reply = way.exit.release(
        Key("r", 1, "evaluate"),
        "f" * 64,
        reply_to=message(),
        examples=len(split),
        metrics=metrics,
        behind=behind(way, split),
        question=question,
    )
    return dict(reply.content.metric_records["metrics"])


@contextlib.contextmanager
def way_out(folder: Path) -> Iterator[Way]:
    """An exit that keeps its journal and its memory in ``folder``."""
    journal.create(folder / "journal.db")
    book = Journal(folder / "journal.db", source="agent")
    releases = Releases(folder / "releases", minimum=MINIMUM)
    exit = Exit(book, minimum_cell=MINIMUM, recipient="coordinator a:1", releases=releases)
    yield Way(exit, book, folder / "releases")
    releases.close()
    book.close()
