"""This site as a Flower node: pull a message, push its reply, send heartbeats.

Built on Flower's ``FleetHttpClient`` and its interceptors. Unlike Flower's SuperNode it never
pulls code, never ends itself, and names its node id itself when it re-attaches.
"""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
from flwr.app import Message
from flwr.app.message.message import remove_content_from_message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ObjectTree
from flwr.proto.node_pb2 import Node as NodeProto
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_confirm_message_received_fn_protobuf,
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectPushError,
    pull_objects,
    push_objects,
)
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from fedtui.flower import arrays, crash
from fedtui.keys import PrivateKey
from fedtui.site import Membership
from fedtui.transport import LinkError, classify, drop

HEARTBEAT_SECONDS = 10.0  # Flower's smallest; it holds a node for online twice as long
# A message shows before its parts are stored, which takes 60 ms at 100 MB; Flower waits a second.
_UNREADY_SECONDS = 0.02
_PIECE = 64 << 10  # bytes
_UNSENT = 128 << 10  # bytes
Result = TypeVar("Result")


class _Pieces(httpx.SyncByteStream):
    """A request's body, written a piece at a time: each may take as long as the client waits.

    In one piece, 5 MB have the 30 s for all of them, which a line of 1 Mbit/s does not keep.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, len(self._content), _PIECE):
            yield self._content[start : start + _PIECE]


def _unqueued(event: str, about: dict[str, Any]) -> None:
    """Let the kernel of a new connection take no more than is under way, and little besides.

    It would take megabytes, and the wait for the answer would begin before they are sent.
    """
    if event == "connection.connect_tcp.complete" and hasattr(socket, "TCP_NOTSENT_LOWAT"):
        connected = about["return_value"].get_extra_info("socket")
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)


class _Traffic:
    """An interceptor that counts bytes, both ways, as bodies without headers.

    It sends large bodies so that slow lines carry them, and closes the connection under an answer
    that Flower's server does not give.
    """

    def __init__(self) -> None:
        self.sent = self.received = 0
        self._lock = threading.Lock()

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        context.request.extensions["trace"] = _unqueued
        if len(context.request.content) > _PIECE:
            context.request.stream = _Pieces(context.request.content)
        response = call_next(context)
        if not response.is_success or "protobuf" not in response.headers.get("content-type", ""):
            drop(response)
        with self._lock:
            self.sent += len(context.request.content)
            self.received += len(response.content)
        return response


class _Identity:
    """An interceptor that signs with a key which may be replaced at any time."""

    def __init__(self, key: PrivateKey) -> None:
        self.now = NodeAuthHttpInterceptor(key, key.public_key())

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        return self.now.intercept(context, call_next)


class Node:
    """The Fleet API of one coordinator, for one node.

    Every method raises LinkError with a name; ``node_id`` is set when the coordinator told it.
    """

    def __init__(self, membership: Membership, key: PrivateKey) -> None:
        self.address = membership.address
        self.node_id = 0
        self._public = public_key_to_bytes(key.public_key())
        self._held: dict[str, bytes] = {}  # parts of the last message, by the hash of each
        self.traffic, self._identity = _Traffic(), _Identity(key)
        self._client = FleetHttpClient.from_server_address(
            membership.address,
            insecure=False,
            root_certificates=membership.authority.encode(),
            interceptors=[
                self.traffic,
                RuntimeVersionHttpInterceptor(component_name="SuperNode"),
                self._identity,
            ],
        )

    def rekey(self, key: PrivateKey) -> None:
        """Sign with ``key`` from now on."""
        self._public = public_key_to_bytes(key.public_key())
        self._identity.now = NodeAuthHttpInterceptor(key, key.public_key())

    def activate(self, *, stored: Path) -> None:
        """Learn the node id from a stock SuperLink, which gives it once a minute at most.

        Args:
            stored: File that keeps the id: after a restart it is used until the next activation.
        """
        request = ActivateNodeRequest(public_key=self._public, heartbeat_interval=HEARTBEAT_SECONDS)
        try:
            self.node_id = self._named(lambda: self._client.ActivateNode(request)).node_id
            stored.write_text(str(self.node_id), encoding="ascii")
        except LinkError as error:
            if error.code != "status-412" or not stored.exists():  # 412: it holds us for online
                raise
            self.node_id = int(stored.read_text(encoding="ascii"))

    def heartbeat(self) -> None:
        """Tell Flower that this node is online; also what brings a registered node online."""
        request = SendNodeHeartbeatRequest(node=self._node, heartbeat_interval=HEARTBEAT_SECONDS)
        if not self._named(lambda: self._client.SendNodeHeartbeat(request)).success:
            raise LinkError("unknown-node", "the coordinator lost our node id", remedy="None.")

    def pull(self) -> tuple[Message, ObjectTree] | None:
        """The next message for this node without its content, marked as delivered."""
        response = self._named(
            lambda: self._client.PullMessages(PullMessagesRequest(node=self._node))
        )
        if not response.messages_list:
            return None
        return message_from_proto(response.messages_list[0]), response.message_object_trees[0]

    def fetch(self, message: Message, tree: ObjectTree) -> Message:
        """``message`` with its content; what the last message brought is not pulled again.

        A round's model is evaluated and then trained on: it crosses the network once.
        """
        run = message.metadata.run_id
        pull = make_pull_object_fn_protobuf(self._client.PullObject, self._node, run)
        confirm = make_confirm_message_received_fn_protobuf(
            self._client.ConfirmMessageReceived, self._node, run
        )
        ids = [part.object_id for part in iterate_object_tree(tree)]
        self._held = {id: self._held[id] for id in ids if id in self._held}
        missing = [id for id in ids if id not in self._held]
        self._held |= self._named(
            lambda: pull_objects(missing, pull, initial_backoff=_UNREADY_SECONDS)
        )
        self._named(lambda: confirm(tree.object_id))
        whole = self._named(lambda: arrays.inflate(tree.object_id, self._held))
        if not isinstance(whole, Message):
            raise LinkError("foreign", "what came is not a message", remedy="None.")
        whole.metadata.__dict__["_message_id"] = tree.object_id
        return whole

    def push(self, reply: Message, *, round: int) -> None:
        """Send ``reply``, an answer of ``round``, and its content."""
        try:
            self._push(reply, round)
        except LinkError as error:
            if error.code != "status-403":  # Flower's word for a run that is over
                raise
            raise _gone() from error

    def _push(self, reply: Message, round: int) -> None:
        run = reply.metadata.run_id
        reply.metadata.__dict__["_message_id"] = reply.object_id
        with no_object_id_recompute():
            tree, objects = get_object_tree(reply), get_all_nested_objects(reply)
            request = PushMessagesRequest(
                node=self._node,
                messages_list=[message_to_proto(remove_content_from_message(reply))],
                message_object_trees=[tree],
            )
            response = self._named(lambda: self._client.PushMessages(request))
            crash.point("agent.pushing", round)
            push = make_push_object_fn_protobuf(
                self._client.PushObject, self._node, run, response.session_id
            )
            self._named(
                lambda: push_objects(
                    objects, push, object_ids_to_push=set(response.objects_to_push)
                )
            )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @property
    def _node(self) -> NodeProto:
        return NodeProto(node_id=self.node_id)

    def _named(self, call: Callable[[], Result]) -> Result:
        try:
            return call()
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, ValueError) as error:
            raise classify(error, self.address) from error
        except (ObjectPullError, ObjectPushError) as error:
            raise _gone() from error


def _gone() -> LinkError:
    return LinkError("gone", "the coordinator no longer waits for this answer", remedy="None.")
