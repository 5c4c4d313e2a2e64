"""TLS that trusts one authority, clients that spare loopback the proxy, and names for what fails.

Flower's own node ends on a blip (a TLS EOF, a proxy's 502, one 401); here every failure has a
name: what passes by itself is retried for ever, what does not is retried slowly and has a remedy.
"""

import ssl

import httpx

TIMEOUT = httpx.Timeout(10.0, connect=5.0)  # seconds; a report is due every second
WAIT = "Nothing to do at once: fedtui keeps trying. 'fedtui check' looks closer."
# A proxy in the environment takes loopback too, unless it is told otherwise (httpx).
_DIRECT = {"all://localhost": None, "all://127.0.0.1": None, "all://[::1]": None}


class LinkError(Exception):
    """A request did not get through.

    Attributes:
        code: Stable name: refused, timeout, dns, tls, closed, proxy, status-N, unauthorised, …
        passing: Whether it can pass by itself; otherwise an operator must act.
        remedy: The next step.
    """

    def __init__(self, code: str, cause: str, *, remedy: str = WAIT, passing: bool = True) -> None:
        super().__init__(cause)
        self.code, self.remedy, self.passing = code, remedy, passing


def pinned(authority: str) -> ssl.SSLContext:
    """TLS 1.2 or newer, trusting ``authority`` (PEM) and nobody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=authority)
    return context


def client(address: str, context: ssl.SSLContext, timeout: httpx.Timeout) -> httpx.Client:
    """An HTTP client for the coordinator at ``address``, through the environment's proxy if any."""
    return httpx.Client(
        base_url=f"https://{address}", verify=context, timeout=timeout, mounts=_DIRECT
    )


def drop(response: httpx.Response) -> None:
    """Close the connection under a response that has been read.

    A gateway that answers wrongly on an open connection may do so for as long as it is open.
    """
    stream = response.extensions.get("network_stream")
    if stream is not None:
        stream.close()


def classify(error: Exception, address: str) -> LinkError:
    """The name for what httpx or Flower's client raised when dialling ``address``."""
    text = str(error)
    if isinstance(error, httpx.HTTPStatusError):
        return _status(error.response.status_code)
    if isinstance(error, httpx.ProxyError):
        return _proxy(text, address)
    if isinstance(error, httpx.ConnectTimeout):
        return LinkError("timeout", f"{address} did not answer")
    if isinstance(error, httpx.TimeoutException):
        return LinkError("stalled", "an open connection stopped moving")
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return _certificate(text)
    if isinstance(error, httpx.ConnectError):
        if "Name or service not known" in text or "getaddrinfo" in text or "resolution" in text:
            return LinkError("dns", "the coordinator's name is unknown here")
        if "refused" in text:
            return LinkError("refused", f"nothing listens at {address}")
        if "reset" in text:
            return LinkError("reset", "the connection was reset as it was opened")
        if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER_FAILURE" in text:
            return LinkError("plain", "what answers there does not speak TLS")
        if "SSL" in text or "EOF" in text:
            return LinkError("tls", "the TLS handshake was cut off")
        return LinkError("unreachable", f"{address} cannot be reached")
    if isinstance(error, httpx.TransportError):
        return LinkError("closed", "the connection was closed")
    if isinstance(error, ValueError | httpx.HTTPError | httpx.InvalidURL):
        return LinkError("foreign", "something else than a coordinator answered")
    return LinkError("internal", f"an unforeseen {type(error).__name__}")


def _status(status: int) -> LinkError:
    if status == 401:
        return LinkError("unauthorised", "the coordinator wants us to introduce ourselves")
    if status == 413:
        return LinkError(
            "body-limit",
            "something in between limits the size of requests",
            remedy="Ask the network team to allow request bodies of 8 MB to this address.",
            passing=False,
        )
    if status == 407:
        return _login()
    if status == 507:
        return disk_full()
    return LinkError(f"status-{status}", f"HTTP status {status} came back")


def disk_full() -> LinkError:
    """The coordinator answers, and cannot write what it is told."""
    return LinkError(
        "storage",
        "the disk under the coordinator's home is full",
        remedy="Its operator frees disk space; both sides then go on by themselves.",
    )


def _proxy(text: str, address: str) -> LinkError:
    """What a proxy answered to CONNECT, as httpx words it: the status, then its reason."""
    if text.startswith("407"):
        return _login()
    if text.startswith("403"):
        return LinkError(
            "proxy-forbidden",
            f"the proxy forbids {address}",
            remedy=f"Ask the proxy's team to allow CONNECT to {address}.",
            passing=False,
        )
    return LinkError("proxy", "the proxy did not connect us")


def _login() -> LinkError:
    return LinkError(
        "proxy-login",
        "the proxy wants a login",
        remedy="Ask for an exception without login, or write it into HTTPS_PROXY as "
        "http://user:password@host:port, then 'fedtui down' and 'fedtui up'.",
        passing=False,
    )


def _certificate(text: str) -> LinkError:
    if "has expired" in text or "not yet valid" in text:
        return LinkError(
            "certificate-dates",
            "by this host's clock the coordinator's certificate is out of date",
            remedy="Set this host's clock; if it is right, the coordinator's operator restarts it "
            "('fedtui down', 'fedtui up'), which renews the certificate.",
            passing=False,
        )
    if "mismatch" in text:
        return LinkError(
            "certificate-name",
            "the coordinator's certificate is for another name than the one dialled",
            remedy="Its operator adds this name to [coordinator] names in site.toml there, then "
            "'fedtui down' and 'fedtui up'.",
            passing=False,
        )
    return LinkError(
        "certificate",
        "the certificate is not from this federation",
        remedy="Ask for an exception from TLS inspection here, or for a new invitation.",
        passing=False,
    )
