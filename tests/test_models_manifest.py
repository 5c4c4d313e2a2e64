"""Manifests: what a flat vector holds, in which order, the same at every site."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import models
from models import Training
from models._engine import Engine
from models._program import program
from tests.local_training import FEATURES, few, made


def kind(model: str) -> str:
    eats = models.load(model).EATS
    return eats if isinstance(eats, str) else eats[0]


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(name, marks=[pytest.mark.slow] if kind(name) == "images" else [])
        for name in models.names()
    ],
)
@given(seed=st.integers(0, 2**32 - 1))
@few
def test_the_flat_vector_survives_a_round_trip(model: str, seed: int) -> None:
    config = models.load(model).Config()
    functions = program(model, config, Training(), 64, 10, gives=kind(model))
    vector = np.random.default_rng(seed).normal(size=functions.manifest.size).astype(np.float32)

    state = functions.begin(vector)

    assert [leaf.shape for leaf in state.leaves] == [e.shape for e in functions.manifest.entries]
    assert np.array_equal(functions.vector(state), vector)


def test_the_manifest_names_every_array_of_the_model() -> None:
    manifest = Engine(
        model="mlp",
        config={"hidden": [5]},
        training=Training(),
        data=made(20, classes=4),
        seed=0,
        normalisation=None,
    ).manifest

    assert [(e.name, e.shape) for e in manifest.entries] == [
        ("layers.0.bias", (5,)),
        ("layers.0.kernel", (FEATURES, 5)),
        ("layers.2.bias", (4,)),
        ("layers.2.kernel", (5, 4)),
    ]
