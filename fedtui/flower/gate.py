"""Who may speak to ``/fedtui/``: requests signed by a key on the roster, fresh, and only once."""

import threading
import time
from collections.abc import Mapping

from fedtui import keys
from fedtui.keys import PublicKey

FRESH_SECONDS = 60.0  # either way; phase 0 warns of clocks far earlier
_LONGEST_HEADER = 256  # characters; ours are shorter, and a header must not fill a log


class DeniedError(Exception):
    """A request is not what it claims, or comes from a site that may no longer take part.

    Attributes:
        code: unsigned, stranger, revoked, stale, forged or replayed.
    """

    def __init__(self, code: str, site: str) -> None:
        super().__init__(code)
        self.code, self.site = code, site


class Gate:
    """Checks signatures; remembers nonces for as long as their request would be fresh."""

    def __init__(self) -> None:
        self._keys: dict[str, PublicKey] = {}
        self._revoked: set[str] = set()
        self._nonces: dict[str, float] = {}
        self._lock = threading.Lock()

    def enrol(self, site: str, key: PublicKey) -> None:
        """Let ``site`` in with ``key``."""
        self._keys[site] = key
        self._revoked.discard(site)

    def revoke(self, site: str, key: PublicKey) -> None:
        """Refuse ``site`` by name from now on, as long as it signs with ``key``."""
        self._keys[site] = key
        self._revoked.add(site)

    def key(self, site: str) -> PublicKey:
        """The key that ``site`` signs with. Raises KeyError for a stranger."""
        return self._keys[site]

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
        key = self._keys.get(site)
        if key is None:
            raise DeniedError("stranger", "a stranger")
        try:
            age = time.time() - float(moment)
        except ValueError:
            raise DeniedError("forged", site) from None
        if not abs(age) <= FRESH_SECONDS:  # also refuses NaN
            raise DeniedError("stale", site)
        if not keys.request_is_signed(
            key, signature, site=site, method=method, path=path, body=body, time=moment, nonce=nonce
        ):
            raise DeniedError("forged", site)
        if site in self._revoked:  # said only to the holder of its key
            raise DeniedError("revoked", site)
        with self._lock:
            now = time.monotonic()
            for old in [n for n, until in self._nonces.items() if until < now]:
                del self._nonces[old]
            if f"{site} {nonce}" in self._nonces:
                raise DeniedError("replayed", site)
            self._nonces[f"{site} {nonce}"] = now + 2 * FRESH_SECONDS
        return site
