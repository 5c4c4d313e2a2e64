"""The coordinator's server certificate: in use, renewed in time, taken up where it was replaced."""

import random
import ssl
import time
from pathlib import Path

from fedtui import certificates, events
from fedtui.flower.enrolment import iso
from fedtui.journal import Journal
from fedtui.site import Home, Site

_DUE = 2 / 3  # of its life, as ACME clients and step-ca do
_JITTER = 1 / 20  # of its life: not every coordinator in the same hour
_AGAIN_SECONDS = 60.0  # after a renewal that failed, e.g. on a full disk


class Renewal:
    """Owns ``keys/server.key`` and ``server.pem`` of one coordinator process.

    What does not hold at the start (expired, damaged, without one of the names in ``site.toml``)
    is issued anew: the authority's key is here.
    """

    def __init__(self, home: Home, site: Site, journal: Journal) -> None:
        self._keys, self._site, self._journal = home.keys, site, journal
        self._context: ssl.SSLContext | None = None
        self._seen = self._due = self._again = 0.0
        if cause := self._trouble():
            self._issue(cause)
        self._take_up()

    def serve(self, context: ssl.SSLContext) -> None:
        """Keep ``context``, which new connections are opened with, on the newest certificate."""
        self._context = context

    def watch(self) -> None:
        """Renew or take up what is due; call about once a second."""
        if time.monotonic() < self._again:
            return
        try:
            if time.time() >= self._due:
                self._issue("two thirds of its life are over")
            if self._path.stat().st_mtime != self._seen:
                self._take_up()
        except (OSError, ValueError):  # the certificate in use goes on
            self._again = time.monotonic() + _AGAIN_SECONDS

    def _take_up(self) -> None:
        seen = self._path.stat().st_mtime
        dated = certificates.read_server(self._path)
        self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))  # a wrong pair would spoil the real one
        if self._context is not None:
            self._load(self._context)
        life = dated.expires - dated.issued
        self._due = dated.issued + life * (_DUE + random.uniform(0, _JITTER))
        self._seen = seen

    def _issue(self, cause: str) -> None:
        certificates.create_server(
            self._keys, names=certificates.server_names(self._site.coordinator.names)
        )
        until = iso(certificates.read_server(self._path).expires)
        self._journal.append(events.CertificateRenewed(until=until, cause=cause))

    def _trouble(self) -> str:
        try:
            self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
            dated = certificates.read_server(self._path)
        except (OSError, ValueError):
            return "the old one could not be read"
        if time.time() >= dated.expires:
            return "the old one had expired"
        missing = [n for n in self._site.coordinator.names if n.lower() not in dated.names]
        return f"the old one was not for {', '.join(missing)}" if missing else ""

    def _load(self, context: ssl.SSLContext) -> None:
        context.load_cert_chain(self._path, self._keys / "server.key")

    @property
    def _path(self) -> Path:
        return self._keys / "server.pem"
