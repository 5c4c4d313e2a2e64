"""The light half of models: settings are judged and manifests compared without JAX."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import models
from models import Entry, Manifest, ModelError, Training

entries = st.builds(
    Entry,
    name=st.text(min_size=1, max_size=20),
    shape=st.lists(st.integers(0, 9), max_size=3).map(tuple),
    dtype=st.sampled_from(["float32", "bfloat16"]),
)
manifests = st.lists(entries, max_size=5).map(tuple).map(Manifest)

KERNEL, BIAS = Entry(name="kernel", shape=(64, 10)), Entry(name="bias", shape=(10,))


def test_a_study_is_judged_without_jax() -> None:
    program = """
import sys, models
for name in models.names():
    models.configure(models.load(name).Config, {})
models.configure(models.Training, {"batch": 8})
print(*sorted({"jax", "flax", "optax", "sklearn", "fedtui"} & set(sys.modules)))
"""

    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert (answer.stdout.strip(), answer.stderr) == ("", "")


def test_an_unknown_model_is_answered_with_the_choice() -> None:
    with pytest.raises(ModelError, match="'gpt'") as caught:
        models.load("gpt")

    assert "logistic" in caught.value.remedy


@given(manifests)
def test_a_manifest_reads_back_as_it_was_written(manifest: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json()) == manifest


@given(manifests, manifests)
def test_a_mismatch_is_found_from_either_side_exactly_if_there_is_one(
    here: Manifest, there: Manifest
) -> None:
    assert (here.mismatch(there) is None) == (here == there) == (there.mismatch(here) is None)


def test_the_first_array_that_differs_is_named() -> None:
    here = Manifest((KERNEL, BIAS))
    there = Manifest((KERNEL, replace(BIAS, shape=(9,))))

    assert here.size == 650
    assert here.mismatch(there) == "array 1: bias float32 [10] here, bias float32 [9] there"
    assert here.mismatch(Manifest((KERNEL,))) == "array 1: bias float32 [10] only here"


@pytest.mark.parametrize(
    "document", [[{"name": "w"}], [1], [{"name": "w", "shape": "x", "dtype": "f"}]]
)
def test_what_is_no_manifest_is_refused(document: list[Any]) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        Manifest.from_json(document)


def test_settings_from_a_file_become_what_the_model_takes() -> None:
    config = models.configure(models.load("mlp").Config, {"hidden": [32]})
    training = models.configure(Training, {"learning_rate": 1, "clip": None, "optimizer": "adam"})

    assert config.hidden == (32,)
    assert (training.learning_rate, training.clip, training.optimizer) == (1, None, "adam")


@pytest.mark.parametrize(
    ("name", "settings", "key"),
    [
        ("logistic", {"hidden": [3]}, "hidden"),
        ("mlp", {"hiden": [3]}, "hiden"),
        ("mlp", {"hidden": 3}, "hidden"),
        ("mlp", {"hidden": [3, "4"]}, "hidden"),
        ("mlp", {"hidden": []}, "hidden"),
        ("mlp", {"hidden": [8, 0]}, "hidden"),
    ],
)
def test_a_wrong_setting_of_a_model_is_named(name: str, settings: dict[str, Any], key: str) -> None:
    with pytest.raises(ModelError, match=f"^{key}: "):
        models.configure(models.load(name).Config, settings)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"rate": 0.1}, "rate"),
        ({"optimizer": "lion"}, "optimizer"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"learning_rate": "0.1"}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"batch": 0}, "batch"),
        ({"batch": 1.5}, "batch"),
        ({"batch": True}, "batch"),
        ({"epochs": 0}, "epochs"),
        ({"l2": -1.0}, "l2"),
        ({"clip": 0.0}, "clip"),
        ({"momentum": 1.0}, "momentum"),
        ({"momentum": 0.9, "optimizer": "adam"}, "momentum"),
        ({"weight_decay": 0.1, "optimizer": "sgd"}, "weight_decay"),
    ],
)
def test_a_wrong_setting_of_training_is_named(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(ModelError, match=f"^{key}: "):
        models.configure(Training, settings)
