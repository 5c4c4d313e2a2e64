"""In the trainer: what a round under record-level privacy is called in the account, and its noise.

One and the same name, and noise, only where every bit that the noise hides is the same: two
answers under one noise over other records differ by those records' bare gradients.
"""

import hashlib
import hmac
import json
import os
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from datasets import Dataset
from fedtui import study as studies
from fedtui.errors import DataError
from models._device import identities


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """All that an answer depends on beside its noise, under the site's own secret.

    Attributes:
        name: Hex, 64 digits, for the journal: nobody can guess from it who is in the data.
        noise: From which samples and noise come; nobody can tell it from the name.
    """

    name: str
    noise: int


class Account:
    """Names questions, under the site's own secret.

    Args:
        secret: None where the site has none; it is then refused.
        stream: The site's own number in training.
    """

    def __init__(self, secret: bytes | None, *, stream: int) -> None:
        self._secret, self._stream = secret, stream
        self._digest: tuple[Any, str] = (None, "")  # of the data at hand

    def question(self, order: dict[str, Any], engine: Any, data: Dataset, local: Any) -> Question:
        """What ``order`` asks here and now: whoever opts out makes it another one.

        So does another computer, for its rounding differs, and the round: a coordinator that
        sends one model in two rounds gets two draws of the noise, and pays for both.

        Args:
            local: What the site keeps for itself, float32 [local].

        Raises:
            DataError: the site has no secret, or the data are others than the account was
                asked about.
        """
        if self._digest[0] is not data:
            self._digest = (data, digest_of(data))
        about = json.dumps(
            [
                order["question"],
                order["round"],
                self._stream,
                self._digest[1],
                hashlib.sha256(local.tobytes()).hexdigest(),
                repr(engine.plan),
                studies.numeric_code(),
                jax.__version__,
                identities(),
            ]
        )
        found = Question(
            name=self._keyed(f"question {about}").hex(),
            noise=int.from_bytes(self._keyed(f"noise {about}"), "big"),
        )
        if order.get("paid", found.name) != found.name:
            raise DataError(
                "The data of this site changed while a round under record-level privacy began.",
                remedy="Nothing was sent. Start the run again.",
            )
        return found

    def place(self, path: str | None) -> str:
        """A name for where data lie, hex; the same for all data sets of one folder."""
        return "" if path is None else self._keyed(f"place {os.path.realpath(path)}").hex()

    def _keyed(self, text: str) -> bytes:
        if self._secret is None:
            raise DataError(
                "Record-level privacy needs this site's own secret.",
                remedy="Take part with fedtui itself.",
            )
        return hmac.digest(self._secret, text.encode(), "sha256")


def digest_of(data: Dataset) -> str:
    """Hex sha256 of who is in the training split, in which order, and of every value."""
    train, digest = data.train, hashlib.sha256(data.cohort_hash.encode())
    for array in (train.x, train.mask, train.y, train.groups):
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    if train.pictures is not None:
        digest.update(train.pictures.rows.tobytes())
        for row in np.unique(train.pictures.rows):  # one at a time: they lie on disk
            digest.update(train.pictures.pixels[row].tobytes())
    return digest.hexdigest()
