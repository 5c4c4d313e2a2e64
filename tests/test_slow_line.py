"""What a site sends over a line so narrow that a large part takes longer than any wait."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.proto.message_pb2 import PushObjectRequest, PushObjectResponse
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE

from fedtui.flower.node import Node
from fedtui.site import Membership
from tests import lab_servers as servers
from tests.lab_authority import Authority
from tests.lab_servers import context_of, listening, tls
from tests.narrow import Narrow

PATIENCE = 1.0  # seconds; 30 in the product
PART = 4_000_000  # bytes; 5 MiB in the product
RATE = 2_000_000  # bytes a second, of two parts at once: each takes four times the patience


def test_a_large_part_takes_as_long_as_the_line_wants(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "the federation")
    taken = servers.answer(
        PushObjectResponse(stored=True).SerializeToString(), kind=PROTOBUF_MEDIA_TYPE
    )
    lengths: list[int] = []

    def take(_: str, __: bytes, length: int) -> bytes:
        lengths.append(length)
        return taken

    serving = tls(context_of(authority.issue("127.0.0.1")), take, sized=True)
    with listening(serving) as port:
        line = Narrow(port)
        line.narrow(RATE, 0.0)
        member = Membership(address=f"127.0.0.1:{line.port}", authority=authority.pem)
        node = Node(member, ec.generate_private_key(ec.SECP384R1()))
        node._client._client.timeout = httpx.Timeout(PATIENCE)
        request = PushObjectRequest(object_id="a", object_content=bytes(PART))
        try:
            with ThreadPoolExecutor(2) as pool:
                pushed = list(pool.map(node._client.PushObject, [request, request]))
        finally:
            node.close()
            line.close()

    assert all(answer.stored for answer in pushed)
    assert len(lengths) == 2
    assert all(length > PART for length in lengths)
