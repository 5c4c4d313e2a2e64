"""The trainer: a child of the agent that owns the data, JAX, the device and the compiled step.

It reads one JSON order a line on stdin and writes JSON lines on stdout: any number of
``progress`` and then one ``done`` or ``failed``. Vectors travel as files of float32 bytes. It
ends with its agent: when stdin closes, whatever it is doing.
"""

import contextlib
import dataclasses
import gc
import json
import math
import os
import queue
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

import datasets
import models
from fedtui import study as studies
from fedtui.disclosure import rounded
from fedtui.errors import DataError as OperatorDataError
from fedtui.flower import brought, crash, judging, vectors, work
from fedtui.flower.cohorts import Cohorts
from fedtui.flower.telling import known, traced, translated
from fedtui.study import Study

if TYPE_CHECKING:
    from fedtui.flower.account import Question


class Trainer:
    """Everything that is kept warm between orders: the data, and one engine a study.

    Attributes:
        cohorts: The data at hand, and whose they are.

    Args:
        secret: The site's own, from which the noise of record-level privacy comes; without it
            such a study is refused.
    """

    def __init__(self, site: str, cache: Path, secret: bytes | None = None) -> None:
        from fedtui.flower.account import Account
        from models import _engine  # JAX: seconds, paid once, in this process only

        _engine.use_cache(cache)
        self._engines = _engine
        self._stream = brought.stream_of(site)
        self.cohorts = Cohorts(secret)
        self._engine: tuple[str, Any] = ("", None)
        self._account = Account(secret, stream=self._stream)

    @property
    def device(self) -> dict[str, Any]:
        """What JAX computes on: platform and kind, how many, and how much memory if it says."""
        import jax

        devices = jax.local_devices()
        stats = devices[0].memory_stats() or {}
        return {
            "device": " ".join(
                dict.fromkeys((devices[0].platform, devices[0].device_kind))
            ).strip(),
            "count": len(devices),
            "memory_bytes": stats.get("bytes_limit"),
        }

    def prepare(self, order: dict[str, Any]) -> dict[str, Any]:
        """Load data, build the model, and say what this site brings: no training yet.

        With a scale that is agreed already, count patients in its bins, for medians.
        """
        study = studies.parse(order["study"].encode())
        data = self.cohorts.load(study, order["source"])
        if order["normalisation"] is not None:
            scale = datasets.Normalisation(*brought.normalisation(order))
            return {
                "examples": len(data.train.y),
                "features": [asdict(feature) for feature in data.features],
                "behind": self.cohorts.behind(data, "train", order),
                "bins": datasets.bins(data.train, scale).tolist(),
            }
        engine = self._engine_for(study, order, normalisation=None)
        _load_ahead(engine, order)
        sums = datasets.statistics(data.train)
        support = datasets.support(data.train)._asdict()
        digest = ""
        if order["initial"]:
            first = engine.initial(brought.pretrained(study, order["weights"]))
            work.write_atomically(Path(order["output"]), vectors.bytes_of(first))
            digest = vectors.hash_of(first)
        return {
            "examples": len(data.train.y),
            "manifest": engine.manifest.to_json(),
            "features": [asdict(feature) for feature in data.features],
            "classes": list(data.classes),
            "schema": data.schema_hash,
            "vector": digest,
            "behind": {
                **self.cohorts.behind(data, "train", order),
                "support": {name: people.tolist() for name, people in support.items()},
            },
            "statistics": {name: values.tolist() for name, values in sums._asdict().items()},
        }

    def train(self, order: dict[str, Any], out: TextIO) -> dict[str, Any]:
        """One round of local work; the trained vector goes to the order's output file."""
        study = studies.parse(order["study"].encode())
        engine = self._engine_for(study, order, brought.normalisation(order))
        _load_ahead(engine, order)
        trained = self._trained(
            order,
            out,
            study,
            engine,
            np.fromfile(order["input"], dtype="<f4"),
            round=order["round"],
            share=order.get("share", 1.0),
            local=brought.local(order, engine.local.size),
            secret=self._question(order, study, engine).noise if study.privacy else 0,
            keep=Path(order["bookmark"]) if order.get("bookmark") else None,
        )
        work.write_atomically(Path(order["output"]), vectors.bytes_of(trained.vector))
        if trained.local.size:
            work.write_atomically(Path(order["keep"]), vectors.bytes_of(trained.local))
        data = self.cohorts.load(study, order["source"])
        done = {
            "examples": trained.examples,
            "metrics": {"loss": trained.loss},
            "seconds": trained.seconds,
            "vector": vectors.hash_of(trained.vector),
            "behind": self.cohorts.behind(data, "train", order),
        }
        if engine.plan is not None:
            answers = order["answered"] + 1
            done["epsilon"], done["delta"] = engine.plan.spent(answers), engine.plan.delta
            if answers >= study.rounds:  # seconds, so once: of the whole run
                done["tight"] = engine.plan.spent(answers, by="pld")
        return done

    def promise(self, order: dict[str, Any]) -> dict[str, Any]:
        """What a round is in this site's account of record-level privacy; nothing is trained.

        With the epsilon of the whole run, as the plan spends it, and for how many rows that is:
        those of the run's first round, for every round, so that each costs the same.
        """
        study = studies.parse(order["study"].encode())
        engine = self._engine_for(study, order, brought.normalisation(order))
        data = self.cohorts.load(study, order["source"])
        return {
            "question": self._question(order, study, engine).name,
            "place": self._account.place(order["source"]["path"]),
            "epsilon": engine.plan.spent(study.rounds),
            "counted": order["counted"] or rounded(len(data.train)),
        }

    def _trained(
        self,
        order: dict[str, Any],
        out: TextIO,
        study: Study,
        engine: Any,
        vector: vectors.Vector,
        *,
        round: int,
        secret: int = 0,
        **more: Any,
    ) -> Any:
        """One round of ``engine``, which says how far it is and where memory asks for pieces.

        What the order asks for next, of whatever engine, begins with as many.

        Args:
            secret: Without privacy it decides nothing, but must be the same for another trainer to
                go on from the bookmark of this one.
        """
        training = models.configure(models.Training, study.training)
        examples = len(self.cohorts.load(study, order["source"]).train)
        epoch = math.ceil(examples / training.batch)
        if engine.plan is not None:  # which knows the number of rows as far as it is told
            epoch = engine.plan.steps // training.epochs

        def report(step: int, steps: int, loss: float) -> None:
            crash.point("trainer.training", round)
            seen = _seen(step, epoch, examples, training.batch)
            told = {"step": step, "steps": steps, "loss": known(loss), "examples": seen}
            _say(out, progress=told)

        def split(pieces: int) -> None:
            order["pieces"] = pieces
            _say(out, split=pieces)

        _say(out, training=training.batch)
        trained = engine.train(
            vector,
            round=round,
            stream=self._stream,
            on_progress=report,
            pieces=order.get("pieces", 1),
            on_split=split,
            secret=secret,
            **more,
        )
        _say(out, training=0)
        return trained

    def evaluate(self, order: dict[str, Any]) -> dict[str, Any]:
        """The joint model on this site's own test examples."""
        study = studies.parse(order["study"].encode())
        engine = self._engine_for(study, order, brought.normalisation(order))
        crash.point("trainer.evaluating", order["round"])
        evaluated = engine.evaluate(
            np.fromfile(order["input"], dtype="<f4"),
            split="test",
            local=brought.local(order, engine.local.size),
        )
        data = self.cohorts.load(study, order["source"])
        return {
            "examples": evaluated.examples,
            "metrics": evaluated.metrics,
            "seconds": evaluated.seconds,
            "behind": self.cohorts.behind(data, "test", order),
        }

    def validate(self, order: dict[str, Any], out: TextIO) -> dict[str, Any]:
        """What the run's models are worth here: the site's own, or other sites'."""
        study = studies.parse(order["study"].encode())
        scale = brought.normalisation(order)

        def engine(agreed: Study) -> Any:
            text = studies.canonical(dataclasses.replace(agreed, privacy={})).decode()
            return self._engine_for(studies.parse(text.encode()), {**order, "study": text}, scale)

        if engine(study).local.size and order["local"] is None:
            raise OperatorDataError(
                "What this site keeps for itself of this run's model is not here.",
                remedy="Validate a run before the next one begins, at sites that trained in it.",
            )
        bench = judging.Bench(
            data=self.cohorts.load(study, order["source"]),
            engine=engine,
            train=lambda agreed, vector, **how: self._trained(
                order, out, agreed, engine(agreed), vector, **how
            ),
            kept=brought.local(order, engine(study).local.size),
        )
        if order["do"] == "exchange":
            done = judging.exchange(order, study, bench)
        elif order["do"] == "judge":
            done = judging.judge_imported(order, study, bench)
        else:
            done = judging.validate(order, study, bench)
        return {**done, "behind": self.cohorts.behind(bench.data, "test", order)}

    def audit(self, order: dict[str, Any], out: TextIO) -> dict[str, Any]:
        """How much a model that is to leave tells of who it was trained on."""
        from fedtui.flower import attack  # with what JAX it needs, and only where it is asked

        study = studies.parse(order["study"].encode())
        if order["object"] == "local model":  # which is trained without record-level privacy
            text = studies.canonical(dataclasses.replace(study, privacy={})).decode()
            study, order = studies.parse(text.encode()), {**order, "study": text}
        scale = brought.normalisation(order)
        engine = self._engine_for(study, order, scale)
        leakage = attack.audit(
            order,
            study,
            engine=engine,
            data=self.cohorts.load(study, order["source"]),
            normalisation=scale,
            start=engine.initial(brought.pretrained(study, order["weights"])),
            kept=brought.local(order, engine.local.size),
            report=lambda step, steps, loss: _say(
                out, progress={"step": step, "steps": steps, "loss": known(loss)}
            ),
        )
        return {"leakage": leakage}

    def _engine_for(self, study: Study, order: dict[str, Any], normalisation: Any) -> Any:
        shape = normalisation if normalisation is None else [v.tolist() for v in normalisation]
        data, counted = self.cohorts.load(study, order["source"]), None
        if study.privacy:  # as many as would be told now, where the run has not spent yet
            counted = order.get("counted") or rounded(len(data.train))
        key = json.dumps([order["study"], brought.data_key(study, order["source"]), shape, counted])
        if self._engine[0] != key:
            engine = self._engines.Engine(
                model=study.model,
                config=study.parameters,
                training=models.configure(models.Training, study.training),
                data=data,
                seed=study.seed,
                normalisation=normalisation,
                privacy=models.configure(models.Privacy, study.privacy) if study.privacy else None,
                rounds=study.rounds,
                counted=counted,
            )
            self._engine = (key, engine)
        return self._engine[1]

    def _question(self, order: dict[str, Any], study: Study, engine: Any) -> "Question":
        data = self.cohorts.load(study, order["source"])
        return self._account.question(order, engine, data, brought.local(order, engine.local.size))


def _load_ahead(engine: Any, order: dict[str, Any]) -> None:
    if order.get("pieces", 1) == 1:  # else memory is short, and it is another step that is needed
        engine.load_ahead()


def _seen(steps: int, epoch: int, examples: int, batch: int) -> int:
    """How many examples were in so many steps; of Poisson samples, as many as are expected.

    The coordinator reads it, so an epoch counts as many as a site tells that it has.

    Args:
        epoch: Steps of one.
    """
    epochs, left = divmod(steps, epoch)
    return epochs * rounded(examples) + min(left * batch, rounded(examples))


def _say(out: TextIO, **message: Any) -> None:
    out.write(json.dumps(message) + "\n")
    out.flush()


def main() -> None:
    """Take orders until stdin closes."""
    gc.disable()  # a third of JAX's import would be looks for garbage among modules, which stay
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not mix with the answers
    orders: queue.Queue[str] = queue.Queue()

    def listen() -> None:
        for line in sys.stdin:
            orders.put(line)
        os._exit(0)  # the agent is gone: a restarted one has its own trainer

    threading.Thread(target=listen, name="orders", daemon=True).start()
    secret = Path(sys.argv[3]).read_bytes()
    trainer = Trainer(site=sys.argv[1], cache=Path(sys.argv[2]), secret=secret)
    _say(out, ready=trainer.device)
    gc.freeze()  # modules stay: the collector need not go over them again
    gc.enable()
    while True:
        order = json.loads(orders.get())
        try:
            if (found := trainer.cohorts.listed(order)) is not None:
                _say(out, access=found)
            if order["do"] == "train":
                done = trainer.train(order, out)
            elif order["do"] == "audit":
                done = trainer.audit(order, out)
            elif order["do"] in ("validate", "exchange", "judge"):
                done = trainer.validate(order, out)
            else:
                phases = {
                    "prepare": trainer.prepare,
                    "evaluate": trainer.evaluate,
                    "promise": trainer.promise,
                }
                done = phases[order["do"]](order)
            _say(out, done={**done, "loaded": trainer.cohorts.loaded()})
        except Exception as error:  # the boundary: named for the operator, traced in the local log
            with contextlib.suppress(OSError):  # a full disk
                sys.stderr.write(traced(error) + "\n")
            _say(out, failed=translated(error).to_json())


if __name__ == "__main__":
    main()
