"""What we take from Flower's inside, so that another version fails here and not in a hospital."""

from importlib.metadata import version

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, RecordDict
from flwr.server.superlink.linkstate.in_memory_linkstate import InMemoryLinkState
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.task_identity import TaskIdentity

from fedtui.flower import arrays
from fedtui.flower.fleet import Fleet

CHUNK = 5 * 1024 * 1024 // 4  # floats in one of Flower's chunks


def test_the_installed_flower_is_the_one_that_was_read() -> None:
    assert version("flwr").startswith("1.41."), "read flwr's changes to the Fleet API, then go on"


@pytest.mark.parametrize("size", [1, 650, CHUNK - 32, CHUNK, 2 * CHUNK + 7])
def test_a_vector_travels_as_flowers_own_bytes_under_flowers_own_ids(size: int) -> None:
    vector = np.random.default_rng(size).standard_normal(size).astype(np.float32)

    ours = get_all_nested_objects(RecordDict({"arrays": arrays.to_record(vector)}))
    theirs = get_all_nested_objects(
        RecordDict({"arrays": ArrayRecord({arrays.NAME: Array(vector)})})
    )

    assert list(ours) == list(theirs)
    assert {i: o.deflate() for i, o in ours.items()} == {i: o.deflate() for i, o in theirs.items()}


@pytest.mark.parametrize("size", [1, 650, 2 * CHUNK + 7])
def test_flower_reads_ours_and_we_read_flowers(size: int) -> None:
    vector = np.random.default_rng(size).standard_normal(size).astype(np.float32)
    ours = RecordDict({"arrays": arrays.to_record(vector)})
    theirs = RecordDict({"arrays": ArrayRecord({arrays.NAME: Array(vector)})})

    sent = {i: o.deflate() for i, o in get_all_nested_objects(ours).items()}
    came = {i: o.deflate() for i, o in get_all_nested_objects(theirs).items()}
    read_by_flower = inflate_object_from_contents(ours.object_id, sent)
    read_by_us = arrays.inflate(theirs.object_id, came)

    assert isinstance(read_by_flower, RecordDict)
    assert isinstance(read_by_us, RecordDict)
    got = read_by_flower.array_records["arrays"][arrays.NAME].numpy()
    assert np.array_equal(got, vector)
    record = read_by_us.array_records["arrays"]
    assert np.array_equal(arrays.from_record(record, size=size), vector)


def test_the_link_state_has_the_tables_that_we_look_into() -> None:
    fleet = Fleet()
    state = fleet._state

    assert isinstance(state, InMemoryLinkState)
    for name in (
        "message_ins_store",
        "message_ins_id_to_message_res_id",
        "task_token_store",
        "object_store",
        "lock",
    ):
        assert hasattr(state, name), name


def test_a_flower_run_goes_on_however_long_this_process_stood_still() -> None:
    fleet = Fleet()
    run = fleet.begin_run()

    token = fleet._state.task_token_store[TaskIdentity.task_id]

    assert token.active_until.year == 9999
    assert fleet.run(run).status.status == "running"
    fleet.end_run(run)
    assert fleet.run(run).status.status == "finished"
