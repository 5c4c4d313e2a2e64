"""Keys and certificates: a site's node key, the federation's authority, signed requests.

A node key is NIST P-384, the only kind that Flower's node authentication takes. Private keys
are made where they are used, mode 0600, and never leave.
"""

import hashlib
import ipaddress
import os
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedtui.errors import TrustError

AUTHORITY_YEARS = 10
SERVER_DAYS = 90

PrivateKey = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey


def create_node_key(folder: Path) -> PublicKey:
    """Make ``node.key`` (private) and ``node.pub`` in ``folder``."""
    key = ec.generate_private_key(ec.SECP384R1())
    _write_private(folder / "node.key", key)
    (folder / "node.pub").write_bytes(public_bytes(key.public_key()))
    return key.public_key()


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


def fingerprint(key: PublicKey) -> str:
    """Twelve groups of four hex digits of the key's sha256, to compare by phone."""
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return _groups(der)


def authority_fingerprint(certificate: bytes) -> str:
    """The same for a PEM certificate.

    Raises:
        TrustError: it is not a certificate.
    """
    try:
        parsed = x509.load_pem_x509_certificate(certificate)
    except ValueError as error:
        raise TrustError(
            "The invitation holds no certificate.", remedy="Ask the coordinator for a new one."
        ) from error
    return _groups(parsed.public_bytes(serialization.Encoding.DER))


def create_authority(folder: Path, *, name: str) -> None:
    """Make the federation's certificate authority: ``ca.key`` and ``ca.pem`` in ``folder``."""
    key = ec.generate_private_key(ec.SECP384R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"fedtui federation of {name}")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))  # a site's clock may lag a little
        .not_valid_after(now + timedelta(days=365 * AUTHORITY_YEARS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA384())
    )
    _write_private(folder / "ca.key", key)
    (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def create_server_certificate(folder: Path, *, names: tuple[str, ...]) -> None:
    """Make ``server.key`` and ``server.pem`` for ``names`` (hosts and IP addresses)."""
    authority_key = load_private(folder / "ca.key")
    authority = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=SERVER_DAYS))
        .add_extension(x509.SubjectAlternativeName([_general(n) for n in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
        .sign(authority_key, hashes.SHA384())
    )
    _write_private(folder / "server.key", key)
    (folder / "server.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def certificate_days_left(path: Path) -> float:
    """Days until the certificate in ``path`` expires; negative when it has."""
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    return (certificate.not_valid_after_utc - datetime.now(UTC)).total_seconds() / 86400


def sign_request(
    key: PrivateKey, *, site: str, method: str, path: str, body: bytes, time: str, nonce: str
) -> str:
    """The signature header of one ``/fedtui/`` request, base64."""
    text = _request_text(site, method, path, body, time, nonce)
    return b64encode(key.sign(text, ec.ECDSA(hashes.SHA384()))).decode()


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


def _head_text(site: str, at: int, head: str) -> bytes:
    return f"fedtui-head-1\n{site}\n{at}\n{head}".encode()


def _request_text(site: str, method: str, path: str, body: bytes, time: str, nonce: str) -> bytes:
    digest = hashlib.sha256(body).hexdigest()
    return "\n".join(("fedtui-request-1", site, method, path, digest, time, nonce)).encode()


def _groups(data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()[:48]
    return ":".join(digest[i : i + 4] for i in range(0, 48, 4))


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _write_private(path: Path, key: PrivateKey) -> None:
    data = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(data)
