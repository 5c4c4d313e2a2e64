"""A made-up MIMIC-IV: PhysioNet's tables and headers, every known trap, and a known best AUROC.

Each admission has a severity z. It moves the vital signs and blood values of the first 24 hours,
and with age it decides, by a known logistic, who dies. What is written after those hours gives
the answer away, so a reader that looks too far exceeds the best AUROC.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasets._synth import Written, best_auroc, sigmoid
from datasets._synth_mimic_events import write_events

HOUR, DAY = 3600, 86_400  # seconds
_UNITS = (  # name, share, mean severity
    ("Medical Intensive Care Unit (MICU)", 0.25, 0.4),
    ("Medical/Surgical Intensive Care Unit (MICU/SICU)", 0.15, 0.2),
    ("Surgical Intensive Care Unit (SICU)", 0.15, 0.0),
    ("Trauma SICU (TSICU)", 0.12, -0.1),
    ("Cardiac Vascular Intensive Care Unit (CVICU)", 0.17, -0.7),
    ("Coronary Care Unit (CCU)", 0.1, 0.1),
    ("Neuro Surgical Intensive Care Unit (Neuro SICU)", 0.03, -0.1),
    ("Neuro Intermediate", 0.02, -0.3),
    ("Neuro Stepdown", 0.01, -0.3),
)
_YEARS = ("2008 - 2010", "2011 - 2013", "2014 - 2016", "2017 - 2019", "2020 - 2022")


class Stays(NamedTuple):
    """One entry a stay, in no order that means anything; times in seconds since 1970.

    Attributes:
        z: float64, severity; of the admission.
        unit: int64, place in _UNITS.
    """

    subject: NDArray[np.int64]
    admission: NDArray[np.int64]
    stay: NDArray[np.int64]
    z: NDArray[np.float64]
    unit: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    died: NDArray[np.bool_]


def times(seconds: NDArray[np.int64]) -> list[str]:
    """As PhysioNet writes them."""
    written: list[str] = np.char.replace(
        np.datetime_as_string(seconds.astype("datetime64[s]")), "T", " "
    ).tolist()
    return written


def save(folder: Path, table: str, columns: dict[str, Any], *, packed: bool) -> None:
    """One table; ``None`` is an empty cell."""
    import polars as pl

    file = folder / f"{table}.csv{'.gz' if packed else ''}"
    file.parent.mkdir(parents=True, exist_ok=True)
    frame = pl.DataFrame(columns)
    if packed:
        frame.write_csv(file, compression="gzip", compression_level=1)
    else:
        frame.write_csv(file)


def write(
    folder: Path, *, rows: int, seed: int, packed: bool = True, distractors: int = 0
) -> Written:
    """``rows`` ICU stays; ``distractors`` more chart rows of items that nobody asks for."""
    random = np.random.default_rng(seed)
    planted: dict[str, int] = {}
    patients = max(10, rows * 4 // 5)
    subject = np.concatenate([np.arange(patients), random.integers(0, patients, rows - patients)])
    again = np.arange(rows) >= patients
    same = again & (random.random(rows) < 0.5)  # a second stay in the first admission
    _, place = np.unique(subject[same], return_index=True)
    second = np.flatnonzero(same)[place]
    same[:] = False
    same[second] = True  # and never a third
    admission = np.where(same, subject, np.arange(rows))
    planted["two stays in an admission"] = int(same.sum())
    planted["several admissions of a patient"] = int((again & ~same).sum())

    unit = random.choice(len(_UNITS), size=rows, p=[share for _, share, _ in _UNITS])
    unit[same] = unit[admission[same]]
    z = random.normal(np.array([mean for _, _, mean in _UNITS])[unit])
    z[same] = z[admission[same]]
    age = np.clip(random.normal(64, 16, patients), 18, 89).astype(np.int64)
    age[random.random(patients) < 0.03] = 91
    young = random.random(patients) < 0.02
    young[5] = True
    age[young] = 16
    planted["an age above 89"] = int((age == 91).sum())

    # Time is shifted per patient, 2110 to 2180; another admission is months later.
    born = random.integers(4_420_000_000, 6_600_000_000, patients)
    start = born[subject] + np.where(again & ~same, random.integers(100, 400, rows) * DAY, 0)
    days = np.exp(0.9 + 0.4 * z + random.normal(0, 0.5, rows))
    short = random.random(rows) < 0.08
    short[[0, 3]] = True
    long = np.maximum((days * DAY).astype(np.int64), 25 * HOUR)
    length = np.where(short, random.integers(2 * HOUR, 23 * HOUR, rows), long)
    first = np.where(same, admission, 0)
    start = np.where(same, start[first] + length[first] + 3 * HOUR, start)
    end = start + length

    risk = sigmoid(-3.0 + 1.7 * z + 0.02 * (age[subject] - 64))
    died = random.random(rows) < risk
    died[same] = died[admission[same]]
    opening = np.where(same, start[first], start) - random.integers(HOUR, 6 * HOUR, rows)
    last = end.copy()
    np.maximum.at(last, admission, end)
    closing = last + np.where(died, 0, random.integers(DAY // 2, 5 * DAY, rows))

    def mark(trap: str, share: float, where: NDArray[np.bool_]) -> NDArray[np.bool_]:
        chosen = where & (random.random(rows) < share)
        if not chosen.any() and where.any():
            chosen[np.flatnonzero(where)[-1]] = True
        planted[trap] = int(chosen.sum())
        return chosen

    alone = ~again & ~np.isin(np.arange(rows), admission[same])
    early = mark("died in the first 24 hours", 0.02, alone & ~short)
    died |= early
    death = np.where(early, start + 10 * HOUR, closing)
    late_end = mark("outtime after dischtime", 0.12, alone & ~died)
    closing = np.where(late_end, end - HOUR, closing)
    closing = np.where(
        mark("deathtime after dischtime", 0.3, died & alone), closing - HOUR, closing
    )
    opening = np.where(mark("intime before admittime", 0.02, alone), start + HOUR, opening)
    endless = mark("no outtime", 0.01, alone & ~short & ~early)
    unknown = mark("an unknown patient", 0.01, alone & ~short & ~early & ~endless)
    planted["shorter than 24 hours"] = int(short.sum())
    planted["younger than 18"] = int(young[subject].sum())
    gone = np.isin(subject, subject[unknown])  # with all the patient's stays
    usable = ~short & ~early & ~endless & ~gone & ~young[subject]

    stays = Stays(subject + 10_000_000, admission + 20_000_000, np.arange(rows) + 30_000_000,
                  z, unit, start, end, died)  # fmt: skip
    _tables(folder, stays, packed=packed, age=age, opening=opening, closing=closing, death=death,
            endless=endless, unknown=unknown, random=random, planted=planted)  # fmt: skip
    write_events(folder, stays, random, planted, packed=packed, distractors=distractors)
    return Written(
        rows=rows,
        cases=int(died[usable].sum()),
        usable=int(usable.sum()),
        bayes_auroc=best_auroc(risk[usable]),
        planted=planted,
    )


def _tables(
    folder: Path,
    stays: Stays,
    *,
    packed: bool,
    age: NDArray[np.int64],
    opening: NDArray[np.int64],
    closing: NDArray[np.int64],
    death: NDArray[np.int64],
    endless: NDArray[np.bool_],
    unknown: NDArray[np.bool_],
    random: np.random.Generator,
    planted: dict[str, int],
) -> None:
    """patients, admissions, icustays and diagnoses_icd."""
    rows, patients = len(stays.stay), len(age)
    _, own = np.unique(stays.admission, return_index=True)
    year = 1970 + (stays.start[:patients] // (365.2425 * DAY)).astype(np.int64)
    known = ~np.isin(np.arange(patients), stays.subject[unknown] - 10_000_000)
    dies_later = random.random(patients) < 0.2
    planted["died after discharge, by dod"] = int((dies_later & ~stays.died[:patients]).sum())
    later = times(closing[:patients] + 60 * DAY)
    dod = [time[:10] if dies else None for time, dies in zip(later, dies_later, strict=True)]
    columns: dict[str, Any] = {
        "subject_id": np.arange(patients) + 10_000_000,
        "gender": random.choice(["F", "M"], patients).tolist(),
        "anchor_age": age,
        "anchor_year": year,
        "anchor_year_group": random.choice(_YEARS, patients).tolist(),
        "dod": dod,
    }
    kept = np.flatnonzero(known)
    columns = {name: [values[i] for i in kept] for name, values in columns.items()}
    save(folder, "hosp/patients", columns, packed=packed)

    died = stays.died[own]
    empty = [None] * len(own)
    columns = {
        "subject_id": stays.subject[own],
        "hadm_id": stays.admission[own],
        "admittime": times(opening[own]),
        "dischtime": times(closing[own]),
        "deathtime": [t if d else None for t, d in zip(times(death[own]), died, strict=True)],
        "admission_type": ["URGENT"] * len(own),
        "admit_provider_id": empty,
        "admission_location": ["EMERGENCY ROOM"] * len(own),
        "discharge_location": ["DIED" if d else "HOME" for d in died],  # gives the answer away
        "insurance": empty,
        "language": empty,
        "marital_status": empty,
        "race": ["UNKNOWN"] * len(own),
        "edregtime": empty,
        "edouttime": empty,
        "hospital_expire_flag": died.astype(int),
    }
    save(folder, "hosp/admissions", columns, packed=packed)

    order = np.concatenate([random.permutation(rows), [1, 2]])  # two stays are there twice
    planted["a stay twice"] = 2
    planted["a ward that is no ICU"] = int((stays.unit >= len(_UNITS) - 2).sum())
    units = [_UNITS[unit][0] for unit in stays.unit]
    columns = {
        "subject_id": stays.subject[order],
        "hadm_id": stays.admission[order],
        "stay_id": stays.stay[order],
        "first_careunit": [units[i] for i in order],
        "last_careunit": [units[i] for i in order],
        "intime": times(stays.start[order]),
        "outtime": [None if endless[i] else t
                    for i, t in zip(order, times(stays.end[order]), strict=True)],
        "los": (stays.end - stays.start)[order] / DAY,
    }  # fmt: skip
    save(folder, "icu/icustays", columns, packed=packed)
    codes = random.choice(["0389", "00845", "V707", "I10", "A419"], rows)
    columns = {
        "subject_id": stays.subject,
        "hadm_id": stays.admission,
        "seq_num": np.ones(rows, dtype=np.int64),
        "icd_code": codes.tolist(),
        "icd_version": np.where(np.char.isdigit(codes) | (codes == "V707"), 9, 10),
    }
    planted["an ICD code with leading zeros"] = int(np.char.startswith(codes, "0").sum())
    save(folder, "hosp/diagnoses_icd", columns, packed=packed)
