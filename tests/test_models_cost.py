"""What models cost on this device: measured in a process of its own, printed or told by name."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import datasets
from fedtui.cli import models as command
from models import ModelError, _inputs, _probe


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fedtui.cli", "models", *words],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | variables,
    )


def test_a_probe_counts_parameters_and_scales_a_round_by_its_steps() -> None:
    cost = _probe.probe("mlp", "table", examples=1000, side=0, hours=0, features=5, batch=100)

    assert cost.parameters == 5 * 64 + 64 + 64 * 64 + 64 + 64 + 1
    assert cost.round_seconds == pytest.approx(10 * cost.step_seconds)
    assert cost.compile_seconds > cost.step_seconds > 0
    assert cost.memory_bytes > 10**7


@pytest.mark.parametrize(
    ("model", "gives", "bytes_"),
    [
        ("logistic", "table", 4 * 40 + 4),
        ("gru", "series", 6 * 40 * (4 + 1) + 4),  # values and what is known of them
        pytest.param("cnn", "images", 32 * 32 * 3 + 4 * 40 + 4, marks=pytest.mark.slow),
    ],
)
def test_memory_holds_all_examples_as_training_does(model: str, gives: str, bytes_: int) -> None:
    def memory(examples: int) -> int:
        return _probe.probe(
            model, gives, examples=examples, side=32, hours=6, features=40, batch=8
        ).memory_bytes

    few = memory(8)

    # A process's peak moves by some MB from one to the next.
    assert memory(8 + 10**7) - few == pytest.approx(10**7 * bytes_, rel=0.1)


def test_an_example_is_as_large_as_the_engine_keeps_it() -> None:
    data = datasets.load("digits")
    kept = _inputs.prepare(data.train, "table", None)

    made, _ = _probe._made("table", 3, side=0, hours=0, features=len(data.features))

    assert made.nbytes / 3 == kept.nbytes / len(data.train)


def test_every_model_is_probed_with_each_kind_that_it_eats() -> None:
    kinds = _probe.kinds()

    assert {("mlp", "table"), ("transformer", "table"), ("transformer", "series")} <= {*kinds}
    assert ("resnet18", "images") in kinds
    with pytest.raises(ModelError, match="gru does not eat table"):
        _probe.probe("gru", "table", examples=1, side=1, hours=1, features=1)


def test_the_command_measures_and_recommends() -> None:
    told = run("--only", "logistic", "--features", "7", "--examples", "500", "--json")

    assert told.returncode == 0, told.stderr
    answer = json.loads(told.stdout)
    (cost,) = answer["models"]
    assert (cost["model"], cost["gives"], cost["parameters"]) == ("logistic", "table", 8)
    assert answer["recommended"] == {"table": "logistic"}


def test_an_unknown_model_is_answered_with_the_choice() -> None:
    told = run("--only", "lenet", "--json")

    assert told.returncode == 2
    assert "mlp" in json.loads(told.stdout)["remedy"]


def test_a_probe_that_dies_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from fedtui.errors import ResourceError

    monkeypatch.setattr(sys, "executable", "/bin/false")

    with pytest.raises(ResourceError, match="answer: it said nothing") as caught:
        command._asked("resnet18", "images")
    assert caught.value.exit_code == 8


def cost(model: str, parameters: int, seconds: float, gigabytes: float) -> dict[str, object]:
    return {
        "model": model,
        "gives": "table",
        "parameters": parameters,
        "round_seconds": seconds,
        "memory_bytes": int(gigabytes * 1e9),
        "memory_limit_bytes": 8 * 10**9,
    }


@pytest.mark.parametrize(
    ("seconds", "largest"),
    [
        (60, "wide"),  # of the two with most parameters that fit, the quicker one
        (10, "small"),  # 'slow' takes 12 s, though it has fewer parameters than 'wide'
        (0.5, None),
        (10**6, "wide"),  # 'huge' needs more memory than there is, however much time
    ],
)
def test_the_largest_that_fits_time_and_memory_is_named(
    seconds: float, largest: str | None
) -> None:
    found = [
        cost("small", 100, 1.0, 0.5),
        cost("deep", 9000, 50.0, 1.0),
        cost("wide", 9000, 20.0, 1.0),
        cost("slow", 500, 12.0, 1.0),
        cost("huge", 10**6, 30.0, 9.0),
        {"model": "broken", "gives": "table", "failed": {"message": "no"}},
    ]

    assert command._largest(found, "table", seconds) == largest
    assert command._largest(found, "images", seconds) is None


@pytest.fixture
def one_fails(tmp_path: Path) -> Path:
    """A Python that dies, or never ends, where it is to measure the MLP."""
    script = tmp_path / "python"
    script.write_text(
        '#!/bin/sh\ncase "$*" in *" mlp table "*) eval "$DEATH";; esac\n'
        f'exec "{sys.executable}" "$@"\n'
    )
    script.chmod(0o755)
    return script


def start(python: Path, death: str, *words: str) -> subprocess.Popen[str]:
    code = f"import sys; sys.executable = {str(python)!r}; from fedtui.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, "models", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"DEATH": death},
    )


def test_one_that_fails_hides_no_other_and_ends_with_8(one_fails: Path) -> None:
    words = ("--only", "logistic", "--only", "mlp", "--only", "gru", "--hours", "4")

    plain = start(one_fails, "kill -9 $$", *words)
    out, err = plain.communicate(timeout=120)
    told = start(one_fails, "kill -9 $$", *words[:4], "--json")
    document = json.loads(told.communicate(timeout=120)[0])

    assert (plain.returncode, told.returncode) == (8, 8)
    assert {line.split()[0] for line in out.splitlines()[1:4]} == {"logistic", "mlp", "gru"}
    assert "failed: mlp ended without an answer" in out
    assert "minutes" in err
    assert [m["model"] for m in document["models"] if "failed" in m] == ["mlp"]
    assert document["models"][1]["failed"]["exit_code"] == 8
    assert document["recommended"]["table"] == "logistic"


@pytest.mark.parametrize("json_", [False, True])
def test_what_is_known_when_it_is_interrupted_is_kept(one_fails: Path, json_: bool) -> None:
    words = ("--only", "logistic", "--only", "mlp", *(("--json",) if json_ else ()))
    process = start(one_fails, "exec sleep 100", *words)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("mlp"):
            break

    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=60)

    assert process.returncode == 130
    if json_:
        document = json.loads(out)
        assert document["interrupted"] is True
        assert [m["model"] for m in document["models"]] == ["logistic"]
    else:
        assert out.splitlines()[1].startswith("logistic")
        assert "table: logistic is the largest" in out


def test_too_little_memory_is_named() -> None:
    told = run("--only", "logistic", "--features", "10000000", "--batch", "10000000", "--json")

    (failed,) = (m["failed"] for m in json.loads(told.stdout)["models"])
    assert told.returncode == 8
    assert failed["error"] == "ResourceError"
    assert "logistic needs more memory than this device has" in failed["message"]


def test_a_studys_own_model_is_measured_as_it_says(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text(
        'id = "own"\npurpose = "p"\nsites = ["a"]\ndata = "digits"\nmodel = "mlp"\nrounds = 1\n'
        "[parameters]\nhidden = [3]\n[training]\nbatch = 50\nepochs = 3\n"
    )

    told = run("--study", str(file), "--features", "4", "--examples", "100", "--json")

    (cost,) = json.loads(told.stdout)["models"]
    assert cost["parameters"] == 4 * 3 + 3 + 3 + 1
    assert (cost["model"], cost["batch"]) == ("mlp", 50)
    assert cost["round_seconds"] == pytest.approx(6 * cost["step_seconds"])

    file.write_text(file.read_text().replace("hidden", "hiden"))
    wrong = run("--study", str(file), "--json")

    assert wrong.returncode == 2
    assert json.loads(wrong.stdout)["message"] == "hiden: unknown key."
    both = run("--study", str(file), "--only", "mlp", "--json")
    assert both.returncode == 2
    assert "not both" in json.loads(both.stdout)["remedy"]
