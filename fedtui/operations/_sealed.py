"""A stream under a passphrase: scrypt, then AES-256-GCM by chunks, so that no size needs memory.

Layout: ``MAGIC``, salt [16], scrypt's log2 n, r, p [3], nonce prefix [7]; then chunks of 64 KiB,
each with its 16-byte tag. A chunk's nonce is prefix, counter (4, big-endian) and 1 on the last
chunk, 0 before: what was changed, swapped or cut off does not open (Hoang et al., Online
Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance, CRYPTO 2015: STREAM).
"""

import io
import os
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from fedtui.errors import DataError, TrustError

MAGIC = b"fedtui-backup-1\n"
CHUNK = 64 << 10  # bytes of plain text
_TAG = 16
_HEADER = len(MAGIC) + 16 + 3 + 7
_COST = (17, 8, 1)  # scrypt: 128 MiB and about half a second a try
_COSTLIEST = 20  # log2 n that a file may ask of whoever opens it: 1 GiB


class Sealer(io.RawIOBase):
    """Encrypts what is written to it into ``out``; closing writes the last chunk."""

    def __init__(self, out: BinaryIO, passphrase: str) -> None:
        salt, self._prefix = os.urandom(16), os.urandom(7)
        self._header = MAGIC + salt + bytes(_COST) + self._prefix
        self._cipher = AESGCM(_key(passphrase, salt, _COST))
        self._out, self._held, self._number = out, bytearray(), 0
        out.write(self._header)

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Take ``data``; whole chunks go out at once, but the last so far is kept back."""
        self._held += data
        while len(self._held) > CHUNK:
            self._seal(bytes(self._held[:CHUNK]), last=False)
            del self._held[:CHUNK]
        return len(data)

    def close(self) -> None:
        """Write what is left as the last chunk."""
        if not self.closed:
            self._seal(bytes(self._held), last=True)
        super().close()

    def _seal(self, chunk: bytes, *, last: bool) -> None:
        nonce = _nonce(self._prefix, self._number, last=last)
        self._out.write(self._cipher.encrypt(nonce, chunk, self._header))
        self._number += 1


class Opener(io.RawIOBase):
    """Reads what a ``Sealer`` wrote to ``source``.

    Raises:
        DataError: it is no backup, or was changed or cut short.
        TrustError: the passphrase is another one.
    """

    def __init__(self, source: BinaryIO, passphrase: str) -> None:
        self._header = source.read(_HEADER)
        if len(self._header) < _HEADER or not self._header.startswith(MAGIC):
            raise DataError(
                "This is not a fedtui backup.", remedy="Give the file that 'fedtui backup' wrote."
            )
        rest = self._header[len(MAGIC) :]
        salt, cost, self._prefix = rest[:16], tuple(rest[16:19]), rest[19:]
        if not (1 <= cost[0] <= _COSTLIEST and 1 <= cost[1] <= 16 and cost[2] == 1):
            raise _damaged()
        self._cipher = AESGCM(_key(passphrase, salt, (cost[0], cost[1], cost[2])))
        self._source, self._number = source, 0
        self._ahead = source.read(CHUNK + _TAG)
        self._plain = memoryview(b"")

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill ``buffer`` from the next chunk; 0 after the last, which has then been checked."""
        while not self._plain and self._ahead:
            sealed, self._ahead = self._ahead, self._source.read(CHUNK + _TAG)
            self._plain = memoryview(self._open(sealed, last=not self._ahead))
        taken = min(len(buffer), len(self._plain))
        buffer[:taken] = self._plain[:taken]
        self._plain = self._plain[taken:]
        return taken

    def _open(self, sealed: bytes, *, last: bool) -> bytes:
        try:
            nonce = _nonce(self._prefix, self._number, last=last)
            plain = self._cipher.decrypt(nonce, sealed, self._header)
        except InvalidTag as error:
            if self._number == 0:
                raise TrustError(
                    "The backup does not open: another passphrase, or its beginning was changed.",
                    remedy="Try the passphrase again; without it the backup is lost.",
                ) from error
            raise _damaged() from error
        self._number += 1
        return plain


def _key(passphrase: str, salt: bytes, cost: tuple[int, int, int]) -> bytes:
    return Scrypt(salt=salt, length=32, n=1 << cost[0], r=cost[1], p=cost[2]).derive(
        passphrase.encode()
    )


def _nonce(prefix: bytes, number: int, *, last: bool) -> bytes:
    return prefix + number.to_bytes(4, "big") + bytes([last])


def _damaged() -> DataError:
    return DataError(
        "The backup was changed or cut short: it does not open to its end.",
        remedy="Copy it again from where it was made, or take an older one.",
    )
