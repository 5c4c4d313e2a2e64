"""The lab's name server: what it answers depends on the name alone."""

import asyncio
import socket
import struct

PORT = 53
_ANSWERS = {
    "coordinator.test": ["127.0.0.1"],
    "slow.test": ["127.0.0.1"],
    "lazy.test": ["127.0.0.1"],
    "two.test": ["127.0.0.9", "127.0.0.1"],
    "proxy.test": ["127.0.0.1"],
}
_SECONDS = {"slow.test": 1.6, "lazy.test": 0.3}  # a fault, and a healthy but slow name server
_NXDOMAIN, _SERVFAIL = 3, 2


class Names(asyncio.DatagramProtocol):
    """Answers A queries; AAAA are answered with nothing, as most hospitals' servers do."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        name, end = _name(data)
        if name == "silent.test":
            return
        kind = struct.unpack_from(">H", data, end)[0]
        code = _SERVFAIL if name == "broken.test" else 0 if name in _ANSWERS else _NXDOMAIN
        found = _ANSWERS.get(name, []) if kind == 1 else []
        head = struct.pack(
            ">HHHHHH", *struct.unpack_from(">H", data), 0x8180 | code, 1, len(found), 0, 0
        )
        records = b"".join(
            struct.pack(">HHHIH", 0xC00C, 1, 1, 5, 4) + socket.inet_aton(a) for a in found
        )
        reply = head + data[12 : end + 4] + records
        loop = asyncio.get_running_loop()
        loop.call_later(_SECONDS.get(name, 0.0), self._transport.sendto, reply, addr)  # type: ignore[attr-defined]


def _name(data: bytes) -> tuple[str, int]:
    labels, at = [], 12
    while data[at]:
        labels.append(data[at + 1 : at + 1 + data[at]].decode().lower())
        at += 1 + data[at]
    return ".".join(labels), at + 1


async def serve() -> None:
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(Names, local_addr=("127.0.0.53", PORT))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve())
