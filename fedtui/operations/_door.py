"""What a coordinator answers before a site is enrolled, and what of it may be believed.

Whoever answers is a stranger until the authority that the invitation pins vouches for him.
"""

import hmac
import json
import ssl
import time
from typing import Any

from fedtui import invitations, site
from fedtui.errors import NetworkError, OperatorError, TrustError
from fedtui.invitations import Claim, Code
from fedtui.study import PROTOCOL

_CLOCK_SECONDS = (4.0, 60.0)  # ahead (Flower refuses 5 s), behind (the coordinator's own limit)
_LONGEST_ANSWER = 1 << 16  # bytes
_POLL_SECONDS = 2.0
_BUSY_SECONDS = 30.0  # a coordinator that asks for patience is asked again this long


class Door:
    """The four things that a coordinator answers before a site is enrolled.

    Raises:
        NetworkError: it was not reached, or something else answers.
        TrustError: it is not the one that the invitation names, or it refuses.
    """

    def __init__(self, address: str) -> None:
        self._address, self._presented = address, b""
        self._clients: list[Any] = []

    def authority(self, code: Code, verifier: bytes, pem: str) -> str:
        """The certificate, PEM, that the invitation pins; version and clock agree as well.

        Args:
            pem: What an invitation file holds; else it is fetched from whoever answers.
        """
        from fedtui import certificates

        blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
        blind.minimum_version = ssl.TLSVersion.TLSv1_2
        stranger = self._client(blind)
        hello, seconds = self._json(stranger, "/fedtui/hello")
        if "fedtui" not in hello or "protocol" not in hello:
            raise self._foreign()
        _check_version(hello)
        _check_clock(hello, seconds)
        found = pem or self._get(stranger, "/fedtui/authority").decode("ascii", "replace")
        try:
            der = certificates.der(found.encode())
        except TrustError as error:
            raise self._foreign() from error
        if not hmac.compare_digest(invitations.pin_of(der, verifier), code.pin):
            raise TrustError(
                f"Not the coordinator of this invitation answers at {self._address}: another "
                "federation, one that was set up anew, or someone who pretends to be it.",
                remedy="Ask the coordinator's operator by phone for the address and a new code.",
            )
        return found

    def claim(self, request: Claim, verifier: bytes, authority: str) -> dict[str, Any]:
        """The coordinator's answer to ``request``, proven to come from a holder of the secret."""
        from fedtui import certificates, transport

        der = certificates.der(authority.encode())
        proof = invitations.prove(verifier, request, authority=der)
        fields = ("handle", "site", "key", "nonce")
        body = json.dumps({name: getattr(request, name) for name in fields} | {"proof": proof})
        pinned = self._client(transport.pinned(authority))
        status, content = self._ask(pinned, "POST", "/fedtui/enrol", body.encode())
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise self._foreign() from error
        if not isinstance(answer, dict):
            raise self._foreign()
        if status == 403 and "error" in answer:
            raise invitations.refused(str(answer["error"]))
        if status != 200:
            raise NetworkError(
                f"The coordinator at {self._address} cannot enrol anybody now (status {status}).",
                remedy="Try again in a minute; the invitation is not used up by it.",
            )
        name = str(answer.get("site"))
        expected = invitations.prove(verifier, request, authority=der, answer=name)
        if not hmac.compare_digest(expected.encode(), str(answer.get("proof")).encode()):
            raise TrustError(
                "The coordinator did not prove that it knows this invitation.",
                remedy="Call its operator; do not go on with this code.",
            )
        if not site.NAME.fullmatch(name) or answer.get("state") not in ("pending", "enrolled"):
            raise self._foreign()
        return answer

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            client.close()

    def _client(self, context: ssl.SSLContext) -> Any:
        from fedtui import transport

        self._clients.append(transport.client(self._address, context, transport.TIMEOUT))
        return self._clients[-1]

    def _get(self, client: Any, path: str) -> bytes:
        status, content = self._ask(client, "GET", path, b"")
        if status != 200:
            raise self._foreign()
        return content

    def _ask(self, client: Any, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        until = time.monotonic() + _BUSY_SECONDS
        while True:
            status, content = self._send(client, method, path, body)
            if status != 429:
                return status, content
            if time.monotonic() > until:
                raise NetworkError(
                    f"The coordinator at {self._address} answers too many others now.",
                    remedy="Try again in a minute; the invitation is not used up.",
                )
            time.sleep(_POLL_SECONDS)

    def _json(self, client: Any, path: str) -> tuple[dict[str, Any], float]:
        began = time.monotonic()
        content = self._get(client, path)
        try:
            document = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise self._foreign() from error
        if not isinstance(document, dict):
            raise self._foreign()
        return document, time.monotonic() - began

    def _send(self, client: Any, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        import httpx

        from fedtui import transport

        try:
            with client.stream(method, path, content=body) as response:
                stream = response.extensions["network_stream"]
                if (tls := stream.get_extra_info("ssl_object")) is not None:
                    self._presented = tls.getpeercert(True) or b""
                content = b""
                for piece in response.iter_bytes():
                    content += piece
                    if len(content) > _LONGEST_ANSWER:
                        raise self._foreign()
                return response.status_code, content
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
            raise self._named(transport.classify(error, self._address)) from error

    def _named(self, error: Any) -> OperatorError:
        if error.code == "certificate":
            issuer = _issuer(self._presented)
            return TrustError(
                f"'{issuer}' opens the encrypted connection to {self._address}: TLS inspection. "
                "The certificate that comes is not the federation's."
                if issuer
                else f"The certificate of {self._address} is not from this federation.",
                remedy=f"Ask the network team to exempt {self._address} from TLS inspection.",
            )
        if error.code.startswith("certificate"):
            return TrustError(f"{str(error).capitalize()}.", remedy=error.remedy)
        look = f"'fedtui check {self._address}' says more."
        remedy = look if error.passing else f"{error.remedy} {look}"
        return NetworkError(f"The coordinator was not reached: {error}.", remedy=remedy)

    def _foreign(self) -> NetworkError:
        return NetworkError(
            f"Something else than a fedtui coordinator answers at {self._address}.",
            remedy=f"Compare the address with the coordinator's operator; 'fedtui check "
            f"{self._address}' looks closer.",
        )


def _check_version(hello: dict[str, Any]) -> None:
    from fedtui import __version__

    if hello["protocol"] != PROTOCOL:
        raise TrustError(
            f"The coordinator speaks protocol {str(hello['protocol'])[:8]} (fedtui "
            f"{str(hello['fedtui'])[:16]}), this fedtui {__version__} speaks {PROTOCOL}.",
            remedy="Install the same minor version of fedtui at both ends.",
        )


def _check_clock(hello: dict[str, Any], seconds: float) -> None:
    """Refuse to go on with a clock that would have every later request refused."""
    try:
        ahead = time.time() - seconds / 2 - float(hello["time"])
    except (KeyError, TypeError, ValueError):
        return
    sure = abs(ahead) - seconds / 2
    if sure > _CLOCK_SECONDS[0 if ahead > 0 else 1]:
        where = "ahead of" if ahead > 0 else "behind"
        raise TrustError(
            f"This host's clock is {abs(ahead):.0f} s {where} the coordinator's.",
            remedy="Set this host's clock (chrony or systemd-timesyncd), then join again; the "
            "invitation is not used up.",
        )


def _issuer(certificate: bytes) -> str:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        issuer = x509.load_der_x509_certificate(certificate).issuer
    except ValueError:
        return ""
    names = issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    shown = str(names[0].value) if names else issuer.rfc4514_string()
    return shown[:64] if shown.isprintable() else ""
