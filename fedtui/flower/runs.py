"""The coordinator's runs: submitted, carried out one after the other, resumed after any end."""

import contextlib
import json
import queue
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from fedtui import events, keys
from fedtui import study as studies
from fedtui.errors import BusyError, OperatorError, UsageError
from fedtui.flower import checkpoints, fitting, interop, matrix
from fedtui.flower.control import Control, StoppedError
from fedtui.flower.course import Course, Run
from fedtui.flower.fleet import Fleet
from fedtui.flower.grid import DirectGrid
from fedtui.flower.presence import Presence
from fedtui.flower.probing import Probe
from fedtui.flower.strategy import Terms
from fedtui.flower.studies import Studies
from fedtui.flower.work import write_atomically
from fedtui.journal import Journal
from fedtui.site import Home
from fedtui.study import Study


class Runs:
    """Every run of one coordinator; a thread carries them out, one at a time."""

    def __init__(
        self,
        home: Home,
        journal: Journal,
        fleet: Fleet,
        presence: Presence,
        agreements: Studies,
        *,
        site: str,
    ) -> None:
        self._home, self._journal, self._site = home, journal, site
        self._agreements = agreements
        self._key = keys.load_private(home.keys / "node.key")
        self._fleet, self._presence = fleet, presence
        self.probe = Probe(fleet, presence)
        self._queue: queue.Queue[Callable[[], events.RunEnded | events.ValidationEnded]] = (
            queue.Queue()
        )
        self._lock = threading.Lock()
        self._active: Run | None = None
        self._control = Control()

    @property
    def current(self) -> str | None:
        """The id of the run that is submitted and not over."""
        return self._active.id if self._active else None

    @property
    def storage(self) -> str:
        """What the disk says while the run waits for it, else empty."""
        return self._control.storage if self._active else ""

    def begin(self) -> None:
        """Take up the unfinished run, if there is one, and wait for others."""
        records = self._journal.own(("RunSubmitted", "RunEnded", "RunPaused"))
        open_runs: dict[str, bool] = {}
        for event in (record.event for record in records):
            if isinstance(event, events.RunSubmitted):
                open_runs[event.run] = False
            elif isinstance(event, events.RunPaused):
                open_runs[event.run] = event.paused
            elif isinstance(event, events.RunEnded):
                open_runs.pop(event.run, None)
        for id, paused in open_runs.items():
            self._active = self._load(id)
            self._control = Control(paused=paused)
            self._queue.put(partial(self._carry_out, self._active, resumed=True))
        for id, attempt in self._unfinished_validations():
            self._active = self._load(id)
            self._queue.put(partial(self._validate, self._active, attempt))
        threading.Thread(target=self._work, name="runs", daemon=True).start()

    def submit(self, text: str, *, alone: str) -> Run:
        """Make a run of the study in ``text`` (canonical JSON) and start it.

        Raises:
            UsageError: the study names sites, data, a model or settings that do not exist.
            TrustError: it expired, or a site that it names has not approved it.
            BusyError: another run is not over.
        """
        study = studies.parse(text.encode())
        self._check(study, alone)
        self._agreements.require(study)
        with self._lock:
            if self._active is not None:
                raise BusyError(
                    f"Run {self._active.id} is not over.",
                    remedy="Wait for it, or stop it with 'fedtui stop'.",
                )
            run = Run(id=self._new_id(study), study=study, alone=alone)
            folder = self._folder(run.id)
            folder.mkdir(parents=True, mode=0o700)
            document = {"study": studies.canonical(study).decode(), "alone": alone}
            write_atomically(folder / "run.json", json.dumps(document).encode(), durable=True)
            self._journal.append(
                events.RunSubmitted(
                    run=run.id,
                    study=study.id,
                    fingerprint=studies.fingerprint(study),
                    sites=tuple(sorted(study.sites)),
                    train_sites=run.train_sites,
                    rounds=study.rounds,
                    metric=study.metric,
                    interop=study.interop,
                )
            )
            self._active, self._control = run, Control()
        self._queue.put(partial(self._carry_out, run, resumed=False))
        return run

    def validate(self, id: str) -> dict[str, Any]:
        """Ask every site what a run's models are worth there; the last completed run by default.

        Raises:
            UsageError: there is no such run, or it did not come to its end.
            BusyError: another run is not over.
        """
        ended = [r.event for r in self._journal.own(("RunEnded",))]
        completed = [
            e.run for e in ended if isinstance(e, events.RunEnded) and e.outcome == "completed"
        ]
        if not completed or id not in ("", *completed):
            raise UsageError(
                f"Run {id} is none that was completed here." if id else "No run is completed yet.",
                remedy="See 'fedtui runs'.",
            )
        with self._lock:
            if self._active is not None:
                raise BusyError(
                    f"Run {self._active.id} is not over.",
                    remedy="Wait for it, or stop it with 'fedtui stop'.",
                )
            run = self._load(id or completed[-1])
            if run.study.interop:
                raise UsageError(
                    "Stock Flower peers cannot validate.", remedy="Use a study without interop."
                )
            attempt = 1 + sum(
                isinstance(r.event, events.ValidationStarted) and r.event.run == run.id
                for r in self._journal.own(("ValidationStarted",))
            )
            self._journal.append(
                events.ValidationStarted(
                    run=run.id, attempt=attempt, sites=tuple(sorted(run.study.sites))
                )
            )
            self._active, self._control = run, Control()
        self._queue.put(partial(self._validate, run, attempt))
        return {"run": run.id, "attempt": attempt}

    def stop(self, id: str) -> dict[str, Any]:
        """End the run before its time; what it reached stays in its last checkpoint."""
        run = self._named(id)
        self._control.stopped = True
        self._fleet.notify()
        return {"run": run.id}

    def pause(self, id: str, *, paused: bool) -> dict[str, Any]:
        """Hold the run between two exchanges, or let it go on."""
        run = self._named(id)
        if self._control.paused != paused:
            self._journal.append(events.RunPaused(run=run.id, paused=paused))
            self._control.paused = paused
        return {"run": run.id, "paused": paused}

    def _named(self, id: str) -> Run:
        if self._active is None or id not in ("", self._active.id):
            raise UsageError(
                f"Run {id} is not under way." if id else "No run is under way.",
                remedy="See 'fedtui status'.",
            )
        return self._active

    def _check(self, study: Study, alone: str) -> None:
        fitting.check_sites(self._home, study, self._fleet.sites)
        if alone and alone not in study.sites:
            raise UsageError(
                f"{alone} is not a site of this study.", remedy=f"Choose {', '.join(study.sites)}."
            )
        fitting.check(study)

    def _new_id(self, study: Study) -> str:
        stem = f"{study.id.lower()}-{time.strftime('%y%m%d-%H%M%S', time.gmtime())}"
        id, number = stem, 2
        while self._folder(id).exists():
            id, number = f"{stem}-{number}", number + 1
        return id

    def _folder(self, id: str) -> Path:
        return self._home.runs / id

    def _load(self, id: str) -> Run:
        document = json.loads((self._folder(id) / "run.json").read_bytes())
        study = studies.parse(document["study"].encode())
        return Run(id=id, study=study, alone=document["alone"])

    # Carrying runs out.

    def _work(self) -> None:
        while True:
            carry_out = self._queue.get()
            with self.probe.free:
                ended = carry_out()
            with self._lock:
                self._active = None
                self._journal.append(ended)
            # What people approved is followed by what it was worth; a rehearsal is not.
            if isinstance(ended, events.RunEnded) and ended.outcome == "completed":
                study = self._load(ended.run).study
                if study.approvers and not study.interop:
                    with contextlib.suppress(BusyError):
                        self.validate(ended.run)

    def _carry_out(self, run: Run, *, resumed: bool) -> events.RunEnded:
        grid = DirectGrid(
            self._fleet,
            self._presence,
            self._journal,
            run=run.id,
            quorum=run.study.quorum,
            control=self._control,
            bundle=interop.bundle() if run.study.interop else None,
            withdrawn=partial(self._agreements.has_withdrawn, run.study),
            trainers=len(run.train_sites),
        )
        try:
            file, digest = self._course(run).carry_out(grid, resumed=resumed)
        except StoppedError:
            return events.RunEnded(
                run=run.id, outcome="stopped", cause="an operator stopped it", code=1
            )
        except OperatorError as error:
            cause = error.sentences
            return events.RunEnded(run=run.id, outcome="failed", cause=cause, code=error.exit_code)
        except Exception as error:  # the run's boundary: traced in the local log, named here
            sys.excepthook(type(error), error, error.__traceback__)
            cause = f"an unforeseen {type(error).__name__}; see run/coordinator.log"
            return events.RunEnded(run=run.id, outcome="failed", cause=cause, code=1)
        finally:
            grid.close()
        cause = f"all {run.study.rounds} rounds done"
        return events.RunEnded(
            run=run.id, outcome="completed", cause=cause, file=file, sha256=digest
        )

    def _validate(self, run: Run, attempt: int) -> events.ValidationEnded:
        def ended(outcome: events.Outcome, cause: str, code: int) -> events.ValidationEnded:
            return events.ValidationEnded(
                run=run.id, attempt=attempt, outcome=outcome, cause=cause, code=code
            )

        grid = DirectGrid(
            self._fleet,
            self._presence,
            self._journal,
            run=run.id,
            quorum=run.study.quorum,
            control=self._control,
            withdrawn=partial(self._agreements.has_withdrawn, run.study),
        )
        try:
            folder, vouched = self._folder(run.id), self._course(run).vouched()
            start, last = checkpoints.first(folder, vouched), checkpoints.newest(folder, vouched)
            assert last is not None
            terms = Terms(
                run=run.id,
                study=run.study,
                train_sites=run.train_sites,
                manifest=last.manifest,
                normalisation=last.normalisation,
            )
            return matrix.validate(
                grid,
                terms,
                attempt=attempt,
                joint=last.parameters,
                first=start.parameters,
                roster={
                    path.stem: keys.load_public(path.read_bytes(), name=path.name)
                    for path in self._home.roster.glob("*.pub")
                },
                append=self._journal.append,
            )
        except StoppedError:
            return ended("stopped", "an operator stopped it", 1)
        except OperatorError as error:
            return ended("failed", error.sentences, error.exit_code)
        except Exception as error:  # the boundary: traced in the local log, named here
            sys.excepthook(type(error), error, error.__traceback__)
            return ended(
                "failed", f"an unforeseen {type(error).__name__}; see run/coordinator.log", 1
            )
        finally:
            grid.close()

    def _course(self, run: Run) -> Course:
        return Course(
            run,
            folder=self._folder(run.id),
            journal=self._journal,
            key=self._key,
            site=self._site,
            control=self._control,
        )

    def _unfinished_validations(self) -> list[tuple[str, int]]:
        records = self._journal.own(("ValidationStarted", "ValidationEnded"))
        unfinished: dict[str, int] = {}
        for event in (record.event for record in records):
            if isinstance(event, events.ValidationStarted):
                unfinished[event.run] = event.attempt
            elif isinstance(event, events.ValidationEnded):
                unfinished.pop(event.run, None)
        return list(unfinished.items())
