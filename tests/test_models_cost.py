"""What models cost on this device: measured in a process of its own, printed or told by name."""

import json
import os
import subprocess
import sys

import pytest

from fedtui.cli import models as command
from models import ModelError, _probe


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

    with pytest.raises(ResourceError, match="resnet18 ended without an answer") as caught:
        command._asked("resnet18", "images")
    assert caught.value.exit_code == 8


def test_the_largest_that_is_quick_enough_is_recommended() -> None:
    costs = [
        {"model": name, "gives": "table", "round_seconds": seconds}
        for name, seconds in (("a", 1.0), ("b", 50.0), ("c", 70.0))
    ]

    assert command._recommended(costs, "table", 60) == "b"
    assert command._recommended(costs, "table", 0.5) is None
    assert command._recommended(costs, "images", 60) is None
