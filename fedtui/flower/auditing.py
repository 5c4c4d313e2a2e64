"""Audits of a model before it leaves: ordered at the agent, worked out by the trainer, journaled.

What is attacked lies in the home already: a round's update and the joint model as this site last
measured it in its work, the model it trained alone beside it.
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.numpy import load as load_tensors

from fedtui import events
from fedtui import study as studies
from fedtui.errors import BusyError, OperatorError, ResourceError, UsageError
from fedtui.flower.vectors import hash_of
from fedtui.flower.workbench import Workbench
from fedtui.journal import Journal
from fedtui.site import Home, load
from fedtui.study import Study

_TOLD_SECONDS = 1.0
_JOINT = "joint.safetensors"
_FILES: dict[str, tuple[str, ...]] = {
    "local update": ("work/*/*-train.out",),
    "global model": (f"models/*/{_JOINT}", "work/*/*-evaluate.in"),
    "local model": ("models/*/local-*.safetensors",),
}
_LONGEST_SECONDS = 3600.0
Access = Callable[[str, Study, str, dict[str, Any]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """One model to audit: where it lies, and the terms of the work that it came from."""

    run: str
    round: int
    object: events.Audited
    file: Path
    terms: dict[str, Any]

    @property
    def digest(self) -> str:
        """Hex sha256 of the joint model's vector, or of the file: audited anew once it changes."""
        if self.file.name == _JOINT:
            return hash_of(load_tensors(self.file.read_bytes())["parameters"])
        with self.file.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


class Audits:
    """One audit at a time, in a thread of its own.

    Args:
        busy: What the site is at, in a word; empty while it waits for work.
        on_access: Told whose data are read, before they are used.
    """

    def __init__(
        self,
        home: Home,
        bench: Workbench,
        journal: Journal,
        *,
        busy: Callable[[], str],
        on_access: Access,
    ) -> None:
        self._home, self._bench, self._journal = home, bench, journal
        self._busy, self._on_access = busy, on_access
        self._lock = threading.Lock()

    def order(self, request: dict[str, Any]) -> dict[str, Any]:
        """Begin an audit; what it finds comes as an event.

        Args:
            request: ``object``, ``run`` ('' for the last), ``seconds``, ``bundle`` (a path, or '')
                and ``again``; without it a verdict on this very model is answered as it stands.

        Raises:
            UsageError: there is no such model here, or the request is not understood.
            BusyError: this site is at work, or audits already.
        """
        try:
            kind: events.Audited = request["object"]
            seconds = float(request["seconds"])
            bundle, again = str(request["bundle"]), bool(request["again"])
            if not 0 < seconds <= _LONGEST_SECONDS:
                raise ValueError
            subject = self._find(str(request["run"]), kind)
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(
                "The agent does not understand this audit.",
                remedy="Use the same fedtui everywhere.",
            ) from error
        if not again and (known := self._known(subject)):
            return {"audited": events.to_fields(known)}
        if doing := self._busy():
            raise BusyError(
                f"This site is at work ({doing}); an audit would hold up the others.",
                remedy="Wait for the end of the run, or pause it, and order the audit again.",
            )
        if not self._lock.acquire(blocking=False):
            raise BusyError("An audit is under way here.", remedy="Wait for its verdict.")
        after = self._journal.head()[0]
        order = {
            **subject.terms,
            "do": "audit",
            "object": kind,
            "round": subject.round,
            "input": str(subject.file),
            "seconds": seconds,
            "bundle": bundle,
            "minimum": load(self._home).limits.minimum_cell,
        }
        thread = threading.Thread(
            target=self._audit, args=(subject, order), name="audit", daemon=True
        )
        thread.start()
        return {"run": subject.run, "round": subject.round, "object": kind, "after": after}

    def _audit(self, subject: _Subject, order: dict[str, Any]) -> None:
        told = time.monotonic()
        study = studies.parse(subject.terms["study"].encode())
        fingerprint = str(subject.terms["fingerprint"])

        def progress(step: int, steps: int, *_: object) -> None:
            nonlocal told
            if step in (1, steps) or time.monotonic() - told >= _TOLD_SECONDS:
                told = time.monotonic()
                self._journal.append(
                    events.AuditProgressed(
                        run=subject.run, object=subject.object, step=step, steps=steps
                    )
                )

        try:
            digest = subject.digest
            done = self._bench.do(
                order,
                progress,
                lambda read: self._on_access(subject.run, study, fingerprint, read),
            )
            if loaded := done.get("loaded"):
                self._journal.append(events.CohortLoaded(**loaded))
            found: events.Event = events.LeakageAudited(
                run=subject.run,
                round=subject.round,
                object=subject.object,
                vector=digest,
                fingerprint=fingerprint,
                **{**done["leakage"], "reasons": tuple(done["leakage"]["reasons"])},
            )
        except (OperatorError, OSError) as error:
            named = error if isinstance(error, OperatorError) else _lost()
            found = events.AuditFailed(
                run=subject.run,
                object=subject.object,
                error=type(named).__name__,
                message=str(named),
                remedy=named.remedy,
            )
        finally:
            self._lock.release()
        self._journal.append(found)

    def _find(self, run: str, kind: events.Audited) -> _Subject:
        """The newest such model of the run, or of the newest run that has one."""
        found = [
            path
            for pattern in _FILES[kind]
            for path in self._home.path.glob(pattern)
            if run in ("", path.parent.name)
        ]
        for path in sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True):
            name = path.parent.name
            places = (self._home.work / name, self._home.models / name)
            terms = [file for place in places for file in sorted(place.glob("*.terms"))]
            if terms:
                order: dict[str, Any] = json.loads(terms[-1].read_bytes())
                digits = "".join(c for c in path.stem if c.isdigit())
                return _Subject(
                    run=name,
                    round=int(digits or studies.parse(order["study"].encode()).rounds),
                    object=kind,
                    file=path,
                    terms=order,
                )
        raise UsageError(
            f"This site holds no {kind} of run {run}." if run else f"This site holds no {kind}.",
            remedy="A run's last update is kept until another begins, its models once validated.",
        )

    def _known(self, subject: _Subject) -> events.LeakageAudited | None:
        digest = subject.digest
        for record in reversed(self._journal.own(("LeakageAudited",))):
            event = record.event
            assert isinstance(event, events.LeakageAudited)
            if (event.run, event.object, event.vector) == (subject.run, subject.object, digest):
                return event
        return None


def _lost() -> OperatorError:
    return ResourceError(
        "The model to audit could not be read.", remedy="Check the disk under the home."
    )
