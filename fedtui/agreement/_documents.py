"""What sites sign about a study: proposals, decisions, and who has which key.

A document is canonical JSON (RFC 8785) and is known by its sha256. A decision carries two
signatures: the person's, and over both the site's node key, which vouches for that person. The
texts that are signed begin with what they are, so that none can pass for another.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from fedtui import keys, settings, site
from fedtui import study as studies
from fedtui.errors import TrustError
from fedtui.keys import PrivateKey, PublicKey
from fedtui.study import Study

Word = Literal["approve", "decline", "withdraw"]
LONGEST = 64 << 10  # bytes of a document; a study with all its settings has about 4 kB
LONGEST_REASON = 500  # characters
_HEX = re.compile(r"[0-9a-f]{32,64}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A study that a site puts to the others.

    Attributes:
        study: Its canonical text.
        fingerprint: What the proposing site computed over it.
        time: UTC, ISO 8601 with seconds.
    """

    study: str
    fingerprint: str
    site: str
    time: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What one site says to one version of one study.

    Attributes:
        study: Its id.
        fingerprint: Of study, protocol and numeric code together; the last two also stand alone,
            so that a refusal can say which of them differs.
        person: Who signed; empty where the site withdraws without anybody's key.
        key: That person's public key, base64.
        serial: Counts this site's decisions on this fingerprint from 1; the last one holds.
        nonce: 16 random bytes, hex.
        reason: Of a decline or withdrawal, for all sites to read.
    """

    word: Word
    study: str
    fingerprint: str
    protocol: int
    code: str
    site: str
    person: str
    key: str
    serial: int
    time: str
    nonce: str
    reason: str = ""

    def __post_init__(self) -> None:
        if not (_HEX.fullmatch(self.fingerprint) and _HEX.fullmatch(self.code)):
            raise ValueError("fingerprint: hex digits are wanted here")
        if not (_HEX.fullmatch(self.nonce) and _MOMENT.fullmatch(self.time) and self.serial > 0):
            raise ValueError("serial: nonce, time or serial are not what they should be")
        if len(self.reason) > LONGEST_REASON or not self.reason.isprintable():
            raise ValueError("reason: too long, or not printable")
        if len(self.person) > 64 or not self.person.isprintable():
            raise ValueError("person: too long, or not printable")


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """Who is in the federation, as its authority signs it.

    Attributes:
        coordinator: The name of the home that coordinates.
        sites: Each site's node key, PEM.
    """

    coordinator: str
    sites: dict[str, str]
    time: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Succession:
    """A site's node key was replaced by another; each of the two signs it.

    Attributes:
        old: PEM; ``new`` likewise.
    """

    site: str
    old: str
    new: str
    time: str


Body = Proposal | Decision | Directory | Succession


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A signed document as it was read; its signatures are not yet checked.

    Attributes:
        id: Hex sha256 of its bytes.
        node: The site's signature (of a directory: the authority's; of a succession: the old
            key's), base64.
        second: The person's signature under a decision, the new key's under a succession.
    """

    id: str
    body: Body
    node: str
    second: str = ""


_KINDS: dict[str, Any] = {
    "proposal": Proposal,
    "decision": Decision,
    "directory": Directory,
    "succession": Succession,
}


def propose(study: Study, *, site: str, key: PrivateKey, time: str) -> bytes:
    """A proposal of ``study``, signed with the site's node key."""
    body = Proposal(
        study=studies.canonical(study).decode(),
        fingerprint=studies.fingerprint(study),
        site=site,
        time=time,
    )
    return _written("proposal", body, node=keys.sign(key, _signed_text("proposal", body)))


def decide(decision: Decision, *, person: str, key: PrivateKey) -> bytes:
    """``decision`` with the person's signature (made over ``to_sign``), vouched for by the site."""
    text = to_sign(decision) + b"\n" + person.encode()
    return _written("decision", decision, second=person, node=keys.sign(key, text))


def direct(directory: Directory, *, key: PrivateKey) -> bytes:
    """``directory``, signed with the federation's key."""
    text = _signed_text("directory", directory)
    return _written("directory", directory, node=keys.sign(key, text))


def hand_over(old: PrivateKey, new: PrivateKey, *, site: str, time: str) -> bytes:
    """The succession of ``site``'s node key, signed with both."""
    body = Succession(
        site=site,
        old=keys.public_bytes(old.public_key()).decode(),
        new=keys.public_bytes(new.public_key()).decode(),
        time=time,
    )
    text = _signed_text("succession", body)
    return _written("succession", body, second=keys.sign(new, text), node=keys.sign(old, text))


def successive(
    trusted: Mapping[str, PublicKey], documents: Iterable[Document]
) -> dict[str, tuple[PublicKey, ...]]:
    """Every key of each site that is tied to its trusted one by successions that hold.

    Whoever holds a trusted key says by signing that the other is the same site's.
    """
    found = {name: [key] for name, key in trusted.items()}
    ties: dict[str, list[tuple[PublicKey, PublicKey]]] = {}
    for document in documents:
        body = document.body
        if isinstance(body, Succession) and body.site in found:
            text = _signed_text("succession", body)
            try:
                old = keys.load_public(body.old.encode(), name="the old key")
                new = keys.load_public(body.new.encode(), name="the new key")
            except TrustError:
                continue
            if keys.signed(old, document.node, text) and keys.signed(new, document.second, text):
                ties.setdefault(body.site, []).append((old, new))
    for name, pairs in ties.items():
        known = found[name]
        for _ in pairs:  # a chain of n ties is found in n passes, in whatever order they came
            for old, new in pairs:
                if old in known and new not in known:
                    known.append(new)
                elif new in known and old not in known:
                    known.insert(0, old)
    return {name: tuple(known) for name, known in found.items()}


def to_sign(decision: Decision) -> bytes:
    """What a person signs."""
    return _signed_text("decision", decision)


def read(data: bytes) -> Document:
    """The document in ``data``, well-formed; whether it holds is another question.

    Raises:
        TrustError: it is no document of this fedtui.
    """
    try:
        if len(data) > LONGEST:
            raise ValueError("too long")
        document = json.loads(data)
        kind = _KINDS[document["kind"]]
        body = settings.from_mapping(document["body"], kind)
        node, second = document["node"], document["second"]
        if not (isinstance(node, str) and isinstance(second, str)):
            raise ValueError("signatures are text")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TrustError(
            "A document about a study cannot be read.",
            remedy="Check that every site and the coordinator run the same fedtui.",
        ) from error
    return Document(id=hashlib.sha256(data).hexdigest(), body=body, node=node, second=second)


def vouched(document: Document, *candidates: PublicKey) -> bool:
    """Whether one of the site's node keys (or the authority's) stands behind this document."""
    kind = next(name for name, of in _KINDS.items() if isinstance(document.body, of))
    text = _signed_text(kind, document.body)
    if kind == "decision":
        text += b"\n" + document.second.encode()
    return any(keys.signed(key, document.node, text) for key in candidates)


def directory_of(data: bytes, *, authority: str) -> Directory:
    """The directory in ``data``, if the federation's authority (PEM certificate) signed it.

    Raises:
        TrustError: it did not, or a key in it is none.
    """
    document = read(data)
    key = x509.load_pem_x509_certificate(authority.encode()).public_key()
    signed = isinstance(key, ec.EllipticCurvePublicKey) and vouched(document, key)
    if not isinstance(document.body, Directory) or not signed:
        raise TrustError(
            "The list of the sites' keys is not signed by the federation's authority.",
            remedy="Call the coordinator's operator, and do not approve anything meanwhile.",
        )
    for name, pem in document.body.sites.items():
        if not site.NAME.fullmatch(name):
            raise TrustError(
                "The list of the sites' keys names what is no site.",
                remedy="Check that the coordinator runs the same fedtui.",
            )
        keys.load_public(pem.encode(), name=f"the key of {name}")
    return document.body


def _signed_text(kind: str, body: Body) -> bytes:
    return f"fedtui-{kind}-1\n".encode() + _canonical(asdict(body))


def _written(kind: str, body: Body, *, node: str, second: str = "") -> bytes:
    return _canonical({"kind": kind, "body": asdict(body), "node": node, "second": second})


def _canonical(value: Mapping[str, Any]) -> bytes:
    import rfc8785

    return rfc8785.dumps(dict(value))
