"""The studies that a home knows and what every site decided: one signed document a file.

A site keeps its own (``studies`` in the home), also what it decided while the coordinator was
away; the coordinator keeps the federation's (``register``). Whether a document holds is judged
when it is read, so that a file changed on disk decides nothing.
"""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fedtui import agreement, keys
from fedtui import study as studies
from fedtui.agreement import Decision, Directory, Document, Proposal, Standing
from fedtui.errors import TrustError, UsageError
from fedtui.keys import PublicKey
from fedtui.study import Study

_DIRECTORY = "directory"
_PINS = "pins"
_OUTBOX = "outbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One version of a study.

    Attributes:
        version: Counts the proposals of this id, by their time.
        site: Who proposed it.
        newest: Whether no later version was proposed.
    """

    study: Study
    fingerprint: str
    version: int
    site: str
    time: str
    newest: bool


class Register:
    """The documents in one folder; several processes of a home may share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def stamp(self) -> tuple[int, int]:
        """Changes whenever a document or a key comes: what was judged before is judged anew."""
        try:
            # The clock of a file system ticks every few milliseconds: their number tells as well.
            return self._folder.stat().st_mtime_ns, sum(1 for _ in self._folder.iterdir())
        except FileNotFoundError:
            return 0, 0

    def ids(self) -> set[str]:
        """The sha256 of every document here."""
        return {path.stem for path in self._folder.glob("*.json") if len(path.stem) == 64}

    def add(self, data: bytes) -> str:
        """Keep a document durably; returns its id. The same document again changes nothing."""
        id = hashlib.sha256(data).hexdigest()
        path = self._folder / f"{id}.json"
        if not path.exists():
            _write(path, data)
        return id

    def post(self, data: bytes) -> str:
        """The same for a document of this site, which is to be sent."""
        id = hashlib.sha256(data).hexdigest()
        _write(self._folder / _OUTBOX / id, b"")
        return self.add(data)

    def unsent(self) -> list[str]:
        """This site's own documents that the coordinator does not have yet, oldest first."""
        waiting = [path for path in (self._folder / _OUTBOX).glob("*") if path.name in self.ids()]
        return [path.name for path in sorted(waiting, key=lambda path: path.stat().st_mtime_ns)]

    def sent(self, id: str) -> None:
        """The coordinator has it."""
        (self._folder / _OUTBOX / id).unlink(missing_ok=True)

    def drop(self, id: str) -> None:
        """The coordinator refuses it: it is not sent again. What refuses a study holds here."""
        body = agreement.read(self.data(id)).body
        if not (isinstance(body, Decision) and body.word != "approve"):
            (self._folder / f"{id}.json").unlink(missing_ok=True)
        self.sent(id)

    def data(self, id: str) -> bytes:
        """The bytes of a document."""
        return (self._folder / f"{id}.json").read_bytes()

    def documents(self) -> Iterator[Document]:
        """Every document that can be read, by id; one that was changed on disk is none."""
        for id in sorted(self.ids()):
            with suppress(TrustError, OSError):
                document = agreement.read(self.data(id))
                if document.id == id:
                    yield document

    def entries(self) -> list[Entry]:
        """Every version of every study, oldest first; only those that their site signed."""
        first: dict[str, Proposal] = {}
        node_keys = self.keys()
        for body in sorted(
            (
                d.body
                for d in self.documents()
                if isinstance(d.body, Proposal)
                and agreement.vouched(d, *node_keys.get(d.body.site, ()))
            ),
            key=lambda proposal: (proposal.time, proposal.fingerprint),
        ):
            first.setdefault(body.fingerprint, body)
        found: list[Entry] = []
        read: dict[str, Study] = {}
        for fingerprint, body in first.items():
            with suppress(TrustError):  # of another fedtui, which takes other studies
                read[fingerprint] = studies.parse(body.study.encode())
        last = {study.id.lower(): fp for fp, study in read.items()}
        counted: dict[str, int] = {}
        for fingerprint, study in read.items():
            body = first[fingerprint]
            name = study.id.lower()
            counted[name] = counted.get(name, 0) + 1
            found.append(
                Entry(
                    study=study,
                    fingerprint=fingerprint,
                    version=counted[name],
                    site=body.site,
                    time=body.time,
                    newest=last[name] == fingerprint,
                )
            )
        return found

    def entry(self, name: str) -> Entry:
        """The version that ``name`` means: an id's newest, ID@2 for its second, or a fingerprint.

        Raises:
            UsageError: there is none.
        """
        id, _, number = name.partition("@")
        for entry in reversed(self.entries()):
            wanted = number == str(entry.version) if number else entry.newest
            if entry.study.id.lower() == id.lower() and wanted:
                return entry
            if len(name) >= 8 and entry.fingerprint.startswith(name):
                return entry
        raise UsageError(
            f"No study {name} is known here.",
            remedy="See 'fedtui study list'; news comes while 'fedtui up' runs.",
        )

    def standings(self, study: Study, fingerprint: str) -> dict[str, Standing]:
        """What each site of ``study`` decided, by the documents and keys here."""
        return agreement.standings(study, fingerprint, self.documents(), self.keys())

    def serial(self, fingerprint: str, site: str) -> int:
        """The number for the site's next decision on this fingerprint."""
        taken = [
            d.body.serial
            for d in self.documents()
            if isinstance(d.body, Decision)
            and (d.body.fingerprint, d.body.site) == (fingerprint, site)
        ]
        return max(taken, default=0) + 1

    # Who has which key.

    def direct(self, data: bytes, *, authority: str) -> None:
        """Keep a directory that the federation's authority signed, and pin every key in it.

        Raises:
            TrustError: it is not signed by it, or a site's key is not the one seen first.
        """
        directory = agreement.directory_of(data, authority=authority)
        changed: TrustError | None = None
        for site, pem in directory.sites.items():
            try:
                self.pin(site, pem.encode())
            except TrustError as error:
                changed = error
        path = self._folder / f"{_DIRECTORY}.json"
        if not path.exists() or path.read_bytes() != data:
            _write(path, data)
        if changed is not None:
            raise changed

    def pin(self, site: str, pem: bytes) -> None:
        """Hold ``site`` to the key it is first seen with.

        Raises:
            TrustError: it comes with another one.
        """
        path = self._folder / _PINS / f"{site}.pub"
        if not path.exists():
            _write(path, pem)
        elif keys.load_public(pem, name=f"the key of {site}") not in self.keys().get(site, ()):
            old = keys.fingerprint(keys.load_public(path.read_bytes(), name=path.name))
            raise TrustError(
                f"{site} comes with another key than the one first seen here, {old[:14]}….",
                remedy=f"Call {site}. If it changed its key itself, remove {path}.",
            )

    def own(self, site: str, key: PublicKey) -> None:
        """Know this site's own key, whatever it was before."""
        if key not in self.keys().get(site, ()):
            _write(self._folder / _PINS / f"{site}.pub", keys.public_bytes(key))

    def keys(self) -> dict[str, tuple[PublicKey, ...]]:
        """Every site's node keys, one after the other: the one first seen here, and its kin."""
        found = {}
        for path in (self._folder / _PINS).glob("*.pub"):
            with suppress(TrustError):
                found[path.stem] = keys.load_public(path.read_bytes(), name=path.name)
        return agreement.successive(found, self.documents())

    def coordinator(self) -> str:
        """The name of the home that coordinates; empty before a directory has come."""
        try:
            body = agreement.read((self._folder / f"{_DIRECTORY}.json").read_bytes()).body
        except (OSError, TrustError):
            return ""
        return body.coordinator if isinstance(body, Directory) else ""


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    keys.write_atomically(path, data)
