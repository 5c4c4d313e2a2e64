"""Who goes where: train, validation and test by patient, and the shares of made-up sites."""

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SITES = tuple(f"{site}/{sites}" for sites in range(2, 6) for site in range(1, sites + 1))
"""Parts named 'site/sites': '2/3' is the second of three made-up sites, counted from 1."""

Rows = NDArray[np.int64]


class Division(NamedTuple):
    """Row numbers, each int64 [rows], ascending; no patient is in two."""

    train: Rows
    validation: Rows
    test: Rows


def divide(
    labels: NDArray[np.int32],
    groups: NDArray[np.int64],
    *,
    test: float,
    validation: float,
    random: np.random.Generator | None = None,
) -> Division:
    """Patients at random into three splits, each with its share of every label.

    Args:
        labels: int32 [rows]. A patient with several counts under the largest, so that one
            positive row makes a positive patient.
        groups: int64 [rows], the patient.
        test: Share of the patients.
        validation: Share of those that ``test`` leaves.
        random: Decides who goes where; used up in the order of the labels. None: the order of the
            groups' numbers does, which are salted hashes then.
    """
    patients, member = np.unique(groups, return_inverse=True)
    label = np.full(len(patients), -1, dtype=np.int32)
    np.maximum.at(label, member, labels)
    place = np.zeros(len(patients), dtype=np.int8)
    for value in np.unique(label):
        shuffled = np.flatnonzero(label == value)
        if random is not None:
            shuffled = random.permutation(shuffled)
        tests = round(test * len(shuffled))
        validations = round(validation * (len(shuffled) - tests))
        place[shuffled[:tests]] = 2
        place[shuffled[tests : tests + validations]] = 1
    rows = place[member]
    return Division(*(np.flatnonzero(rows == split) for split in range(3)))


def numbered(part: str) -> tuple[int, int]:
    """(site, sites) of a part in SITES; site counts from 0 here."""
    site, sites = part.split("/")
    return int(site) - 1, int(sites)


def scattered(groups: NDArray[np.int64], *, salt: str) -> NDArray[np.float64]:
    """A number in [0, 1) for each patient, float64 [rows]: the same wherever id and salt are.

    Sites that share nothing but the salt draw it alike, so what each takes of [0, 1) is disjoint.
    """
    patients, member = np.unique(groups, return_inverse=True)
    drawn = [
        hashlib.blake2b(f"{salt}:{patient}".encode(), digest_size=7).digest()
        for patient in patients.tolist()
    ]
    return np.array([int.from_bytes(d, "big") / 2**56 for d in drawn], dtype=np.float64)[member]


def shared(groups: NDArray[np.int64], part: str, *, salt: str) -> NDArray[np.bool_]:
    """Which rows belong to ``part`` of SITES, bool [rows]; each patient to exactly one part."""
    site, sites = numbered(part)
    drawn = scattered(groups, salt=f"{salt}:{sites}")
    found: NDArray[np.bool_] = np.floor(drawn * sites).astype(np.int64) == site
    return found


def sealed(groups: NDArray[np.int64], *, key: bytes) -> NDArray[np.uint64]:
    """A site's patients under a key that the sites share, uint64 [patients], ascending.

    Equal patients have equal numbers, and without the key (16 bytes at random or more) nobody can
    try out ids. For proving that sites share no patient; it stays between them.
    """
    drawn = [
        hashlib.blake2b(int(group).to_bytes(8, "big", signed=True), digest_size=8, key=key)
        for group in np.unique(groups)
    ]
    return np.sort(
        np.array([int.from_bytes(one.digest(), "big") for one in drawn], dtype=np.uint64)
    )


def in_common(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> int:
    """How many patients two sites share, by their ``sealed`` numbers: 0 proves disjointness."""
    return len(np.intersect1d(one, other))
