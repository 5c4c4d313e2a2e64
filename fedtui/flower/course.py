"""One run from round 0 to its model: what is asked, kept, and taken up again after any end."""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from flwr.app import MessageType, RecordDict
from safetensors import SafetensorError

from fedtui import events, keys
from fedtui import study as studies
from fedtui.errors import OperatorError, storage
from fedtui.flower import arrays, checkpoints, preparation
from fedtui.flower.checkpoints import Checkpoint
from fedtui.flower.control import Control, StoppedError
from fedtui.flower.grid import DirectGrid
from fedtui.flower.rules import State
from fedtui.flower.strategy import JointAveraging, Terms
from fedtui.flower.vectors import Vector
from fedtui.flower.work import write_atomically
from fedtui.journal import Journal
from fedtui.keys import PrivateKey
from fedtui.study import Study

_STORAGE_SECONDS = (1.0, 60.0)  # between tries over a disk that is full: the first, the longest
_OVER_FLOWER_SECONDS = 10 * 365 * 86400.0  # our own deadlines rule; Flower's never comes first


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a study; its id outlives every process.

    Attributes:
        alone: The only site that trains, empty for all of them.
    """

    id: str
    study: Study
    alone: str

    @property
    def train_sites(self) -> tuple[str, ...]:
        """Who trains, by name."""
        return (self.alone,) if self.alone else tuple(sorted(self.study.sites))


class Course:
    """The course of one run, in its folder and by its journal.

    Args:
        key: The coordinator's own, that signs its journal's head at each round's end.
        site: The coordinator's own name.
    """

    def __init__(
        self,
        run: Run,
        *,
        folder: Path,
        journal: Journal,
        key: PrivateKey,
        site: str,
        control: Control,
    ) -> None:
        self._run, self._folder, self._journal = run, folder, journal
        self._key, self._site, self._control = key, site, control

    def carry_out(self, grid: DirectGrid, *, resumed: bool) -> tuple[str, str]:
        """From the last checkpoint to the end; returns the model's file and its sha256.

        When the disk does not take it, it waits and goes on from the last checkpoint.

        Raises:
            StoppedError: an operator stopped the run.
            OperatorError: what ended it.
        """
        pause = _STORAGE_SECONDS[0]
        while True:
            try:
                done = self._federate(grid, resumed=resumed)
                self._control.storage = ""
                return done
            except (OperatorError, OSError, SafetensorError) as error:
                if (trouble := storage(error)) is None:
                    raise
            resumed, self._control.storage = True, str(trouble)
            self._journal.append(
                events.StorageAwaited(process="coordinator", seconds=0.0, cause=str(trouble))
            )
            until = time.monotonic() + pause
            while time.monotonic() < until:
                if self._control.stopped:
                    raise StoppedError
                time.sleep(0.2)
            pause = min(2 * pause, _STORAGE_SECONDS[1])

    def _federate(self, grid: DirectGrid, *, resumed: bool) -> tuple[str, str]:
        folder = self._folder
        spool = folder / "updates"
        shutil.rmtree(spool, ignore_errors=True)
        spool.mkdir(mode=0o700)
        ended = self._last_round()
        checkpoint = checkpoints.newest(folder, self.vouched())
        if resumed:
            reached = 0 if checkpoint is None else checkpoint.round
            self._journal.append(
                events.RunResumed(
                    run=self._run.id, round=max(reached, min(ended + 1, self._run.study.rounds))
                )
            )
        terms = Terms(run=self._run.id, study=self._run.study, train_sites=self._run.train_sites)
        if checkpoint is None:
            checkpoint = self._prepare(grid, terms)
        terms = replace(
            terms,
            manifest=checkpoint.manifest,
            normalisation=checkpoint.normalisation,
            enrolled=self._answered(0, "prepare"),
        )
        # A checkpoint may be there before its round ended: then only evaluation is left to do.
        trained = checkpoint.round > ended
        first = checkpoint.round if trained and checkpoint.round > 0 else checkpoint.round + 1
        reached = checkpoint.round

        def keep(round: int, model: Vector, state: State) -> None:
            nonlocal reached
            random = {"seed": self._run.study.seed, "next_round": round + 1}
            self._keep(
                replace(checkpoint, round=round, parameters=model, arrays=state, random=random),
            )
            reached = round

        saver = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        strategy = JointAveraging(
            terms,
            first=first,
            trained=self._examples(first) if trained and checkpoint.round > 0 else 0,
            joint=checkpoint.parameters,
            state=checkpoint.arrays,
            spool=spool,
            append=self._append,
            on_model=lambda round, model, state: saver.submit(keep, round, model, state),
        )
        rounds = self._run.study.rounds - first + 1
        with saver:  # whatever ends the run, a checkpoint begun is finished first
            if rounds > 0:
                strategy.start(
                    grid,
                    arrays.to_record(checkpoint.parameters, self._run.study.transport),
                    num_rounds=rounds,
                    timeout=_OVER_FLOWER_SECONDS,
                )
        shutil.rmtree(spool, ignore_errors=True)
        model = folder / "model.safetensors"
        last = f"checkpoint-{reached:05d}.safetensors"
        write_atomically(model, (folder / last).read_bytes(), durable=True)
        return str(model), self.vouched()[last]

    def _prepare(self, grid: DirectGrid, terms: Terms) -> Checkpoint:
        """Round 0: one manifest, one first model, one scale for everybody."""
        first = self._run.train_sites[0]
        grid.judge = lambda _, message: preparation.judge(message)
        contents = {
            name: RecordDict({"config": terms.config(0, "prepare", initial=name == first)})
            for name in grid.present(self._run.study.sites, round=0, phase="prepare")
        }
        replies = grid.ask(contents, MessageType.QUERY, round=0, phase="prepare")
        manifest, vector, normalisation = preparation.pool(
            replies, first=first, federated=self._run.study.normalisation == "federated"
        )
        for event in preparation.warnings(self._run.id, replies):
            self._append(event)
        if normalisation is not None and self._run.study.treated:
            normalisation = preparation.treatment(grid, terms, replies, normalisation)
        checkpoint = Checkpoint(
            run=self._run.id,
            round=0,
            fingerprint=studies.fingerprint(self._run.study),
            manifest=manifest,
            parameters=vector,
            normalisation=normalisation,
            strategy={"name": self._run.study.strategy},
            random={"seed": self._run.study.seed, "next_round": 1},
        )
        self._keep(checkpoint)
        return checkpoint

    def _append(self, event: events.Event) -> None:
        """Journal ``event``; at a round's end also our own signed head, for the sites to keep."""
        self._journal.append(event)
        if isinstance(event, events.RoundEnded):
            at, head = self._journal.head()
            signature = keys.sign_head(self._key, site=self._site, at=at, head=head.hex())
            public = keys.public_bytes(self._key.public_key()).decode()
            self._journal.append(
                events.HeadWitnessed(
                    run=event.run, site=self._site, at=at, head=head.hex(), key=public,
                    signature=signature,
                )
            )  # fmt: skip

    def _keep(self, checkpoint: Checkpoint) -> None:
        path, digest, size = checkpoints.write(self._folder, checkpoint)
        self._control.storage = ""
        self._journal.append(
            events.CheckpointWritten(
                run=self._run.id, round=checkpoint.round, file=path.name, sha256=digest, bytes=size
            )
        )

    def vouched(self) -> dict[str, str]:
        """sha256 by file name of every checkpoint that the journal vouches for."""
        found = (record.event for record in self._journal.own(("CheckpointWritten",)))
        return {
            event.file: event.sha256
            for event in found
            if isinstance(event, events.CheckpointWritten) and event.run == self._run.id
        }

    def _examples(self, round: int) -> int:
        """How many training examples stand behind a round's model, by the answers taken."""
        return sum(self._answered(round, "train").values())

    def _answered(self, round: int, phase: events.Phase) -> dict[str, int]:
        """The examples of each site's answer that was taken."""
        answers = (record.event for record in self._journal.own(("AnswerReceived",)))
        return {
            e.site: e.examples
            for e in answers
            if isinstance(e, events.AnswerReceived)
            and (e.run, e.round, e.phase) == (self._run.id, round, phase)
        }

    def _last_round(self) -> int:
        found = (record.event for record in self._journal.own(("RoundEnded",)))
        rounds = [
            e.round for e in found if isinstance(e, events.RoundEnded) and e.run == self._run.id
        ]
        return max(rounds, default=0)
