"""Whether SELinux or FIPS mode stand in the way; with both on, signing must still work."""

from collections.abc import Iterator
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from fedtui.checks import Finding, State
from fedtui.checks._inquiry import Inquiry

NEEDS: tuple[str, ...] = ()
AFTER: tuple[str, ...] = ()
NETWORK = False
DEEP = False

_LIMIT = "a P-384 key signs with SHA-384 (what Flower and fedtui use)"


def check(_: Inquiry) -> Iterator[Finding]:
    """Read the modes, and sign once as every request does."""
    selinux = _read("/sys/fs/selinux/enforce")
    modes = [
        {"1": "SELinux enforcing", "0": "SELinux permissive"}.get(selinux, "no SELinux"),
        "FIPS mode" if _read("/proc/sys/crypto/fips_enabled") == "1" else "no FIPS mode",
    ]
    measured = ", ".join(modes)
    try:
        key = ec.generate_private_key(ec.SECP384R1())
        key.sign(b"fedtui", ec.ECDSA(hashes.SHA384()))
    except (UnsupportedAlgorithm, ValueError) as error:
        yield Finding(
            state=State.FAIL,
            code="hardening-crypto",
            measured=measured,
            threshold=_LIMIT,
            meaning=f"This host's cryptography refuses what every request needs "
            f"({type(error).__name__}).",
            remedy="Ask the host's administrator which cryptographic policy is set.",
            exit_code=8,
        )
        return
    advice = "If a process is refused a file, 'ausearch -m avc' shows the rule."
    yield Finding(
        state=State.OK,
        code="hardening-ok",
        measured=measured,
        threshold=_LIMIT,
        meaning="Signing works under this host's policy.",
        remedy=advice if selinux == "1" else "",
    )


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return ""
