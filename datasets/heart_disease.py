"""Heart disease on angiography at four real hospitals: 920 patients, 1981 to 1987.

A site's folder holds processed.<hospital>.data as UCI gives it: no header, 14 columns, '?' where
missing. Parts are the hospitals; each needs its own file only. '?' is missing, and so is an
implausible value: cholesterol 0 (all of switzerland) and blood pressure 0 mean 'not measured'.

References:
    Janosi, Steinbrunn, Pfisterer and Detrano, Heart Disease, UCI, 1989. CC BY 4.0.
"""

from pathlib import Path

from datasets import Dataset, Violation, clinical
from datasets._schema import parse_schema

NEEDS_PATH = True
GIVES = ("table",)
CLASSES = 2
HOSPITALS = ("cleveland", "hungarian", "switzerland", "va")
PARTS = ("all", *HOSPITALS)

# slope (up, flat, down) and thal (normal, fixed, reversible defect) are ordered: they stay numbers.
# cp (pain) and restecg get a column for every code but the first. num counts narrowed vessels.
SCHEMA = """
table = "processed.{site}.data"
sites = ["cleveland", "hungarian", "switzerland", "va"]
order = ["age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak",
         "slope", "ca", "thal", "num"]
delimiter = ","
decimal = "."
missing = ["?"]
blank = false
test = 0.34
[label]
column = "num"
classes = ["no disease", "disease"]
codes = [0, 1, 2, 3, 4]
above = 0
[columns]
age = { unit = "years", low = 18, high = 110 }
sex = { kind = "binary" }
cp = { kind = "category", codes = [1, 2, 3, 4] }
trestbps = { unit = "mm Hg", low = 40, high = 300, flag = true }
chol = { unit = "mg/dl", low = 50, high = 1000, flag = true }
fbs = { kind = "binary", flag = true }
restecg = { kind = "category", codes = [0, 1, 2] }
thalach = { unit = "1/min", low = 30, high = 250, flag = true }
exang = { kind = "binary", flag = true }
oldpeak = { unit = "mm", low = -10, high = 10, flag = true }
slope = { codes = [1, 2, 3], low = 1, high = 3, flag = true }
ca = { unit = "vessels", codes = [0, 1, 2, 3], low = 0, high = 3, flag = true }
thal = { codes = [3, 6, 7], low = 3, high = 7, flag = true }
"""


def recognises(path: Path) -> bool:
    """Whether a hospital's file is in the folder."""
    return any((path / f"processed.{hospital}.data").is_file() for hospital in HOSPITALS)


def read(*, path: Path | None, part: str, seed: int) -> Dataset:
    """34 % test, a tenth of the rest for validation, drawn within each hospital.

    Raises:
        DataError: a file is missing, or holds what UCI's does not.
    """
    assert path is not None  # NEEDS_PATH
    schema = parse_schema(SCHEMA, name="heart_disease's schema")
    return clinical.build(schema, name="heart_disease", path=path, part=part, seed=seed)


def check(path: Path) -> list[Violation]:
    """What is wrong with the files that are there, as ``clinical.check`` says it."""
    schema = parse_schema(SCHEMA, name="heart_disease's schema")
    here = [name for name in HOSPITALS if (path / f"processed.{name}.data").is_file()]
    return [found for part in here or ["all"] for found in clinical.violations(schema, path, part)]
