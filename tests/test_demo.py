"""``fedtui demo --data``: whole federations on each data set, real processes, tiny sizes."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import datasets
from fedtui.demo import _plans
from fedtui.demo._plans import SHOWS, Plan, make_up, settled
from fedtui.demo._telling import announce
from fedtui.errors import DataError, OperatorError


def shown(data: str, path: Path) -> dict[str, Any]:
    """What a demo of one round came to; one that is given up ends its processes itself."""
    words = ["demo", "--json", "--data", data, "--path", str(path), "--rounds", "1"]
    demo = subprocess.Popen(
        [sys.executable, "-m", "fedtui.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, err = demo.communicate()
    finally:
        if demo.poll() is None:
            demo.send_signal(signal.SIGINT)
            demo.communicate(timeout=60)
    assert demo.returncode == 0, out[-2000:] + err
    summary: dict[str, Any] = json.loads(out.splitlines()[-1])["summary"]
    return summary


@pytest.mark.slow
def test_a_demo_on_mimics_layout_is_a_federation_of_two_hospitals(tmp_path: Path) -> None:
    datasets.synthesise("mimic_iv", tmp_path / "m", rows=600, seed=1)

    found = shown("mimic_iv", tmp_path / "m")

    assert (found["metric"], found["rounds"], list(found["sites"])) == (
        "auroc", 1, ["sahlgrenska", "halland"]
    )  # fmt: skip
    assert found["joint"] > 0.5
    for site in found["sites"].values():  # null where fewer than ten died, and never zero
        assert site["alone_on_own"] is None or 0 < site["alone_on_own"] <= 1
        assert site["bytes_sent"] > 0


@pytest.mark.slow
def test_a_demo_on_real_hospitals_has_four(tmp_path: Path) -> None:
    folder = Path(os.environ.get("FEDTUI_SHARED_DATA", "../shared/data"), "heart_disease")
    if not folder.is_dir():
        pytest.skip(f"the UCI files are not in {folder}; set FEDTUI_SHARED_DATA")

    found = shown("heart_disease", folder)

    assert len(found["sites"]) == 4
    assert found["joint"] > 0.6
    assert found["sites"]["skane"]["joint_on_own"] is None  # Switzerland has too few without


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_demo_of_a_whole_study_is_agreed_on_run_and_judged(tmp_path: Path) -> None:
    folder = Path(os.environ.get("FEDTUI_SHARED_DATA", "../shared/data"), "heart_disease")
    if not folder.is_dir():
        pytest.skip(f"the UCI files are not in {folder}; set FEDTUI_SHARED_DATA")

    words = ["demo", "--json", "--study", "heart_disease", "--path", str(folder), "--rounds", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "fedtui.cli", *words, "--home", str(tmp_path / "f")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    found = json.loads(done.stdout.splitlines()[-1])
    assert {row["site"] for row in found["own"]} == {"sahlgrenska", "halland", "skane", "orebro"}
    assert found["outcome"] == "completed"
    assert done.stderr.count("approves for") == 4
    assert done.stderr.count("leakage gate at") == 4
    assert "<html" in (tmp_path / "f" / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.timeout(600)  # two trainers compile a network beside each other
def test_a_demo_on_images_trains_a_network(tmp_path: Path) -> None:
    datasets.synthesise(
        "siim_isic", tmp_path / "s", rows=420, seed=1, layout="decaihealth", size=64, each=2
    )

    found = shown("siim_isic", tmp_path / "s")

    assert found["rounds"] == 1
    assert all(site["seconds"]["train"] > 0 for site in found["sites"].values())


def test_what_the_operator_leaves_open_suits_the_data(tmp_path: Path) -> None:
    assert settled(Plan()) == Plan(rounds=15, sites=2)
    assert settled(Plan(data="heart_disease", path=tmp_path)).sites == 4
    assert settled(Plan(data="siim_isic", rounds=7)).rounds == 7


@pytest.mark.parametrize(
    ("plan", "what"),
    [
        (Plan(data="eicu"), "no data set 'eicu'"),
        (Plan(data="heart_disease"), "needs --path"),
        (Plan(data="heart_disease", path=Path(), sites=5), "2 to 4 hospitals"),
        (Plan(data="mimic_iv", sites=1), "2 to 5 hospitals"),
        (Plan(data="mimic_iv", path=Path("nowhere")), "is not a folder"),
    ],
)
def test_a_demo_that_cannot_be_is_refused_by_name(plan: Plan, what: str) -> None:
    with pytest.raises(OperatorError, match=what) as refused:
        settled(plan)

    assert refused.value.remedy


@pytest.mark.parametrize(
    ("data", "rows"), [("mimic_iv", {"rows": 120}), ("siim_isic", {"rows": 60, "size": 32})]
)
def test_without_a_path_data_are_made_up_and_it_is_said(
    data: str,
    rows: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(SHOWS, data, replace(SHOWS[data], made=rows))
    plan = settled(Plan(data=data))

    place = make_up(plan, tmp_path)
    announce(plan)

    assert place is not None
    assert SHOWS[data].offers in datasets.recognise(place)
    assert "made-up rows" in capsys.readouterr().err
    with pytest.raises(DataError, match="not empty"):
        make_up(plan, tmp_path)
    assert make_up(replace(plan, path=tmp_path), tmp_path) == tmp_path


def test_hospitals_take_what_the_table_says_they_acquired(tmp_path: Path) -> None:
    datasets.synthesise("siim_isic", tmp_path / "s", rows=60, size=32)

    assert [_plans._camera(tmp_path / "s", n, 3) for n in range(3)] == ["north", "south", "west"]
    assert _plans._camera(tmp_path / "s", 1, 4) == "2/4"
    assert SHOWS["mimic_iv"].share(None, 0, 2) == "sahlgrenska"
    assert SHOWS["mimic_iv"].share(None, 2, 3) == "cvicu"
