"""How long a study's model takes each way."""

import http.client
import json
import time
from collections.abc import Iterator

from fedtui import keys, site
from fedtui.checks import Finding, State, _wire
from fedtui.checks._inquiry import Inquiry
from fedtui.checks._ticket import ticket
from fedtui.checks._wire import Session
from fedtui.keys import PrivateKey

NEEDS = ("hello", "mtu")
AFTER = ("identity", "jitter")  # a full line would spoil what the others measure
NETWORK = True
DEEP = True

_SECONDS = 3.0  # each way
_FIRST, _LARGEST = 128 << 10, 4 << 20  # bytes a request; the echo's own limit
_WARN, _FAIL = 60.0, 600.0  # seconds a round
_LIMIT = f"below {_WARN:.0f} s a round for sending the model both ways (fedtui)"


class _TooLargeError(Exception):
    """A body of ``size`` bytes was answered with 413."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


def check(inquiry: Inquiry) -> Iterator[Finding]:
    """Send and fetch signed echoes for some seconds each."""
    if not inquiry.echo or inquiry.home is None:
        yield Finding(
            state=State.SKIP,
            code="needs",
            meaning="Not measured: needs a site that the coordinator knows (identity).",
            remedy="Join first.",
        )
        return
    own, key = site.load(inquiry.home), keys.load_private(inquiry.home.keys / "node.key")
    try:
        with _wire.session(inquiry) as session:
            up = _rate(session, own.name, key, upwards=True)
            down = _rate(session, own.name, key, upwards=False)
    except _TooLargeError as error:
        yield _limited(inquiry, error.size)
        return
    except (OSError, http.client.HTTPException) as error:
        yield Finding(
            state=State.UNKNOWN,
            code="bandwidth-unknown",
            measured=type(error).__name__,
            threshold=_LIMIT,
            meaning="The connection broke while data was sent.",
            remedy="Look at body, mtu and loss, then try again.",
        )
        return
    yield _judged(inquiry, up, down)


def _rate(session: Session, name: str, key: PrivateKey, *, upwards: bool) -> float:
    """Bytes a second, of the largest request that fitted into the time."""
    size, rate, until = _FIRST, 0.0, time.monotonic() + _SECONDS
    while True:
        document = {"bytes": 0, "padding": "0" * size} if upwards else {"bytes": size}
        body = json.dumps(document).encode()
        answer = session.request(
            "POST",
            _wire.ECHO,
            body=body,
            headers=_wire.signed(key, site=name, body=body),
            timeout=4 * _SECONDS,
        )
        if answer.status == 413:
            raise _TooLargeError(size)
        if answer.status != 200:
            raise http.client.HTTPException(f"HTTP {answer.status}")
        rate = size / answer.seconds
        size = min(_LARGEST, 2 * size)
        if time.monotonic() + size / rate > until:
            return rate


def _limited(inquiry: Inquiry, size: int) -> Finding:
    """A gateway that welcomed an announced body, and then refused it."""
    return Finding(
        state=State.FAIL,
        code="body-limit",
        measured=f"{size >> 10} KiB refused",
        value=float(size),
        unit="B",
        threshold="6 MiB (Flower 1.41 sends 5 MB chunks)",
        meaning="Something in between limits the size of requests (HTTP 413); models would not "
        "get through.",
        remedy="Ask for a limit of 8 MB: client_max_body_size 8m in nginx, or its like.",
        ticket=ticket(inquiry, "allow request bodies of 8 MB", f"HTTP 413 to {size} bytes"),
    )


def _judged(inquiry: Inquiry, up: float, down: float) -> Finding:
    seconds = inquiry.model_bytes / up + inquiry.model_bytes / down
    measured = f"up {up / 1e6:.2f} MB/s, down {down / 1e6:.2f} MB/s"
    megabytes = inquiry.model_bytes / 1e6
    meaning = f"A model of {megabytes:.0f} MB takes {seconds:.1f} s a round, both ways together."
    if seconds < _WARN:
        return Finding(
            state=State.OK,
            code="bandwidth-ok",
            measured=measured,
            value=round(seconds, 2),
            unit="s",
            threshold=_LIMIT,
            meaning=meaning,
        )
    return Finding(
        state=State.WARN if seconds < _FAIL else State.FAIL,
        code="bandwidth-low",
        measured=measured,
        value=round(seconds, 2),
        unit="s",
        threshold=_LIMIT,
        meaning=meaning,
        remedy="Choose a smaller model or fewer rounds, or ask for more bandwidth.",
        ticket=ticket(inquiry, "more bandwidth to the coordinator", measured),
    )
