"""What is compiled of a model: steps that reuse their memory, arithmetic that suits the device."""

from typing import Any

import jax
import numpy as np
import pytest

import models
from models import Training
from models._descent import Course
from models._program import program


@pytest.mark.parametrize("stepwise", [True, False])
def test_a_step_takes_the_memory_of_the_one_before(stepwise: bool) -> None:
    gives = "images" if stepwise else "table"  # on a processor; see ``_program``
    model = "cnn" if stepwise else "mlp"
    functions = program(
        model, models.load(model).Config(), Training(optimizer="adam"), 3, 1, gives=gives
    )
    x: Any = np.ones((4, 3), np.float32)
    if stepwise:
        x = (np.ones((4, 8, 8, 3), np.uint8), x)
    state = functions.begin(functions.initial(np.uint32(0)))
    course = Course([], np.float32(1), np.int32(0), np.int32(1))
    given = jax.device_put((x, np.zeros(4, np.int32), np.arange(4, dtype=np.int32)[None]))
    rest = (*given, np.int32(0), np.int32(1), course)

    after, _ = functions.advance(state, *rest)

    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    if not stepwise:
        text = functions.advance.lower(after, *rest).as_text()  # type: ignore[attr-defined]
        assert text.count("tf.aliasing_output") >= len(jax.tree.leaves(after))


@pytest.mark.parametrize(
    ("backend", "precision", "narrow"),
    [
        ("gpu", "auto", True),
        ("cpu", "auto", False),
        ("tpu", "auto", False),
        ("gpu", "float32", False),
        ("cpu", "bfloat16", True),
    ],
)
def test_a_network_computes_in_bfloat16_by_itself_on_a_gpu_only(
    monkeypatch: pytest.MonkeyPatch, backend: str, precision: Any, narrow: bool
) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    functions = program.__wrapped__(
        "mlp", models.load("mlp").Config(), Training(precision=precision), 3, 1
    )
    state = functions.begin(functions.initial(np.uint32(0)))
    course = Course([], np.float32(1), np.int32(0), np.int32(1))

    traced = jax.make_jaxpr(functions.loop)(
        state, np.ones((4, 3), np.float32), np.zeros(4, np.int32),
        np.arange(4, dtype=np.int32)[None], np.int32(0), np.int32(1), course,
    )  # fmt: skip

    assert ("bf16" in str(traced)) == narrow
