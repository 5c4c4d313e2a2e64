"""Whether the home's path leaves room for the sockets that take orders."""

from collections.abc import Iterator

from fedtui import site
from fedtui.checks import Finding, State
from fedtui.checks._inquiry import Inquiry
from fedtui.errors import UsageError
from fedtui.site import Home

NEEDS: tuple[str, ...] = ()
AFTER: tuple[str, ...] = ()
NETWORK = False
DEEP = False

_LIMIT = "107 bytes (Linux, sockaddr_un)"


def check(inquiry: Inquiry) -> Iterator[Finding]:
    """Measure the longest socket's path."""
    home = inquiry.home or Home(site.default_home())
    length = len(str(home.socket("coordinator").absolute()).encode())
    measured = f"{length} bytes"
    try:
        site.check_socket_path(home)
    except UsageError as error:
        yield Finding(
            state=State.FAIL,
            code="socket-path-long",
            measured=measured,
            value=float(length),
            unit="B",
            threshold=_LIMIT,
            meaning=str(error),
            remedy=error.remedy,
            exit_code=error.exit_code,
        )
        return
    yield Finding(
        state=State.OK,
        code="socket-path-ok",
        measured=measured,
        value=float(length),
        unit="B",
        threshold=_LIMIT,
        meaning="The socket's path fits.",
    )
