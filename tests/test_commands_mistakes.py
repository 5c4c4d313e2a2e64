"""A slip of the finger is named as what it is, before anything else is asked or looked at."""

import json
from pathlib import Path

from fedtui.site import Home
from tests.test_commands import STUDY, fedtui


def test_what_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    home = tmp_path / "h"
    fedtui("init", "halland", home=home)

    for words in (["data", "inspect"], ["data", "check"], ["verify"]):
        where = ["--name", "digits"] if words[0] == "data" else []
        for more in ([], where):
            done = fedtui(*words, "/nope", *more, check=2)
            assert "There is no /nope." in done.stderr
    compared = fedtui("compare", "nostudy", home=home, check=2)
    shown = fedtui("study", "show", "nostudy", home=home, check=2)

    assert "No study or run nostudy is known here" in compared.stderr
    assert "No study nostudy is known here" in shown.stderr
    assert "Sizes" not in shown.stderr


def test_a_name_that_no_site_can_have_is_no_mistake_in_a_file(tmp_path: Path) -> None:
    done = fedtui("init", "Bad Name", home=tmp_path / "h", check=2)

    assert "'Bad Name' is no site name." in done.stderr
    assert "site.toml" not in done.stderr
    assert not (tmp_path / "h").exists()


def test_nobody_is_asked_for_a_passphrase_in_vain(tmp_path: Path) -> None:
    home = tmp_path / "h"
    fedtui("init", "halland", home=home)

    nowhere = fedtui("backup", str(tmp_path / "no" / "x"), home=home, check=2)
    homeless = fedtui("backup", str(tmp_path / "x"), home=tmp_path / "none", check=2)
    missing = fedtui("restore", str(tmp_path / "x"), home=tmp_path / "new", check=2)
    (tmp_path / "file").write_text("x")
    full = fedtui("restore", str(tmp_path / "file"), home=home, check=2)
    asked = fedtui("backup", str(tmp_path / "x"), home=home, check=2)

    assert f"There is no folder {tmp_path / 'no'}" in nowhere.stderr
    assert "There is no file" in missing.stderr
    assert "is not empty" in full.stderr
    for done in (nowhere, homeless, missing, full):
        assert "passphrase" not in done.stderr.lower()
    assert "passphrase" in asked.stderr


def test_a_misspelt_metric_is_refused_wherever_a_study_enters(tmp_path: Path) -> None:
    home, study = tmp_path / "h", tmp_path / "study.toml"
    fedtui("init", "sahlgrenska", "--coordinator", home=home)
    study.write_text(STUDY.replace("rounds = 3", 'rounds = 3\nmetric = "aurocc"'))
    new = [
        "--id", "x1", "--purpose", "p", "--sites", "sahlgrenska", "--data", "digits",
        "--model", "mlp", "--rounds", "1", "--metric", "aurocc",
    ]  # fmt: skip

    for words in (["run"], ["train"], ["study", "propose"]):
        done = fedtui(*words, str(study), home=home, check=2)
        assert "line 8, metric: there is no 'aurocc'" in done.stderr
        assert "Did you mean 'auroc'?" in done.stderr
    written = fedtui("study", "new", str(tmp_path / "new.toml"), *new, home=home, check=2)

    assert "there is no 'aurocc'" in written.stderr
    assert "Did you mean 'auroc'?" in written.stderr
    assert not (tmp_path / "new.toml").exists()


def test_the_next_step_is_of_the_same_home(tmp_path: Path) -> None:
    named = fedtui("init", "halland", home=tmp_path / "a b").stderr

    assert f"fedtui join CODE --home '{tmp_path / 'a b'}'" in named


def test_what_cannot_be_measured_for_one_reason_is_one_line(tmp_path: Path) -> None:
    home = tmp_path / "h"
    fedtui("init", "halland", home=home)

    done = fedtui("check", home=home, check=None)
    whole = fedtui("check", "--verbose", home=home, check=None)
    found = json.loads(fedtui("check", "--json", home=home, check=None).stdout)["findings"]

    (line,) = [line for line in done.stdout.splitlines() if "no coordinator to look for" in line]
    missing = sum(f["code"] == "no-target" for f in found)
    assert f"{missing} checks" in line
    assert whole.stdout.count("no coordinator to look for") >= missing
    assert not Home(home).membership.exists()
