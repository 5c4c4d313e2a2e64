"""Made-up skin lesions in SIIM-ISIC's layouts, with a known best AUROC.

A melanoma differs in one number, drawn around 0 or around ``APART``: it makes the lesion darker,
larger and less regular, visibly enough that the number can be read off.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from datasets._synth import Written

APART = 1.5  # standard deviations between the classes
_HEADER = ("image_name", "patient_id", "sex", "age_approx", "anatom_site_general_challenge",
           "diagnosis", "benign_malignant", "target", "source_site")  # fmt: skip
_PLACES = ("torso", "lower extremity", "upper extremity", "head/neck", "palms/soles", "NA")
_CAMERAS = {  # colour cast of red, green and blue, and how dark the corners are
    "north": ((1.0, 1.0, 1.0), 0.0),
    "south": ((1.05, 0.95, 0.9), 0.5),
    "west": ((0.92, 1.0, 1.06), 0.2),
}


def write(
    folder: Path,
    *,
    rows: int,
    seed: int,
    layout: Literal["kaggle", "decaihealth"] = "kaggle",
    size: int = 0,
    each: int = 12,
) -> Written:
    """``rows`` images, 1.76 % melanoma as Kaggle has it, or 13.6 % as DecAIHealth; 3 at least.

    Args:
        size: Pixels along a side; 0 for the layout's own, 1024 or 256.
        each: Images of the middle patient; Kaggle's has 12.
    """
    from PIL import Image

    random = np.random.default_rng(seed)
    kaggle = layout == "kaggle"
    size = size or (1024 if kaggle else 256)
    cases = max(3, round(rows * (0.0176 if kaggle else 0.136)))
    target = np.zeros(rows, dtype=np.int64)
    target[random.choice(rows, cases, replace=False)] = 1
    patient = _patients(rows, each, random)
    evidence = random.normal(APART * target)
    camera = random.choice(list(_CAMERAS), patient.max() + 1)
    planted = {"several images of a patient": rows - len(np.unique(patient))}
    images = folder / ("jpeg/train" if kaggle else "train/train")
    images.mkdir(parents=True)
    table: list[tuple[object, ...]] = []
    missing = {"sex": 0, "age": 0, "place": 0, "patient": 0}
    for row in range(rows):
        name = f"ISIC_{row:07d}"
        pixels = lesion(evidence[row], size, camera[patient[row]], random)
        Image.fromarray(pixels).save(images / f"{name}.jpg", quality=90)
        person = f"IP_{patient[row]:07d}"
        if not kaggle and target[row] and random.random() < 0.5:
            person, missing["patient"] = "", missing["patient"] + 1
        sex = ("male", "female")[patient[row] % 2] if row != 1 else "NA"
        age = f"{20 + 5 * (patient[row] % 14)}.0" if row != 2 else "NA"
        place = "NA" if row == 3 else str(random.choice(_PLACES))
        for key, word in (("sex", sex), ("age", age), ("place", place)):
            missing[key] += word == "NA"
        table.append(
            (name, person, sex, age, place, "melanoma" if target[row] else "unknown",
             ("benign", "malignant")[target[row]], target[row], camera[patient[row]])
        )  # fmt: skip
    planted |= {f"a missing {key}": count for key, count in missing.items() if count}
    twins = random.choice(np.flatnonzero(target == 0), max(1, rows // 80), replace=False)
    planted["an image twice"] = len(twins)
    pairs = []
    for number, row in enumerate(twins):
        name = f"ISIC_9{number:06d}"
        (images / f"{name}.jpg").write_bytes((images / f"{table[row][0]}.jpg").read_bytes())
        table.append((name, *table[row][1:]))
        pairs.append((table[row][0], name))
    _save(folder / ("train.csv" if kaggle else "train_concat.csv"), _HEADER, table)
    _save(folder / "ISIC_2020_Training_Duplicates.csv", ("image_name_1", "image_name_2"), pairs)
    return Written(
        rows=rows + len(twins),
        cases=cases,
        usable=rows,
        bayes_auroc=_normal(APART / np.sqrt(2)),
        planted=planted,
    )


def _save(file: Path, header: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(header)
        writer.writerows(rows)


def _patients(rows: int, each: int, random: np.random.Generator) -> NDArray[np.int64]:
    """The patient of each image: 2 to 115 images each, the median about ``each``, but the last."""
    counts = np.clip(np.exp(random.normal(np.log(each), 0.8, rows)), 2, 115).astype(np.int64)
    counts = np.minimum(counts, max(2, rows // 25))  # a small set has patients as well
    return np.repeat(np.arange(rows), counts)[:rows]


def lesion(
    evidence: float, size: int, camera: str, random: np.random.Generator
) -> NDArray[np.uint8]:
    """One picture, uint8 [size, size, 3]: an ellipse on skin, as this camera sees it."""
    cast, dark = _CAMERAS[camera]
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    angle = np.arctan2(y, x)
    wave = 1 + 0.06 * max(evidence + 2, 0) * np.sin(angle * random.integers(3, 7))
    radius = (0.42 + 0.05 * evidence) * wave
    inside = 1 / (1 + np.exp((np.hypot(x * 1.15, y) - radius) * 40))
    skin = np.array([225, 180, 160], dtype=np.float32) + random.normal(0, 6, 3)
    spot = np.array([135, 90, 70], dtype=np.float32) - 14 * evidence
    picture = skin + inside[..., None] * (spot - skin)
    picture = picture * np.array(cast) * (1 - dark * np.clip(np.hypot(x, y) - 0.8, 0, 1))[..., None]
    grain = random.normal(0, 4, (size // 4 + 1, size // 4 + 1, 1)).repeat(4, 0).repeat(4, 1)
    pixels: NDArray[np.uint8] = np.clip(picture + grain[:size, :size], 0, 255).astype(np.uint8)
    return pixels


def _normal(x: float) -> float:
    """The normal distribution's share below ``x``."""
    from math import erf, sqrt

    return 0.5 * (1 + erf(x / sqrt(2)))
