"""A site's signed requests to the coordinator's ``/fedtui/`` routes, and names for what fails.

Flower's own node ends on a blip (a TLS EOF, a proxy's 502, one 401); here every failure is
classified: what passes by itself is retried for ever, what does not stops with a remedy.
"""

import json
import secrets
import ssl
import time
from typing import Any, Self

import httpx

from fedtui import keys
from fedtui.errors import TrustError
from fedtui.keys import PrivateKey
from fedtui.site import Membership

TIMEOUT = httpx.Timeout(10.0, connect=5.0)  # seconds; a report is due every second


class LinkError(Exception):
    """A request did not get through.

    Attributes:
        code: Stable name: refused, timeout, dns, tls, closed, proxy, status-N, unauthorised, …
        passing: Whether it can pass by itself; otherwise an operator must act.
        remedy: The next step.
    """

    def __init__(self, code: str, cause: str, *, remedy: str, passing: bool = True) -> None:
        super().__init__(cause)
        self.code, self.remedy, self.passing = code, remedy, passing


def classify(error: Exception, address: str) -> LinkError:
    """The name for what httpx or Flower's client raised when dialling ``address``."""
    wait = "Nothing to do at once: fedtui keeps trying. 'fedtui check' looks closer."
    text = str(error)
    if isinstance(error, httpx.HTTPStatusError):
        return _status(error.response.status_code, wait)
    if isinstance(error, httpx.ProxyError):
        return LinkError("proxy", "the proxy did not connect us", remedy=wait)
    if isinstance(error, httpx.ConnectTimeout):
        return LinkError("timeout", f"{address} did not answer", remedy=wait)
    if isinstance(error, httpx.TimeoutException):
        return LinkError("stalled", "an open connection stopped moving", remedy=wait)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return LinkError(
            "certificate",
            "the certificate is not from this federation",
            remedy="Ask for an exception from TLS inspection here, or for a new invitation.",
            passing=False,
        )
    if isinstance(error, httpx.ConnectError):
        if "Name or service not known" in text or "getaddrinfo" in text or "resolution" in text:
            return LinkError("dns", "the coordinator's name is unknown here", remedy=wait)
        if "refused" in text:
            return LinkError("refused", f"nothing listens at {address}", remedy=wait)
        if "SSL" in text or "EOF" in text:
            return LinkError("tls", "the TLS handshake was cut off", remedy=wait)
        return LinkError("unreachable", f"{address} cannot be reached", remedy=wait)
    if isinstance(error, httpx.TransportError):
        return LinkError("closed", "the connection was closed", remedy=wait)
    if isinstance(error, ValueError):
        return LinkError("foreign", "something else than a coordinator answered", remedy=wait)
    return LinkError("internal", f"an unforeseen {type(error).__name__}", remedy=wait)


def _status(status: int, wait: str) -> LinkError:
    if status == 401:
        return LinkError(
            "unauthorised", "the coordinator wants us to introduce ourselves", remedy=wait
        )
    if status == 413:
        return LinkError(
            "body-limit",
            "something in between limits the size of requests",
            remedy="Ask the network team to allow request bodies of 8 MB to this address.",
        )
    return LinkError(f"status-{status}", f"HTTP status {status} came back", remedy=wait)


class Link:
    """Signed requests of one site to its coordinator; threads may share it.

    Raises:
        LinkError: the request did not get through.
        TrustError: the coordinator does not accept this site, with its reason.
    """

    def __init__(self, membership: Membership, *, site: str, key: PrivateKey) -> None:
        self.address = membership.address
        self._site, self._key = site, key
        self._client = httpx.Client(
            base_url=f"https://{membership.address}",
            verify=pinned(membership.authority),
            timeout=TIMEOUT,
        )

    def post(
        self, path: str, body: dict[str, Any], *, timeout: float | None = None
    ) -> dict[str, Any]:
        """The JSON answer to a signed POST; ``timeout`` is how long the answer may take."""
        content = json.dumps(body).encode()
        moment, nonce = f"{time.time():.3f}", secrets.token_hex(16)
        headers = {
            "content-type": "application/json",
            "x-fedtui-site": self._site,
            "x-fedtui-time": moment,
            "x-fedtui-nonce": nonce,
            "x-fedtui-signature": keys.sign_request(
                self._key, site=self._site, method="POST", path=path, body=content,
                time=moment, nonce=nonce,
            ),
        }  # fmt: skip
        limit = TIMEOUT if timeout is None else httpx.Timeout(timeout, connect=TIMEOUT.connect)
        try:
            response = self._client.post(path, content=content, headers=headers, timeout=limit)
            answer = response.json() if response.is_success or response.status_code == 403 else {}
            if response.status_code == 403 and "error" in answer:
                raise TrustError(
                    f"The coordinator refused this site: {answer['error']}.",
                    remedy=answer.get("remedy", "Call the coordinator's operator."),
                )
            response.raise_for_status()
        except (httpx.HTTPError, ValueError, ssl.SSLError) as error:
            raise classify(error, self.address) from error
        if not isinstance(answer, dict):
            raise classify(ValueError(), self.address)
        return answer

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def pinned(authority: str) -> ssl.SSLContext:
    """TLS 1.2 or newer, trusting ``authority`` (PEM) and nobody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=authority)
    return context
