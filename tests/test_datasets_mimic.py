"""MIMIC-IV: the open demo, and a made-up copy with every trap."""

import csv
import gzip
import io
import json
import math
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars
import pytest

import datasets
from datasets import Dataset, _cache, _synth, watching
from datasets._mimic_cohort import cohort
from datasets._mimic_concepts import CONCEPTS
from datasets._mimic_events import first_day
from datasets._mimic_sites import DIRICHLET, HOSPITALS, UNITS, YEARS
from datasets._mimic_tables import TABLES, root, scan
from datasets._splits import SITES, in_common, sealed
from datasets._streaming import estimated, sink
from tests.mimic_by_hand import hand

ROWS = 300


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDTUI_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def demo() -> Path:
    folder = Path(os.environ.get("FEDTUI_SHARED_DATA", "../shared/data"), "mimic_iv_demo")
    if not folder.is_dir():
        pytest.skip(f"the MIMIC-IV demo is not in {folder}; set FEDTUI_SHARED_DATA")
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, _synth.Written]:
    folder = tmp_path_factory.mktemp("made") / "mimic-iv-3.1"
    return folder, _synth.write("mimic_iv", folder, rows=ROWS, seed=3)


def sql(folder: Path, *tables: str) -> Iterator[sqlite3.Connection]:
    """The tables in SQLite, as text: nothing of ours reads them."""
    connection = sqlite3.connect(":memory:")
    for table in tables:
        plain = folder / f"{table}.csv"
        data = (
            plain.read_bytes()
            if plain.exists()
            else gzip.decompress((folder / f"{table}.csv.gz").read_bytes())
        )
        with io.StringIO(data.decode(), newline="") as file:
            reader = csv.reader(file)
            header = next(reader)
            name = table.split("/")[1]
            connection.execute(f"create table {name} ({', '.join(header)})")
            marks = ", ".join("?" * len(header))
            connection.executemany(f"insert into {name} values ({marks})", reader)
    yield connection
    connection.close()


ATTRITION = """
with known as (
  select distinct i.stay_id, i.subject_id, i.intime, i.outtime, p.anchor_age, a.deathtime,
         a.hospital_expire_flag as flag,
         min(91, p.anchor_age + substr(a.admittime, 1, 4) - p.anchor_year) as age,
         (julianday(i.outtime) - julianday(i.intime)) * 24 as hours,
         (julianday(nullif(a.deathtime, '')) - julianday(i.intime)) * 24 as lived
  from icustays i left join patients p on p.subject_id = i.subject_id
                  left join admissions a on a.hadm_id = i.hadm_id)
select count(*),
       sum(anchor_age is not null),
       sum(anchor_age is not null and outtime > intime),
       sum(anchor_age is not null and outtime > intime and age >= 18),
       sum(anchor_age is not null and outtime > intime and age >= 18 and hours >= 23.999999),
       sum(anchor_age is not null and outtime > intime and age >= 18 and hours >= 23.999999
           and (lived is null or lived >= 23.999999)),
       sum((anchor_age is not null and outtime > intime and age >= 18 and hours >= 23.999999
           and (lived is null or lived >= 23.999999)) * flag)
from known
"""


@pytest.mark.parametrize("which", ["demo", "made"])
def test_the_attrition_is_what_sql_counts(which: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(which)
    folder = folder[0] if which == "made" else folder
    (connection,) = [next(sql(folder, "icu/icustays", "hosp/patients", "hosp/admissions"))]

    found = cohort(folder)

    *left, died = connection.execute(ATTRITION).fetchone()
    assert [loss.left for loss in found.attrition] == left
    assert found.stays["died"].sum() == died


def test_the_demo_has_117_stays_and_14_deaths(demo: Path) -> None:
    data = datasets.load("mimic_iv", path=demo)

    splits = (data.train, data.validation, data.test)
    assert (sum(map(len, splits)), sum(int(s.y.sum()) for s in splits)) == (117, 14)
    assert len(np.unique(np.concatenate([s.groups for s in splits]))) == 88
    assert len(data.features) == 2 + 41 * 5 + 2
    assert len(CONCEPTS) == 42


def test_every_trap_is_laid_and_every_rule_loses_somebody(
    made: tuple[Path, _synth.Written],
) -> None:
    folder, written = made
    found = cohort(folder)

    assert all(written.planted.values())
    assert len(written.planted) >= 25
    assert all(loss.stays for loss in found.attrition)
    assert (len(found.stays), found.stays["died"].sum()) == (written.usable, written.cases)


def test_heart_rate_and_lactate_of_the_first_day_are_what_sql_finds(
    made: tuple[Path, _synth.Written],
) -> None:
    folder, _ = made
    found = cohort(folder)
    day = first_day(folder, found)
    (db,) = [next(sql(folder, "icu/icustays", "icu/chartevents", "hosp/labevents"))]
    db.execute("create index c on chartevents (stay_id, itemid)")
    db.execute("create index l on labevents (subject_id, itemid)")
    window = """
      e.itemid = ? and e.valuenum <> '' and e.valuenum + 0 between ? and ?
      and julianday(e.charttime) >= julianday(i.intime) - 0.25 - 1e-9
      and julianday(e.charttime) < julianday(i.intime) + 1 - 1e-9
      and (e.storetime = '' or julianday(e.storetime) <= julianday(i.intime) + 1 + 1e-9)"""
    for table, key, name, item, low, high in (
        ("chartevents", "stay_id", "heart_rate", "220045", 1, 300),
        ("labevents", "subject_id", "lactate", "50813", 0.05, 50),
    ):
        number = [concept.name for concept in CONCEPTS].index(name)
        rows = db.execute(
            f"""select stay_id, min(v), avg(v), max(v) from (select distinct i.stay_id as stay_id,
            e.charttime, e.valuenum + 0 as v from icustays i join {table} e on e.{key} = i.{key}
            where {window}) group by stay_id""",
            (item, low, high),
        )
        expected = {int(stay): values for stay, *values in rows}

        for place, stay in enumerate(found.stays["stay_id"]):
            got = day.table[place, number, :3]
            want = expected.get(stay, [math.nan] * 3)
            assert got == pytest.approx(want, rel=2e-4, nan_ok=True)  # a mean of rounded means


def test_packed_unpacked_nested_and_reordered_copies_are_the_same(
    made: tuple[Path, _synth.Written], tmp_path: Path
) -> None:
    folder, _ = made
    there = tmp_path / "physionet.org" / "files" / "mimiciv" / "2.2"
    for file in folder.rglob("*.csv.gz"):
        with gzip.open(file, "rt", newline="") as source:
            rows = [row[::-1] for row in csv.reader(source)]
        (plain := there / file.relative_to(folder).with_suffix("")).parent.mkdir(
            parents=True, exist_ok=True
        )
        with plain.open("w", newline="") as target:
            csv.writer(target).writerows([rows[0], *rows[:0:-1]])

    one = datasets.load("mimic_iv", path=folder)
    other = datasets.load("mimic_iv", path=tmp_path / "physionet.org")

    assert root(tmp_path / "physionet.org") == there
    assert one.cohort_hash == other.cohort_hash
    for split in ("train", "validation", "test"):  # to the bit, whatever the order of the rows
        assert np.array_equal(getattr(one, split).x, getattr(other, split).x)
        assert np.array_equal(getattr(one, split).y, getattr(other, split).y)


def share(made: tuple[Path, _synth.Written], part: str) -> np.ndarray:
    try:
        data = datasets.load("mimic_iv", path=made[0], part=part, seed=7)
    except datasets.DataError:  # an uneven site may be empty
        return np.empty(0, dtype=np.int64)
    return np.unique(np.concatenate([s.groups for s in (data.train, data.validation, data.test)]))


@pytest.mark.parametrize(
    "parts",
    [UNITS, tuple(HOSPITALS), YEARS, ("1/3", "2/3", "3/3"),
     ("dirichlet-1:1/2", "dirichlet-1:2/2"), tuple(f"dirichlet-0.1:{k}/5" for k in range(1, 6))],
    ids=lambda parts: parts[0],
)  # fmt: skip
def test_sites_are_disjoint_can_prove_it_and_are_the_whole(
    made: tuple[Path, _synth.Written], parts: tuple[str, ...]
) -> None:
    shares = [share(made, part) for part in parts]

    tokens = [sealed(groups, key=b"0123456789abcdef") for groups in shares]
    assert all(in_common(a, b) == 0 for i, a in enumerate(tokens) for b in tokens[:i])
    assert in_common(tokens[0], sealed(shares[0], key=b"0123456789abcdef")) == len(shares[0])
    assert in_common(tokens[0], sealed(shares[0], key=b"another key 1234")) == 0
    assert np.array_equal(np.sort(np.concatenate(shares)), share(made, "all"))


def test_small_alpha_makes_sites_unlike(made: tuple[Path, _synth.Written]) -> None:
    def spread(alpha: str) -> float:
        rates = [
            len(share(made, part)) for part in DIRICHLET if part.startswith(f"dirichlet-{alpha}:")
            and part.endswith("/5")
        ]  # fmt: skip
        return float(np.std(rates))

    assert spread("0.1") > 2 * spread("100")
    assert set(SITES) < set(datasets.parts("mimic_iv"))


def test_what_was_read_is_kept_privately_and_read_again_only_if_it_changed(
    made: tuple[Path, _synth.Written], tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(made[0], folder)
    found = cohort(folder)

    with (
        pytest.raises(KeyboardInterrupt),
        watching(
            lambda what, _: (_ for _ in ()).throw(KeyboardInterrupt) if "lab" in what else None
        ),
    ):
        first_day(folder, found)
    (kept,) = _cache.folder().iterdir()
    assert [file.name for file in kept.iterdir()] == ["icu_chartevents.parquet"]
    before = (kept / "icu_chartevents.parquet").stat()
    first_day(folder, found)
    assert (kept / "icu_chartevents.parquet").stat().st_ino == before.st_ino  # not read again
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in kept.iterdir()} == {0o600}
    os.utime(folder / "icu" / "chartevents.csv.gz", (1, 1))
    first_day(folder, found)
    assert len(list(_cache.folder().iterdir())) == 2
    assert _cache.purge() > 0
    assert not list(_cache.folder().iterdir())


def test_progress_is_told(made: tuple[Path, _synth.Written]) -> None:
    seen: list[tuple[str, float]] = []
    with watching(lambda what, done: seen.append((what, done))):
        first_day(made[0], cohort(made[0]))

    assert [done for _, done in seen] == sorted(done for _, done in seen)
    assert seen[0] == ("icu/chartevents", 0.0)
    assert seen[-1][1] == 1.0


def test_a_reading_tells_its_share_and_stops_when_told(
    made: tuple[Path, _synth.Written], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets._streaming._PACE", 0.001)
    file = made[0] / "icu" / "chartevents.csv.gz"
    rows = scan(file, TABLES["icu/chartevents"])
    shares: list[float] = []

    sink(rows, lambda r: r, file=file, to=tmp_path / "a.parquet", tell=shares.append)
    with pytest.raises(KeyboardInterrupt):
        sink(rows, lambda r: r, file=file, to=tmp_path / "b.parquet", tell=interrupt)

    written = polars.scan_parquet(tmp_path / "a.parquet").select(polars.len()).collect().item()
    assert shares == sorted(shares)
    assert all(0 <= share <= 1 for share in shares)
    assert estimated(file) == pytest.approx(written, rel=0.2)  # later rows pack a little better


def interrupt(_: float) -> None:
    raise KeyboardInterrupt


def test_a_report_has_attrition_and_events_without_small_cells(demo: Path) -> None:
    shown = datasets.inspect("mimic_iv", path=demo)

    json.dumps(shown)
    assert datasets.recognise(demo) == (
        "mimic_iv", "mimic_iv_los", "mimic_iv_los_series", "mimic_iv_series"
    )  # fmt: skip
    assert (shown["rows"], shown["patients"]) == (117, 88)
    assert shown["attrition"][4] == {
        "rule": "it is shorter than 24 hours", "stays_out": 23, "stays": 117, "patients": 88
    }  # fmt: skip
    counts = [n for event in shown["events"].values() for n in event.values()]
    assert all(n is None or n == 0 or n >= 10 for n in counts)


def test_a_copy_is_checked_against_what_was_published(demo: Path, tmp_path: Path) -> None:
    assert [v.file for v in datasets.check("mimic_iv", demo)] == ["hosp/labevents.csv"]

    folder = hand(tmp_path / "m")
    (folder / "icu" / "outputevents.csv").unlink()
    found = {v.file: v for v in datasets.check("mimic_iv", folder)}
    assert found["icu/outputevents.csv"].what == "it is missing"
    assert not any(v.blocks for v in found.values())


def test_tables_of_events_may_be_missing_but_not_all(demo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    shutil.copytree(demo, folder)
    (folder / "icu" / "chartevents.csv.gz").unlink()
    data = datasets.load("mimic_iv", path=folder)
    pulse = [feature.name for feature in data.features].index("heart_rate_mean")
    assert not data.train.mask[:, pulse].any()

    (folder / "icu" / "outputevents.csv").unlink()
    (folder / "hosp" / "labevents.csv.gz").unlink()
    with pytest.raises(datasets.DataError, match=r"None of icu/chartevents\.csv\.gz"):
        datasets.load("mimic_iv", path=folder)


def learned(data: Dataset) -> float:
    """Test AUROC of a ridge-penalised logistic regression."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    n = datasets.agree(datasets.statistics(data.train), data.features)
    model = LogisticRegression(C=0.01, max_iter=1000)
    model.fit(datasets.standardise(data.train, n), data.train.y)
    scores = model.predict_proba(datasets.standardise(data.test, n))[:, 1]
    return float(roc_auc_score(data.test.y, scores))


@pytest.mark.slow
def test_a_simple_model_comes_near_the_best_there_is_and_not_above(tmp_path: Path) -> None:
    written = _synth.write("mimic_iv", tmp_path / "m", rows=12_000, seed=1)

    auroc = learned(datasets.load("mimic_iv", path=tmp_path / "m"))

    # 240 cases in the test split: AUROC's standard error is .012 (Hanley and McNeil)
    assert auroc == pytest.approx(written.bayes_auroc, abs=0.03)
