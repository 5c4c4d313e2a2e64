"""Whose data a run reads: a list for this site's own records, and a name for it that tells nobody.

The cohort's plain hash would let whoever knows all patients but one guess the last; its name is a
keyed hash under the site's own secret.
"""

import hmac
import json
from pathlib import Path
from typing import Any

import numpy as np

from datasets import Dataset
from fedtui.flower.work import write_atomically


def cohort(data: Dataset, secret: bytes) -> str:
    """The cohort's name: hex, 64 digits; another one as soon as anybody comes or goes."""
    return hmac.digest(secret, f"access {data.cohort_hash}".encode(), "sha256").hex()


def keep(data: Dataset, folder: Path, secret: bytes) -> dict[str, Any]:
    """Write who is in ``data`` into ``folder``, mode 0600; returns the cohort's name and size.

    The patients stand there by the pseudonyms that the data set has for them.
    """
    name = cohort(data, secret)
    splits = (data.train, data.validation, data.test)
    people = np.unique(np.concatenate([split.groups for split in splits]))
    file = folder / f"{name}.json"
    if not file.exists():
        folder.mkdir(mode=0o700, exist_ok=True)
        listed = {"data": data.name, "part": data.part, "patients": people.tolist()}
        write_atomically(file, json.dumps(listed).encode(), durable=True)
    return {"cohort": name, "patients": len(people)}
