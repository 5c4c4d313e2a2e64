"""Proof that two hospitals' parts share no patient, without showing one to the other."""

import json
import os
from pathlib import Path
from typing import Any

_SHORTEST = 16  # bytes of the key that both hold; ids can be tried out under a short one


def seal(data: Any, key: Path, to: Path, *, minimum: int) -> int:
    """Write this part's patients under the shared key to a new file, 0600; returns how many.

    Raises:
        PrivacyError: they are fewer than the minimum cell.
        UsageError: the key is too short, or the file is there.
    """
    from fedtui.errors import PrivacyError, UsageError

    numbers = _numbers(data, key)
    if len(numbers) < minimum:
        raise PrivacyError(
            f"The part has fewer than {minimum} patients.", remedy="Seal a larger part."
        )
    document = {"schema": 1, "data": data.name, "sealed": [f"{n:016x}" for n in numbers.tolist()]}
    try:
        descriptor = os.open(to, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError as error:
        raise UsageError(f"{to} exists.", remedy="Give a new file.") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    return len(numbers)


def in_common(data: Any, key: Path, other: Path) -> int:
    """How many patients this part shares with the one that was sealed in ``other``.

    Raises:
        UsageError: the key is too short, or ``other`` was not sealed.
    """
    import numpy as np

    from datasets import _splits
    from fedtui.errors import UsageError

    try:
        sealed = json.loads(other.read_text(encoding="utf-8"))["sealed"]
        theirs = np.array([int(number, 16) for number in sealed], dtype=np.uint64)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise UsageError(
            f"{other} holds no sealed patients.", remedy="Ask for what 'data check --seal' wrote."
        ) from error
    return _splits.in_common(_numbers(data, key), theirs)


def _numbers(data: Any, key: Path) -> Any:
    import numpy as np

    from datasets._splits import sealed
    from fedtui.errors import UsageError

    secret = key.read_bytes().strip()
    if len(secret) < _SHORTEST:
        raise UsageError(
            f"The key in {key} is shorter than {_SHORTEST} bytes.",
            remedy="Make one with 'openssl rand -hex 32' and give it to the other hospital only.",
        )
    splits = (data.train, data.validation, data.test)
    return sealed(np.concatenate([split.groups for split in splits]), key=secret[:64])
