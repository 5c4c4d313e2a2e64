"""MIMIC-IV as several hospitals: by care unit, by years, at random, evenly or not.

A patient belongs to one site, by a rule over the patient alone, so two hospitals take disjoint
patients without talking; ``_splits.sealed`` and ``in_common`` let them prove it.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from datasets._splits import SITES, numbered, scattered, shared

if TYPE_CHECKING:
    from datasets._mimic_cohort import Cohort

UNITS = ("micu", "sicu", "cvicu", "ccu", "neuro")
HOSPITALS = {"halland": ("cvicu", "ccu"), "sahlgrenska": ("micu", "sicu", "neuro")}
YEARS = ("2008-2010", "2011-2013", "2014-2016", "2017-2019", "2020-2022")
DIRICHLET = tuple(f"dirichlet-{alpha}:{site}" for alpha in ("0.1", "1", "100") for site in SITES)
PARTS = ("all", *UNITS, *HOSPITALS, *YEARS, *SITES, *DIRICHLET)


def unit_of(care_unit: str) -> str:
    """One of UNITS; wards that are none of the others count as surgical, MIMIC's mixed ones too."""
    name = care_unit.lower()
    if "neuro" in name:
        return "neuro"
    if "cvicu" in name:
        return "cvicu"
    if "coronary" in name or "cardiology" in name:
        return "ccu"
    if "medical intensive" in name or name.startswith("medicine"):
        return "micu"
    return "sicu"


def members(
    cohort: "Cohort",
    part: str,
    *,
    groups: NDArray[np.int64],
    labels: NDArray[np.int32],
    seed: int,
) -> NDArray[np.bool_]:
    """Which of the cohort's stays belong to ``part``, bool [stays].

    Args:
        groups: int64 [stays], the patient's salted hash.
        labels: int32 [stays]; Dirichlet's sites differ in how many of each they have.
        seed: The study's.
    """
    stays = cohort.stays
    if part == "all":
        return np.ones(len(stays), dtype=bool)
    if part in YEARS:
        years = stays["year_group"].str.replace_all(" ", "")
        return np.asarray(years.to_numpy() == part, dtype=bool)
    if part in SITES:
        return shared(groups, part, salt=str(seed))
    if part in DIRICHLET:
        return _dirichlet(part, groups=groups, labels=labels, seed=seed)
    units = HOSPITALS.get(part, (part,))
    first = stays.sort("intime", "stay_id").unique("subject_id", keep="first", maintain_order=True)
    at = {
        subject: unit_of(care_unit) in units
        for subject, care_unit in first.select("subject_id", "care_unit").iter_rows()
    }
    return np.array([at[subject] for subject in stays["subject_id"]], dtype=bool)


def _dirichlet(
    part: str, *, groups: NDArray[np.int64], labels: NDArray[np.int32], seed: int
) -> NDArray[np.bool_]:
    """Sites whose shares of each class are Dirichlet(alpha), as Hsu et al. (2019) divide labels."""
    alpha, _, fraction = part.removeprefix("dirichlet-").partition(":")
    site, sites = numbered(fraction)
    random = np.random.default_rng([seed, sites])
    bounds = np.cumsum(random.dirichlet(np.full(sites, float(alpha)), size=2), axis=1)
    patients, member = np.unique(groups, return_inverse=True)
    positive = np.zeros(len(patients), dtype=np.int64)
    np.maximum.at(positive, member, labels.astype(np.int64))
    drawn = scattered(groups, salt=f"{seed}:{alpha}:{sites}")
    chosen = (drawn[:, None] >= bounds[positive[member], :-1]).sum(axis=1)
    found: NDArray[np.bool_] = chosen == site
    return found
