"""A hospital's own table in every dress it comes in, and the same numbers each time."""

import csv
import gzip
import io
import json
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars
import pytest
from hypothesis import given
from hypothesis import strategies as st

import datasets
from datasets import DataError, Dataset, clinical
from datasets._schema import parse_schema
from datasets._splits import scattered, shared

SCHEMA = """
table = "patients.csv"
patient = "pid"
missing = ["NA", -9]
[label]
column = "died"
classes = ["alive", "dead"]
codes = ["no", "yes"]
[columns]
"ålder" = { unit = "years", low = 18, high = 110 }
temp = { unit = "°C", low = 30, high = 45, flag = true }
sex = { kind = "binary", codes = ["K", "M"] }
ward = { kind = "category", codes = ["a", "b", "c"], called = "avdelning" }
"""
HEADER = ["pid", "ålder", "temp", "sex", "avdelning", "died"]


def rows(patients: int = 60, each: int = 2) -> list[list[str]]:
    """``each`` visits of every patient; every fourth dies."""
    return [
        [
            f"P{patient}",
            str(20 + patient % 70),
            f"{36 + visit + patient % 10 / 10:.1f}",
            "KM"[patient % 2],
            "abc"[patient % 3],
            ["no", "yes"][patient % 4 == 0],
        ]
        for patient in range(patients)
        for visit in range(each)
    ]


def text(table: list[list[str]], delimiter: str = ",", header: list[str] = HEADER) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\n").writerows([header, *table])
    return out.getvalue()


def folder(path: Path, content: str | bytes, schema: str = SCHEMA) -> Path:
    (path / "schema.toml").write_text(schema, encoding="utf-8")
    data = content.encode() if isinstance(content, str) else content
    (path / "patients.csv").write_bytes(data)
    return path


def everything(data: Dataset) -> np.ndarray:
    splits = (data.train, data.validation, data.test)
    found = np.concatenate([np.column_stack([s.groups, s.y, s.x]) for s in splits])
    return found[np.lexsort(found.T)]


@pytest.fixture
def plain(tmp_path: Path) -> Dataset:
    (tmp_path / "plain").mkdir()
    return datasets.load("clinical", path=folder(tmp_path / "plain", text(rows())))


def comma(table: list[list[str]]) -> list[list[str]]:
    return [[*row[:2], row[2].replace(".", ","), *row[3:]] for row in table]


DRESSES: dict[str, Callable[[], bytes]] = {
    "semicolons": lambda: text(rows(), ";").encode(),
    "tabs": lambda: text(rows(), "\t").encode(),
    "bars": lambda: text(rows(), "|").encode(),
    "decimal comma": lambda: text(comma(rows()), ";").encode(),
    "quoted decimal comma": lambda: text(comma(rows()), ",").encode(),
    "BOM": lambda: text(rows()).encode("utf-8-sig"),
    "UTF-16": lambda: text(rows()).encode("utf-16"),
    "UTF-16 without a mark": lambda: text(rows()).encode("utf-16-le"),
    "UTF-16, big end, without a mark": lambda: text(rows()).encode("utf-16-be"),
    "UTF-32": lambda: text(rows()).encode("utf-32"),
    "Latin-1": lambda: text(rows()).encode("latin-1"),
    "Windows": lambda: text(rows()).replace("\n", "\r\n").encode("cp1252"),
    "gzip": lambda: gzip.compress(text(rows()).encode()),
    "blank lines": lambda: text(rows()).replace("\n", "\n\n").encode(),
    "spaces": lambda: text([[f" {cell} " for cell in row] for row in rows()]).encode(),
    "everything quoted": lambda: ('"' + text(rows()).strip().replace(",", '","')).replace(
        "\n", '"\n"').encode() + b'"\n',
    "reordered": lambda: text([r[::-1] for r in rows()], header=HEADER[::-1]).encode(),
    "more columns": lambda: text([[*r, "x"] for r in rows()], header=[*HEADER, "z"]).encode(),
    "rows in another order": lambda: text(rows()[::-1]).encode(),
}  # fmt: skip


@pytest.mark.parametrize("dress", DRESSES)
def test_a_table_is_the_same_in_every_dress(tmp_path: Path, plain: Dataset, dress: str) -> None:
    data = datasets.load("clinical", path=folder(tmp_path, DRESSES[dress]()))

    assert np.array_equal(everything(data), everything(plain))
    assert data.cohort_hash == plain.cohort_hash
    for name in ("train", "validation", "test"):
        assert set(getattr(data, name).groups) == set(getattr(plain, name).groups)


def test_parquet_is_read_like_csv(tmp_path: Path, plain: Dataset) -> None:
    folder(tmp_path, b"", SCHEMA.replace("patients.csv", "patients.parquet"))
    frame = polars.DataFrame(rows(), schema=HEADER, orient="row")
    frame = frame.with_columns(polars.col("ålder").cast(int), polars.col("temp").cast(float))
    frame.write_parquet(tmp_path / "patients.parquet")

    assert np.array_equal(everything(datasets.load("clinical", path=tmp_path)), everything(plain))


def test_columns_become_features_with_units_and_flags(plain: Dataset) -> None:
    names = [feature.name for feature in plain.features]

    assert names == ["ålder", "temp", "sex", "ward_b", "ward_c", "temp_missing"]
    assert (plain.features[1].unit, plain.features[1].low) == ("°C", 30)
    assert plain.classes == ("alive", "dead")
    assert len(plain.test) / 120 == pytest.approx(0.2, abs=0.02)
    assert plain.test.y.mean() == pytest.approx(0.25, abs=0.03)  # whole patients


def test_codes_for_missing_and_implausible_values_are_not_measured(tmp_path: Path) -> None:
    table = rows()
    for row, cell in zip(table, ["NA", "-9", "-9.0", "", "0"] * 24, strict=True):
        row[2] = cell
    data = datasets.load("clinical", path=folder(tmp_path, text(table)))

    assert not data.train.mask[:, 1].any()
    assert (data.train.x[:, 5] == 1).all()


def test_who_opts_out_leaves_and_nobody_else_moves(tmp_path: Path, plain: Dataset) -> None:
    path = folder(tmp_path, text(rows()), 'excluded = "out.txt"\n' + SCHEMA)
    (path / "out.txt").write_text("# decided in May\nP3\nP4\nP999\n", encoding="utf-8")
    data = datasets.load("clinical", path=path)

    for name in ("train", "validation", "test"):
        assert set(getattr(data, name).groups) <= set(getattr(plain, name).groups)
    assert len(everything(plain)) - len(everything(data)) == 4
    assert data.cohort_hash != plain.cohort_hash
    (absent,) = datasets.check("clinical", path)
    assert (absent.file, absent.blocks) == ("out.txt", False)
    assert absent.what == "1 of the 3 who opted out are in no row"
    (path / "out.txt").write_text("", encoding="utf-8")
    assert datasets.load("clinical", path=path).cohort_hash == plain.cohort_hash


def test_a_list_of_those_who_opted_out_that_is_gone_stops_everything(tmp_path: Path) -> None:
    path = folder(tmp_path, text(rows()), 'excluded = "out.txt"\n' + SCHEMA)

    with pytest.raises(DataError, match=r"opted out: out\.txt cannot be read"):
        datasets.load("clinical", path=path)


def test_a_site_column_makes_parts(tmp_path: Path) -> None:
    schema = 'site = "hus"\nsites = ["Halmstad", "Varberg"]\n' + SCHEMA
    table = [[*row, ["Halmstad", "Varberg"][int(row[0][1:]) % 2]] for row in rows()]
    path = folder(tmp_path, text(table, header=[*HEADER, "hus"]), schema)

    assert datasets.parts("clinical", path)[-2:] == ("Halmstad", "Varberg")
    whole = datasets.load("clinical", path=path)
    shares = [datasets.load("clinical", path=path, part=p) for p in ("Halmstad", "Varberg")]
    assert np.array_equal(
        np.sort(np.concatenate([share.test.groups for share in shares])), np.sort(whole.test.groups)
    )
    with pytest.raises(DataError, match="no part 'Kungsbacka'"):
        datasets.load("clinical", path=path, part="Kungsbacka")


def test_dates_become_times(tmp_path: Path) -> None:
    schema = (
        SCHEMA
        + """
born = { kind = "date" }
seen = { kind = "date", format = "%d/%m/%Y %H:%M" }
years = { since = "born", until = "seen", unit = "years", low = 0, high = 120 }
"""
    )
    table = [[*row, "1960-01-01", "01/01/2020 12:00"] for row in rows()]
    path = folder(tmp_path, text(table, header=[*HEADER, "born", "seen"]), schema)
    data = datasets.load("clinical", path=path)

    column = [feature.name for feature in data.features].index("years")
    assert data.train.x[:, column] == pytest.approx(60, abs=0.01)  # leap days
    assert "born" not in [feature.name for feature in data.features]


def test_a_label_can_be_a_threshold(tmp_path: Path) -> None:
    schema = SCHEMA.replace('codes = ["no", "yes"]', "above = 3\ndrop_missing = true")
    table = [[*row[:-1], ["2", "4.5", "NA"][int(row[0][1:]) % 3]] for row in rows()]
    data = datasets.load("clinical", path=folder(tmp_path, text(table), schema))

    assert len(everything(data)) == 80
    assert data.train.y.mean() == pytest.approx(0.5, abs=0.05)


def test_a_whole_check_is_json_and_warns_without_values(tmp_path: Path) -> None:
    table = rows()
    table[7][2], table[8][1] = "99.123", "7654321"
    path = folder(tmp_path, text(table))

    found = datasets.check("clinical", path)

    assert [(v.row, v.column, v.blocks) for v in found] == [
        (10, "ålder", False),
        (9, "temp", False),
    ]
    shown = json.dumps([v.place + v.what + v.remedy for v in found])
    assert "7654321" not in shown
    assert "99.123" not in shown


def test_a_check_names_every_row_that_does_not_fit(tmp_path: Path) -> None:
    table = rows()
    table[3][1], table[5][3], table[9][5] = "old", "X", ""
    found = [v for v in datasets.check("clinical", folder(tmp_path, text(table))) if v.blocks]

    assert [(v.file, v.row, v.column) for v in found] == [
        ("patients.csv", 5, "ålder"),
        ("patients.csv", 7, "sex"),
        ("patients.csv", 11, "died"),
    ]


@pytest.mark.parametrize(
    ("column", "unit", "value", "seems"),
    [
        ("temp", "°C", 98.6, "°F"),
        ("temperature", "°F", 37.0, "°C"),
        ("glucose", "mg/dL", 5.6, "mmol/L"),
        ("p_glukos", "mmol/L", 105.0, "mg/dL"),
        ("creatinine", "mg/dL", 88.0, "µmol/L"),
        ("kolesterol", "mmol/L", 210.0, "mg/dL"),
        ("hb", "g/L", 13.5, "g/dL"),
        ("height", "cm", 1.75, "m"),
    ],
)
def test_a_swapped_unit_is_suspected_by_name(
    tmp_path: Path, column: str, unit: str, value: float, seems: str
) -> None:
    schema = SCHEMA.replace("temp =", f"{column} =").replace(
        '"°C", low = 30, high = 45', f'"{unit}"'
    )
    table = [[*row[:2], str(value + n % 3 / 100), *row[3:]] for n, row in enumerate(rows())]
    header = [column if name == "temp" else name for name in HEADER]
    path = folder(tmp_path, text(table, header=header), schema)

    with pytest.raises(DataError, match=f"column {column}: its values look like {seems}"):
        datasets.load("clinical", path=path)
    folder(tmp_path, text(table, header=header), schema.replace("flag = true", "sure = true"))
    assert datasets.load("clinical", path=path).train.mask.any()


def test_one_class_and_a_column_without_values_train_with_a_warning(tmp_path: Path) -> None:
    table = [[*row[:2], "", *row[3:5], "no"] for row in rows()]
    path = folder(tmp_path, text(table))

    assert not datasets.load("clinical", path=path).train.y.any()
    assert [v.what for v in datasets.check("clinical", path)] == [
        "it has no value in any row",
        "all rows have one class",
    ]


def test_a_report_hides_small_cells(tmp_path: Path) -> None:
    table = rows(60, 1)
    for row in table[:57]:
        row[4] = "a"
    shown = datasets.inspect("clinical", path=folder(tmp_path, text(table)))

    json.dumps(shown)
    assert (shown["rows"], shown["classes"]) == (60, {"alive": 45, "dead": 15})
    ward = next(f for f in shown["features"] if f["name"] == "ward_c")
    assert ward["counts"] == [None, None]
    assert all(c is None or c == 0 or c >= 10 for f in shown["features"] for c in f["counts"])


@pytest.mark.parametrize(
    ("of", "measured", "words"),
    [
        (120, 117, "few"),
        (120, 3, "nearly all"),
        (60, 3, "most"),
        (12, 6, "hidden"),
        (60, 30, ""),
        (60, 60, ""),
    ],
)
def test_a_report_tells_few_missing_from_nearly_all_without_a_small_count(
    tmp_path: Path, of: int, measured: int, words: str
) -> None:
    table = rows(of, 1)
    for row in table[measured:]:
        row[2] = ""
    data = datasets.load("clinical", path=(path := folder(tmp_path, text(table))))
    shown = datasets.inspect("clinical", path=path)

    told = next(f for f in shown["features"] if f["name"] == "temp")
    assert told["missing_is"] == words
    assert told["missing"] == (None if words else (of - measured) / of)
    if of > 12 and measured != 3:  # of the training split alone, three may be none
        stated = next(f for f in datasets.summarise(data) if f["name"] == "temp")
        assert (stated["missing_is"], stated["count"] is None) == (words, bool(words))


MISTAKES = {
    "table = = 3": ("line 1", "not valid TOML"),
    SCHEMA.replace("patient =", "patiens ="): ("line 3, patiens", "unknown key"),
    SCHEMA.replace("unit", "unti", 1): ("line 10, columns.ålder.unti", "unknown key"),
    SCHEMA.replace('table = "patients.csv"', ""): ("line 1, top level", "'table' is missing"),
    SCHEMA.replace("low = 30", 'low = "30"'): ("line 11, columns.temp.low", "a number is wanted"),
    SCHEMA.replace("low = 30", "low = 50"): ("line 11, columns.temp.low", "less than high"),
    SCHEMA.replace('kind = "binary"', 'kind = "bool"'): ("line 12, columns.sex.kind", "choices"),
    SCHEMA.replace('["K", "M"]', '["K"]'): ("line 12, columns.sex.codes", "has two"),
    SCHEMA.replace('"b", "c"', '"b", 3'): ("line 13, columns.ward.codes", "all numbers"),
    SCHEMA.replace('"b", "c"', '"b", "b"'): ("line 13, columns.ward.codes", "twice"),
    SCHEMA.replace('"no", "yes"', '"no"'): ("line 8, label.codes", "one for each class"),
    SCHEMA.replace('"died"', '"temp"'): ("line 5, label", "gives the answer away"),
    SCHEMA.replace("missing = [", "missing = ").replace("-9]", ""): ("line", "not valid TOML"),
    SCHEMA.replace('missing = ["NA", -9]', "missing = 9"): ("line 4, missing", "a list is wanted"),
    SCHEMA.replace('patient = "pid"', 'site = "hus"'): ("line 1, sites", "go together"),
    SCHEMA.replace('patient = "pid"', 'excluded = "a"'): ("line 3, excluded", "patient column"),
    SCHEMA.replace('patient = "pid"', "test = 1.5"): ("line 3, test", "between 0 and 1"),
    SCHEMA.replace('unit = "years"', 'since = "temp"'): ("columns.ålder.since", "go together"),
    SCHEMA.split("[columns]")[0]: ("top level", "'columns' is missing"),
}


@pytest.mark.parametrize("schema", MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_in_a_schema_is_named_by_line_and_key(schema: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_schema(schema, name="schema.toml")

    for words in ("schema.toml", *MISTAKES[schema]):
        assert words in str(caught.value)
    assert caught.value.remedy


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1), st.integers(2, 5))
def test_sites_that_only_share_a_salt_take_disjoint_patients(ids: list[int], sites: int) -> None:
    groups = np.array(ids, dtype=np.int64)

    taken = [shared(groups, f"{k + 1}/{sites}", salt="study") for k in range(sites)]

    assert (np.sum(taken, axis=0) == 1).all()
    one = scattered(groups[:1], salt="study")  # who else there is does not matter
    assert one[0] == scattered(groups, salt="study")[0]


def test_the_example_in_the_documentation_is_a_schema() -> None:
    _, _, example = (clinical.__doc__ or "").partition("::\n")

    schema = parse_schema(textwrap.dedent(example), name="schema.toml")

    assert schema.columns["wait"].since == "admitted"


def test_hundreds_of_the_same_mistake_are_counted(tmp_path: Path) -> None:
    table = [[row[0], "old", *row[2:]] for row in rows(100, 3)]

    found = datasets.check("clinical", folder(tmp_path, text(table)))

    assert sum(v.row is not None for v in found) == 100
    assert next(v.what for v in found if v.row is None).startswith("200 more cells")


def test_the_readmes_example_reads_the_table_that_it_describes(tmp_path: Path) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    (example,) = [b for b in re.findall(r"```toml\n(.*?)```", readme, re.S) if "[columns]" in b]
    header = ["pid", "ålder", "temperature", "sex", "outcome"]
    table = [
        [f"P{n}", str(20 + n), "" if n % 9 == 0 else f"{36 + n % 5 / 2}", "KM"[n % 2], out]
        for n in range(60)
        for out in [["no", "yes"][n % 4 == 0]]
    ]
    (tmp_path / "schema.toml").write_text(example, encoding="utf-8")
    (tmp_path / "patients.csv.gz").write_bytes(gzip.compress(text(table, header=header).encode()))
    (tmp_path / "opted_out.txt").write_text("P7\n")

    data = datasets.load("clinical", path=tmp_path)

    assert [feature.name for feature in data.features][:3] == ["age", "temperature", "sex"]
    assert len(everything(data)) == 59
    assert not datasets.check("clinical", tmp_path)
