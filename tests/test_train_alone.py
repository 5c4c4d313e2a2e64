"""One site without the others: the same model and budget, kept round by round, nothing sent."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import datasets
import models
from fedtui import events, operations
from fedtui import study as studies
from fedtui.errors import TrustError, UsageError
from fedtui.flower.brought import stream_of
from fedtui.site import Home
from fedtui.study import Study
from models._engine import Engine
from tests.federation import records

FEDTUI = Path(sys.executable).with_name("fedtui")
STUDY = """
id = "OWN"
purpose = "What this site can do by itself"
sites = ["halland", "sahlgrenska"]
data = "breast_cancer"
model = "logistic"
rounds = {rounds}
metric = "auroc"
[training]
learning_rate = 0.1
batch = 32
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "h")
    operations.create(made, "halland", sources={"breast_cancer": {"part": "all"}})
    return made


def study(tmp_path: Path, rounds: int) -> Path:
    file = tmp_path / "own.toml"
    file.write_text(STUDY.format(rounds=rounds))
    return file


def test_it_is_the_engines_work_on_this_sites_own_scale(home: Home, tmp_path: Path) -> None:
    news: list[dict[str, object]] = []

    done = operations.train_alone(home, str(study(tmp_path, 3)), on_news=news.append)

    data = datasets.load("breast_cancer")
    x = data.train.x.astype(np.float64)
    scale = (x.mean(axis=0), x.std(axis=0))  # nothing is missing in this set
    training = models.Training(learning_rate=0.1, batch=32)
    engine = Engine(
        model="logistic", config={}, training=training, data=data, seed=0, normalisation=scale
    )
    vector = engine.initial()
    for round in (1, 2, 3):
        vector = engine.train(vector, round=round, stream=stream_of("halland")).vector
    found = load_file(done["file"])["parameters"]
    np.testing.assert_allclose(found, vector, atol=1e-5)  # the scale's sums are rounded otherwise
    assert done["metrics"]["auroc"] == pytest.approx(
        engine.evaluate(vector).metrics["auroc"], abs=1e-3
    )
    assert [n["round"]["round"] for n in news if "round" in n] == [1, 2, 3]  # type: ignore[index]
    ((_, told),) = records(home, events.TrainedAlone)
    assert told.rounds == 3
    assert Path(done["file"]).stat().st_mode & 0o777 == 0o600
    assert not records(home, events.Released)


def test_one_that_is_killed_goes_on_and_ends_with_the_same_bits(home: Home, tmp_path: Path) -> None:
    file = study(tmp_path, 6)
    words = [FEDTUI, "train", str(file), "--home", str(home.path), "--json"]
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    process = subprocess.Popen(
        words, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("round 2"):
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()
    time.sleep(0.2)

    again = json.loads(
        subprocess.run(words, env=environment, check=True, capture_output=True).stdout
    )
    other = Home(tmp_path / "o")
    operations.create(other, "halland", sources={"breast_cancer": {"part": "all"}})
    whole = operations.train_alone(other, str(file), on_news=lambda _: None)

    assert re.fullmatch(r"round 2 of 6: auroc 0\.\d{4}, loss \d\.\d{4}", line.strip())
    assert again["resumed"] >= 2
    assert again["sha256"] == whole["sha256"]


def test_a_model_that_cannot_eat_the_data_is_a_mistake_in_the_study(
    home: Home, tmp_path: Path
) -> None:
    file = study(tmp_path, 1)
    file.write_text(file.read_text().replace('"logistic"', '"resnet18"'))

    with pytest.raises(UsageError, match=r"^resnet18 needs images; breast_cancer gives a table\.$"):
        operations.train_alone(home, str(file), on_news=lambda _: None)


def told_by_the_command(home: Home, file: Path) -> tuple[int, dict[str, Any], str]:
    """What ``fedtui train`` ends with and says, and what was said of it locally since."""
    done = subprocess.run(
        [FEDTUI, "train", str(file), "--home", str(home.path), "--json"],
        capture_output=True, text=True, env=os.environ | {"LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    log = home.log("trainer")
    return done.returncode, json.loads(done.stdout), log.read_text() if log.exists() else ""


def test_a_folder_that_cannot_be_used_is_named(home: Home, tmp_path: Path) -> None:
    (home.path / "alone").write_text("in the way")

    code, told, log = told_by_the_command(home, study(tmp_path, 1))

    assert (code, told["error"]) == (8, "ResourceError")
    assert f"{home.path / 'alone'}" in told["message"]
    assert "cannot be used: Not a directory." in told["message"]
    assert "NotADirectoryError" in log


def test_training_that_diverges_fails_as_a_run_does(home: Home, tmp_path: Path) -> None:
    file = study(tmp_path, 1)
    file.write_text(file.read_text().replace("= 0.1", "= 1e38"))

    code, told, log = told_by_the_command(home, file)

    assert (code, told["error"]) == (1, "RunError")
    assert "training diverged" in told["message"]
    assert "learning rate" in told["remedy"]
    assert "ModelError" in log


# The child of ``fedtui train``, whose bookmark is always due; it may end in the middle of round 2.
CHILD = """
import os, signal, sys
from fedtui.flower import alone
from models import _bookmark, _rounds
_bookmark._EVERY, _bookmark._SHARE, _rounds._PACE = 0.0, 0, 0.0
_rounds._paced = lambda *_: 2
report = _rounds.Round._report
def dies(round, steps):
    report(round, steps)
    if round._round == 2 and len(round._losses) >= 8:
        os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1] == "dies":
    _rounds.Round._report = dies
def full(*_):
    raise OSError(28, os.strerror(28), "/srv/h/alone")
if sys.argv[1] == "full":
    alone.work.write_atomically = full
alone.main()
"""


def orders(tmp_path: Path, agreed: Study) -> Callable[[str, str], list[dict[str, Any]]]:
    """Has the child carry out ``agreed`` in a folder, in one of its ways; gives what it says."""

    def told(folder: str, how: str) -> list[dict[str, Any]]:
        order = {
            "study": studies.canonical(agreed).decode(),
            "site": "halland",
            "source": {"path": None, "part": "all"},
            "folder": str(tmp_path / folder),
            "weights": None,
            "cache": str(tmp_path / "cache"),
            "audit": None,
            "secret": None,
        }
        child = subprocess.run(
            [sys.executable, "-c", CHILD, how],
            input=json.dumps(order), capture_output=True, text=True,
        )  # fmt: skip
        assert child.returncode == (-signal.SIGKILL if how == "dies" else 0), child.stderr
        return [json.loads(line, parse_constant=pytest.fail) for line in child.stdout.splitlines()]

    return told


@pytest.mark.slow  # a federation's trainer does the same by the same bookmark
def test_one_that_is_killed_goes_on_in_the_middle_of_a_round(tmp_path: Path) -> None:
    told = orders(tmp_path, studies.load(study(tmp_path, 2)))

    whole = told("a", "lives")
    told("b", "dies")
    found = told("b", "lives")

    steps = [(m["progress"]["round"], m["progress"]["step"]) for m in found if "progress" in m]
    assert (2, 6) < steps[0] <= (2, 8)  # two steps were lost, and not eight
    assert found[-1]["done"]["sha256"] == whole[-1]["done"]["sha256"]
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["alone-00002.safetensors"]


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    told = orders(tmp_path, studies.load(study(tmp_path, 1)))

    *_, last = told("a", "full")

    assert last["failed"]["error"] == "StorageError"
    assert last["failed"]["message"] == "The disk under the home is full."


def test_a_loss_that_is_no_number_is_told_as_none(tmp_path: Path) -> None:
    agreed = studies.load(study(tmp_path, 1))
    told = orders(tmp_path, replace(agreed, training=agreed.training | {"learning_rate": 1e38}))

    *progress, last = told("a", "lives")

    assert None in [m["progress"]["loss"] for m in progress]
    assert "training diverged" in last["failed"]["message"]


PASSPHRASE = "correct horse battery"


@pytest.fixture
def patients(tmp_path: Path) -> tuple[Home, Path]:
    """A hospital by itself, whose data are not public, and a study of them."""
    datasets.synthesise("clinical", tmp_path / "data", rows=300)
    made = Home(tmp_path / "h")
    operations.create(made, "halland")
    with made.settings.open("a") as settings:
        settings.write(f'\n[data.clinical]\npath = "{tmp_path / "data"}"\n')
    file = study(tmp_path, 1)
    text = file.read_text().replace("breast_cancer", "clinical")
    file.write_text(text + '[approvers]\nhalland = "dr h"\nsahlgrenska = "dr s"\n')
    return made, file


def test_patients_data_are_read_once_this_site_approved_and_that_is_written_down(
    patients: tuple[Home, Path],
) -> None:
    home, file = patients
    agreed = studies.load(file)

    def refusal() -> str:
        with pytest.raises(TrustError) as refused:
            operations.train_alone(home, str(file), on_news=lambda _: None)
        return f"{refused.value} {refused.value.remedy}"

    unknown = refusal()
    operations.propose_study(home, agreed)
    unapproved = refusal()
    operations.create_person(home, "dr h", PASSPHRASE)
    operations.approve_study(home, agreed.id, person="dr h", passphrase=PASSPHRASE)
    done = operations.train_alone(home, str(file), on_news=lambda _: None)
    (read,) = operations.accesses(home)
    operations.withdraw_study(home, agreed.id, reason="enough")

    assert "First 'fedtui study propose FILE'" in unknown
    assert "lacks the approval of halland" in unapproved
    assert "dr h (halland)" in unapproved
    assert "sahlgrenska" not in unapproved  # to which nothing goes
    assert Path(done["file"]).exists()
    assert (read["action"], read["person"], read["run"]) == ("training alone", "dr h", "")
    ((_, told),) = records(home, events.AccessLogged)
    assert told.sentence.startswith(f"training alone: clinical of {read['patients']} patients at")
    listed = json.loads(Path(read["list"]).read_text())
    assert len(listed["patients"]) == read["patients"] > 100
    assert "withdrew" in refusal()
    assert len(operations.accesses(home)) == 1


def test_a_study_that_names_nobody_to_approve_reads_no_patients_data(
    patients: tuple[Home, Path],
) -> None:
    home, file = patients
    file.write_text(file.read_text().partition("[approvers]")[0])

    code, told, _ = told_by_the_command(home, file)

    assert (code, told["error"]) == (5, "TrustError")
    assert "names no approvers, and clinical here is not public" in told["message"]
    assert "halland under [approvers]" in told["remedy"]
    assert not operations.accesses(home)


def test_a_study_of_other_sites_is_not_this_sites(home: Home, tmp_path: Path) -> None:
    file = study(tmp_path, 1)
    file.write_text(file.read_text().replace("halland", "skane"))

    with pytest.raises(UsageError, match="does not name halland"):
        operations.train_alone(home, str(file), on_news=lambda _: None)


@pytest.mark.slow
def test_pretrained_weights_of_another_model_are_a_fault_of_that_file(tmp_path: Path) -> None:
    datasets.synthesise("siim_isic", tmp_path / "isic", rows=60)
    weights = tmp_path / "w.safetensors"
    save_file({"conv_stem.weight": np.zeros((2, 2), np.float32)}, weights)
    home = Home(tmp_path / "h")
    operations.create(home, "halland")
    with home.settings.open("a") as settings:
        settings.write(
            f'\n[data.siim_isic_128]\npath = "{tmp_path / "isic"}"\npublic = true\n'
            f'[weights]\nresnet18 = "{weights}"\n'
        )
    file = study(tmp_path, 1)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    changed = file.read_text().replace("breast_cancer", "siim_isic_128")
    changed = changed.replace('"logistic"', f'"resnet18"\npretrained = "{digest}"')
    file.write_text(changed + '[parameters]\nnorm = "frozen"\n')

    code, told, _ = told_by_the_command(home, file)

    assert (code, told["error"]) == (6, "DataError")
    assert "The file holds no resnet18." in told["message"]


def test_data_that_are_not_offered_are_named(tmp_path: Path) -> None:
    home = Home(tmp_path / "h")
    operations.create(home, "halland")

    with pytest.raises(UsageError, match="no data set 'breast_cancer'"):
        operations.train_alone(home, str(study(tmp_path, 1)), on_news=lambda _: None)
