"""Keys: a site's node key, and what is signed with one: requests, statements, heads.

A node key is NIST P-384, the only kind that Flower's node authentication takes. Private keys
are made where they are used, mode 0600, and never leave.
"""

import hashlib
import json
import os
import secrets
import time
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fedtui.errors import TrustError

PrivateKey = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey


def node_key(folder: Path) -> PublicKey:
    """The public half of ``node.key`` in ``folder``, made with ``node.pub`` if there is none."""
    path = folder / "node.key"
    if not path.exists():
        write_atomically(path, private_bytes(ec.generate_private_key(ec.SECP384R1())))
    public = load_private(path).public_key()
    write_atomically(folder / "node.pub", public_bytes(public), mode=0o644)
    return public


def draw_node_key(folder: Path) -> PrivateKey:
    """The successor of ``node.key``, in ``node.key.new`` until ``adopt_node_key``."""
    path = folder / "node.key.new"
    if not path.exists():
        write_atomically(path, private_bytes(ec.generate_private_key(ec.SECP384R1())))
    return load_private(path)


def adopt_node_key(folder: Path) -> PublicKey:
    """Put ``node.key.new`` in the place of ``node.key``, which is gone for good."""
    (folder / "node.key.new").replace(folder / "node.key")
    return node_key(folder)


def load_private(path: Path) -> PrivateKey:
    """The private key in ``path``.

    Raises:
        TrustError: it is missing, unreadable or of another kind.
    """
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError) as error:
        raise TrustError(
            f"The private key {path} cannot be read.",
            remedy="Restore the home from a backup, or enrol this site anew.",
        ) from error
    if not isinstance(key, PrivateKey):
        raise TrustError(f"{path} is not a NIST EC key.", remedy="Enrol this site anew.")
    return key


def load_public(data: bytes, *, name: str) -> PublicKey:
    """The public key in PEM ``data``; ``name`` is what errors call it.

    Raises:
        TrustError: it is not a P-384 public key.
    """
    try:
        if data.startswith(b"ecdsa-sha2-"):  # as ssh-keygen writes a stock SuperNode's
            key: object = serialization.load_ssh_public_key(data)
        else:
            key = serialization.load_pem_public_key(data)
    except ValueError as error:
        raise TrustError(
            f"{name} holds no public key.",
            remedy="Ask the site for the file keys/node.pub of its home.",
        ) from error
    if not isinstance(key, PublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise TrustError(f"{name} is not a P-384 key.", remedy="Ask the site for keys/node.pub.")
    return key


def public_bytes(key: PublicKey) -> bytes:
    """PEM, as Flower carries node keys."""
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def private_bytes(key: PrivateKey) -> bytes:
    """PEM without a passphrase: the process that uses it starts unattended."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def fingerprint(key: PublicKey) -> str:
    """Twelve groups of four hex digits of the key's sha256, to compare by phone."""
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return groups(der)


def sign_request(
    key: PrivateKey, *, site: str, method: str, path: str, body: bytes, time: str, nonce: str
) -> str:
    """The signature header of one ``/fedtui/`` request, base64."""
    text = _request_text(site, method, path, body, time, nonce)
    return b64encode(key.sign(text, ec.ECDSA(hashes.SHA384()))).decode()


def request_headers(key: PrivateKey, *, site: str, path: str, body: bytes) -> dict[str, str]:
    """What a signed POST of ``site`` carries beside its JSON body, as of now."""
    moment, nonce = f"{time.time():.3f}", secrets.token_hex(16)
    return {
        "content-type": "application/json",
        "x-fedtui-site": site,
        "x-fedtui-time": moment,
        "x-fedtui-nonce": nonce,
        "x-fedtui-signature": sign_request(
            key, site=site, method="POST", path=path, body=body, time=moment, nonce=nonce
        ),
    }


def request_is_signed(
    key: PublicKey,
    signature: str,
    *,
    site: str,
    method: str,
    path: str,
    body: bytes,
    time: str,
    nonce: str,
) -> bool:
    """Whether ``signature`` is ``key``'s over exactly this request."""
    try:
        key.verify(
            b64decode(signature, validate=True),
            _request_text(site, method, path, body, time, nonce),
            ec.ECDSA(hashes.SHA384()),
        )
    except (InvalidSignature, ValueError):
        return False
    return True


def sign_head(key: PrivateKey, *, site: str, at: int, head: str) -> str:
    """A site's signature under its journal's head, base64."""
    return b64encode(key.sign(_head_text(site, at, head), ec.ECDSA(hashes.SHA384()))).decode()


def sign(key: PrivateKey, text: bytes) -> str:
    """``key``'s signature under ``text``, base64; the text begins with what kind of text it is."""
    return b64encode(key.sign(text, ec.ECDSA(hashes.SHA384()))).decode()


def signed(key: PublicKey, signature: str, text: bytes) -> bool:
    """Whether ``signature`` is ``key``'s under exactly this text."""
    try:
        key.verify(b64decode(signature, validate=True), text, ec.ECDSA(hashes.SHA384()))
    except (InvalidSignature, ValueError):
        return False
    return True


def head_is_signed(key: PublicKey, signature: str, *, site: str, at: int, head: str) -> bool:
    """Whether ``signature`` is ``key``'s under exactly this head."""
    try:
        key.verify(
            b64decode(signature, validate=True),
            _head_text(site, at, head),
            ec.ECDSA(hashes.SHA384()),
        )
    except (InvalidSignature, ValueError):
        return False
    return True


def sign_statement(key: PrivateKey, *, what: str, site: str, public: PublicKey) -> dict[str, Any]:
    """The federation's word about a site's key: suspended, revoked or left, as of now."""
    said = {"what": what, "site": site, "key": fingerprint(public), "time": round(time.time(), 3)}
    signature = key.sign(_statement_text(said), ec.ECDSA(hashes.SHA384()))
    return {**said, "signature": b64encode(signature).decode()}


def statement_holds(document: Any, *, authority: bytes, site: str, public: PublicKey) -> bool:
    """Whether the federation's key (``authority``, PEM) says this of exactly this site's key."""
    if not isinstance(document, dict):
        return False
    said = {name: document.get(name) for name in ("what", "site", "key", "time")}
    if (said["site"], said["key"]) != (site, fingerprint(public)):
        return False
    issuer = x509.load_pem_x509_certificate(authority).public_key()
    assert isinstance(issuer, PublicKey)
    try:
        signature = b64decode(str(document.get("signature")), validate=True)
        issuer.verify(signature, _statement_text(said), ec.ECDSA(hashes.SHA384()))
    except (InvalidSignature, ValueError, TypeError, RecursionError):
        return False
    return True


def sign_succession(key: PrivateKey, *, site: str, old: PublicKey) -> str:
    """The new key's own signature that it follows ``old`` at ``site``, base64."""
    return b64encode(key.sign(_succession_text(site, old), ec.ECDSA(hashes.SHA384()))).decode()


def succession_is_signed(key: PublicKey, signature: str, *, site: str, old: PublicKey) -> bool:
    """Whether ``signature`` is the new key's over exactly this succession."""
    try:
        decoded = b64decode(signature, validate=True)
        key.verify(decoded, _succession_text(site, old), ec.ECDSA(hashes.SHA384()))
    except (InvalidSignature, ValueError):
        return False
    return True


def write_atomically(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace ``path`` with ``data``; after a power cut it is the old file or the new one."""
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        with os.fdopen(os.open(scratch, flags, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _statement_text(said: dict[str, Any]) -> bytes:
    return b"fedtui-statement-1\n" + json.dumps(said, sort_keys=True).encode()


def _succession_text(site: str, old: PublicKey) -> bytes:
    return f"fedtui-succession-1\n{site}\n{fingerprint(old)}".encode()


def _head_text(site: str, at: int, head: str) -> bytes:
    return f"fedtui-head-1\n{site}\n{at}\n{head}".encode()


def _request_text(site: str, method: str, path: str, body: bytes, time: str, nonce: str) -> bytes:
    digest = hashlib.sha256(body).hexdigest()
    return "\n".join(("fedtui-request-1", site, method, path, digest, time, nonce)).encode()


def groups(data: bytes) -> str:
    """Twelve groups of four hex digits of the data's sha256."""
    digest = hashlib.sha256(data).hexdigest()[:48]
    return ":".join(digest[i : i + 4] for i in range(0, 48, 4))


def write_new(path: Path, key: PrivateKey) -> None:
    """A private key into a file that must not be there, for this account only."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY  # an authority's key is never written over
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(private_bytes(key))
        file.flush()
        os.fsync(file.fileno())
