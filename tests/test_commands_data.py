"""``fedtui data``: what a site holds, checked where it lies; no value of a patient is shown."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.test_commands import fedtui


def heart_disease() -> Path:
    folder = Path(os.environ.get("FEDTUI_SHARED_DATA", "../shared/data"), "heart_disease")
    if not folder.exists():
        pytest.skip(f"the UCI files are not in {folder}; set FEDTUI_SHARED_DATA")
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDTUI_CACHE", str(tmp_path / "cache"))


def test_four_real_hospitals_are_recognised_and_described() -> None:
    told = json.loads(fedtui("data", "inspect", str(heart_disease()), "--json").stdout)
    shown = fedtui("data", "inspect", str(heart_disease())).stdout

    whole = fedtui("data", "inspect", str(heart_disease()), "--all").stdout
    assert (told["name"], told["rows"], told["label_rate"]) == ("heart_disease", 920, 0.553)
    assert "920 rows" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "'?' too few" in " ".join(shown.split())
    flags = sum(feature["name"].endswith("_missing") for feature in told["features"])
    assert f"… and {flags} columns that say whether" in shown
    assert (shown.count("_missing"), whole.count("_missing")) == (0, flags)


def test_what_nearly_nobody_has_is_told_from_what_few_lack() -> None:
    folder = str(heart_disease())

    shown = fedtui("data", "inspect", folder, "--part", "hungarian").stdout.splitlines()

    assert max(map(len, shown)) <= 80
    missing = {words[0]: " ".join(words) for words in map(str.split, shown[2:])}
    assert "nearly all missing" in missing["ca"]  # 3 of 294 patients have it
    assert "few missing" in missing["trestbps"]  # 1 of 294 has it not


def test_a_broken_cell_is_named_by_place_and_ends_with_6(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(heart_disease(), folder)
    file = folder / "processed.va.data"
    file.chmod(0o644)
    lines = file.read_text().splitlines()
    lines[9] = lines[9].replace(",", ",197805129999,", 1)
    file.write_text("\n".join(lines) + "\n")

    done = fedtui("data", "check", str(folder), check=6)

    told = done.stdout + done.stderr
    assert "processed.va.data" in told
    assert "10" in told
    assert "197805129999" not in told


def test_what_is_made_up_checks_out_and_the_cache_can_be_purged(tmp_path: Path) -> None:
    fedtui("data", "synth", "clinical", "--to", str(tmp_path / "c"), "--rows", "120")

    checked = json.loads(fedtui("data", "check", str(tmp_path / "c"), "--json").stdout)
    listed = json.loads(fedtui("data", "list", "--json").stdout)["data"]
    purged = json.loads(fedtui("data", "purge", "--json").stdout)
    unknown = fedtui("data", "inspect", str(tmp_path), check=6)

    (mimic,) = [e for e in listed if e["name"] == "mimic_iv"]
    shown = fedtui("data", "list").stdout
    assert f", … and {len(mimic['parts']) - 6} more (--json)" in shown
    assert checked["name"] == "clinical"
    assert not any(v["blocks"] for v in checked["violations"])
    assert "mimic_iv" in {entry["name"] for entry in listed}
    assert purged["freed_bytes"] >= 0
    assert "no data set that fedtui knows" in unknown.stderr


def test_two_hospitals_prove_that_they_share_no_patient(tmp_path: Path) -> None:
    made = str(tmp_path / "c")
    fedtui("data", "synth", "clinical", "--to", made, "--rows", "200")
    (key := tmp_path / "key").write_text("0123456789abcdef\n")
    sealed = tmp_path / "sealed.json"
    mine = ("--part", "1/2", "--key", str(key))

    fedtui("data", "check", made, *mine, "--seal", str(sealed))
    theirs = ("data", "check", made, "--part", "2/2", "--key", str(key))
    apart = json.loads(fedtui(*theirs, "--against", str(sealed), "--json").stdout)
    same = fedtui("data", "check", made, *mine, "--against", str(sealed), check=6)
    again = fedtui("data", "check", made, *mine, "--seal", str(sealed), check=2)
    (other := tmp_path / "other").write_text("another key, 16 bytes")
    stranger = json.loads(
        fedtui(
            "data", "check", made, "--part", "1/2", "--key", str(other),
            "--against", str(sealed), "--json",
        ).stdout
    )  # fmt: skip
    (other).write_text("short")
    short = fedtui("data", "check", made, "--key", str(other), "--seal", "x", check=2)

    assert apart["in_common"] == 0
    assert "patients in common" in same.stdout
    assert not same.stdout.startswith("0 patients")
    assert stranger["in_common"] == 0  # under another key nobody can tell
    assert "exists" in again.stderr
    assert "shorter than 16 bytes" in short.stderr
    assert sealed.stat().st_mode & 0o777 == 0o600
    assert "SYN-" not in sealed.read_text()


def test_the_list_of_who_opted_out_is_checked_and_counted(tmp_path: Path) -> None:
    fedtui("data", "synth", "clinical", "--to", str(tmp_path / "c"), "--rows", "200")
    (out := tmp_path / "out.txt").write_text("SYN-000001\nSYN-000002\n197805129999\n")

    checked = fedtui("data", "check", str(tmp_path / "c"), "--excluded", str(out)).stdout
    whole, left = (
        json.loads(fedtui("data", "inspect", str(tmp_path / "c"), "--json", *more).stdout)
        for more in ((), ("--excluded", str(out)))
    )

    assert "who opted out are in no row" in checked
    assert "197805129999" not in checked
    assert whole["patients"] - left["patients"] in (1, 2)  # the schema's own list has others


def test_statistics_need_data_that_the_site_offers(tmp_path: Path) -> None:
    fedtui("init", "alone", home=tmp_path / "home")

    none = fedtui("data", "stats", home=tmp_path / "home", check=2)
    other = fedtui("data", "stats", "digits", home=tmp_path / "home", check=2)

    assert "no data, or several" in none.stderr
    assert "no data 'digits'" in other.stderr


def test_one_fault_in_many_rows_is_one_line_with_their_numbers() -> None:
    shown = fedtui("data", "check", str(heart_disease())).stdout

    assert "processed.switzerland.data, rows 1-100, chol" in shown
    assert len(shown.splitlines()) < 10


def test_data_that_are_not_what_the_study_agreed_on_end_with_6(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    fedtui("data", "synth", "clinical", "--to", str(folder), "--rows", "120")
    told = json.loads(fedtui("data", "inspect", str(folder), "--json").stdout)
    text = f"""
id = "s-1"
purpose = "a test"
sites = ["a1"]
data = "clinical"
model = "logistic"
rounds = 1
schema = "{told["schema_hash"]}"
"""
    (study := tmp_path / "study.toml").write_text(text)

    fits = fedtui("data", "check", str(folder), "--study", str(study))
    schema = folder / "schema.toml"
    schema.write_text(schema.read_text().replace("high = 110", "high = 100"))
    differs = fedtui("data", "check", str(folder), "--study", str(study), check=6)
    other = fedtui("data", "check", str(folder), "--name", "digits", "--study", str(study), check=6)

    assert "nothing stands in the way" in fits.stdout
    assert "agreed on" in differs.stderr
    assert "wants clinical" in other.stderr


def test_the_cohort_of_mimic_is_shown_with_who_was_left_out(tmp_path: Path) -> None:
    fedtui("data", "synth", "mimic_iv", "--to", str(tmp_path / "m"), "--rows", "400")

    shown = fedtui("data", "inspect", str(tmp_path / "m"))

    assert "mimic_iv, part all" in shown.stdout
    assert "stays out: it is shorter than 24 hours" in shown.stdout
    assert "are the cohort" in shown.stdout
    assert "also serve mimic_iv_los" in shown.stderr


def test_purge_empties_the_homes_cache_as_well(tmp_path: Path) -> None:
    fedtui("init", "alone", home=(home := tmp_path / "home"))
    derived = home / "cache" / "mimic_iv-0123456789abcdef"
    derived.mkdir(parents=True)
    (derived / "chart.parquet").write_bytes(b"x" * 1000)
    (home / "cache" / "compiled").write_bytes(b"x")

    told = json.loads(fedtui("data", "purge", "--json", home=home).stdout)

    assert told["freed_bytes"] == 1000
    assert [path.name for path in (home / "cache").iterdir()] == ["compiled"]
