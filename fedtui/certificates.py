"""The federation's authority, and the coordinator's certificate under it."""

import ipaddress
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedtui import keys
from fedtui.errors import TrustError

AUTHORITY_YEARS = 10
SERVER_DAYS = 90
LOOPBACK = ("localhost", "127.0.0.1")
_LAG = timedelta(minutes=5)  # a site's clock may lag a little


def fingerprint(certificate: bytes) -> str:
    """A PEM certificate's, as ``keys.fingerprint`` has a key's.

    Raises:
        TrustError: it is not a certificate.
    """
    return keys.groups(der(certificate))


def der(certificate: bytes) -> bytes:
    """A PEM certificate as DER.

    Raises:
        TrustError: it is not a certificate.
    """
    try:
        parsed = x509.load_pem_x509_certificate(certificate)
    except ValueError as error:
        raise TrustError(
            "The invitation holds no certificate.", remedy="Ask the coordinator for a new one."
        ) from error
    return parsed.public_bytes(serialization.Encoding.DER)


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
        .not_valid_before(now - _LAG)
        .not_valid_after(now + timedelta(days=365 * AUTHORITY_YEARS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA384())
    )
    keys.write_new(folder / "ca.key", key)
    (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def create_server(
    folder: Path, *, names: tuple[str, ...], life: timedelta = timedelta(days=SERVER_DAYS)
) -> None:
    """Make ``server.key`` and ``server.pem`` for ``names`` (hosts and IP addresses)."""
    authority_key = keys.load_private(folder / "ca.key")
    authority = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _LAG)
        .not_valid_after(min(now + life, authority.not_valid_after_utc))
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
    # The certificate last: whoever sees a new one finds its key in place.
    keys.write_atomically(folder / "server.key", keys.private_bytes(key))
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    keys.write_atomically(folder / "server.pem", pem, mode=0o644)


def server_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """What the coordinator's certificate is for: ``names`` of its settings, and this host's own."""
    return tuple(dict.fromkeys((*names, socket.gethostname(), *LOOPBACK)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Dated:
    """A server certificate's names, and its times in seconds since 1970."""

    names: tuple[str, ...]
    issued: float
    expires: float


def read_server(path: Path) -> Dated:
    """The certificate in ``path``. Raises ValueError if it is none."""
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return Dated(
        names=(
            *names.get_values_for_type(x509.DNSName),
            *map(str, names.get_values_for_type(x509.IPAddress)),
        ),
        issued=(certificate.not_valid_before_utc + _LAG).timestamp(),
        expires=certificate.not_valid_after_utc.timestamp(),
    )


def days_left(path: Path) -> float:
    """Days until the certificate in ``path`` expires; negative when it has."""
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    return (certificate.not_valid_after_utc - datetime.now(UTC)).total_seconds() / 86400


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
