"""Aggregation rules against the published ones, written out a parameter at a time."""

import math
import statistics
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedtui.flower import rules
from fedtui.flower.rules import rule

Vector = NDArray[np.float32]
PARAMETERS = 7


def rounds(seed: int, sites: int, count: int) -> list[tuple[list[Vector], list[int]]]:
    random = np.random.default_rng(seed)
    return [
        (
            [random.normal(size=PARAMETERS).astype(np.float32) for _ in range(sites)],
            random.integers(1, 1000, sites).tolist(),
        )
        for _ in range(count)
    ]


def ran(name: str, work: list[tuple[list[Vector], list[int]]], **settings: float) -> list[Vector]:
    step, joint, state = rule(name, settings), np.ones(PARAMETERS, np.float32), {}
    found = []
    for models, examples in work:
        joint, state = step(joint, models, examples, state)
        assert joint.dtype == np.float32
        assert all(value.dtype == np.float32 for value in state.values())
        found.append(joint)
    return found


def published(
    name: str, work: list[tuple[list[Vector], list[int]]], settings: Mapping[str, float]
) -> list[list[float]]:
    """One Python number at a time, as the papers' algorithms read."""
    x, m, found = [1.0] * PARAMETERS, [0.0] * PARAMETERS, []
    v = [settings.get("floor", 0) ** 2] * PARAMETERS
    for models, examples in work:
        for i in range(PARAMETERS):
            mean = sum(float(w[i]) * n for w, n in zip(models, examples, strict=True))
            delta = mean / sum(examples) - x[i]
            if name == "fedavgm":
                m[i] = settings["momentum"] * m[i] + delta
                x[i] += settings["rate"] * m[i]
                continue
            m[i] = settings["first"] * m[i] + (1 - settings["first"]) * delta
            keep = settings["second"]
            if name == "fedadam":
                v[i] = keep * v[i] + (1 - keep) * delta**2
            else:
                v[i] -= (1 - keep) * delta**2 * math.copysign(1, v[i] - delta**2)
            x[i] += settings["rate"] * m[i] / (math.sqrt(v[i]) + settings["floor"])
        found.append(list(x))
    return found


@given(seed=st.integers(0, 9999), sites=st.integers(1, 5))
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("fedavgm", {"rate": 0.7, "momentum": 0.9}),
        ("fedadam", {"rate": 0.05, "first": 0.9, "second": 0.99, "floor": 0.01}),
        ("fedyogi", {"rate": 0.05, "first": 0.8, "second": 0.95, "floor": 0.01}),
    ],
)
def test_a_rule_with_memory_is_the_published_one(
    name: str, settings: dict[str, float], seed: int, sites: int
) -> None:
    work = rounds(seed, sites, 4)

    # State is kept in float32 between rounds, which carries 1e-7 of terms of order 1.
    np.testing.assert_allclose(
        ran(name, work, **settings), published(name, work, settings), atol=2e-5
    )


@given(seed=st.integers(0, 9999), sites=st.integers(1, 9))
def test_the_median_and_the_trimmed_mean_are_taken_by_parameter(seed: int, sites: int) -> None:
    ((models, examples),) = work = rounds(seed, sites, 1)
    columns = [sorted(float(model[i]) for model in models) for i in range(PARAMETERS)]
    out = sites // 4

    (middle,) = ran("median", work)
    (trimmed,) = ran("trimmed_mean", work, trim=0.25)
    (wide,) = ran("trimmed_mean", work, trim=0.0)

    np.testing.assert_allclose(middle, [statistics.median(c) for c in columns], atol=1e-7)
    by_hand = [statistics.fmean(column[out : sites - out]) for column in columns]
    np.testing.assert_allclose(trimmed, by_hand, atol=1e-6)
    np.testing.assert_allclose(wide, [statistics.fmean(c) for c in columns], atol=1e-6)
    del examples


@pytest.mark.parametrize("name", ["median", "trimmed_mean"])
def test_one_site_in_five_cannot_move_a_robust_rule_far(name: str) -> None:
    ((models, examples),) = rounds(0, 5, 1)
    honest = np.stack(models[1:])

    (found,) = ran(name, [([np.full(PARAMETERS, 1e30, np.float32), *models[1:]], examples)])

    assert (found >= honest.min(axis=0) - 1e-6).all()
    assert (found <= honest.max(axis=0) + 1e-6).all()


@pytest.mark.parametrize("name", ["fedavg", "fedprox"])
def test_averaging_is_the_weighted_mean_without_memory(name: str) -> None:
    ((models, examples),) = work = rounds(1, 3, 1)

    (found,) = ran(name, work)

    np.testing.assert_allclose(found, np.average(models, axis=0, weights=examples), atol=1e-6)
    assert rule(name)(models[0], models, examples, {})[1] == {}


@pytest.mark.parametrize("name", rules.NAMES)
def test_a_rule_changes_nothing_it_was_given_and_repeats(name: str) -> None:
    work = rounds(2, 3, 3)
    before = [[model.copy() for model in models] for models, _ in work]

    first, second = ran(name, work), ran(name, work)

    assert [v.tobytes() for v in first] == [v.tobytes() for v in second]
    for (models, _), copies in zip(work, before, strict=True):
        assert all(map(np.array_equal, models, copies))


def test_blocks_do_not_show() -> None:
    size = 2 * rules._BLOCK + 3
    models = [np.random.default_rng(i).normal(size=size).astype(np.float32) for i in range(3)]
    joint = np.zeros(size, np.float32)

    for name in rules.NAMES:
        whole, _ = rule(name)(joint, models, [1, 2, 3], {})
        end, _ = rule(name)(joint[-5:], [model[-5:] for model in models], [1, 2, 3], {})
        np.testing.assert_array_equal(whole[-5:], end)


@pytest.mark.parametrize(
    ("name", "settings", "key"),
    [
        ("krum", {}, "strategy"),
        ("fedavg", {"rate": 1.0}, "rate"),
        ("fedadam", {"momentum": 0.5}, "momentum"),
        ("fedadam", {"rate": 0.0}, "rate"),
        ("fedadam", {"second": 1.0}, "second"),
        ("fedyogi", {"floor": 0.0}, "floor"),
        ("fedavgm", {"momentum": float("nan")}, "momentum"),
        ("trimmed_mean", {"trim": 0.5}, "trim"),
    ],
)
def test_a_wrong_setting_is_named(name: str, settings: dict[str, float], key: str) -> None:
    with pytest.raises(ValueError, match=f"^{key}: "):
        rule(name, settings)
