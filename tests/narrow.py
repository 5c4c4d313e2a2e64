"""A TCP proxy that can be cut, and can be as narrow and as long as a bad line."""

import asyncio
import contextlib
import socket

from tests.federation import Proxy

_PIECE = 4096  # bytes that the line carries at once
_WINDOW = 64 << 10  # bytes that a sender may have under way: loopback would take megabytes at once


class Narrow(Proxy):
    """All connections share ``rate`` bytes a second each way, which arrive ``delay`` seconds late.

    Without a rate it passes everything on as it comes.
    """

    def __init__(self, target: int) -> None:
        self.rate, self.delay = 0.0, 0.0
        self.carried = 0
        self._free: dict[bool, float] = {}  # when each direction has sent what it holds
        self._inward: set[asyncio.StreamReader] = set()
        super().__init__(target)

    def narrow(self, rate: float, delay: float) -> None:
        """From here on; what is open is closed first. A rate of 0 is the usual line again."""
        self.cut()
        self.rate, self.delay = rate, delay
        self.restore()

    async def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.rate:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WINDOW)
        listener.bind(("127.0.0.1", self.port))
        self._server = await asyncio.start_server(self._accept, sock=listener)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._inward.add(reader)
        try:
            await super()._accept(reader, writer)
        finally:
            self._inward.discard(reader)

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        inward = source in self._inward
        with contextlib.suppress(OSError):
            while data := await source.read(_PIECE if self.rate else 1 << 16):
                self.carried += len(data)
                if self.rate:
                    sent = max(self._free.get(inward, 0.0), loop.time()) + len(data) / self.rate
                    self._free[inward] = sent
                    loop.call_at(sent + self.delay, _pass_on, sink, data)
                    await asyncio.sleep(sent - loop.time())
                else:
                    sink.write(data)
                    await sink.drain()
        await asyncio.sleep(self.delay if self.rate else 0.0)
        sink.close()
        with contextlib.suppress(OSError):
            await sink.wait_closed()


def _pass_on(sink: asyncio.StreamWriter, data: bytes) -> None:
    if not sink.is_closing():
        sink.write(data)
