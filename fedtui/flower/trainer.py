"""The trainer: a child of the agent that owns the data, JAX, the device and the compiled step.

It reads one JSON order a line on stdin and writes JSON lines on stdout: any number of
``progress`` and then one ``done`` or ``failed``. Vectors travel as files of float32 bytes. It
ends with its agent: when stdin closes, whatever it is doing.
"""

import hashlib
import json
import os
import queue
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import numpy as np

import datasets
import models
from datasets import DataError
from fedtui import study as studies
from fedtui.errors import DataError as OperatorDataError
from fedtui.errors import OperatorError, RunError
from fedtui.flower import crash, vectors, work
from fedtui.study import Study
from models import ModelError


class Trainer:
    """Everything that is kept warm between orders: the data, and one engine a study."""

    def __init__(self, site: str, cache: Path) -> None:
        from models import _engine  # JAX: seconds, paid once, in this process only

        _engine.use_cache(cache)
        self._engines = _engine
        self._stream = int.from_bytes(hashlib.sha256(site.encode()).digest()[:4], "big")
        self._data: dict[str, Any] = {}
        self._engine: tuple[str, Any] = ("", None)

    @property
    def device(self) -> dict[str, Any]:
        """What JAX computes on: platform and kind, how many, and how much memory if it says."""
        import jax

        devices = jax.local_devices()
        stats = devices[0].memory_stats() or {}
        return {
            "device": f"{devices[0].platform} {devices[0].device_kind}".strip(),
            "count": len(devices),
            "memory_bytes": stats.get("bytes_limit"),
        }

    def prepare(self, order: dict[str, Any]) -> dict[str, Any]:
        """Load data, build the model, and say what this site brings: no training yet."""
        study = studies.parse(order["study"].encode())
        data = self._load(study, order["source"])
        engine = self._engine_for(study, order, normalisation=None)
        sums = datasets.statistics(data.train)
        digest = ""
        if order["initial"]:
            first = engine.initial()
            work.write_atomically(Path(order["output"]), vectors.bytes_of(first))
            digest = vectors.hash_of(first)
        return {
            "examples": len(data.train.y),
            "manifest": engine.manifest.to_json(),
            "features": [asdict(feature) for feature in data.features],
            "classes": list(data.classes),
            "vector": digest,
            "statistics": {name: values.tolist() for name, values in sums._asdict().items()},
        }

    def train(self, order: dict[str, Any], out: TextIO) -> dict[str, Any]:
        """One round of local work; the trained vector goes to the order's output file."""
        study = studies.parse(order["study"].encode())
        engine = self._engine_for(study, order, _normalisation(order))

        def report(step: int, steps: int, loss: float) -> None:
            crash.point("trainer.training", order["round"])
            _say(
                out,
                progress={
                    "step": step,
                    "steps": steps,
                    "loss": loss if np.isfinite(loss) else None,
                },
            )

        trained = engine.train(
            np.fromfile(order["input"], dtype="<f4"),
            round=order["round"],
            stream=self._stream,
            on_progress=report,
        )
        work.write_atomically(Path(order["output"]), vectors.bytes_of(trained.vector))
        return {
            "examples": trained.examples,
            "metrics": {"loss": trained.loss},
            "seconds": trained.seconds,
            "vector": vectors.hash_of(trained.vector),
        }

    def evaluate(self, order: dict[str, Any]) -> dict[str, Any]:
        """The joint model on this site's own test examples."""
        study = studies.parse(order["study"].encode())
        engine = self._engine_for(study, order, _normalisation(order))
        crash.point("trainer.evaluating", order["round"])
        evaluated = engine.evaluate(np.fromfile(order["input"], dtype="<f4"), split="test")
        return {
            "examples": evaluated.examples,
            "metrics": evaluated.metrics,
            "seconds": evaluated.seconds,
        }

    def _load(self, study: Study, source: dict[str, Any]) -> Any:
        key = json.dumps([study.data, study.seed, source], sort_keys=True)
        if key not in self._data:
            path = Path(source["path"]) if source["path"] else None
            loaded = datasets.load(study.data, path=path, part=source["part"], seed=study.seed)
            self._data = {key: loaded}  # one at a time: a hospital's memory is not ours
        return self._data[key]

    def _engine_for(self, study: Study, order: dict[str, Any], normalisation: Any) -> Any:
        shape = normalisation if normalisation is None else [v.tolist() for v in normalisation]
        key = json.dumps([order["study"], order["source"], shape], sort_keys=True)
        if self._engine[0] != key:
            engine = self._engines.Engine(
                model=study.model,
                config=study.parameters,
                training=models.configure(models.Training, study.training),
                data=self._load(study, order["source"]),
                seed=study.seed,
                normalisation=normalisation,
            )
            self._engine = (key, engine)
        return self._engine[1]


def _normalisation(order: dict[str, Any]) -> Any:
    if order["normalisation"] is None:
        return None
    mean, deviation = order["normalisation"]
    return np.asarray(mean, dtype=np.float64), np.asarray(deviation, dtype=np.float64)


def _say(out: TextIO, **message: Any) -> None:
    out.write(json.dumps(message) + "\n")
    out.flush()


def _translated(error: Exception) -> OperatorError:
    """The error in an operator's words; the text of an unforeseen one could quote a value."""
    if isinstance(error, OperatorError):
        return error
    if isinstance(error, DataError):
        return OperatorDataError(str(error), remedy=error.remedy)
    if isinstance(error, ModelError):  # also training that diverged: the study's settings decide
        return RunError(str(error), remedy=error.remedy)
    return OperatorDataError(
        f"Training stopped with an unforeseen {type(error).__name__}.",
        remedy="Read run/trainer.log in the site's home; it stays at the site.",
    )


def main() -> None:
    """Take orders until stdin closes."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not mix with the answers
    orders: queue.Queue[str] = queue.Queue()

    def listen() -> None:
        for line in sys.stdin:
            orders.put(line)
        os._exit(0)  # the agent is gone: a restarted one has its own trainer

    threading.Thread(target=listen, name="orders", daemon=True).start()
    trainer = Trainer(site=sys.argv[1], cache=Path(sys.argv[2]))
    _say(out, ready=trainer.device)
    while True:
        order = json.loads(orders.get())
        try:
            if order["do"] == "train":
                done = trainer.train(order, out)
            else:
                done = {"prepare": trainer.prepare, "evaluate": trainer.evaluate}[order["do"]](
                    order
                )
            _say(out, done=done)
        except Exception as error:  # the boundary: named for the operator, traced in the local log
            sys.excepthook(type(error), error, error.__traceback__)
            _say(out, failed=_translated(error).to_json())


if __name__ == "__main__":
    main()
