"""A site's work in hand and its stored answers, so that nothing is computed twice.

Work is keyed (run, round, phase); with this home's site that is the protocol's whole key. An
answer counts only for the same question: the study's fingerprint and the model it began from.
"""

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedtui.events import Phase
from fedtui.flower.vectors import Vector, bytes_of, hash_of

PROBE = "probe"  # the phase of a message that only asks whether messages come through
_KEPT_ROUNDS = 2  # the coordinator asks at most for its last unfinished round again


@dataclass(frozen=True, slots=True)
class Key:
    """One piece of work at this site."""

    run: str
    round: int
    phase: Phase

    def __str__(self) -> str:
        return f"{self.run}/{self.round:05d}-{self.phase}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the trainer made of a piece of work; the vector, if any, lies in a file beside it.

    Attributes:
        question: Hex sha256 of fingerprint and starting model: what this answers.
        examples: How many examples stand behind it.
        metrics: Finite numbers by name.
        fields: Further JSON values of the phase, e.g. the manifest.
        vector: Hex sha256 of the vector's bytes, empty without one.
    """

    question: str
    examples: int
    metrics: dict[str, float]
    seconds: float
    fields: dict[str, Any]
    vector: str = ""


def question(fingerprint: str, vector: Vector | None, settings: bytes = b"") -> str:
    """Hex sha256 that names a question."""
    digest = hashlib.sha256(fingerprint.encode() + hashlib.sha256(settings).digest())
    if vector is not None:
        digest.update(bytes_of(vector))
    return digest.hexdigest()


class Work:
    """The folder of one home's work."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, exist_ok=True)

    def input(self, key: Key) -> Path:
        """Where the starting model of ``key`` lies for the trainer, float32 bytes."""
        return self._folder / f"{key}.in"

    def output(self, key: Key) -> Path:
        """Where the trainer leaves its vector, float32 bytes."""
        return self._folder / f"{key}.out"

    def terms(self, key: Key) -> Path:
        """The order that the trainer had, JSON: an audit repeats what it says of the study."""
        return self._folder / f"{key}.terms"

    def local(self, key: Key) -> Path:
        """Where the trainer leaves what this site keeps for itself, float32 bytes."""
        return self._folder / key.run / f"{key.round:05d}-local"

    def bookmark(self, key: Key) -> Path:
        """Where the trainer keeps how far a long round is; gone when it is done."""
        return self._folder / f"{key}.mid"

    def local_before(self, key: Key) -> Path | None:
        """What this site kept the last time it trained, or None; evaluation follows training."""
        last = key.round - 1 if key.phase == "train" else key.round
        kept = sorted((self._folder / key.run).glob("*-local"))
        return next((path for path in reversed(kept) if int(path.name[:5]) <= last), None)

    def begin(self, key: Key, vector: Vector | None) -> None:
        """Put the starting model where the trainer finds it, and clear older rounds away."""
        folder = self._folder / key.run
        if not folder.exists():  # a coordinator has one run at a time: others are over
            for other in self._folder.iterdir():
                self.forget(other.name)
        folder.mkdir(mode=0o700, exist_ok=True)
        self._prune(folder, key.round)
        if vector is not None:
            write_atomically(self.input(key), bytes_of(vector))

    def finish(self, key: Key, answer: Answer) -> None:
        """Keep ``answer`` until the rounds after it are done."""
        write_atomically(self._answer(key), json.dumps(asdict(answer)).encode())
        if key.phase != "evaluate":  # the joint model may be audited before it leaves
            self.input(key).unlink(missing_ok=True)

    def answer(self, key: Key, question: str) -> tuple[Answer, Vector | None] | None:
        """The stored answer to exactly this question, whole and unaltered, else None."""
        try:
            answer = Answer(**json.loads(self._answer(key).read_bytes()))
            vector = None
            if answer.vector:
                vector = np.fromfile(self.output(key), dtype="<f4")
                if hash_of(vector) != answer.vector:
                    return None
        except (OSError, ValueError, TypeError):  # absent or half-written: compute it again
            return None
        return (answer, vector) if answer.question == question else None

    def held(self) -> list[str]:
        """Keys with a stored answer, for the coordinator's eyes."""
        return sorted(
            str(path.relative_to(self._folder)).removesuffix(".json")
            for path in self._folder.glob("*/*.json")
        )

    def forget(self, run: str) -> None:
        """Drop everything of a run that is over."""
        shutil.rmtree(self._folder / run, ignore_errors=True)

    def _answer(self, key: Key) -> Path:
        return self._folder / f"{key}.json"

    def _prune(self, folder: Path, round: int) -> None:
        latest = max(folder.glob("*-local"), default=None)  # of a site that sat out some rounds
        for path in folder.iterdir():
            if path != latest and int(path.name[:5]) <= round - _KEPT_ROUNDS:
                path.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes | memoryview, *, durable: bool = False) -> None:
    """Replace ``path`` in one step, mode 0600; ``durable`` survives a power cut as well."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with os.fdopen(os.open(scratch, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    scratch.replace(path)
    if durable:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
