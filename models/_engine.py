"""Local training and evaluation at one site, on data that stays on the device."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

import models
from datasets import Dataset
from models import Manifest, ModelError, Privacy, Training, _demands, _pretrained, _traced
from models._ahead import Ahead
from models._batches import widest
from models._bookmark import Bookmark, question
from models._device import identities
from models._noise import Guard
from models._placement import Name, Placement, exhausted, shardings, too_large
from models._prediction import Evaluated, Predictor
from models._privacy import Plan, plan
from models._program import Program, program
from models._rounds import Bench, Progress, Round, Trained, Vector, finite

__all__ = ["Engine", "Trained", "Training", "use_cache"]


class Engine:
    """A model on this site's data. What it computes depends on its arguments alone.

    Engines for one model and way of training share their compiled functions. All devices of this
    machine share each batch: every one holds the parameters and the data, and its part of the rows.

    Args:
        config: The model's settings, as in the study.
        seed: The study's; decides the initial parameters and, with round and site, the order of
            examples. Not negative, below 2**32.
        normalisation: What all sites agreed on, as ``datasets.standardise`` takes it; None takes
            the values as they are.
        privacy: Record-level privacy, which changes a step: see ``_descent`` and ``_ghost``. None
            for none.
        rounds: In the whole run, over which ``privacy`` is promised.
        counted: For how many rows it is promised, where that was decided before some went or came;
            None for those of the training split.
        secret: The site's own, at least 0 and known to nobody else: under ``privacy`` it decides
            samples, noise and how images vary. Kept between restarts, a repeated round spends
            nothing twice. None draws one for this engine.

    Raises:
        ModelError: an unknown model, a setting that does not fit, a data set that this model
            cannot eat, or privacy that cannot be kept.
    """

    def __init__(
        self,
        *,
        model: str,
        config: Mapping[str, Any],
        training: Training,
        data: Dataset,
        seed: int,
        normalisation: tuple[NDArray[np.float64], ...] | None,
        privacy: Privacy | None = None,
        rounds: int = 1,
        counted: int | None = None,
        secret: int | None = None,
    ) -> None:
        source = models.load(model)
        if why := models.unfit(model, data.name, (data.gives,)):
            raise ModelError(f"model: {why}")
        _demands.check(model, training, data)
        settings = models.configure(source.Config, config)
        models.require_together(
            model,
            settings,
            training,
            private=privacy is not None,
            gives=(data.gives,),
            classes=len(data.classes),
            pretrained=False,  # ``initial`` is told of a file
        )
        self._model, self._config = model, settings
        self._training, self._data, self._seed = training, data, seed
        self._normalisation = normalisation
        self._plan = None if privacy is None else self._promised(privacy, rounds, counted)
        devices = jax.local_devices()
        everywhere, by_rows = shardings(devices)
        whole = self._compiled(1)
        self._bench = Bench(
            program=whole,
            training=training,
            examples=len(data.train),
            labels=jax.device_put(data.train.y, everywhere),
            plan=self._plan,
            secret=int.from_bytes(os.urandom(16)) if secret is None else secret,
            everywhere=everywhere,
            by_rows=by_rows,
            width=len(devices),
            ahead=self._drawing(whole.manifest.size, everywhere),
        )
        self._placement = Placement(data, normalisation, everywhere)
        self._predictor = Predictor(self._bench, self._placement, data)

    @property
    def manifest(self) -> Manifest:
        """Names, shapes and dtypes in the flat vector, in order."""
        return self._bench.program.manifest

    @property
    def local(self) -> Manifest:
        """What this site keeps for itself between rounds, in order; empty for most models."""
        return self._bench.program.local

    @property
    def plan(self) -> Plan | None:
        """What record-level privacy costs here, and what of it each round spends."""
        return self._plan

    def load_ahead(self) -> None:
        """Begin to load the compiled step, where ``use_cache`` kept one, and do not wait for it."""
        self._bench.program.load_ahead()

    def initial(self, pretrained: Path | None = None) -> Vector:
        """Parameters before the first round, float32 [parameters], from the study's seed alone.

        Args:
            pretrained: A safetensors file of torchvision or timm, for an image model.

        Raises:
            ModelError: the file's weights do not fit this model.
        """
        vector = self._bench.program.initial(np.uint32(self._seed))
        if pretrained is None:
            return vector
        return _pretrained.load(
            pretrained, model=self._model, manifest=self.manifest, vector=vector
        )

    def train(
        self,
        vector: Vector,
        *,
        round: int,
        stream: int,
        on_progress: Progress | None = None,
        local: Vector | None = None,
        secret: int | None = None,
        keep: Path | None = None,
        share: float = 1.0,
        pieces: int = 1,
        on_split: Callable[[int], None] | None = None,
    ) -> Trained:
        """The agreed epochs from ``vector``, with a new optimiser.

        The order of examples comes from (seed, round, stream), so a site that restarts repeats its
        work bit for bit, on the same device and libraries and with the same compiled functions, as
        ``use_cache`` keeps them; with ``keep`` it goes on from the middle of the round, to the same
        bits.

        Where memory does not suffice the round begins anew with every batch in twice as many
        pieces, whose gradients are added up; ``Trained.pieces`` says so. They give the same result
        up to rounding, but with norm 'local' each piece is normalised by its own moments.

        Args:
            vector: float32 [parameters] in manifest order.
            round: Counted from 1.
            stream: A number of the site's own, the same in every round; not negative.
            on_progress: Called about twice a second and at the end with the steps done, the steps
                in all, and the mean loss over the examples since the last call, in nats; NaN under
                record-level privacy, whose noise does not cover it.
            local: float32 [local], ``Trained.local`` of the site's last round, or zeros if it has
                none; may be left out in round 1, and by models that keep nothing.
            secret: In place of the engine's, for this round: noise that served two vectors would
                cancel out between their answers.
            keep: A file for where the round stands, written twice a minute and removed at the end.
                One of another round, other data or another device is not read.
            share: How much of the round's steps to do, for a site that is to keep up with others.
            pieces: Into how many parts each batch is cut at least; so it stays in later rounds.
            on_split: Told the number of parts as soon as memory asks for more of them.

        Raises:
            ModelError: ``vector`` or ``local`` is not this model's, training diverged, or the data
                or one example are too much for the device's memory.

        References:
            McMahan et al., Communication-Efficient Learning, AISTATS 2017, ClientUpdate.
        """
        began, bench = time.monotonic(), self._bench
        if local is None and self.local.size and round > 1:
            raise ModelError(
                f"{self._model}: round {round} needs what this site kept from the one before",
                remedy="Choose norm group or frozen, or give the site's own part to each round.",
            )
        vector, local = self._checked(vector), self._checked_local(local)
        judged = self._training.patience and len(self._data.validation)
        own = bench.secret if secret is None else secret
        hidden = [] if self._plan is None else [own]  # which decides nothing without a plan
        x = self._placement.of("train")
        if pieces > bench.pieces:
            self._cut(min(pieces, self._most_pieces))
        while True:
            bookmark = None
            if keep is not None:
                depends = (vector, local, round, stream, *hidden, *([share] if share < 1 else []))
                bookmark = Bookmark(keep, self._question(*depends))
            try:
                work = Round(
                    bench,
                    x,
                    seed=self._seed,
                    round=round,
                    stream=stream,
                    secret=own,
                    tell=on_progress,
                    judge=self._predictor.loss if judged else None,
                    bookmark=bookmark,
                    share=share,
                )
                trained = work.run(vector, local, began)
                if bookmark is not None:
                    bookmark.remove()
                return trained
            except jax.errors.JaxRuntimeError as error:
                if not exhausted(error):
                    raise
                if self._placement.evicted("train"):
                    continue
                if bench.pieces == self._most_pieces:
                    raise too_large("train on") from error
            self._cut(min(2 * bench.pieces, self._most_pieces))
            if on_split is not None:
                on_split(bench.pieces)

    def predict(
        self, vector: Vector, *, split: Name = "test", local: Vector | None = None
    ) -> NDArray[np.float32]:
        """Log-probability of every class, float32 [examples, classes], in the split's order.

        Computed in float32, whatever training computes in.

        Raises:
            ModelError: ``vector`` or ``local`` is not this model's, or one example is too much for
                the device's memory.
        """
        return self._predictor.predict(self._checked(vector), self._checked_local(local), split)

    def evaluate(
        self, vector: Vector, *, split: Name = "test", local: Vector | None = None
    ) -> Evaluated:
        """How well ``vector`` does on one of this site's splits.

        Raises:
            ModelError: as ``predict`` does.
        """
        return self._predictor.evaluate(self._checked(vector), self._checked_local(local), split)

    def _promised(self, privacy: Privacy, rounds: int, counted: int | None) -> Plan:
        examples = len(self._data.train)
        made = plan(
            privacy,
            examples=examples if counted is None else counted,
            batch=self._training.batch,
            epochs=self._training.epochs,
            rounds=rounds,
        )
        if made.delta >= 1 / examples:
            raise ModelError(
                f"delta: {made.delta:g} is too large for the training data, which have grown since "
                "the run began",
                remedy="Start another run."
                if privacy.delta is None
                else "Propose the study anew with a smaller one.",
            )
        return made

    def _drawing(self, parameters: int, sharding: Any) -> Ahead | None:
        if self._plan is None:
            return None
        return Ahead(
            self._plan,
            examples=len(self._data.train),
            epochs=self._training.epochs,
            parameters=parameters,
            sharding=sharding,
        )

    def _question(self, *depends: Any) -> str:
        """Of all that decides a round's bits."""
        here = [jax.__version__, *identities(), self._bench.pieces]
        who = [self._model, self._config, self._training, self._seed, self._plan]
        scale, arrays = self._normalisation or (), []
        for part in (self._data.train, self._data.validation):
            arrays += [part.x, part.mask, part.y, part.groups]
            if part.pictures is not None:
                # A cache's file is another one as soon as an image changes.
                file = getattr(part.pictures.pixels, "filename", None)
                arrays += [file or part.pictures.pixels, part.pictures.rows]
        return question(here, who, self._data.cohort_hash, *arrays, *scale, *depends)

    def _compiled(self, pieces: int) -> Program:
        promise = self._plan
        classes = len(self._data.classes)
        return program(
            self._model,
            self._config,
            self._training,
            len(self._data.features),
            1 if classes == 2 else classes,
            gives=self._data.gives,
            pieces=pieces,
            guard=None if promise is None else Guard(promise.clip, promise.noise, promise.batch),
        )

    @property
    def _most_pieces(self) -> int:
        """With so many every device computes on one row at a time."""
        rows = min(self._training.batch, len(self._data.train))
        if self._plan is not None:
            rows = widest(self._plan, len(self._data.train))
        return max(1, -(-rows // self._bench.width))

    def _cut(self, pieces: int) -> None:
        self._bench.pieces, self._bench.program = pieces, self._compiled(pieces)

    def _checked(self, vector: Vector) -> Vector:
        if vector.dtype != np.float32 or vector.shape != (self.manifest.size,):
            raise ModelError(
                f"The parameters are {vector.dtype} {list(vector.shape)}; "
                f"this model takes float32 [{self.manifest.size}]."
            )
        return finite(vector, "The parameters cannot be used")

    def _checked_local(self, local: Vector | None) -> Vector:
        if local is None:
            return np.zeros(self.local.size, dtype=np.float32)
        if local.dtype != np.float32 or local.shape != (self.local.size,):
            raise ModelError(
                f"The site's own part is {local.dtype} {list(local.shape)}; "
                f"this model takes float32 [{self.local.size}]."
            )
        return finite(local, "The site's own part cannot be used")


def use_cache(folder: Path) -> None:
    """Keep what is traced and compiled in ``folder``, so that the next process need not do it."""
    _traced.keep(folder)
    for key, value in {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,  # even the smallest
    }.items():
        jax.config.update(key, value)  # type: ignore[no-untyped-call]
