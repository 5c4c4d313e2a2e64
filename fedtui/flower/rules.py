"""How the sites' models become the next joint one: pure functions over flat vectors.

A rule takes the joint model, the sites' models, their examples and the state that it left the last
time, and gives the next joint model and state. State is float32 arrays by name, each [parameters],
empty before the first round, so that a checkpoint can hold it. FedProx acts at the sites
(``Training.proximal``); here it is FedAvg.
"""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from fedtui.flower import vectors
from fedtui.flower.vectors import Vector

State = dict[str, Vector]
Step = tuple[Vector, State]
Rule = Callable[[Vector, Sequence[Vector], Sequence[int], State], Step]

TRIM = 0.2  # of the sites, at either end
_BLOCK = 1 << 16  # elements a time, in float64: 0.5 MB a site in the cache


def rule(name: str, settings: Mapping[str, float] | None = None) -> Rule:
    """The rule of that name, under its settings; what is left out has the published default.

    Raises:
        ValueError: there is no such rule or setting, or a value is out of its range; the text
            begins with the key.
    """
    if name not in _RULES:
        raise ValueError(f"strategy: there is no '{name}'; choose one of {', '.join(_RULES)}")
    found, given = _RULES[name], dict(settings or {})
    parameters = inspect.signature(found).parameters.values()
    known = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
    for key, value in given.items():
        if key not in known:
            words = f"known are {', '.join(known)}" if known else f"{name} has no settings"
            raise ValueError(f"{key}: unknown key; {words}")
        low, high = _RANGES[key]
        if not low <= value < high:
            raise ValueError(f"{key}: it must be at least {low:g} and less than {high:g}")
    return partial(found, **given)


def fedavg(joint: Vector, models: Sequence[Vector], examples: Sequence[int], state: State) -> Step:
    """The mean, weighted by examples.

    References:
        McMahan et al., Communication-Efficient Learning, AISTATS 2017, algorithm 1.
    """
    del joint
    return vectors.mean(models, examples), state


def fedavgm(
    joint: Vector,
    models: Sequence[Vector],
    examples: Sequence[int],
    state: State,
    *,
    rate: float = 1.0,
    momentum: float = 0.9,
) -> Step:
    """The mean's step, with a memory of earlier ones.

    References:
        Hsu et al., Measuring the Effects of Non-Identical Data, arXiv 1909.06335, section 4.3:
        v = momentum v + change, w = w + rate v.
    """
    change = vectors.mean(models, examples) - joint
    if "velocity" in state:
        change += np.float32(momentum) * state["velocity"]
    return joint + np.float32(rate) * change, {"velocity": change}


def fedadam(
    joint: Vector,
    models: Sequence[Vector],
    examples: Sequence[int],
    state: State,
    *,
    rate: float = 0.1,
    first: float = 0.9,
    second: float = 0.99,
    floor: float = 1e-3,
) -> Step:
    """Each parameter's step scaled by how large its steps have been.

    Args:
        rate: The coordinator's, eta; 0.1 to 0.01 did best in the paper.
        first: Memory of the step, beta 1.
        second: Memory of its square, beta 2.
        floor: Of the scale, tau.

    References:
        Reddi et al., Adaptive Federated Optimization, ICLR 2021, algorithm 2, without a correction
        for the start, and from v = tau squared.
    """
    return _adaptive(
        joint,
        models,
        examples,
        state,
        (rate, first, second, floor),
        lambda v, square: second * v + (1 - second) * square,
    )


def fedyogi(
    joint: Vector,
    models: Sequence[Vector],
    examples: Sequence[int],
    state: State,
    *,
    rate: float = 0.1,
    first: float = 0.9,
    second: float = 0.99,
    floor: float = 1e-3,
) -> Step:
    """As FedAdam, but the scale shrinks slowly after large steps. Settings as there.

    References:
        Reddi et al., Adaptive Federated Optimization, ICLR 2021, algorithm 2 (FedYogi).
    """
    return _adaptive(
        joint,
        models,
        examples,
        state,
        (rate, first, second, floor),
        lambda v, square: v - (1 - second) * square * np.sign(v - square),
    )


def trimmed_mean(
    joint: Vector,
    models: Sequence[Vector],
    examples: Sequence[int],
    state: State,
    *,
    trim: float = TRIM,
) -> Step:
    """Each parameter's mean without its largest and smallest values; every site counts alike.

    Args:
        trim: Share of the sites to leave out at either end, rounded down: with four sites and 0.2
            none is left out.

    References:
        Yin et al., Byzantine-Robust Distributed Learning, ICML 2018, definition 2.
    """
    del joint, examples
    out = trimmed(trim, len(models))

    def middle(block: np.ndarray) -> np.ndarray:
        kept = np.sort(block, axis=0)[out : len(models) - out]
        return np.asarray(kept.mean(axis=0))

    return _by_blocks(models, middle), state


def trimmed(trim: float, sites: int) -> int:
    """How many of ``sites`` a trimmed mean leaves out at either end."""
    return math.floor(trim * sites + 1e-9)  # rounding of 0.2 x 5


def median(joint: Vector, models: Sequence[Vector], examples: Sequence[int], state: State) -> Step:
    """Each parameter's median; every site counts alike. Of two sites it is the mean.

    References:
        Yin et al., Byzantine-Robust Distributed Learning, ICML 2018, definition 1.
    """
    del joint, examples
    return _by_blocks(models, partial(np.median, axis=0)), state


def _adaptive(
    joint: Vector,
    models: Sequence[Vector],
    examples: Sequence[int],
    state: State,
    settings: tuple[float, float, float, float],
    scale: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Step:
    rate, first, second, floor = settings
    del second  # ``scale`` knows it
    mean = vectors.mean(models, examples)
    moved, m, v = (np.empty_like(joint) for _ in range(3))
    for part in _blocks(joint.size):
        change = mean[part].astype(np.float64) - joint[part]
        before = state["first"][part] if state else 0.0
        square = (
            state["second"][part].astype(np.float64) if state else np.full(len(change), floor**2)
        )
        m[part] = first * before + (1 - first) * change
        v[part] = scale(square, change * change)
        moved[part] = joint[part] + rate * m[part] / (np.sqrt(v[part]) + floor)
    return moved, {"first": m, "second": v}


def _by_blocks(models: Sequence[Vector], reduce: Callable[[np.ndarray], np.ndarray]) -> Vector:
    """``reduce`` of float64 [sites, elements], a block of all sites at a time."""
    if not models:
        raise ValueError("the mean of no vectors")
    found: Vector = np.empty(models[0].size, dtype=np.float32)
    for part in _blocks(found.size):
        found[part] = reduce(np.stack([model[part] for model in models]).astype(np.float64))
    return found


def _blocks(size: int) -> Iterator[slice]:
    return (slice(start, min(start + _BLOCK, size)) for start in range(0, size, _BLOCK))


_RULES: dict[str, Callable[..., Step]] = {
    "fedavg": fedavg,
    "fedprox": fedavg,
    "fedavgm": fedavgm,
    "fedadam": fedadam,
    "fedyogi": fedyogi,
    "trimmed_mean": trimmed_mean,
    "median": median,
}
_RANGES = {
    "rate": (1e-6, math.inf),
    "momentum": (0.0, 1.0),
    "first": (0.0, 1.0),
    "second": (0.0, 1.0),
    "floor": (1e-9, math.inf),
    "trim": (0.0, 0.5),
}
NAMES = tuple(_RULES)
