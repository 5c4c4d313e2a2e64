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

    assert (told["name"], told["rows"], told["label_rate"]) == ("heart_disease", 920, 0.553)
    assert "920 rows" in shown
    assert max(map(len, shown.splitlines())) <= 80


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

    assert checked["name"] == "clinical"
    assert not any(v["blocks"] for v in checked["violations"])
    assert "mimic_iv" in {entry["name"] for entry in listed}
    assert purged["freed_bytes"] >= 0
    assert "no data set that fedtui knows" in unknown.stderr
