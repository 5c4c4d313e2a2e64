"""Invitations: a code of at most 60 characters, and what both ends prove with its secret.

``HOST[:PORT]/`` and 35 letters of Crockford's base32: a secret of 80 bits, a pin of 80 bits of the
federation's authority, 15 bits of checksum. The secret is guessed online only, five times. The pin
is salted with the secret and stretched, so only a holder of the code can look for a second
certificate that fits it: about 2**99 hashes, within three days.

References:
    Crockford, Base 32, crockford.com/base32.html: no I, L, O, U; small letters read alike.
    NIST SP 800-132 (PBKDF2), which FIPS mode allows where it refuses scrypt.
"""

import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass, replace
from typing import Literal

from fedtui.errors import TrustError, UsageError

LIFE_SECONDS = 72 * 3600.0
TRIES = 5
LONGEST_CODE = 60  # characters
DEFAULT_PORT = 8443
_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_READ_ALIKE = str.maketrans("ILO", "110")
_SECRET_BYTES, _PIN_BYTES, _CHECK_BITS = 10, 10, 15
_TAIL = (8 * (_SECRET_BYTES + _PIN_BYTES) + _CHECK_BITS) // 5  # letters behind the '/'
_STRETCH = 1 << 18  # PBKDF2 iterations: 0.13 s, once at each end

State = Literal["open", "claimed", "confirmed", "declined", "spent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """What is in an invitation's code.

    Attributes:
        address: HOST:PORT of the coordinator.
        pin: What ``pin_of`` must give for the authority that answers there.
    """

    address: str
    secret: bytes
    pin: bytes

    def __str__(self) -> str:
        dialled = self.address.removesuffix(f":{DEFAULT_PORT}")
        bits = int.from_bytes(self.secret + self.pin) << _CHECK_BITS | _checksum(self)
        letters = (_LETTERS[bits >> 5 * place & 31] for place in reversed(range(_TAIL)))
        return f"{dialled}/{''.join(letters)}"


def fits(address: str) -> bool:
    """Whether a code for ``address`` keeps within 60 characters."""
    dialled = address.removesuffix(f":{DEFAULT_PORT}")
    return len(dialled) + 1 + _TAIL <= LONGEST_CODE


def looks_like_code(text: str) -> bool:
    """Whether someone may have meant ``text`` as a code rather than as a file's name."""
    host, _, tail = text.strip().rpartition("/")
    return bool(host) and not host.startswith((".", "/", "~")) and len(_letters(tail)) > _TAIL // 2


def parse(text: str) -> Code:
    """The code in ``text``, however it was copied: spaces, hyphens and small letters do not matter.

    Raises:
        UsageError: it has another length or other letters, or a typing mistake.
    """
    host, _, tail = "".join(text.split()).rpartition("/")
    letters = _letters(tail)
    again = "Compare it with what 'fedtui invite' printed there, or ask for an invitation file."
    if not host or len(letters) != _TAIL:
        raise UsageError(
            f"The code is not whole: {len(letters)} of {_TAIL} letters follow its '/'.",
            remedy=again,
        )
    if strange := set(letters) - set(_LETTERS):
        raise UsageError(f"The code holds '{min(strange)}', which no code holds.", remedy=again)
    bits = 0
    for letter in letters:
        bits = bits << 5 | _LETTERS.index(letter)
    data = (bits >> _CHECK_BITS).to_bytes(_SECRET_BYTES + _PIN_BYTES)
    code = Code(
        address=_with_port(host.lower()),
        secret=data[:_SECRET_BYTES],
        pin=data[_SECRET_BYTES:],
    )
    if bits & (1 << _CHECK_BITS) - 1 != _checksum(code):
        raise UsageError("The code has a typing mistake: its checksum does not fit.", remedy=again)
    return code


def draw_secret() -> bytes:
    """A new invitation's secret."""
    return secrets.token_bytes(_SECRET_BYTES)


def verifier_of(secret: bytes) -> bytes:
    """What the coordinator keeps of a secret, and what both ends prove that they hold; slow."""
    return hashlib.pbkdf2_hmac("sha256", secret, b"fedtui invitation 1", _STRETCH)


def pin_of(authority: bytes, verifier: bytes) -> bytes:
    """A code's pin for the certificate ``authority``, DER; slow."""
    digest = hashlib.sha256(authority).digest()
    return hashlib.pbkdf2_hmac("sha256", digest, verifier, _STRETCH)[:_PIN_BYTES]


def handle_of(verifier: bytes) -> str:
    """The public name under which the coordinator finds an invitation, six hex digits."""
    return hmac.digest(verifier, b"handle", "sha256")[:3].hex()


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A site asks to be enrolled with its public key.

    Attributes:
        site: The name of its home; empty before it has one.
        key: PEM.
        nonce: Drawn for this request, so that the coordinator's answer is to it.
        proof: ``prove`` by the site, hex.
    """

    handle: str
    site: str
    key: str
    nonce: str
    proof: str = ""


def prove(verifier: bytes, claim: Claim, *, authority: bytes, answer: str = "") -> str:
    """What only a holder of the secret can say of ``claim`` to this authority (DER), hex.

    Args:
        answer: Empty in the site's mouth; in the coordinator's, the name that it enrols.
    """
    said = [
        "fedtui-enrolment-1", "coordinator" if answer else "site", answer, claim.handle,
        claim.site, claim.key, claim.nonce, hashlib.sha256(authority).hexdigest(),
    ]  # fmt: skip
    return hmac.digest(verifier, json.dumps(said).encode(), "sha256").hex()


def words_of(verifier: bytes, *, site: str, key: str, authority: bytes) -> tuple[str, ...]:
    """Six words that are the same at both ends if key and authority (DER) are; 48 bits."""
    said = ["fedtui-words-1", site, key, hashlib.sha256(authority).hexdigest()]
    digest = hmac.digest(verifier, json.dumps(said).encode(), "sha256")
    return tuple(WORDS[byte] for byte in digest[:6])


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """What the coordinator remembers of an invitation; the secret itself is not in it.

    Attributes:
        verifier: Of the secret, hex.
        made: Seconds since 1970.
        failures: Claims with a wrong proof.
        key: PEM of the key that claimed it.
        origin: The address from which it was claimed.
        addresses: What the coordinator's name meant where the invitation was made.
    """

    site: str
    handle: str
    verifier: str
    made: float
    state: State = "open"
    failures: int = 0
    key: str = ""
    origin: str = ""
    addresses: tuple[str, ...] = ()

    @property
    def expires(self) -> float:
        """When it can no longer be claimed, seconds since 1970."""
        return self.made + LIFE_SECONDS


def judge(
    invitation: Invitation, claim: Claim, *, authority: bytes, now: float, origin: str = ""
) -> tuple[Invitation, str]:
    """The invitation after ``claim``, and why the claim is refused; empty if it holds.

    What is wrong with an invitation is told to a holder of its secret only.
    """
    expected = prove(bytes.fromhex(invitation.verifier), claim, authority=authority)
    if not hmac.compare_digest(expected.encode(), claim.proof.encode("ascii", "replace")):
        if invitation.state != "open":
            return invitation, "wrong"
        failures = invitation.failures + 1
        state: State = "spent" if failures >= TRIES else "open"
        return replace(invitation, failures=failures, state=state), "wrong"
    if claim.site not in ("", invitation.site):
        return invitation, "other-site"
    if invitation.state in ("claimed", "confirmed"):
        return invitation, "" if claim.key == invitation.key else "used"
    if invitation.state != "open":
        return invitation, invitation.state
    if not invitation.made - LIFE_SECONDS < now < invitation.expires:
        return invitation, "expired"
    return replace(invitation, state="claimed", key=claim.key, origin=origin), ""


REFUSALS = {
    "wrong": (
        "The coordinator does not know this code.",
        "Compare it with what was sent; else ask for a new one ('fedtui invite' there).",
    ),
    "expired": (
        "The invitation has expired: it holds for 72 hours.",
        "Ask the coordinator's operator for a new one ('fedtui invite' there).",
    ),
    "used": (
        "The invitation has been used already, with another key.",
        "If that was not you, call the coordinator's operator at once: the site there must be "
        "declined. Else ask for a new invitation.",
    ),
    "spent": (
        "The invitation is void: five wrong proofs were made in its name.",
        "Call the coordinator's operator: someone may be guessing. Ask for a new one.",
    ),
    "declined": (
        "The coordinator's operator declined this site.",
        "Call the coordinator's operator; a new try needs a new invitation.",
    ),
    "other-site": (
        "The invitation is for another site than this home's.",
        "Ask for one in this site's name, or give another --home.",
    ),
}  # code: what happened, what to do


def refused(code: str) -> TrustError:
    """The words for a code that the coordinator answered with; its own are not repeated."""
    message, remedy = REFUSALS.get(code, REFUSALS["wrong"])
    return TrustError(message, remedy=remedy)


def _letters(tail: str) -> str:
    return tail.replace("-", "").replace(" ", "").upper().translate(_READ_ALIKE)


def _checksum(code: Code) -> int:
    said = b"fedtui-code-1\n" + code.address.encode() + b"\n" + code.secret + code.pin
    return int.from_bytes(hashlib.sha256(said).digest()[:2]) >> 16 - _CHECK_BITS


def _with_port(dialled: str) -> str:
    host, colon, port = dialled.rpartition(":")
    if colon and host and port.isdigit() and (host.endswith("]") or ":" not in host):
        return dialled
    return f"{dialled}:{DEFAULT_PORT}"


# Ours: concrete, short, unlike each other by ear; no two begin with the same four letters.
_LIST = """
acid acorn actor album alpha amber anchor angle apple apron arena arrow atlas autumn axis bacon
badge bagel bamboo banana banjo barrel basil basket beacon beaver berry bicycle birch biscuit
blanket bottle breeze brick bridge bronze bucket butter bonfire cabin cactus camel cavern candle
canoe canvas carbon cargo carpet carrot castle cedar cello cement cherry chess cinema circus
citrus clover cobalt cocoa coffee comet compass copper coral cotton cousin cowboy crater cricket
crystal curtain daisy dancer delta denim desert diamond dinner doctor dolphin domino donkey dragon
drum eagle easel echo eleven elbow ember engine envelope estate fabric falcon farmer feather
fennel fiddle finger flag flannel flute forest fossil fountain fox freckle frost gadget galaxy
garden garlic gazelle ginger giraffe glacier glove goblet granite grape guitar gypsum hammer
harbor harvest hazel helmet heron hickory honey hornet hotel hunter iceberg igloo indigo insect
island ivory jacket jaguar jasmine jelly jersey jigsaw jungle juniper kayak kernel kettle kidney
kitten koala ladder lagoon lantern laptop lava lemon lentil leopard library lily linen lizard
lobster lotus lumber lunch magnet mango maple marble market meadow medal melon mercury mirror
mitten monkey mosaic mountain muffin museum mustard napkin nectar needle nickel ninety noodle
nutmeg oasis ocean octopus olive onion opal orange orbit orchid otter oxygen oyster paddle palace
panda paper parrot pasta peach pebble pelican pencil pepper piano pickle pigeon pilot pirate
planet plum pocket poem polka pony poppy potato prairie puzzle quartz rabbit radar radish raven
ribbon river robin rocket saddle saffron salmon sandal satin scarf shadow sugar tulip velvet
walnut zebra
"""
WORDS = tuple(_LIST.split())
