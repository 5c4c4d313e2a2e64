"""Invitations as such: codes, proofs and the judgement over a claim, without a network."""

import time
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fedtui import invitations, keys
from fedtui.errors import OperatorError, UsageError
from fedtui.flower.throttle import Throttle
from fedtui.invitations import LIFE_SECONDS, TRIES, WORDS, Claim, Code, Invitation

AUTHORITY = b"the federation's certificate"
SECRET = bytes(range(10))
VERIFIER = invitations.verifier_of(SECRET)
PIN = invitations.pin_of(AUTHORITY, VERIFIER)
KEY = keys.public_bytes(ec.generate_private_key(ec.SECP384R1()).public_key()).decode()
MADE = 1_800_000_000.0
INVITATION = Invitation(
    site="halland", handle=invitations.handle_of(VERIFIER), verifier=VERIFIER.hex(), made=MADE
)
ADDRESS = "fed.sahlgrenska.example:8443"
CODE = str(Code(address=ADDRESS, secret=SECRET, pin=PIN))
LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def claim(**changes: str) -> Claim:
    """A claim whose proof is right; ``proof`` in the changes makes it another."""
    made = Claim(handle=INVITATION.handle, site="halland", key=KEY, nonce="0" * 32)
    proof = changes.pop("proof", None)
    made = replace(made, **changes)  # type: ignore[arg-type]
    right = invitations.prove(VERIFIER, made, authority=AUTHORITY)
    return replace(made, proof=right if proof is None else proof)


def judged(
    invitation: Invitation, asked: Claim, *, now: float = MADE + 1
) -> tuple[Invitation, str]:
    return invitations.judge(invitation, asked, authority=AUTHORITY, now=now)


@given(
    host=st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?", fullmatch=True)
    | st.ip_addresses(v=4).map(str),
    port=st.integers(1, 65535),
    secret=st.binary(min_size=10, max_size=10),
    pin=st.binary(min_size=10, max_size=10),
)
def test_a_code_reads_back_as_it_was_written_and_as_people_copy_it(
    host: str, port: int, secret: bytes, pin: bytes
) -> None:
    code = Code(address=f"{host}:{port}", secret=secret, pin=pin)
    dialled, tail = str(code).split("/")
    misread = tail.replace("1", "l").replace("0", "O")
    copied = f"  {dialled.upper()}/{misread[:10].lower()}-{misread[10:20]} {misread[20:]}\n"

    assert invitations.parse(str(code)) == code
    assert invitations.parse(copied) == code
    assert invitations.fits(code.address) == (len(str(code)) <= 60)


@pytest.mark.parametrize(
    "address",
    ["192.168.100.200:65535", "fed.sahlgrenska.example:8443", "fl.regionhalland.se:9443"],
)
def test_a_code_has_at_most_60_characters(address: str) -> None:
    assert len(str(Code(address=address, secret=SECRET, pin=PIN))) <= 60


def test_a_name_that_is_too_long_for_a_code_is_known_beforehand() -> None:
    assert not invitations.fits("decaihealth.sahlgrenska.vgregion.example:8443")


@given(place=st.integers(0, 34), letter=st.sampled_from(LETTERS))
def test_one_wrong_letter_is_named_before_anything_is_dialled(place: int, letter: str) -> None:
    dialled, tail = CODE.split("/")
    typo = f"{dialled}/{tail[:place]}{letter}{tail[place + 1 :]}"
    if typo == CODE:
        return
    said = ""
    try:
        parsed = invitations.parse(typo)
    except UsageError as error:
        said = str(error)

    # 15 bits of checksum let one in 32,768 pass; such a code is refused by its pin or its proof.
    assert "typing mistake" in said or parsed != invitations.parse(CODE)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CODE[:-1], "34 of 35"),
        (CODE + "0", "36 of 35"),
        (CODE.replace("fed.", "fad."), "typing mistake"),
        (CODE.replace("/", ":9443/"), "typing mistake"),
        (CODE[:-1] + "U", "'U'"),
        (CODE[:-1] + "å", "'Å'"),
        (CODE.split("/")[1], "35 letters"),
        ("", "0 of 35"),
    ],
)
def test_what_is_wrong_with_a_code_is_said(text: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        invitations.parse(text)

    assert said.replace("35 letters", "not whole") in str(refused.value)
    assert refused.value.remedy


def _tampered(draw: st.DrawFn) -> str:
    """A code that someone changed: letters, host, or two halves of different codes."""
    dialled, tail = CODE.split("/")
    kind = draw(st.sampled_from(["letters", "host", "order", "whole"]))
    if kind == "letters":
        changed = list(tail)
        for place in draw(st.sets(st.integers(0, 34), min_size=1, max_size=35)):
            changed[place] = draw(st.sampled_from(LETTERS))
        return f"{dialled}/{''.join(changed)}"
    if kind == "host":
        return f"{draw(st.from_regex(r'[a-z]{1,12}', fullmatch=True))}/{tail}"
    if kind == "order":
        return f"{dialled}/{''.join(draw(st.permutations(list(tail))))}"
    secret, pin = (
        draw(st.binary(min_size=10, max_size=10)),
        draw(st.binary(min_size=10, max_size=10)),
    )
    return str(Code(address=ADDRESS, secret=secret, pin=pin))


@settings(max_examples=600, deadline=None)
@given(st.composite(_tampered)())
def test_a_tampered_code_gets_nobody_in(text: str) -> None:
    try:
        code = invitations.parse(text)
    except UsageError:
        return
    if code == invitations.parse(CODE):
        return  # nothing was changed after all
    # Whoever holds another secret proves something else; whoever holds another pin meets another
    # authority; whoever dials another host needs the certificate of this one there.
    assert (code.secret, code.pin, code.address) != (SECRET, PIN, ADDRESS)
    if code.secret != SECRET:
        other = bytes(22) + code.secret  # what stretching would give; 0.1 s a time is too slow here
        asked = replace(claim(), proof=invitations.prove(other, claim(), authority=AUTHORITY))
        assert judged(INVITATION, asked)[1] == "wrong"


states = st.sampled_from(["open", "claimed", "confirmed", "declined", "spent"])
other_text = st.text(alphabet="0123456789abcdef", min_size=1, max_size=64)


@settings(max_examples=600, deadline=None)
@example(kind="proof", value="é", state="open", now=MADE + 1)
@given(
    kind=st.sampled_from(["proof", "key", "nonce", "handle", "authority", "site", "late", "used"]),
    value=other_text,
    state=states,
    now=st.floats(MADE - 2 * LIFE_SECONDS, MADE + 5 * LIFE_SECONDS),
)
def test_a_tampered_replayed_expired_or_foreign_claim_is_refused(
    kind: str, value: str, state: invitations.State, now: float
) -> None:
    invitation = replace(INVITATION, state=state, key=KEY if state != "open" else "")
    asked, moment = claim(), now
    if kind in ("proof", "key", "nonce", "handle"):  # changed after the proof was made
        asked = replace(asked, **{kind: value})  # type: ignore[arg-type]
        if asked == claim():
            return
    elif kind == "authority":  # made for a coordinator that someone else plays
        proof = invitations.prove(VERIFIER, asked, authority=AUTHORITY + value.encode())
        asked = replace(asked, proof=proof)
    elif kind == "site":  # a rightful code at another hospital's home
        asked = claim(site=f"x-{value}")
    elif kind == "late":
        moment = MADE + LIFE_SECONDS + abs(now - MADE)
    elif kind == "used":  # the rightful code once more, with a key of one's own
        invitation = replace(invitation, state="claimed", key=KEY)
        asked = claim(key=KEY + value)

    after, refusal = judged(invitation, asked, now=moment)

    again = kind == "late" and state in ("claimed", "confirmed")  # the same site asks how it stands
    assert bool(refusal) != again
    assert after.key == invitation.key
    assert after.state in (invitation.state, "spent")


def test_a_rightful_claim_holds_once_and_for_its_own_key_ever_after() -> None:
    after, refusal = judged(INVITATION, claim())
    repeated = judged(after, claim(nonce="1" * 32))
    other = judged(after, claim(key=KEY + " "))

    assert (after.state, after.key, refusal) == ("claimed", KEY, "")
    assert repeated == (after, "")
    assert other == (after, "used")


def test_a_claim_without_a_home_yet_holds() -> None:
    assert judged(INVITATION, claim(site=""))[1] == ""


def test_five_wrong_proofs_make_an_invitation_void() -> None:
    invitation = INVITATION
    for _ in range(TRIES):
        invitation, refusal = judged(invitation, claim(proof="0" * 64))
        assert refusal == "wrong"

    after, refusal = judged(invitation, claim())

    assert (after.state, refusal) == ("spent", "spent")


def test_four_wrong_proofs_do_not() -> None:
    invitation = INVITATION
    for _ in range(TRIES - 1):
        invitation, _ = judged(invitation, claim(proof="0" * 64))

    assert judged(invitation, claim())[1] == ""


def test_words_differ_with_key_site_authority_and_secret() -> None:
    def words(**changes: object) -> tuple[str, ...]:
        terms: dict[str, object] = {
            "site": "halland",
            "key": KEY,
            "authority": AUTHORITY,
            **changes,
        }
        verifier = terms.pop("verifier", VERIFIER)
        return invitations.words_of(verifier, **terms)  # type: ignore[arg-type]

    told = [
        words(),
        words(key=KEY + " "),
        words(site="skane"),
        words(authority=b"another"),
        words(verifier=bytes(32)),
    ]

    assert all(len(six) == 6 for six in told)
    assert len(set(told)) == len(told)


def test_no_two_words_can_be_taken_for_each_other() -> None:
    assert len(WORDS) == 256
    assert len({word[:4] for word in WORDS}) == 256
    assert all(word.isascii() and word.isalpha() and word.islower() for word in WORDS)


def test_every_refusal_has_words_and_a_remedy() -> None:
    for code in ("wrong", "expired", "used", "spent", "declined", "other-site", "\x1b[2J"):
        refused = invitations.refused(code)
        assert isinstance(refused, OperatorError)
        assert refused.remedy
        assert str(refused).isprintable()


def test_one_address_is_held_back_and_another_is_not() -> None:
    throttle = Throttle(rate=0.01, burst=3)

    first = [throttle.admit("192.0.2.1") for _ in range(4)]
    other = throttle.admit("192.0.2.2")

    assert first[:3] == [0.0] * 3
    assert first[3] > 1
    assert other == 0.0


def test_all_addresses_together_are_held_back_and_memory_is_bounded() -> None:
    throttle = Throttle(rate=1e-6, burst=2, crowd=100)  # nobody has waited while this runs

    admitted = sum(throttle.admit(f"2001:db8:{n:x}::1") == 0.0 for n in range(10_000))

    assert admitted == 200
    assert len(throttle._each) <= 4096


def test_addresses_of_one_ipv6_network_count_as_one() -> None:
    throttle = Throttle(rate=0.01, burst=2)

    waits = [throttle.admit(f"2001:db8::{n:x}") for n in range(1, 4)]

    assert [wait == 0.0 for wait in waits] == [True, True, False]


def test_who_waits_is_admitted_again() -> None:
    throttle = Throttle(rate=50.0, burst=1)
    throttle.admit("192.0.2.1")

    until = time.monotonic() + 10
    while throttle.admit("192.0.2.1"):
        assert time.monotonic() < until
        time.sleep(0.01)
