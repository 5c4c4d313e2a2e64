"""A person's own key, under a passphrase: what only a person may sign, and no machine.

Ed25519 in PKCS #8, mode 0600. The site's node key, which is the machine's, countersigns what a
person signs and so says to the other sites whose key it is (``agreement``).
"""

import os
import re
from base64 import b64decode, b64encode
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedtui.errors import TrustError, UsageError

NAME = re.compile(r"\w[\w .@'-]{0,62}\w")  # also a file name: no slash, no dot at either end
SHORTEST_PASSPHRASE = 12  # characters: PKCS #8 stretches a passphrase little against guessing


def create(folder: Path, name: str, passphrase: str) -> Path:
    """Make the key of ``name`` in ``folder``; returns its file.

    Raises:
        UsageError: a name that does not fit, a key that exists, a short passphrase.
    """
    path = file_of(folder, name)
    if path.exists():
        raise UsageError(
            f"{name} has a key already: {path}.",
            remedy="Use it; after a lost passphrase move it away, and approve anew.",
        )
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise UsageError(
            f"The passphrase has fewer than {SHORTEST_PASSPHRASE} characters.",
            remedy="Take a sentence that only you would think of.",
        )
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    data = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase.encode()),
    )
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return path


def load(path: Path, passphrase: str) -> Ed25519PrivateKey:
    """The key in ``path``.

    Raises:
        UsageError: there is none.
        TrustError: the passphrase is wrong, or it is no such key.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"There is no key of {path.stem} here.",
            remedy=f"Make it with 'fedtui study key \"{path.stem}\"', as that person.",
        ) from error
    try:
        key = serialization.load_pem_private_key(data, password=passphrase.encode())
    except (ValueError, TypeError) as error:
        raise TrustError(
            f"The key of {path.stem} does not open: wrong passphrase, or a damaged file.",
            remedy="Try again; nothing was signed.",
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise TrustError(
            f"{path} is not a person's key (Ed25519).",
            remedy="Make one with 'fedtui study key NAME'.",
        )
    return key


def file_of(folder: Path, name: str) -> Path:
    """Where the key of ``name`` lies.

    Raises:
        UsageError: it is no name.
    """
    if not NAME.fullmatch(name):
        raise UsageError(
            "A person's name has 2 to 64 letters, digits, spaces and . @ ' -",
            remedy="Write the name as the study has it under [approvers].",
        )
    return folder / f"{name}.pem"


def public_text(key: Ed25519PrivateKey) -> str:
    """The public key as documents carry it: base64 of its 32 bytes."""
    return b64encode(key.public_key().public_bytes_raw()).decode()


def sign(key: Ed25519PrivateKey, data: bytes) -> str:
    """The signature under ``data``, base64."""
    return b64encode(key.sign(data)).decode()


def is_signed(public: str, signature: str, data: bytes) -> bool:
    """Whether ``signature`` is that of the holder of ``public`` under exactly ``data``."""
    try:
        key = Ed25519PublicKey.from_public_bytes(b64decode(public, validate=True))
        key.verify(b64decode(signature, validate=True), data)
    except (InvalidSignature, ValueError):
        return False
    return True
