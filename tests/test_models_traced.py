"""A step's trace in a file: it saves tracing, never changes a bit, and is never a stale one."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import models
from models import Training, _traced
from models._descent import Course, Descent
from models._program import Program, program

ROWS = 4


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    _traced.keep(tmp_path)
    yield tmp_path
    _traced.keep(None)


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The thread of each time that a step's gradient is traced."""
    found = []
    real = Descent.gradient

    def noting(*given: Any, **named: Any) -> Any:
        found.append(threading.current_thread().name)
        return real(*given, **named)

    monkeypatch.setattr(Descent, "gradient", noting)
    return found


def compiled(*, width: int = 4, **training: Any) -> Program:
    """As in a process that has compiled nothing yet."""
    config = models.load("cnn").Config(widths=(width,))
    chosen = Training(optimizer="adam", **training)
    return program.__wrapped__("cnn", config, chosen, 3, 1, gives="images")


def stepped(functions: Program, *, rows: int = ROWS) -> bytes:
    """Parameters and losses after a step on made images, as bytes."""
    random = np.random.default_rng(rows)
    x = random.integers(0, 256, (rows, 8, 8, 3), np.uint8), np.ones((rows, 3), np.float32)
    y, order = np.arange(rows, dtype=np.int32) % 2, np.arange(rows, dtype=np.int32)[None]
    given = jax.device_put((x, y, order))
    course = Course([], np.float32(1), np.int32(0), np.int32(1))
    start = functions.begin(functions.initial(np.uint32(0)))
    state, losses = functions.advance(start, *given, np.int32(0), np.int32(1), course)
    return functions.vector(state).tobytes() + np.asarray(losses).tobytes()


def test_the_second_process_traces_nothing_and_comes_to_the_same_bits(
    folder: Path, traces: list[str]
) -> None:
    first = stepped(compiled())
    assert len(traces) == 1

    second = stepped(compiled())

    assert len(traces) == 1
    assert second == first
    [file] = folder.glob("*.traced")
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_trace_in_a_file_is_the_step_as_jax_compiles_it_without(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = stepped(compiled())
    files = [*folder.iterdir()]
    monkeypatch.setattr(_traced.jax, "local_device_count", lambda: 2)

    assert stepped(compiled()) == kept
    assert [*folder.iterdir()] == files


def test_in_a_real_second_process_too(tmp_path: Path) -> None:
    child = """
import hashlib, json, sys
from pathlib import Path
from models._engine import use_cache
from models import _descent
from tests.test_models_traced import compiled, stepped
use_cache(Path(sys.argv[1]))
traced, real = [], _descent.Descent.gradient
_descent.Descent.gradient = lambda *a, **k: (traced.append(1), real(*a, **k))[1]
print(json.dumps([hashlib.sha256(stepped(compiled())).hexdigest(), len(traced)]))
"""
    told = [
        json.loads(
            subprocess.run(
                [sys.executable, "-W", "error", "-c", child, str(tmp_path)],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for _ in range(2)
    ]

    digest = hashlib.sha256(stepped(compiled())).hexdigest()
    assert told == [[digest, 1], [digest, 0]]


def test_what_was_called_last_is_loaded_in_a_thread_of_its_own(
    folder: Path, traces: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = stepped(compiled()), stepped(compiled(), rows=ROWS + 1)
    loads = []
    real = _traced._loaded
    monkeypatch.setattr(
        _traced, "_loaded", lambda c: (loads.append(threading.current_thread().name), real(c))[1]
    )

    functions = compiled()
    functions.load_ahead()
    functions.load_ahead()  # which is under way
    last = stepped(functions, rows=ROWS + 1)
    other = stepped(functions)  # which is not what was called last
    functions.load_ahead()  # which is there already

    assert (other, last) == expected
    assert len(traces) == 2
    assert len(loads) == 2
    assert loads[0].startswith("loading a step")
    assert loads[1] == threading.current_thread().name


def test_nothing_is_loaded_ahead_where_nothing_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> Any:
        raise AssertionError

    monkeypatch.setattr(_traced, "_loader", fails)
    compiled().load_ahead()
    stepped(compiled())
    with pytest.raises(AssertionError):
        compiled().load_ahead()
    _traced.keep(None)

    compiled().load_ahead()


def test_what_could_not_be_loaded_ahead_is_loaded_when_it_is_called(
    folder: Path, traces: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, real = stepped(compiled()), _traced._loaded
    functions = compiled()

    def fails(traced: Any) -> Any:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED")

    monkeypatch.setattr(_traced, "_loaded", fails)
    functions.load_ahead()
    _traced._loader().submit(int).result()  # behind the one that fails
    monkeypatch.setattr(_traced, "_loaded", real)

    assert stepped(functions) == expected
    assert len(traces) == 1


def test_a_step_that_calls_back_into_python_is_compiled_and_not_kept(folder: Path) -> None:
    heard = []

    def step(state: Any, losses: Any, at: Any, *, width: int) -> Any:
        jax.debug.callback(lambda value: heard.append(int(value)), at)
        return state + width, losses * 2

    traced = _traced.Traced(step)
    state, losses = traced(jnp.ones(2), jnp.ones(3), np.int32(7), width=4)
    jax.effects_barrier()

    assert (state.tolist(), losses.tolist(), heard) == ([5, 5], [2, 2, 2], [7])
    assert not [*folder.iterdir()]


def test_a_mistake_in_a_step_is_told_as_it_is(folder: Path) -> None:
    def step(state: Any, losses: Any, *, width: int) -> Any:
        raise ValueError("the model's own")

    with pytest.raises(ValueError, match="the model's own"):
        _traced.Traced(step)(jnp.ones(2), jnp.ones(3), width=4)


@pytest.mark.parametrize("damage", ["flipped", "short", "empty", "a folder"])
def test_a_damaged_file_is_traced_anew(folder: Path, traces: list[str], damage: str) -> None:
    whole = stepped(compiled())
    [file] = folder.glob("*.traced")
    content = file.read_bytes()
    if damage == "a folder":
        file.unlink()
        file.mkdir()
    else:
        at = len(content) // 2
        changed = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        file.write_bytes({"flipped": changed, "short": content[:at], "empty": b""}[damage])

    functions = compiled()
    functions.load_ahead()

    assert stepped(functions) == whole
    assert len(traces) == 2
    if damage != "a folder":
        assert _traced._read(file) is not None


def test_a_folder_that_cannot_be_written_costs_no_round(tmp_path: Path) -> None:
    _traced.keep(tmp_path / "nowhere")
    try:
        assert stepped(compiled()) == stepped(compiled())
    finally:
        _traced.keep(None)


def test_a_changed_source_is_never_served_by_the_trace_of_the_old_one(
    folder: Path, traces: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    copy = tmp_path / "sources"
    shutil.copytree(_traced._SOURCES, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(_traced, "_SOURCES", copy)
    stepped(compiled())
    stepped(compiled())
    assert len(traces) == 1, "the same sources elsewhere are the same"

    (copy / "cnn.py").write_text((copy / "cnn.py").read_text() + "\n")
    monkeypatch.setattr(_traced, "_LOADED", _traced._sources())
    stepped(compiled())

    assert len(traces) == 2


def test_a_process_that_was_upgraded_under_its_feet_keeps_no_trace(tmp_path: Path) -> None:
    """It runs the old code; under the new one's name the next process would take it for new."""
    root, site, folder = Path(__file__).parents[1], tmp_path / "site", tmp_path / "kept"
    folder.mkdir()
    for package in ("models", "datasets"):
        shutil.copytree(
            root / package, site / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    child = """
import sys
from pathlib import Path
from models import _traced
sys.path.append(sys.argv[1])
from tests.test_models_traced import compiled, stepped
assert _traced._SOURCES == Path.cwd() / "models"
_traced.keep(Path(sys.argv[2]))
if sys.argv[3] == "upgraded":
    with open("models/_program.py", "a") as file:
        file.write("\\n")
stepped(compiled())
print(len([*Path(sys.argv[2]).glob("*.traced")]))
"""

    def kept(how: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", child, str(root), str(folder), how],
            cwd=site,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    assert kept("upgraded") == "0"
    assert kept("as it was") == "1"


def test_files_do_not_pile_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_traced, "_MOST", 2)
    for rows in range(1, 4):
        stepped(compiled(), rows=rows)
        for file in folder.glob("*.traced"):
            os.utime(file, (now := file.stat().st_mtime - 60, now))  # each is older than the next
    last = {*folder.glob("*.traced")}

    stepped(compiled(), rows=3)

    assert len(last) == 2
    assert {*folder.glob("*.traced")} == last


@pytest.mark.parametrize(
    "change", ["library", "setting", "processor", "training", "rows", "a layer's width"]
)
def test_whatever_decides_a_step_asks_for_a_trace_of_its_own(
    folder: Path, traces: list[str], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    stepped(compiled())
    changed: dict[str, Any] = {}
    rows = ROWS
    if change == "library":
        monkeypatch.setattr(optax, "__version__", "0.0.0")
    elif change == "setting":
        jax.config.update("jax_optimization_level", "O1")
    elif change == "processor":
        monkeypatch.setattr(_traced, "identities", lambda: ["another"])
    elif change == "training":
        changed = {"learning_rate": 0.5}
    elif change == "a layer's width":
        changed = {"width": 5}
    else:
        rows += 1

    try:
        stepped(compiled(**changed), rows=rows)
    finally:
        jax.config.update("jax_optimization_level", "UNKNOWN")

    assert len(traces) == 2
    assert len(list(folder.glob("*.traced"))) == 2


def test_a_step_given_other_code_is_told_apart_in_its_bits() -> None:
    """The comparison above can fail: another rate gives other bits."""
    assert stepped(compiled(learning_rate=0.5)) != stepped(compiled())
    assert jnp.isfinite(np.frombuffer(stepped(compiled()), np.float32)).all()
