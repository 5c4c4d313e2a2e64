"""What a model costs on this device: compiles it, takes some steps on made-up data, prints JSON.

    python -m models._probe --names
    python -m models._probe MODEL GIVES [--examples 10000] [--side 128] [--hours 48] [--batch 0]
        [--study '{"parameters": {}, "training": {}}']

A process for each model, so that each has its own peak of memory. ``fedtui models`` runs it.
"""

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import models
from models import ModelError, Training

_BATCHES = {"table": 256, "series": 128, "images": 16}
_LARGE_BATCHES = {**_BATCHES, "images": 64}  # on an accelerator, which 16 images leave idle
_SECONDS = 0.5  # of steps that are timed, after one that warms up
_MOST_STEPS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one model costs on this device.

    Attributes:
        model: Its name.
        gives: What it was fed: 'table', 'series' or 'images'.
        device: JAX's platform and kind.
        parameters: In the vector that travels, 4 bytes each.
        batch: Examples a step.
        compile_seconds: Until the first step is done, without a cache.
        step_seconds: Of one step after that, of AdamW.
        memory_bytes: The device's peak, with all ``examples`` on it, as training has them; on a CPU
            that of the whole process.
        memory_limit_bytes: What the device has; on a CPU the host or the control group.
        round_seconds: Over ``examples``: a pass, or what ``training`` makes a round; not private.
        examples: As asked for.
    """

    model: str
    gives: str
    device: str
    parameters: int
    batch: int
    compile_seconds: float
    step_seconds: float
    memory_bytes: int
    memory_limit_bytes: int | None
    round_seconds: float
    examples: int


def probe(
    model: str,
    gives: str,
    *,
    examples: int,
    side: int,
    hours: int,
    features: int,
    batch: int = 0,
    parameters: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
) -> Cost:
    """Takes some seconds; a large network on a CPU up to a minute.

    Args:
        batch: 0 for ``training``'s, else for what is usual with such data.
        parameters: The model's settings, as a study has them.
        training: Likewise; AdamW where there are none.

    Raises:
        ModelError: there is no such model, it does not eat that, or a setting is wrong.
    """
    import jax

    from models._descent import Course
    from models._program import program

    source = models.load(model)
    if (model, gives) not in kinds():
        raise ModelError(f"model: {model} does not eat {gives}")
    device = jax.local_devices()[0]
    usual = (_BATCHES if device.platform == "cpu" else _LARGE_BATCHES)[gives]
    work = Training(optimizer="adamw", learning_rate=1e-3, batch=usual)
    if training is not None:
        work = models.configure(Training, training)
    work = replace(work, batch=batch or work.batch)
    batch = work.batch
    config = models.configure(source.Config, parameters or {})
    functions = program(model, config, work, features, 1, gives=gives)
    state = functions.begin(functions.initial(np.uint32(0)))
    x, y = jax.device_put(_made(gives, batch, side=side, hours=hours, features=features))
    order = np.tile(np.arange(batch, dtype=np.int32), (_MOST_STEPS, 1))
    course = Course([], np.float32(1), np.int32(0), np.int32(_MOST_STEPS))

    def took(steps: int) -> float:
        nonlocal state
        began = time.perf_counter()
        ends = np.int32(0), np.int32(steps)
        state, losses = functions.advance(state, x, y, order, *ends, course)
        losses.block_until_ready()
        return time.perf_counter() - began

    compiled, single = took(1), took(1)
    steps = max(1, min(_MOST_STEPS, int(_SECONDS / single)))
    step = min(single, took(steps) / steps)
    peak = (device.memory_stats() or {}).get("peak_bytes_in_use")
    peak = peak or 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    example = sum(array.nbytes for array in jax.tree.leaves((x, y))) // batch
    return Cost(
        model=model,
        gives=gives,
        device=" ".join(dict.fromkeys((device.platform, device.device_kind))).strip(),
        parameters=functions.manifest.size,
        batch=batch,
        compile_seconds=compiled,
        step_seconds=step,
        memory_bytes=peak + example * max(examples - batch, 0),  # one batch is there already
        memory_limit_bytes=_room(device),
        round_seconds=step * work.steps(examples),
        examples=examples,
    )


def _room(device: Any) -> int | None:
    """What there is of the memory that ``memory_bytes`` measures; None where nobody says it."""
    if limit := (device.memory_stats() or {}).get("bytes_limit"):
        return int(limit)
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        group = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return host
    return min(host, int(group)) if group.isdigit() else host


def kinds() -> list[tuple[str, str]]:
    """Every model with each kind of data that it eats."""
    found = []
    for name in models.names():
        eats = models.load(name).EATS
        found += [(name, gives) for gives in ((eats,) if isinstance(eats, str) else eats)]
    return found


def _made(gives: str, rows: int, *, side: int, hours: int, features: int) -> Any:
    """Inputs of one batch as ``Model.build`` names them, and labels."""
    random = np.random.default_rng(0)
    y = random.integers(0, 2, rows).astype(np.int32)
    if gives == "images":
        image = random.integers(0, 256, (rows, side, side, 3), dtype=np.uint8)
        return (image, np.zeros((rows, features), np.float32)), y
    shape = (rows, features) if gives == "table" else (rows, hours, features)
    x = random.normal(size=shape).astype(np.float32)
    return (x if gives == "table" else (x, np.ones(shape, dtype=bool))), y


def _main() -> int:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("model", nargs="?")
    arguments.add_argument("gives", nargs="?")
    arguments.add_argument("--names", action="store_true")
    arguments.add_argument("--examples", type=int, default=10_000)
    arguments.add_argument("--side", type=int, default=128)
    arguments.add_argument("--hours", type=int, default=48)
    arguments.add_argument("--features", type=int, default=40)
    arguments.add_argument("--batch", type=int, default=0)
    arguments.add_argument("--study", type=json.loads, default={})
    given = vars(arguments.parse_args())
    given |= given.pop("study")
    if given.pop("names"):
        answer: Any = kinds()
    else:
        try:
            answer = asdict(probe(**given))
        except ModelError as error:
            answer = {"error": "UsageError", "message": f"{error}.", "remedy": error.remedy}
        except (MemoryError, RuntimeError) as error:  # JAX's own is a RuntimeError
            if not isinstance(error, MemoryError) and "out of memory" not in str(error).lower():
                raise
            answer = {
                "error": "ResourceError",
                "message": f"{given['model']} needs more memory than this device has.",
                "remedy": "Try a smaller --batch, or choose other models with --only.",
            }
    sys.stdout.write(json.dumps(answer) + "\n")
    return int("error" in answer)


if __name__ == "__main__":
    sys.exit(_main())
