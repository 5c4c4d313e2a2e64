"""Reading a certificate that was presented, trusted or not."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.x509.oid import ExtensionOID, NameOID

_FEDERATION = "fedtui federation of "  # how certificates.create_authority names an authority


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """What a server said it is.

    Attributes:
        names: The hosts and addresses it is for.
        begins: When it becomes valid, seconds since 1970.
        ends: When it stops being valid, seconds since 1970.
    """

    subject: str
    issuer: str
    names: tuple[str, ...]
    begins: float
    ends: float

    @property
    def days_left(self) -> float:
        """Days until it expires, by this host's clock."""
        return (self.ends - datetime.now(UTC).timestamp()) / 86400

    @property
    def from_fedtui(self) -> bool:
        """Whether some fedtui federation's authority issued it; anybody may claim so."""
        return self.issuer.startswith(_FEDERATION)

    def holds_at(self, moment: float) -> bool:
        """Whether its dates cover ``moment``."""
        return self.begins <= moment <= self.ends


def presented(sock: ssl.SSLSocket) -> Presented | None:
    """The certificate of a connection's other end; None where it cannot be read."""
    data = sock.getpeercert(binary_form=True)
    try:
        certificate = x509.load_der_x509_certificate(data or b"")
    except ValueError:
        return None
    return Presented(
        subject=_name(certificate.subject),
        issuer=_name(certificate.issuer),
        names=_names(certificate),
        begins=certificate.not_valid_before_utc.timestamp(),
        ends=certificate.not_valid_after_utc.timestamp(),
    )


def authority_name(authority: str) -> str:
    """The common name of the PEM ``authority``."""
    return _name(x509.load_pem_x509_certificate(authority.encode()).subject)


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        extension = certificate.extensions.get_extension_for_oid(
            ExtensionOID.SUBJECT_ALTERNATIVE_NAME
        )
    except (x509.ExtensionNotFound, ValueError):
        return ()
    names = extension.value
    assert isinstance(names, x509.SubjectAlternativeName)
    hosts = names.get_values_for_type(x509.DNSName)
    return (*hosts, *map(str, names.get_values_for_type(x509.IPAddress)))


def _name(name: x509.Name) -> str:
    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(common[0].value) if common else name.rfc4514_string()
