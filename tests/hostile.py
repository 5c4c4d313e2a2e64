"""A hand-written node with a rightful key that answers whatever a test wants."""

import contextlib
import io
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.message_pb2 import ObjectTree, PushObjectRequest
from flwr.proto.node_pb2 import Node as NodeProto
from flwr.supercore.inflatable.inflatable_object import get_object_id

from fedtui import keys, site
from fedtui.flower.arrays import NAME
from fedtui.flower.link import Link, LinkError
from fedtui.flower.node import Node
from fedtui.site import Home

Answer = Callable[[Message, int, str], "Message | Raw"]


def record(vector: np.ndarray) -> ArrayRecord:
    return ArrayRecord({NAME: Array(vector)})


def raw(data: bytes, *, shape: tuple[int, ...] = (4,), dtype: str = "float32") -> ArrayRecord:
    """An array of these very bytes, whatever they are."""
    return ArrayRecord({NAME: Array(dtype=dtype, shape=shape, stype="numpy.ndarray", data=data)})


def npy(vector: np.ndarray, *, pickled: bool = False) -> bytes:
    stream = io.BytesIO()
    np.save(stream, vector, allow_pickle=pickled)
    return stream.getvalue()


def huge_header() -> bytes:
    """A header that claims 16 TiB, and nothing behind it."""
    stream = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 42,)}
    np.lib.format.write_array_header_1_0(stream, header)  # type: ignore[arg-type]
    return stream.getvalue()


def zipped(size: int) -> bytes:
    """An .npz of so many zeros, a thousandth of them long."""
    stream = io.BytesIO()
    np.savez_compressed(stream, **{NAME: np.zeros(size, np.uint8)})
    return stream.getvalue()


def reply(to: Message, arrays: ArrayRecord | None, count: object = 100) -> Message:
    """An answer that is right but for what a test put into it; without a count for None."""
    metrics = MetricRecord({"loss": 1.0})
    if count is not None:
        metrics["num-examples"] = count  # type: ignore[assignment]
    content = RecordDict({"metrics": metrics, "fields": ConfigRecord()})
    if arrays is not None:
        content["arrays"] = arrays
    return Message(content, reply_to=to)


def failed(to: Message, reason: str = "no") -> Message:
    return Message(Error(100, reason), reply_to=to)


@dataclass
class Raw:
    """An answer whose bytes are these, in place of what ``to`` should get."""

    to: Message
    content: bytes


def push_raw(node: Node, raw_answer: Raw) -> None:
    """Push bytes that pass Flower's own checks of form: a head, a length, a hash."""
    answer = failed(raw_answer.to)
    id = get_object_id(raw_answer.content)
    answer.metadata.__dict__["_message_id"] = id
    proto = NodeProto(node_id=node.node_id)
    pushed = node._client.PushMessages(
        PushMessagesRequest(
            node=proto,
            messages_list=[message_to_proto(answer)],
            message_object_trees=[ObjectTree(object_id=id)],
        )
    )
    node._client.PushObject(
        PushObjectRequest(
            node=proto,
            run_id=answer.metadata.run_id,
            object_id=id,
            object_content=raw_answer.content,
            session_id=pushed.session_id,
        )
    )


@contextlib.contextmanager
def playing(
    home: Home, answer: Answer, *, on_trouble: Callable[[], None]
) -> Iterator[list[BaseException]]:
    """Be the site of ``home`` and answer every message with ``answer(message, round, phase)``.

    Yields what went wrong in the playing itself; the caller asserts that it is empty.
    """
    membership = site.load_membership(home)
    key = keys.load_private(home.keys / "node.key")
    troubles: list[BaseException] = []
    over = threading.Event()
    name = site.load(home).name

    def attach(link: Link, node: Node) -> None:
        told = link.post("/fedtui/attach", {"boot": "b", "attempt": 1, "version": "0", "held": []})
        node.node_id = int(told["node_id"])
        node.heartbeat()

    def play() -> None:
        with (
            contextlib.closing(Node(membership, key)) as node,
            Link(membership, site=name, key=key) as link,
        ):
            attach(link, node)
            ready.set()
            while not over.is_set():
                try:
                    link.post("/fedtui/wait", {"seconds": 0.2})
                    pulled = node.pull()
                    if pulled is None:
                        continue
                    message = node.fetch(*pulled)
                    config = message.content["config"]
                    number, phase = int(config["round"]), str(config["phase"])  # type: ignore[arg-type,call-overload]
                    made = answer(message, number, phase)
                    if isinstance(made, Raw):
                        push_raw(node, made)
                    else:
                        node.push(made, round=number)
                except LinkError as error:
                    if error.code != "gone":  # the round was over before we answered
                        troubles.append(error)
                        return
                except Exception as error:  # the test's own mistake: end the run, do not wait
                    troubles.append(error)
                    on_trouble()
                    return

    ready = threading.Event()
    thread = threading.Thread(target=play, daemon=True)
    thread.start()
    ready.wait(20)
    try:
        yield troubles
    finally:
        over.set()
        thread.join(20)
