"""The leakage gate's arithmetic, against theory."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats

from models import Training
from models._leakage_canaries import bound, epsilon
from models._leakage_scores import (
    by_patient,
    clopper_pearson,
    lira,
    pooled,
)
from models._leakage_verdict import weaknesses
from models._metrics import auroc


def test_the_attack_finds_what_theory_says() -> None:
    """Confidences that are normal, and a step of ``shift`` deviations higher for members."""
    random, shift = np.random.default_rng(0), 1.0
    models, records = 64, 3000
    level = random.normal(0, 2, records)
    inside = random.random((models, records)) < 0.7
    shadows = level + random.normal(size=(models, records)) + shift * inside
    classes = np.zeros(records, dtype=np.int32)

    scores = np.stack(
        [
            lira(shadows[k], inside[k], classes, np.delete(shadows, k, 0), np.delete(inside, k, 0))
            for k in range(models)
        ]
    )
    found = pooled(scores, inside, seed=0)

    best = NormalDist().cdf(shift - NormalDist().inv_cdf(0.99))  # 0.092, parameters known
    assert 0.75 * best < found.rate < 1.02 * best  # 20 models tell a record's mean to 0.22
    assert found.interval.low < found.rate < found.interval.high < 1.1 * best


def test_what_shifts_a_model_for_everybody_does_not_count_as_leakage() -> None:
    random = np.random.default_rng(0)
    inside = random.random((32, 2000)) < 0.5
    shadows = random.normal(0, 2, 2000) + random.normal(size=(32, 2000)) + inside
    target = shadows[0] + 1.5 * (np.arange(2000) % 2 * 2 - 1)  # up for one class, down for another
    classes = (np.arange(2000) % 2).astype(np.int32)

    plain, moved = (
        lira(values, inside[0], classes, shadows[1:], inside[1:]) for values in (shadows[0], target)
    )

    there, here = (auroc(inside[0].astype(np.int32), scores) for scores in (plain, moved))
    assert there == pytest.approx(here, abs=0.01)
    assert there == pytest.approx(NormalDist().cdf(1 / math.sqrt(2)), abs=0.03)


def test_a_tie_of_members_and_strangers_finds_one_percent() -> None:
    random = np.random.default_rng(0)
    inside = random.random((40, 2000)) < 0.5

    found = pooled(random.normal(size=(40, 2000)), inside, seed=0)

    assert found.interval.low < 0.01 < found.interval.high < 0.013


def test_one_odd_patient_widens_the_interval() -> None:
    random = np.random.default_rng(0)
    inside = random.random((40, 1000)) < 0.5
    scores = random.normal(size=(40, 1000))
    narrow = pooled(scores, inside, seed=0).interval
    scores[:, :15] += 5 * inside[:, :15]  # a few patients are found in every model

    wide = pooled(scores, inside, seed=0).interval

    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


@pytest.mark.parametrize(("hits", "trials"), [(0, 10), (3, 700), (14, 1400), (10, 10)])
def test_intervals_of_shares_are_exact(hits: int, trials: int) -> None:
    truth = stats.binomtest(hits, trials).proportion_ci(method="exact")

    found = clopper_pearson(hits, trials)

    assert found.low == pytest.approx(truth.low, abs=1e-9)
    assert found.high == pytest.approx(truth.high, abs=1e-9)


def test_all_guesses_right_refute_what_a_formula_says() -> None:
    # Of 100 coins under epsilon each guess is right with e^eps / (1 + e^eps) at most.
    p = 0.05 ** (1 / 100)

    assert bound(100, 100, coins=100, delta=0.0, error=0.05) == pytest.approx(
        math.log(p / (1 - p)), abs=1e-6
    )
    assert bound(50, 100, coins=100, delta=0.0, error=0.05) == 0.0
    assert bound(100, 100, coins=100, delta=1e-5, error=0.05) < math.log(p / (1 - p))


def test_randomised_responses_refute_nearly_their_own_epsilon() -> None:
    random, truth = np.random.default_rng(0), 1.5
    found = []
    for _ in range(40):
        coins = random.random((8, 100)) < 0.5
        told = coins ^ (random.random(coins.shape) > 1 / (1 + math.exp(-truth)))
        found.append(epsilon(told + 1e-6 * random.random(coins.shape), coins, delta=0.0))

    assert np.mean(np.array(found) > truth) <= 0.1
    assert np.median(found) > 0.8 * truth


def test_a_patient_whose_records_are_scattered_is_found_again() -> None:
    patients = np.array([2, 0, 1])

    assert by_patient(np.array([1.0, 2.0, 3.0]), patients).tolist() == [2.0, 3.0, 1.0]


def test_small_batches_and_single_steps_are_named() -> None:
    assert not weaknesses(Training(batch=32), examples=64)
    assert "32" in weaknesses(Training(batch=16), examples=64)[0]
    assert "one step" in weaknesses(Training(batch=64), examples=64)[0]
    assert not weaknesses(Training(batch=64, epochs=2), examples=64)
    assert "one step" in weaknesses(Training(batch=64, epochs=2, share=0.5), examples=64)[0]
    assert len(weaknesses(Training(batch=8), examples=8)) == 2
