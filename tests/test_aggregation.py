"""The joint model is the weighted mean of what the sites sent, and of nothing else."""

import gzip
import json
import tracemalloc
from collections.abc import Callable
from contextlib import nullcontext
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedtui import disclosure, events, operations
from fedtui.flower import arrays, checkpoints, vectors
from fedtui.flower.grid import Reply
from fedtui.flower.strategy import check_enrolled, judge_metrics, weighted_means
from fedtui.flower.vectors import RefusedError
from fedtui.study import Quorum
from models import Manifest
from tests import federation as fed
from tests import hostile
from tests.conftest import STRANGE
from tests.federation import COORDINATOR, SITE, Federation, records, until

# Bounds so that rounding of float32 stays below the tolerance of 1e-6: weights of real models.
NUMBERS = st.floats(-4, 4, width=32)
WEIGHTS = st.integers(1, 1_000_000)


@st.composite
def updates(draw: st.DrawFn) -> tuple[list[np.ndarray], list[int]]:
    sites = draw(st.integers(1, 5))
    size = draw(st.integers(1, 40))
    made = [draw(hnp.arrays(np.float32, size, elements=NUMBERS)) for _ in range(sites)]
    return made, draw(st.lists(WEIGHTS, min_size=sites, max_size=sites))


def average(models: list[np.ndarray], weights: list[int]) -> np.ndarray:
    """McMahan et al. 2017, algorithm 1, in float64, written without a look at ours."""
    total = float(sum(weights))
    return sum(m.astype(np.float64) * (w / total) for m, w in zip(models, weights, strict=True))


def test_numbers_whose_square_overflows_are_finite_still() -> None:
    vectors.check_finite(np.array([3e38, -3e38, 1e-45, 0], np.float32))


@given(updates())
def test_the_mean_is_federated_averaging(given_: tuple[list[np.ndarray], list[int]]) -> None:
    models, weights = given_

    joint = vectors.mean(models, weights)

    assert joint.dtype == np.float32
    np.testing.assert_allclose(joint, average(models, weights), rtol=0, atol=1e-6)


def test_the_mean_over_several_blocks_has_no_seams() -> None:
    random = np.random.default_rng(7)
    size = 2 * vectors._BLOCK + 3
    models = [random.normal(size=size).astype(np.float32) for _ in range(3)]

    joint = vectors.mean(models, [3, 5, 9])

    np.testing.assert_allclose(joint, average(models, [3, 5, 9]), rtol=0, atol=1e-6)


def test_the_mean_takes_no_more_memory_than_its_result_and_a_block_a_thread(tmp_path: Path) -> None:
    size, sites = 1 << 21, 6
    for number in range(sites):
        np.full(size, number, np.float32).tofile(tmp_path / f"{number}.f32")
    files = [np.memmap(tmp_path / f"{n}.f32", dtype="<f4", mode="r") for n in range(sites)]
    tracemalloc.start()

    vectors.mean(files, [1] * sites)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    blocks = vectors._THREADS * vectors._BLOCK
    assert peak < 4 * (size + blocks) + 100_000  # bytes; the last for Python's own objects


SIZE = 4
GOOD = np.arange(SIZE, dtype=np.float32)
BAD_ARRAYS: dict[str, tuple[ArrayRecord, str]] = {
    "NaN": (hostile.record(np.array([0, np.nan, 0, 0], np.float32)), "nan"),
    "infinite": (hostile.record(np.array([0, np.inf, 0, 0], np.float32)), "infinite"),
    "both infinities": (hostile.record(np.array([0, np.inf, -np.inf, 0], np.float32)), "infinite"),
    "another length": (hostile.record(np.zeros(SIZE + 1, np.float32)), "shape"),
    "a shape that would broadcast": (hostile.record(np.zeros((SIZE, 1), np.float32)), "shape"),
    "a scalar": (hostile.record(np.zeros((), np.float32)), "shape"),
    "float64": (hostile.record(np.zeros(SIZE)), "dtype"),
    "int8": (hostile.record(np.zeros(SIZE, np.int8)), "dtype"),
    "big endian": (hostile.record(np.zeros(SIZE, ">f4")), "dtype"),
    "complex": (hostile.record(np.zeros(SIZE, np.complex64)), "dtype"),
    "an extra layer": (ArrayRecord({"parameters": Array(GOOD), "more": Array(GOOD)}), "arrays"),
    "another name": (ArrayRecord({"weights": Array(GOOD)}), "arrays"),
    "no array": (ArrayRecord({}), "arrays"),
    "a header of 16 TiB": (hostile.raw(hostile.huge_header()), "shape"),
    "a pickle": (hostile.raw(hostile.npy(np.array([{}] * SIZE), pickled=True)), "dtype"),
    "truncated": (hostile.raw(hostile.npy(GOOD)[:-5]), "shape"),
    "longer than its shape": (hostile.raw(hostile.npy(GOOD) + b"more"), "shape"),
    "half a header": (hostile.raw(hostile.npy(GOOD)[:20]), "arrays"),
    "no header": (hostile.raw(b"not numpy at all"), "arrays"),
    "nothing": (hostile.raw(b""), "arrays"),
    "a gzip bomb": (hostile.raw(gzip.compress(bytes(1 << 24))), "arrays"),
    "a zip bomb": (hostile.raw(hostile.zipped(1 << 24)), "arrays"),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_an_update_that_is_not_one_sound_vector_is_refused_by_name(name: str) -> None:
    record, code = BAD_ARRAYS[name]

    with pytest.raises(RefusedError) as refused:
        arrays.from_record(record, size=SIZE)

    assert refused.value.code == code


@given(st.binary(max_size=200))
def test_no_bytes_of_a_site_raise_anything_but_a_refusal(data: bytes) -> None:
    for content in (data, b"\x93NUMPY\x01\x00" + data, hostile.npy(GOOD)[:60] + data):
        try:
            vector = arrays.from_record(hostile.raw(content), size=SIZE)
        except RefusedError:
            continue
        assert vector.shape == (SIZE,)


@pytest.mark.parametrize(
    "count", [0, -1, -(10**18), 10**18, vectors.MOST_EXAMPLES + 1, 1.5, True, None, "7", [7]]
)
def test_a_count_that_cannot_weigh_is_refused(count: object) -> None:
    with pytest.raises(RefusedError) as refused:
        vectors.check_examples(count)

    assert refused.value.code == "count"


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


@given(updates())
def test_an_updates_length_is_its_euclidean_distance(
    given_: tuple[list[np.ndarray], list[int]],
) -> None:
    models, _ = given_
    first, last = models[0], models[-1]

    length = vectors.distance(first, last)

    np.testing.assert_allclose(
        length, np.linalg.norm(first.astype(np.float64) - last), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(("odd", "code"), [(np.nan, "nan"), (np.inf, "infinite")])
def test_a_length_is_refused_where_an_element_is_not_finite(odd: float, code: str) -> None:
    here = np.zeros(700_000, np.float32)
    odd_one = here.copy()
    odd_one[600_000] = odd

    with pytest.raises(RefusedError) as refused:
        vectors.distance(odd_one, here)

    assert refused.value.code == code
    odd_one[600_000] = 3e38  # its square is infinite, it is not: an outlier
    assert vectors.distance(odd_one, here) == np.inf


@given(st.lists(st.floats(0.1, 3.0), min_size=2, max_size=9), st.floats(30.0, 1e30))
def test_honest_lengths_stay_and_one_above_ten_medians_goes(
    honest: list[float], long: float
) -> None:
    lengths = {f"site{number}": length for number, length in enumerate(honest)}

    assert vectors.outliers({"a": honest[0], "b": long}) == {}  # two sites have no majority
    assert not any(
        length < 10 * float(np.median(honest)) and site in vectors.outliers(lengths)
        for site, length in lengths.items()
    )
    assert "late" in vectors.outliers({**lengths, "late": long * 100})


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
