"""A made-up clinical table as a Swedish hospital might export it, with its schema.toml."""

import csv
from pathlib import Path

import numpy as np

from datasets._synth import Written, best_auroc, sigmoid

SCHEMA = """\
# A made-up table. Columns are found by name; see the README for what else can be said.
table = "patients.csv"
patient = "patient"
missing = ["saknas", -9]
excluded = "excluded.txt"

[label]
column = "avliden"
classes = ["alive", "dead"]
codes = ["nej", "ja"]

[columns]
age = { called = "ålder", unit = "years", low = 18, high = 110 }
temperature = { called = "temp", unit = "°C", low = 30, high = 45, flag = true }
creatinine = { called = "krea", unit = "µmol/L", low = 10, high = 2000 }
glucose = { called = "glukos", unit = "mmol/L", low = 1, high = 60, flag = true }
sex = { called = "kön", kind = "binary", codes = ["K", "M"] }
ward = { called = "avdelning", kind = "category", codes = ["akut", "medicin", "kirurgi"] }
"""
_HEADER = ("patient", "ålder", "temp", "krea", "glukos", "kön", "avdelning", "avliden", "fritext")


def write(folder: Path, *, rows: int, seed: int) -> Written:
    """Semicolons, decimal commas and Latin-1; a quarter of the patients come twice."""
    random = np.random.default_rng(seed)
    patients = max(1, rows * 4 // 5)
    patient = np.concatenate([np.arange(patients), random.integers(0, patients, rows - patients)])
    severity = random.normal(size=rows)
    age = np.clip(random.normal(65, 14, patients)[patient], 18, 100).round()
    risk = sigmoid(-1.6 + 1.5 * severity + 0.03 * (age - 65))
    died = random.random(rows) < risk
    numbers = {
        "ålder": age,
        "temp": (37 + 0.6 * severity + random.normal(0, 0.1, rows)).round(1),
        "krea": np.exp(4.4 + 0.3 * severity + random.normal(0, 0.05, rows)).round(),
        "glukos": np.clip(6.5 + 0.8 * severity + random.normal(0, 0.3, rows), 2, 30).round(1),
    }
    cells = {name: [f"{v:g}".replace(".", ",") for v in values] for name, values in numbers.items()}
    planted: dict[str, int] = {}

    def plant(trap: str, column: str, share: float, text: str) -> None:
        at = np.flatnonzero(random.random(rows) < share)
        planted[trap] = len(at)
        for row in at:
            cells[column][row] = text

    plant("missing by a word", "temp", 0.03, "saknas")
    plant("missing by a code", "glukos", 0.05, "-9")
    plant("empty", "krea", 0.02, "")
    plant("implausible", "temp", 0.01, "0")
    excluded = random.choice(patients, size=max(1, patients // 50), replace=False)
    planted["opted out"] = len(excluded)
    usable = ~np.isin(patient, excluded)
    columns = [
        [f"SYN-{number:06d}" for number in patient],
        *cells.values(),
        random.choice(["K", "M"], patients)[patient].tolist(),
        random.choice(["akut", "medicin", "kirurgi"], rows).tolist(),
        ["ja" if one else "nej" for one in died],
        ["å; ä\nö" if row % 10 == 0 else "" for row in range(rows)],
    ]
    planted["a line break in a cell"] = len(range(0, rows, 10))
    with (folder / "patients.csv").open("w", encoding="latin-1", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(_HEADER)
        writer.writerows(zip(*columns, strict=True))
    (folder / "schema.toml").write_text(SCHEMA, encoding="utf-8")
    lines = "".join(f"SYN-{number:06d}\n" for number in sorted(excluded))
    (folder / "excluded.txt").write_text(lines, encoding="utf-8")
    return Written(
        rows=rows,
        cases=int(died[usable].sum()),
        usable=int(usable.sum()),
        bayes_auroc=best_auroc(risk[usable]),
        planted=planted,
    )
