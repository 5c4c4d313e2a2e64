"""This site's own model, without any other: a child process of ``fedtui train``.

It reads one JSON order on stdin and writes JSON lines: ``access`` where patients' data are read,
any number of ``progress``, ``split`` and ``round``, then one ``done`` or ``failed``. Nothing of it
is sent anywhere. Every round is kept as it ends, and in its middle, so that one that is interrupted
goes on where it was.
"""

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
from safetensors.numpy import save

import datasets
import models
from datasets import Dataset
from fedtui import study as studies
from fedtui.errors import DataError as OperatorDataError
from fedtui.errors import OperatorError, ResourceError, storage
from fedtui.flower import fitting, kept, patients, vectors, work
from fedtui.flower.brought import pretrained, stream_of
from fedtui.flower.telling import known, traced, translated
from fedtui.study import Study
from models import ModelError

Scale = tuple[Any, ...] | None


def train(order: dict[str, Any], say: Any) -> dict[str, Any]:
    """The study's model and budget on this site's data alone, measured on its own test split.

    Args:
        order: ``study``, its canonical text; ``source`` (path, part, excluded); ``site``, its
            name; ``folder``, where rounds are kept; ``weights``, a pretrained model's file, or
            None; ``audit``, the folder for the list of whose data were read, and ``secret``, the
            file of the site's own, under which it has its name, or both None.
        say: Called with what to tell meanwhile.
    """
    from models import _engine

    _engine.use_cache(Path(order["cache"]))
    study = studies.parse(order["study"].encode())
    fitting.check(study)
    places = {
        key: Path(order["source"][key]) if order["source"].get(key) else None
        for key in ("path", "excluded")
    }
    data = datasets.load(study.data, part=order["source"]["part"], seed=study.seed, **places)
    if order["audit"]:
        say(access=patients.keep(data, Path(order["audit"]), Path(order["secret"]).read_bytes()))
    fitting.check_metric(study, len(data.classes))
    engine = _engine.Engine(
        model=study.model,
        config=study.parameters,
        training=models.configure(models.Training, study.training),
        data=data,
        seed=study.seed,
        normalisation=own_scale(data, study),  # nothing is sent, so nothing is noised
    )
    folder = Path(order["folder"])
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    about = {"study": order["study"], "code": studies.numeric_code(), "cohort": data.cohort_hash}
    reached, vector, own = kept.newest(folder, "alone", about) or (
        0,
        _first(engine, study, order["weights"]),
        None,
    )

    if reached < study.rounds:
        engine.load_ahead()

    def measured(vector: vectors.Vector, own: vectors.Vector | None) -> dict[str, float | None]:
        found = engine.evaluate(vector, split="test", local=own).metrics
        return {name: known(value) for name, value in found.items()}

    metrics: dict[str, float | None] = {}
    for round in range(reached + 1, study.rounds + 1):

        def report(step: int, steps: int, loss: float, round: int = round) -> None:
            say(progress={"round": round, "step": step, "steps": steps, "loss": known(loss)})

        def split(pieces: int, round: int = round) -> None:
            say(split={"round": round, "pieces": pieces})

        trained = engine.train(
            vector,
            round=round,
            stream=stream_of(order["site"]),
            on_progress=report,
            local=own,
            secret=0,  # nothing is noised; another process can go on from the bookmark
            keep=folder / "alone.mid",
            on_split=split,
        )
        vector, own = trained.vector, trained.local
        tensors = {"parameters": vector, "own": own}
        work.write_atomically(_file(folder, round), save(tensors, {**about, "round": str(round)}))
        _file(folder, round - 1).unlink(missing_ok=True)
        metrics = measured(vector, own)
        say(round={"round": round, "rounds": study.rounds, "metrics": metrics})
    if not metrics:  # every round was done before
        metrics = measured(vector, own)
    return {
        "rounds": study.rounds,
        "resumed": reached,
        "metrics": metrics,
        "file": str(_file(folder, study.rounds)),
        "sha256": vectors.hash_of(vector),
    }


def _first(engine: Any, study: Study, weights: str | None) -> vectors.Vector:
    """What the study begins with.

    Raises:
        OperatorDataError: the file of pretrained weights is not what it should be.
    """
    try:
        return cast("vectors.Vector", engine.initial(pretrained(study, weights)))
    except ModelError as error:
        raise OperatorDataError(str(error), remedy=error.remedy) from error


def own_scale(data: Dataset, study: Study) -> Scale:
    """What round 0 would agree on if this site were the only one."""
    if study.normalisation == "none":
        return None
    scale = datasets.agree(datasets.statistics(data.train), data.features)
    if not study.treated:
        return scale
    counts = None
    if study.imputation == "median":
        counts = datasets.bins(data.train, scale).astype(np.float64)
    return datasets.treat(scale, data.features, counts=counts, clipping=study.clipping)


def _file(folder: Path, round: int) -> Path:
    return folder / f"alone-{round:05d}.safetensors"


def main() -> None:
    """Carry out the order on stdin."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not mix with the answers

    def say(**message: Any) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    try:
        say(done=train(json.loads(sys.stdin.readline()), say))
    except Exception as error:  # the boundary: named for the operator, traced in the local log
        with contextlib.suppress(OSError):  # a full disk
            sys.stderr.write(traced(error) + "\n")
        say(failed=_named(error).to_json())


def _named(error: Exception) -> OperatorError:
    """As the trainer names it; also a file, as nothing of this leaves the site."""
    if isinstance(error, OSError) and error.filename and storage(error) is None:
        return ResourceError(
            f"{error.filename} cannot be used: {error.strerror}.",
            remedy="Make it this account's to read and write, and order it again.",
        )
    return translated(error)


if __name__ == "__main__":
    main()
