"""Federated averaging on Flower's own ``FedAvg``, with what it leaves open: checks, memory, resume.

Flower's aggregation accepts NaN, other shapes and negative counts and keeps every site's model in
memory; here an update is judged as it arrives and spooled to disk, and the mean is taken over the
sites in order of their names, so that the order of arrival cannot change a bit.
"""

import json
import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from numpy.typing import NDArray

from fedtui import events
from fedtui import study as studies
from fedtui.errors import joined
from fedtui.events import Phase
from fedtui.flower import arrays, crash, rules, vectors
from fedtui.flower.grid import DirectGrid, Reply, round_to_ms
from fedtui.flower.rules import State
from fedtui.flower.vectors import RefusedError, Vector
from fedtui.study import Study
from models import Manifest

Scale = tuple[NDArray[np.float64], ...]
Append = Callable[[events.Event], object]
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.@-]{0,39}")  # of a metric, on screens and in the journal
_LARGEST = 1e15  # of a metric; its weighted sum over sites stays finite, NaN compares false
_LONGEST_REASON = 600  # characters
_LEAST_SHARE = 0.25  # of a site's steps, however slow it is
_GROWTH, _SLACK = 1.1, 10  # patients admitted since round 0; counts are rounded on their way


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What every message of a run repeats, so that a site needs no memory of earlier ones.

    Attributes:
        enrolled: Training examples of each site as it told them in round 0.
    """

    run: str
    study: Study
    train_sites: tuple[str, ...]
    manifest: Manifest | None = None
    normalisation: Scale | None = None
    enrolled: dict[str, int] = field(default_factory=dict)

    def config(self, round: int, phase: Phase, *, initial: bool = False) -> ConfigRecord:
        """The ConfigRecord of one message."""
        stacked = b"" if self.normalisation is None else np.stack(self.normalisation).tobytes()
        manifest = "" if self.manifest is None else json.dumps(self.manifest.to_json())
        return ConfigRecord(
            {
                "run": self.run,
                "round": round,
                "phase": phase,
                "study": studies.canonical(self.study).decode(),
                "fingerprint": studies.fingerprint(self.study),
                "protocol": studies.PROTOCOL,
                "code": studies.numeric_code(),
                "manifest": manifest,
                "normalisation": stacked,
                "rows": len(self.normalisation or ()),
                "initial": initial,
            }
        )


def judge_metrics(message: Message) -> tuple[int, dict[str, float], RecordDict]:
    """Examples, sound metrics and content of a reply.

    Raises:
        RefusedError: it is an error ('failed'), malformed, or its count is absurd.
    """
    if message.has_error():
        raise _failure(message)
    content = message.content
    metrics = content.get("metrics")
    if not isinstance(metrics, MetricRecord):
        raise RefusedError("malformed", "the answer holds no metrics.")
    values = dict(metrics)
    examples = vectors.check_examples(values.pop("num-examples", None))
    sound = {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and abs(value) < _LARGEST and _NAME.fullmatch(name)
    }
    return examples, sound, content


def _failure(message: Message) -> RefusedError:
    """A site's own words, fit for a journal and a terminal: printable, and not without end."""
    try:
        document = json.loads(message.error.reason or "")
        words = joined(document["message"], str(document["remedy"]))
        kind = str(document.get("error", ""))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return RefusedError("failed", "the site's Flower app failed; its own log says why.")
    said = "".join(c for c in words[:_LONGEST_REASON] if c.isprintable())
    return RefusedError("failed", said, kind=kind)


class JointAveraging(FedAvg):
    """FedAvg over one vector: judged updates, named sites, a checkpoint every round.

    Args:
        terms: Of the run, with manifest and normalisation.
        first: The round that Flower's first round stands for; more than 1 after a resume.
        trained: Over how many examples round ``first`` is already aggregated, so that it only
            needs evaluating; 0 if it is not.
        joint: The model that the first round starts from, float32 [parameters].
        state: What the aggregation rule left the last time.
        spool: Folder for updates while a round is under way.
        on_model: Called with round, joint model and the rule's state before evaluation: begins to
            make them durable. The round ends when that is done, so the disk works while the model
            travels.
    """

    def __init__(
        self,
        terms: Terms,
        *,
        first: int,
        trained: int,
        joint: Vector,
        state: State,
        spool: Path,
        append: Append,
        on_model: Callable[[int, Vector, State], Future[None]],
    ) -> None:
        super().__init__(min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=1)
        if terms.manifest is None:
            raise ValueError("a run that trains has a manifest")
        self._terms, self._size = terms, terms.manifest.size
        self._first, self._trained = first, trained
        self._rule = rules.rule(terms.study.strategy, terms.study.aggregation)
        self._transport: arrays.Transport = terms.study.transport
        self._joint, self._state = joint, state
        self._spool, self._append, self._on_model = spool, append, on_model
        self._grid: DirectGrid | None = None
        self._began = 0.0
        self._examples = trained
        self._seconds: dict[str, float] = {}
        self._saving: Future[None] | None = None
        self._judging = 0.0  # seconds of the round
        self._lengths: dict[str, float] = {}  # of the round's updates, by site
        self._shares: dict[str, float] = {}  # of their steps, for sites that do not do all

    def summary(self) -> None:
        """Flower logs this at the start; the journal already says it."""

    # Training.

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The joint model to every site that trains; as Flower carries it, in ``arrays``."""
        assert isinstance(grid, DirectGrid)
        self._grid, self._began, self._seconds = grid, time.monotonic(), {}
        self._lengths, self._judging = {}, 0.0
        grid.replies = {}
        if self._trained and server_round == 1:
            return []
        grid.judge = self._judge_update
        record = RecordDict({"arrays": arrays, "config": self._config(server_round, "train")})
        nodes = self._nodes(grid, self._terms.train_sites, server_round, "train")
        if not self._shares:
            return self._construct_messages(record, nodes, MessageType.TRAIN)
        return [
            message
            for node in nodes
            for message in self._construct_messages(
                self._with_share(record, grid.site(node)), [node], MessageType.TRAIN
            )
        ]

    def _with_share(self, record: RecordDict, site: str) -> RecordDict:
        config = ConfigRecord(dict(record.config_records["config"]))
        config["share"] = self._shares.get(site, 1.0)
        return RecordDict({"arrays": record.array_records["arrays"], "config": config})

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The next joint model, by the study's rule out of the sites' models."""
        assert self._grid is not None
        if not self._grid.replies:  # a resumed round that was aggregated before
            return None, None
        for site, times in vectors.outliers(self._lengths).items():
            cause = f"its update is {times:.0f} times as long as the round's median."
            self._grid.refuse(site, self._round(server_round), "train", "norm", cause)
        taken = [self._grid.replies[site] for site in sorted(self._grid.replies)]
        began = time.monotonic()
        weights = [reply.examples for reply in taken]
        joint, state = self._rule(
            self._joint, [reply.body for reply in taken], weights, self._state
        )
        vectors.check_finite(joint)
        self._joint, self._state = joint, state
        round = self._round(server_round)
        crash.point("coordinator.aggregated", round)
        aggregated = time.monotonic()
        self._saving = self._on_model(round, joint, state)
        if self._terms.study.quorum.adaptive:
            self._shares = next_shares({r.site: r.trained for r in taken}, self._shares)
        self._examples = sum(weights)
        self._seconds = {
            **_timing(taken),
            "judging": self._judging,
            "aggregation": aggregated - began,
            "exchange": time.monotonic() - self._began,
        }
        for path in self._spool.glob("*.f32"):
            path.unlink()
        return arrays.to_record(joint, self._transport), None

    # Evaluation.

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The joint model to every site of the study, to be measured on its own test examples."""
        assert isinstance(grid, DirectGrid)
        grid.judge = lambda _, message: judge_metrics(message)
        record = RecordDict({"arrays": arrays, "config": self._config(server_round, "evaluate")})
        nodes = self._nodes(grid, self._terms.study.sites, server_round, "evaluate")
        return self._construct_messages(record, nodes, MessageType.EVALUATE)

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Means over the sites' test examples; the round ends here."""
        assert self._grid is not None
        taken = [self._grid.replies[site] for site in sorted(self._grid.replies)]
        joint = weighted_means(taken)
        evaluated = time.monotonic()
        if self._saving is not None:
            self._saving.result()
            self._seconds["checkpoint"] = time.monotonic() - evaluated
        total = time.monotonic() - self._began
        self._append(
            events.RoundEnded(
                run=self._terms.run,
                round=self._round(server_round),
                metrics=joint,
                by_site={reply.site: reply.metrics for reply in taken},
                examples=self._examples,
                seconds={
                    name: round_to_ms(value)
                    for name, value in {
                        **self._seconds,
                        "evaluate": max(reply.trained for reply in taken),
                        "total": total,
                    }.items()
                },
            )
        )
        return MetricRecord(dict(joint))

    def _judge_update(self, site: str, message: Message) -> tuple[int, dict[str, float], Vector]:
        examples, metrics, content = judge_metrics(message)
        check_enrolled(examples, self._terms.enrolled.get(site))
        records = content.array_records
        if list(records) != ["arrays"]:
            raise RefusedError("arrays", f"expected one set of arrays, found {len(records)}.")
        vector = arrays.unchecked(records["arrays"], size=self._size, transport=self._transport)
        if self._transport == "bfloat16":  # to float32's model: what its rounding hid would be lost
            vector += self._joint
        # Of the processor: on the clock it waits for the threads that receive the other updates.
        began = time.thread_time()
        self._lengths[site] = vectors.distance(vector, self._joint)
        self._judging += time.thread_time() - began
        # On disk, so that memory holds one update however many sites there are; the page cache
        # makes it no slower, and nothing needs it after a power cut.
        path = self._spool / f"{site}.f32"
        vector.tofile(path)
        path.chmod(0o600)
        spooled: Vector = np.memmap(path, dtype="<f4", mode="r")
        return examples, metrics, spooled

    def _nodes(
        self, grid: DirectGrid, sites: tuple[str, ...], server_round: int, phase: Phase
    ) -> list[int]:
        present = grid.present(sites, round=self._round(server_round), phase=phase)
        return [grid.node(site) for site in present]

    def _round(self, server_round: int) -> int:
        return self._first + server_round - 1

    def _config(self, server_round: int, phase: Phase) -> ConfigRecord:
        return self._terms.config(self._round(server_round), phase)


def check_enrolled(examples: int, enrolled: int | None) -> None:
    """Refuse a weight far above what the site told in round 0; opt-outs only make it smaller.

    Raises:
        RefusedError: 'count'.
    """
    if enrolled is not None and examples > enrolled * _GROWTH + _SLACK:
        raise RefusedError(
            "count", f"it answers for {examples} examples and enrolled {enrolled} in round 0."
        )


def next_shares(trained: dict[str, float], shares: dict[str, float]) -> dict[str, float]:
    """The share of its steps that each site is to do next, so that all take about as long.

    Args:
        trained: Seconds that each site trained.
        shares: What share of its steps that was, where not all.

    Returns:
        Between a quarter and below 1, of the sites that would take longer than the median.
    """
    whole = {site: seconds / shares.get(site, 1.0) for site, seconds in trained.items()}
    typical = float(np.median(list(whole.values())))
    return {
        site: max(_LEAST_SHARE, typical / seconds)
        for site, seconds in whole.items()
        if seconds > typical
    }


def weighted_means(replies: Iterable[Reply]) -> dict[str, float]:
    """Each metric's mean over the sites that have it, weighted by their examples."""
    sums: dict[str, float] = {}
    weights: dict[str, float] = {}
    for reply in replies:
        for name, value in reply.metrics.items():
            sums[name] = sums.get(name, 0.0) + value * reply.examples
            weights[name] = weights.get(name, 0.0) + reply.examples
    return {name: sums[name] / weights[name] for name in sorted(sums)}


def _timing(replies: list[Reply]) -> dict[str, float]:
    """The exchange's wall time by part: the slowest site's training, transfer, and waiting."""
    slowest = max(replies, key=lambda reply: reply.seconds)
    return {
        "train": max(reply.trained for reply in replies),
        "transfer": max(0.0, slowest.seconds - slowest.trained),
        "waiting": slowest.seconds - min(reply.seconds for reply in replies),
    }
