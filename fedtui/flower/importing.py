"""Other sites' models, come as files: judged by the trainer on this site's data, never trained.

The file was checked by whoever gave the order and is checked here again; what is found is bounded
as if it left, since the journal that holds it may be exported.
"""

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedtui import events, modelfile, site
from fedtui import study as studies
from fedtui.disclosure import rounded
from fedtui.errors import BusyError, DataError, OperatorError, ResourceError, RunError, UsageError
from fedtui.flower import validation, vectors, work
from fedtui.flower.consent import Consent
from fedtui.flower.records import measure
from fedtui.flower.workbench import Workbench
from fedtui.journal import Journal
from fedtui.modelfile import ModelFile
from fedtui.site import Home
from fedtui.study import Study


class Imports:
    """One model at a time, in a thread of its own.

    Args:
        busy: What the site is at, in a word; empty while it waits for work.
    """

    def __init__(
        self,
        home: Home,
        bench: Workbench,
        journal: Journal,
        consent: Consent,
        *,
        busy: Callable[[], str],
    ) -> None:
        self._home, self._bench, self._journal = home, bench, journal
        self._consent, self._busy = consent, busy
        self._lock = threading.Lock()

    def order(self, request: dict[str, Any]) -> dict[str, Any]:
        """Begin to judge the model in a file; what comes of it is an event.

        Raises:
            OperatorError: the file, the study or this site's consent does not hold.
            BusyError: this site is at work.
        """
        path, text = Path(str(request["file"])), str(request["study"])
        study = studies.parse(text.encode())
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UsageError(
                f"{path} cannot be read: {error.strerror}.",
                remedy="Put the file where the account of 'fedtui up' may read it.",
            ) from error
        model, key = modelfile.read(data, name=path.name)
        modelfile.check(model, key, study=study, known=modelfile.known_keys(self._home))
        self._consent.check(study, model.fingerprint, starting=False)
        if doing := self._busy():
            raise BusyError(f"This site is at work ({doing}).", remedy="Wait for its end.")
        if not self._lock.acquire(blocking=False):
            raise BusyError("A model is being judged here.", remedy="Wait for its end.")
        after = self._journal.head()[0]
        threading.Thread(
            target=self._judge, args=(model, study), name="import", daemon=True
        ).start()
        return {"after": after, "run": model.run}

    def _judge(self, model: ModelFile, study: Study) -> None:
        digest = vectors.hash_of(model.parameters)
        try:
            found: events.Event = self._judged(model, study, digest)
        except Exception as error:  # the thread's boundary: whoever waits is told in any case
            named = _named(error)
            found = events.ImportFailed(
                run=model.run,
                owner=model.owner,
                error=type(named).__name__,
                message=str(named),
                remedy=named.remedy,
            )
        finally:
            self._lock.release()
        self._journal.append(found)

    def _judged(self, model: ModelFile, study: Study, digest: str) -> events.ModelImported:
        here = site.load(self._home)
        source = here.data.get(study.data)
        if source is None:
            raise DataError(
                f"This site offers no data set '{study.data}'.",
                remedy=f"Add [data.{study.data}] to site.toml if it should take part.",
            )
        folder = self._home.models / model.run
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / "imported.f32"
        work.write_atomically(path, vectors.bytes_of(model.parameters))
        scale = None if model.normalisation is None else model.normalisation.tolist()
        order = {
            "do": "judge",
            "study": studies.canonical(study).decode(),
            "source": {
                "path": str(source.path) if source.path else None,
                "part": source.part,
                "excluded": str(source.excluded) if source.excluded else None,
            },
            "round": study.rounds,
            "normalisation": scale,
            "manifest": model.manifest,
            "input": str(path),
            "folder": str(folder),
            "fingerprint": model.fingerprint,
            "local": None,
            "cohorts": str(self._home.releases / "cohorts"),
            "audit": str(self._home.audit) if source.path is not None else None,
        }
        try:
            done = self._bench.do(
                order,
                None,
                lambda read: self._consent.accessed(model.run, study, model.fingerprint, read),
            )
        finally:
            path.unlink(missing_ok=True)
        return _told(model, digest, done["results"], minimum=here.limits.minimum_cell)


def _told(
    model: ModelFile, digest: str, results: dict[str, Any], *, minimum: int
) -> events.ModelImported:
    """What the journal keeps of the judgement."""
    record = validation.recorded(results, minimum=minimum, owner="own")
    numbers: dict[str, dict[str, float]] = {"metrics": {}, "own": {}, "less": {}}
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    for name, one in record.measures.items():
        values = measure(one, minimum=minimum)
        parts = name.split("|")
        if values is None or values[0] is None or (len(parts) == 3 and parts[1] != "less"):
            continue
        kind = "less" if len(parts) == 3 else {"imported": "metrics"}.get(parts[0], "own")
        numbers[kind][parts[-1]] = values[0]
        if kind != "own" and values[1] is not None and values[2] is not None:
            prefix = "less " if kind == "less" else ""
            low[prefix + parts[-1]], high[prefix + parts[-1]] = values[1], values[2]
    outcomes = results["patients"]
    return events.ModelImported(
        run=model.run,
        owner=model.owner,
        kind=model.kind,
        vector=digest,
        fingerprint=model.fingerprint,
        primary=results["primary"],
        patients=rounded(sum(outcomes)) if min(outcomes) >= minimum else None,
        metrics=numbers["metrics"],
        own=numbers["own"],
        difference=numbers["less"],
        low=low,
        high=high,
    )


def _named(error: Exception) -> OperatorError:
    if isinstance(error, OperatorError):
        return error
    if isinstance(error, OSError):
        return ResourceError("The model could not be kept.", remedy="Check the disk.")
    sys.excepthook(type(error), error, error.__traceback__)
    return RunError(
        f"Judging the model stopped with an unforeseen {type(error).__name__}.",
        remedy="Read run/agent.log in the site's home.",
    )
