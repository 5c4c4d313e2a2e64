"""Whether this home's settings, its federation and its key can be read and fit together."""

from collections.abc import Iterator
from datetime import UTC, datetime

from cryptography import x509

from fedtui import keys, site
from fedtui.checks import Finding, State
from fedtui.checks._inquiry import Inquiry
from fedtui.checks._target import from_home
from fedtui.errors import OperatorError
from fedtui.site import Home

NEEDS: tuple[str, ...] = ()
AFTER: tuple[str, ...] = ()
NETWORK = False
DEEP = False


def check(inquiry: Inquiry) -> Iterator[Finding]:
    """Read what every other command reads, in the order in which it is written."""
    if inquiry.home is None:
        yield Finding(
            state=State.SKIP,
            code="no-home",
            meaning="Not measured: no home was given.",
            remedy="Make one with 'fedtui init NAME', or give --home.",
        )
        return
    try:
        yield _read(inquiry.home)
    except OperatorError as error:
        yield Finding(
            state=State.FAIL,
            code="config-broken",
            measured=str(inquiry.home.path),
            meaning=str(error),
            remedy=error.remedy,
            exit_code=error.exit_code,
        )


def _read(home: Home) -> Finding:
    own = site.load(home)
    key = keys.load_private(home.keys / "node.key")
    if own.trains and not home.membership.exists():
        return Finding(
            state=State.WARN,
            code="config-not-joined",
            measured=own.name,
            meaning=f"{own.name} has not joined a federation yet.",
            remedy="Ask the coordinator's operator for an invitation, then 'fedtui join CODE'.",
        )
    if not home.membership.exists():
        return Finding(
            state=State.OK,
            code="config-ok",
            measured=own.name,
            meaning=f"{own.name} only coordinates; its settings can be read.",
        )
    target = from_home(home)
    try:
        authority = x509.load_pem_x509_certificate(target.authority.encode())
    except ValueError:
        return Finding(
            state=State.FAIL,
            code="config-authority",
            measured=str(home.membership),
            exit_code=5,
            meaning=f"{home.membership.name} holds no certificate of the federation's authority.",
            remedy=f"Remove {home.membership} and join again with the invitation.",
        )
    if authority.not_valid_after_utc < datetime.now(UTC):
        return Finding(
            state=State.FAIL,
            code="config-authority-expired",
            exit_code=5,
            measured=f"{authority.not_valid_after_utc:%Y-%m-%d}",
            meaning="The federation's authority has expired by this host's clock.",
            remedy="Compare the clocks; else the coordinator must set up the federation anew.",
        )
    return Finding(
        state=State.OK,
        code="config-ok",
        measured=f"{own.name} at {target.address}",
        meaning=f"Settings, federation and key of {own.name} can be read; its key is "
        f"{keys.fingerprint(key.public_key())[:14]}….",
    )
