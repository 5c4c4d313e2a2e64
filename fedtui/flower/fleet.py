"""Flower's server side in this process: its in-memory LinkState and the Fleet routes, nothing else.

A SuperLink serves Control and Runtime APIs on the same port, without authentication: whoever
reaches it runs code on every node. Here they do not exist. Nodes come from fedtui's roster, and
what must last is fedtui's own: Flower's state is made anew at each start.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from flwr.app import Message, RecordDict
from flwr.app.message.message import remove_content_from_message
from flwr.common.constant import NOOP_ACCOUNT_NAME, NOOP_FLWR_AID, SUPERLINK_NODE_ID, SubStatus
from flwr.proto.fleet_pb2 import PullMessagesRequest, PushMessagesRequest
from flwr.server.superlink.linkstate.in_memory_linkstate import InMemoryLinkState
from flwr.supercore.constant import NOOP_FEDERATION_ID, TaskType
from flwr.supercore.error.http import http_error_translator
from flwr.supercore.fab import Fab
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.object_store import NoObjectInStoreError
from flwr.supercore.protobuf.translation import ProtobufTranslationMiddleware
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.config_loader import (
    get_federation_manager,
    get_objectstore_linkstate_factories,
)
from flwr.superlink.routers.fleet.node_auth import NodeAuthMiddleware
from flwr.superlink.routers.fleet.router import router as fleet_router
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.types import ASGIApp

from fedtui import __version__
from fedtui.flower import arrays
from fedtui.flower.vectors import RefusedError


class SenderMiddleware(BaseHTTPMiddleware):
    """A node may only answer in its own name: Flower checks the caller, not the reply's source.

    Args:
        on_request: Told the id of the node behind each authenticated request.
    """

    def __init__(self, app: ASGIApp, on_request: Callable[[int], None]) -> None:
        super().__init__(app)
        self._on_request = on_request

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Refuse a pushed message whose source is another node than the authenticated one."""
        push = getattr(request.state, "protobuf_request", None)
        if isinstance(push, PullMessagesRequest):
            await run_in_threadpool(self._on_request, push.node.node_id)
        if isinstance(push, PushMessagesRequest) and any(
            message.metadata.src_node_id != push.node.node_id for message in push.messages_list
        ):
            return JSONResponse({"detail": "the reply names another node"}, status_code=403)
        return await call_next(request)


class Fleet:
    """The nodes of one federation and the messages between them and this process."""

    def __init__(self) -> None:
        _, factory = get_objectstore_linkstate_factories(
            ":flwr-in-memory:", get_federation_manager(is_simulation=False)
        )
        state = factory.state()
        # Its own tables are read below, which the abstract LinkState does not promise.
        if not isinstance(state, InMemoryLinkState):
            raise TypeError(f"Flower gave a {type(state).__name__}")
        self._factory, self._state = factory, state
        self._sites: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._task = 0
        self._changed = threading.Event()
        self.on_send: Callable[[str], None] = lambda _: None
        self.on_pull: Callable[[str], None] = lambda _: None

    def app(self) -> FastAPI:
        """The ASGI application with Flower's Fleet routes and their authentication."""
        app = FastAPI(
            docs_url=None,
            redoc_url=None,
            openapi_url=None,
            middleware=[
                Middleware(BaseHTTPMiddleware, dispatch=http_error_translator),
                Middleware(ProtobufTranslationMiddleware),
                Middleware(NodeAuthMiddleware),
                Middleware(SenderMiddleware, on_request=self._heard),
            ],
        )
        app.state.linkstate_factory = self._factory
        app.state.runtime_state_factory = self._factory
        app.state.enable_supernode_auth = True
        app.state.fleet_event_log_plugin = None
        app.include_router(fleet_router)
        return app

    def _heard(self, node: int) -> None:
        if node in self._names:
            self.on_pull(self._names[node])

    # Nodes.

    def enrol(self, site: str, public_key: bytes) -> None:
        """Make ``site`` a node that messages can be stored for, also while it is away."""
        node = self._state.create_node(NOOP_FLWR_AID, NOOP_ACCOUNT_NAME, public_key, 0.0)
        # Offline at once, not merely registered: Flower refuses messages to registered nodes.
        self._state.activate_node(node, 0.0)
        self._sites[site], self._names[node] = node, site

    def revoke(self, site: str) -> None:
        """Make the node of ``site`` a stranger to Flower: its next request is refused."""
        node = self._sites.pop(site)
        del self._names[node]
        self._state.nodes[node].online_until = 0.0  # Flower takes the smaller of this and now
        self._state.delete_node(NOOP_FLWR_AID, node)
        with self._state.lock:  # which it keeps for ever; a site that is taken back has it still
            self._forget_key(node)

    def rekey(self, site: str, public_key: bytes) -> None:
        """Give the node of ``site`` another key; its id and its messages stay."""
        node = self._sites[site]
        with self._state.lock:
            self._forget_key(node)
            self._state.node_public_key_to_node_id[public_key] = node
            self._state.nodes[node].public_key = public_key

    def _forget_key(self, node: int) -> None:
        known = self._state.node_public_key_to_node_id
        for key in [key for key, id in known.items() if id == node]:
            del known[key]

    @property
    def sites(self) -> list[str]:
        """Every site on the roster, by name."""
        return sorted(self._sites)

    def has(self, site: str) -> bool:
        """Whether ``site`` is on the roster."""
        return site in self._sites

    def node(self, site: str) -> int:
        """The node id of ``site`` in this Flower state. Raises KeyError for a stranger."""
        return self._sites[site]

    def site(self, node: int) -> str:
        """The site behind a node id."""
        return self._names[node]

    # One Flower run at a time: Flower's TaskIdentity belongs to the process.

    def begin_run(self, bundle: Fab | None = None) -> int:
        """A new Flower run, claimed and running until ``end_run``.

        Args:
            bundle: What stock nodes fetch and run, in studies marked interop; else there is none.
        """
        app = version = digest = None
        if bundle is not None:
            app, version, digest = "fedtui/peer", __version__, self._state.store_fab(bundle)
        run = self._state.create_run(
            app, version, digest, {}, NOOP_FEDERATION_ID, None, NOOP_FLWR_AID, TaskType.SERVER_APP
        )
        task = self.run(run).primary_task_id
        if task is None:
            raise RuntimeError("Flower made a run without a task")
        self._state.claim_task(task)
        self._state.activate_task(task)
        TaskIdentity.run_id, TaskIdentity.task_id = run, task
        TaskIdentity.node_id = SUPERLINK_NODE_ID
        self._task = task
        # Flower fails a task silent for 30 s; this one lives in the very process that would
        # notice, and a stopped clock (SIGSTOP, a sleeping virtual machine) must not end a run.
        self._state.task_token_store[task].active_until = datetime.max.replace(tzinfo=UTC)
        return run

    def end_run(self, run: int) -> None:
        """Close the run; what its nodes still send is refused from here on."""
        self._state.finish_task(self._task, SubStatus.COMPLETED, "")
        self._state.object_store.delete_objects_in_run(run)

    def run(self, run: int) -> Run:
        """Flower's record of a run."""
        return self._state.get_run_info(run_ids=[run])[0]

    # Messages.

    def send(self, message: Message) -> str:
        """Store ``message`` for its node to pull; returns its id."""
        run = message.metadata.run_id
        message.metadata.__dict__["_message_id"] = message.object_id
        with no_object_id_recompute():
            session = self._state.start_session(run)
            stored, missing = self._state.store_message_and_object_tree(
                remove_content_from_message(message), get_object_tree(message), session
            )
            if not stored:
                raise RuntimeError("Flower's LinkState refused our own message")
            objects = get_all_nested_objects(message)
            for object_id in missing:
                self._state.store_object(run, session, object_id, objects[object_id].deflate())
        self.on_send(self._names[message.metadata.dst_node_id])
        return message.metadata.message_id

    def waiting(self, site: str) -> bool:
        """Whether a message lies here that ``site`` has not pulled."""
        node = self._sites.get(site)
        with self._state.lock:
            return any(
                m.metadata.dst_node_id == node and m.metadata.delivered_at == ""
                for m in self._state.message_ins_store.values()
            )

    def knows(self, message_id: str) -> bool:
        """Whether Flower still holds a message: it expires after its life."""
        with self._state.lock:
            message = self._state.message_ins_store.get(message_id)
            if message is None:
                return False
            metadata = message.metadata
            return metadata.created_at + metadata.ttl > time.time()

    def delivered(self, message_id: str) -> bool:
        """Whether a message was pulled, or is gone: if its site does not hold it, it is lost."""
        with self._state.lock:
            message = self._state.message_ins_store.get(message_id)
            return message is None or message.metadata.delivered_at != ""

    def receive(self, message_id: str, run: int) -> Message | None:
        """The complete reply to ``message_id``, once; None while any part of it is under way.

        Raises:
            RefusedError: 'malformed', it is not what Flower's nodes send.
        """
        with self._state.lock:
            reply_id = self._state.message_ins_id_to_message_res_id.get(message_id)
        if reply_id is None:
            return None
        try:
            tree = self._state.object_store.get_object_tree(reply_id)
        except NoObjectInStoreError:
            return None
        contents: dict[str, bytes] = {}
        for part in iterate_object_tree(tree):
            content = self._state.object_store.get(part.object_id)
            if not content:
                return None
            contents[part.object_id] = content
        try:
            reply = arrays.inflate(reply_id, contents)
        except Exception as error:  # a site's bytes: Flower's decoders raise whatever they meet
            raise RefusedError("malformed", "the answer cannot be decoded.") from error
        finally:
            self._state.object_store.delete(reply_id)
            self.forget([message_id])
        if not isinstance(reply, Message) or not (
            reply.has_error() or isinstance(reply.content, RecordDict)
        ):
            raise RefusedError("malformed", "the answer is no message.")
        return reply

    def forget(self, message_ids: Iterable[str]) -> None:
        """Drop messages, their replies and what belongs to them."""
        for message_id in message_ids:
            with contextlib.suppress(KeyError):
                self._state.object_store.delete(message_id)
        self._state.delete_messages(set(message_ids))

    def notify(self) -> None:
        """Wake whoever waits in ``wait``: a request of a site came through."""
        self._changed.set()

    def wait(self, seconds: float) -> None:
        """Sleep until something happened, at most ``seconds``."""
        self._changed.wait(seconds)
        self._changed.clear()
