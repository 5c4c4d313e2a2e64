"""Certificate authorities of the lab: any name, any dates, and what a real one never issues."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


class Authority:
    """A certificate authority of any name, and what it issues."""

    def __init__(self, folder: Path, name: str, *, ends: float = 3650.0) -> None:
        self._folder, self._count = folder, 0
        self._key = ec.generate_private_key(ec.SECP384R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.pem = self._sign(self._name, self._key.public_key(), [], ends=ends, authority=True)[
            1
        ].decode()

    def issue(
        self,
        *names: str,
        common_name: str = "coordinator",
        begins: float = -0.01,
        ends: float = 60.0,
        key: Any = None,
        usage: Any = ExtendedKeyUsageOID.SERVER_AUTH,
    ) -> tuple[Path, Path]:
        """Files of a certificate and its key; validity in days from now."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        data = self._sign(subject, key.public_key(), names, begins=begins, ends=ends, usage=usage)
        self._count += 1
        certificate = self._folder / f"{id(self)}-{self._count}.pem"
        private = certificate.with_suffix(".key")
        certificate.write_bytes(data[1])
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return certificate, private

    def _sign(
        self,
        subject: x509.Name,
        public: Any,
        names: Any,
        *,
        begins: float = -1.0,
        ends: float = 3650.0,
        usage: Any = None,
        authority: bool = False,
    ) -> tuple[x509.Certificate, bytes]:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=begins))
            .not_valid_after(now + timedelta(days=ends))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if names:
            alternatives = x509.SubjectAlternativeName([_general(n) for n in names])
            builder = builder.add_extension(alternatives, critical=False)
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return certificate, certificate.public_bytes(serialization.Encoding.PEM)


def of_federation(folder: Path, keys: Path) -> Authority:
    """The authority of a real coordinator's home, to issue what it never would."""
    made = Authority(folder, "unused")
    private = serialization.load_pem_private_key((keys / "ca.key").read_bytes(), password=None)
    pem = (keys / "ca.pem").read_bytes()
    made._key, made.pem = private, pem.decode()  # type: ignore[assignment]
    made._name = x509.load_pem_x509_certificate(pem).subject
    return made


def weak_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=1024)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
