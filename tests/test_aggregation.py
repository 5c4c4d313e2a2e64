"""The joint model is the weighted mean of what the sites sent, and of nothing else."""

import gzip
import json
from collections.abc import Callable
from contextlib import nullcontext
from itertools import permutations

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import given, settings
from hypothesis import strategies as st

from fedtui import disclosure, events, operations
from fedtui.flower import arrays, checkpoints, vectors
from fedtui.flower.grid import Reply
from fedtui.flower.strategy import check_enrolled, judge_metrics, weighted_means
from fedtui.flower.vectors import RefusedError
from fedtui.study import Quorum
from models import Manifest
from tests import federation as fed
from tests import hostile
from tests.averages import GOOD, SIZE, average
from tests.conftest import STRANGE
from tests.federation import COORDINATOR, SITE, Federation, records, until


def test_a_real_round_equals_federated_averaging_over_the_sites_own_files(
    trio: Federation,
) -> None:
    ended = trio.run(fed.study(rounds=2))

    run = ended.run
    models, weights = [], []
    for name in (COORDINATOR, SITE):
        work = trio.homes[name].work / run
        models.append(np.fromfile(work / "00002-train.out", dtype="<f4"))
        stored = json.loads((work / "00002-train.json").read_text())
        weights.append(disclosure.rounded(stored["examples"]))  # as the exit tells them
    file = trio.coordinator.runs / run / "checkpoint-00002.safetensors"
    joint = checkpoints.parse(file.read_bytes(), name=file.name).parameters
    assert weights[0] != weights[1]
    np.testing.assert_allclose(joint, average(models, weights), rtol=0, atol=1e-6)
    assert fed.weights(ended) == joint.tobytes()


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(trio: Federation) -> None:
    first, again, other = (trio.run(fed.study(seed=seed)) for seed in (3, 3, 4))

    assert fed.weights(first) == fed.weights(again) != fed.weights(other)


def test_the_order_in_which_sites_answer_or_are_named_changes_no_bit(trio: Federation) -> None:
    orders = permutations((COORDINATOR, SITE))

    results = {fed.weights(trio.run(fed.study(sites=sites, rounds=1))) for sites in orders}

    assert len(results) == 1


def sound(message: Message) -> np.ndarray:
    """The joint model that came with a training message."""
    config = message.content.config_records["config"]
    size = Manifest.from_json(json.loads(str(config["manifest"]))).size
    return arrays.from_record(message.content.array_records["arrays"], size=size)


def two_records(message: Message) -> Message:
    answer = hostile.reply(message, hostile.record(sound(message)))
    answer.content["other"] = hostile.record(sound(message))
    return answer


def no_metrics(message: Message) -> Message:
    return Message(RecordDict({"arrays": hostile.record(sound(message))}), reply_to=message)


def changed(
    change: Callable[[np.ndarray], np.ndarray],
) -> Callable[[Message], Message]:
    return lambda m: hostile.reply(m, hostile.record(change(np.array(sound(m)))))


def counted(count: object) -> Callable[[Message], Message]:
    return lambda m: hostile.reply(m, hostile.record(sound(m)), count)


def bytes_of(data: bytes) -> Callable[[Message], Message]:
    return lambda m: hostile.reply(m, hostile.raw(data, shape=sound(m).shape))


def poisoned(value: float) -> Callable[[Message], Message]:
    def change(vector: np.ndarray) -> np.ndarray:
        vector[3] = value
        return vector

    return changed(change)


def undecodable(kind: str, body: bytes, children: str = "") -> Callable[[Message], hostile.Raw]:
    head = f"{kind} {children} {len(body)}".encode()
    return lambda m: hostile.Raw(m, head + b"\x00" + body)


# One attack a round, each by a site with a rightful key.
ATTACKS: list[tuple[str, Callable[[Message], Message | hostile.Raw]]] = [
    ("nan", poisoned(np.nan)),
    ("infinite", poisoned(np.inf)),
    ("shape", changed(lambda v: np.append(v, v[:1]))),
    ("shape", changed(lambda v: v[:, None])),
    ("dtype", changed(lambda v: v.astype(np.float64))),
    ("arrays", lambda m: hostile.reply(m, ArrayRecord({"a": Array(sound(m)), "b": Array(GOOD)}))),
    ("arrays", two_records),
    ("arrays", lambda m: hostile.reply(m, None)),
    ("malformed", no_metrics),
    ("count", counted(0)),
    ("count", counted(-99)),
    ("count", counted(10**18)),
    ("count", counted(99.5)),
    ("count", counted([7])),
    ("count", counted(None)),
    ("shape", bytes_of(hostile.huge_header())),
    ("dtype", bytes_of(hostile.npy(np.array([{}] * SIZE), pickled=True))),
    ("shape", bytes_of(hostile.npy(GOOD)[:-3])),
    ("failed", lambda m: hostile.failed(m, '{"message": "a\\u001b[31m", "remedy": "b"}')),
    ("failed", lambda m: hostile.failed(m, "a patient's row")),
    ("malformed", undecodable("Message", b"\xff not protobuf")),
    ("malformed", undecodable("Message", b"")),
    ("malformed", undecodable("Message", b"", children="0" * 64)),
    ("failed", lambda m: hostile.failed(m, "[" * 100_000)),
    ("arrays", bytes_of(gzip.compress(bytes(1 << 26)))),
    ("arrays", bytes_of(hostile.zipped(1 << 26))),
    ("malformed", undecodable("ArrayRecord", b"[" * 100_000)),
    ("malformed", undecodable("ArrayRecord", b"[]")),
    ("malformed", undecodable("Array", b"{}")),
    ("malformed", undecodable("MetricRecord", b"\xff")),
]


def test_a_hostile_answer_is_refused_by_name_and_the_run_goes_on_with_the_others(
    trio: Federation,
) -> None:
    def answer(message: Message, round: int, phase: str) -> Message | hostile.Raw:
        return ATTACKS[round - 1][1](message) if phase == "train" else hostile.failed(message)

    sites = (SITE, STRANGE)
    terms = fed.study(sites=sites, rounds=len(ATTACKS), quorum=Quorum(minimum_sites=1))
    with hostile.playing(trio.homes[STRANGE], answer, on_trouble=trio.idle) as troubles:
        ended = trio.run(terms)

    refused = [
        e for _, e in records(trio.coordinator, events.AnswerRefused, run=ended.run)
        if e.phase == "train"
    ]  # fmt: skip
    assert not troubles
    assert ended.outcome == "completed", ended.cause
    assert [(e.round, e.site, e.code) for e in refused] == [
        (round, STRANGE, code) for round, (code, _) in enumerate(ATTACKS, start=1)
    ]
    assert not any("patient" in e.cause or "\x1b" in e.cause for e in refused)
    honest = trio.run(fed.study(sites=(SITE,), rounds=len(ATTACKS)))
    assert fed.weights(ended) == fed.weights(honest)  # nothing of the other came in


def test_an_update_far_longer_than_the_others_is_refused_and_said(trio: Federation) -> None:
    def answer(message: Message, round: int, phase: str) -> Message:
        if phase != "train":
            return hostile.failed(message)
        factor = {1: 1.0, 2: 1e6, 3: -1e30}[round]
        return hostile.reply(message, hostile.record(sound(message) + np.float32(factor) / 100))

    sites = (COORDINATOR, SITE, STRANGE)
    terms = fed.study(sites=sites, rounds=3, quorum=Quorum(minimum_sites=2))
    with hostile.playing(trio.homes[STRANGE], answer, on_trouble=trio.idle) as troubles:
        ended = trio.run(terms)

    refused = [
        e for _, e in records(trio.coordinator, events.AnswerRefused, run=ended.run)
        if e.phase == "train"
    ]  # fmt: skip
    assert not troubles
    assert ended.outcome == "completed", ended.cause
    assert [(e.round, e.site, e.code) for e in refused] == [
        (2, STRANGE, "norm"), (3, STRANGE, "norm")
    ]  # fmt: skip
    assert "times as long" in refused[0].cause


def test_an_updates_length_is_from_the_rounds_own_model_not_from_the_first(
    trio: Federation,
) -> None:
    def answer(message: Message, round: int, phase: str) -> Message:
        if phase != "train":
            return hostile.failed(message)
        # 11 long: honest ones are 0.6 by then, and 3.6 from where the run began
        away = np.float32(0.12 if round == 8 else 0.0)
        return hostile.reply(message, hostile.record(sound(message) + away))

    sites = (COORDINATOR, SITE, STRANGE)
    terms = fed.study(sites=sites, rounds=8, quorum=Quorum(minimum_sites=2))
    with hostile.playing(trio.homes[STRANGE], answer, on_trouble=trio.idle) as troubles:
        ended = trio.run(terms)

    refused = [
        (e.round, e.site, e.code)
        for _, e in records(trio.coordinator, events.AnswerRefused, run=ended.run)
        if e.phase == "train"
    ]
    assert not troubles
    assert refused == [(8, STRANGE, "norm")]


@pytest.mark.parametrize(("examples", "passes"), [(100, True), (120, True), (121, False)])
def test_a_site_weighs_no_more_than_it_enrolled_with(examples: int, passes: bool) -> None:
    with nullcontext() if passes else pytest.raises(RefusedError) as refused:
        check_enrolled(examples, 100)

    assert passes or refused.value.code == "count"


def describe(message: Message, **changes: object) -> Message:
    """An answer to round 0 with what a test put into its description."""
    answer = hostile.reply(message, None)
    answer.content["fields"].update(  # type: ignore[union-attr]
        {"manifest": "[]", "features": "[]", "classes": "[]", **changes}  # type: ignore[arg-type]
    )
    return answer


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"manifest": "no json"},
        {"manifest": "[" * 100_000},
        {"features": '[{"a":' * 50_000},
        {"manifest": "7"},
        {"features": '[{"nonsense": 1}]'},
        {"count": "text", "total": b"", "square": b""},
        {"count": b"odd", "total": b"", "square": b""},
        {"count": np.full(3, np.nan).tobytes(), "total": b"", "square": b""},
    ],
)
def test_a_description_of_data_that_is_none_is_refused(
    trio: Federation, fields: dict[str, object]
) -> None:
    def answer(message: Message, round: int, phase: str) -> Message:
        return describe(message, **fields) if phase == "prepare" else hostile.failed(message)

    terms = fed.study(sites=(SITE, STRANGE), rounds=1, quorum=Quorum(minimum_sites=1))
    with hostile.playing(trio.homes[STRANGE], answer, on_trouble=trio.idle) as troubles:
        ended = trio.run(terms)

    assert not troubles
    assert ended.outcome == "completed", ended.cause
    first = records(trio.coordinator, events.AnswerRefused, run=ended.run)[0][1]
    assert (first.phase, first.site) == ("prepare", STRANGE)
    assert first.code in ("malformed", "statistics")


def nobody(on_deadline: str) -> Quorum:
    return Quorum(minimum_sites=1, deadline_seconds=3.0, on_deadline=on_deadline)  # type: ignore[arg-type]


def test_a_run_that_nobody_answers_says_whom_it_waits_for(trio: Federation) -> None:
    run = trio.start(fed.study(sites=(STRANGE,), quorum=nobody("wait")))

    record = until(
        trio.coordinator,
        lambda e: isinstance(e, events.SitesAwaited) and e.run == run,
        seconds=15,
    )

    assert isinstance(record.event, events.SitesAwaited)
    assert record.event.sites == (STRANGE,)
    assert operations.known(trio.coordinator).runs[run].awaited == (STRANGE,)
    operations.stop(trio.coordinator)
    assert trio.ended(run).outcome == "stopped"


def test_a_run_that_may_not_wait_fails_and_names_who_is_missing(trio: Federation) -> None:
    ended = trio.run(fed.study(sites=(SITE, STRANGE), quorum=nobody("fail")))

    assert ended.outcome == "failed"
    assert STRANGE in ended.cause
    assert SITE not in ended.cause


def test_a_run_that_may_goes_on_with_those_who_answered(trio: Federation) -> None:
    ended = trio.run(fed.study(sites=(SITE, STRANGE), rounds=1, quorum=nobody("continue")))

    late = records(trio.coordinator, events.AnswerRefused, run=ended.run)
    assert ended.outcome == "completed", ended.cause
    assert {(e.site, e.code) for _, e in late} == {(STRANGE, "late")}


@settings(max_examples=200)
@given(st.dictionaries(st.text(max_size=50), st.floats() | st.integers(-(2**62), 2**62)))
def test_whatever_metrics_a_site_sends_their_means_can_be_journaled(
    sent: dict[str, float],
) -> None:
    metrics = MetricRecord({**sent, "num-examples": vectors.MOST_EXAMPLES})
    TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1
    question = Message(RecordDict(), 1, "train", ttl=10.0)
    answer = Message(RecordDict({"metrics": metrics}), reply_to=question)

    examples, sound_metrics, _ = judge_metrics(answer)
    reply = Reply(
        site="a", examples=examples, metrics=sound_metrics, seconds=0, trained=0, body=None
    )

    json.dumps(weighted_means([reply, reply]), allow_nan=False)
