"""Whether site and coordinator speak the same protocol."""

from collections.abc import Iterator

from fedtui import __version__
from fedtui.checks import Finding, State
from fedtui.checks._inquiry import Inquiry
from fedtui.study import PROTOCOL

NEEDS = ("hello",)
AFTER: tuple[str, ...] = ()
NETWORK = True
DEEP = False

_LIMIT = "same protocol and same minor version (fedtui)"


def check(inquiry: Inquiry) -> Iterator[Finding]:
    """Compare what the hello said with what is installed here."""
    document = (inquiry.hello and inquiry.hello.document) or {}
    theirs, protocol = str(document.get("fedtui", "")), document.get("protocol")
    measured = f"here {__version__}, coordinator {theirs or 'unknown'}"
    if not isinstance(protocol, int) or not theirs:
        yield Finding(
            state=State.UNKNOWN,
            code="version-unknown",
            measured=measured,
            meaning="The coordinator does not say its version.",
            remedy="Ask its operator.",
        )
    elif protocol != PROTOCOL:
        older = "this site" if protocol > PROTOCOL else "the coordinator"
        yield Finding(
            state=State.FAIL,
            code="version-protocol",
            measured=measured,
            threshold=_LIMIT,
            meaning=f"This site speaks protocol {PROTOCOL}, the coordinator {protocol}: they "
            "cannot train together.",
            remedy=f"Upgrade fedtui at {older}.",
            exit_code=2,
        )
    elif theirs.split(".")[:2] != __version__.split(".")[:2]:
        yield Finding(
            state=State.WARN,
            code="version-differs",
            measured=measured,
            threshold=_LIMIT,
            meaning="Site and coordinator have different minor versions of fedtui.",
            remedy="Agree on one version before the next study.",
        )
    else:
        yield Finding(
            state=State.OK,
            code="version-ok",
            measured=measured,
            threshold=_LIMIT,
            meaning="Site and coordinator fit.",
        )
