"""Who may speak to ``/fedtui/``: requests signed by a key on the roster, fresh, and only once."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedtui import keys
from fedtui.keys import PublicKey

FRESH_SECONDS = 60.0  # either way; phase 0 warns of clocks far earlier
_LONGEST_HEADER = 256  # characters; ours are shorter, and a header must not fill a log


@dataclass(frozen=True, slots=True)
class Held:
    """A key that is refused by name: pending, suspended, revoked or left.

    Attributes:
        statement: What the federation's key says about it, if it says something.
    """

    key: PublicKey
    code: str
    statement: dict[str, Any] | None = None


class DeniedError(Exception):
    """A request is not what it claims, or comes from a site that may not take part.

    Attributes:
        code: unsigned, stranger, pending, suspended, revoked, left, stale, forged or replayed.
        statement: What the federation's key says about the sender's key.
    """

    def __init__(self, code: str, site: str, statement: dict[str, Any] | None = None) -> None:
        super().__init__(code)
        self.code, self.site, self.statement = code, site, statement


class Gate:
    """Checks signatures; remembers nonces for as long as their request would be fresh."""

    def __init__(self) -> None:
        self._keys: Mapping[str, PublicKey] = {}
        self._held: Mapping[str, tuple[Held, ...]] = {}
        self._nonces: dict[str, float] = {}
        self._lock = threading.Lock()

    def learn(
        self, enrolled: Mapping[str, PublicKey], held: Mapping[str, tuple[Held, ...]]
    ) -> None:
        """Let the ``enrolled`` in from now on, and refuse the ``held`` by name.

        A site may be in both: enrolled with one key, and pending with another.
        """
        self._keys, self._held = enrolled, held

    def key(self, site: str) -> PublicKey:
        """The key that ``site`` signs with. Raises KeyError for a stranger."""
        return self._keys[site]

    def holds(self, site: str, key: PublicKey) -> bool:
        """Whether ``key`` of ``site`` is refused by name."""
        return any(held.key == key for held in self._held.get(site, ()))

    def admit(self, headers: Mapping[str, str], *, method: str, path: str, body: bytes) -> str:
        """The name of the site that signed this request.

        Raises:
            DeniedError: naming what does not hold.
        """
        site, moment, nonce, signature = (
            headers.get(f"x-fedtui-{name}", "") for name in ("site", "time", "nonce", "signature")
        )
        if not (site and moment and nonce and signature):
            raise DeniedError("unsigned", "a stranger")
        if max(map(len, (site, moment, nonce, signature))) > _LONGEST_HEADER:
            raise DeniedError("forged", "a stranger")
        key, held = self._keys.get(site), self._held.get(site, ())
        if key is None and not held:
            raise DeniedError("stranger", "a stranger")
        try:
            age = time.time() - float(moment)
        except ValueError:
            raise DeniedError("forged", site) from None
        if not abs(age) <= FRESH_SECONDS:  # also refuses NaN
            raise DeniedError("stale", site)

        def signed_with(candidate: PublicKey) -> bool:
            return keys.request_is_signed(
                candidate, signature, site=site, method=method, path=path, body=body,
                time=moment, nonce=nonce,
            )  # fmt: skip

        if key is None or not signed_with(key):
            for other in held:
                if signed_with(other.key):  # said only to the holder of that key
                    raise DeniedError(other.code, site, other.statement)
            raise DeniedError("forged", site)
        with self._lock:
            now = time.monotonic()
            for old in [n for n, until in self._nonces.items() if until < now]:
                del self._nonces[old]
            if f"{site} {nonce}" in self._nonces:
                raise DeniedError("replayed", site)
            self._nonces[f"{site} {nonce}"] = now + 2 * FRESH_SECONDS
        return site
