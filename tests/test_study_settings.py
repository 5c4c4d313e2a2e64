"""What a study asks for beside plain averaging reaches the sites and does what it says there."""

import hashlib
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import datasets
import models
from fedtui import disclosure, events
from fedtui.errors import DataError, UsageError
from fedtui.flower import brought, checkpoints, fitting, rules, vectors
from fedtui.study import Quorum, Study
from models._engine import Engine
from tests import federation as fed
from tests.federation import COORDINATOR, SITE, Federation, records
from tests.test_recovery import pid_of

TRAINING = {"learning_rate": 0.1, "batch": 32}


@pytest.fixture(scope="module")
def first() -> np.ndarray:
    """The joint model before round 1, as every engine draws it."""
    return engine(COORDINATOR).initial()


def engine(site: str, **changes: Any) -> Engine:
    """The same work in this process."""
    part = fed.PARTS[(COORDINATOR, SITE).index(site)]
    return Engine(
        model="mlp",
        config={},
        training=models.configure(models.Training, {**TRAINING, **changes}),
        data=datasets.load("digits", part=part),
        seed=0,
        normalisation=None,
    )


def stream(site: str) -> int:
    return int.from_bytes(hashlib.sha256(site.encode()).digest()[:4], "big")


def here(
    first: np.ndarray, *, strategy: str, settings: dict[str, float], rounds: int
) -> np.ndarray:
    """The run's model by the published rule, float64 where it matters, from the sites' own work."""
    engines = {site: engine(site) for site in (SITE, COORDINATOR)}
    rule, joint, state = rules.rule(strategy, settings), first, {}
    for number in range(1, rounds + 1):
        done = [
            engines[site].train(joint, round=number, stream=stream(site))
            for site in sorted(engines)
        ]
        weights = [disclosure.rounded(d.examples) for d in done]  # as a site's exit tells them
        joint, state = rule(joint, [d.vector for d in done], weights, state)
    return joint


def joint(ended: events.RunEnded) -> np.ndarray:
    data = Path(ended.file).read_bytes()
    return checkpoints.parse(data, name=ended.file).parameters


def test_the_studys_rule_makes_the_joint_model(trio: Federation, first: np.ndarray) -> None:
    settings = {"rate": 0.05, "floor": 0.01}

    ended = trio.run(fed.study(strategy="fedadam", aggregation=settings))

    wanted = here(first, strategy="fedadam", settings=settings, rounds=2)
    plain = here(first, strategy="fedavg", settings={}, rounds=2)
    np.testing.assert_array_equal(joint(ended), wanted)
    assert np.abs(wanted - plain).max() > 0.01


def test_a_rules_memory_outlives_the_coordinator(trio: Federation, first: np.ndarray) -> None:
    settings = {"rate": 1.0, "momentum": 0.9}
    run = trio.start(fed.study(strategy="fedavgm", aggregation=settings, rounds=6))
    fed.until(
        trio.coordinator,
        lambda e: isinstance(e, events.RoundEnded) and e.run == run and e.round >= 2,
    )
    os.kill(pid_of(trio.coordinator, "coordinator"), signal.SIGKILL)

    ended = trio.ended(run)

    wanted = here(first, strategy="fedavgm", settings=settings, rounds=6)
    np.testing.assert_array_equal(joint(ended), wanted)


def test_bfloat16_halves_the_bytes_and_moves_the_model_little(trio: Federation) -> None:
    full = trio.run(fed.study(rounds=3))
    half = trio.run(fed.study(rounds=3, transport="bfloat16"))

    sent = {
        ended.run: sum(
            event.bytes_sent
            for _, event in records(trio.homes[SITE], events.WorkAnswered, run=ended.run)
            if event.phase == "train"
        )
        for ended in (full, half)
    }
    away = np.linalg.norm(joint(half) - joint(full)) / np.linalg.norm(joint(full))
    assert sent[half.run] < 0.65 * sent[full.run]
    assert 0 < away < 0.01


def test_bfloat16_keeps_steps_that_are_smaller_than_its_rounding(
    trio: Federation, first: np.ndarray
) -> None:
    terms = {"rounds": 3, "training": {"learning_rate": 1e-4, "batch": 32}}

    full = joint(trio.run(fed.study(**terms)))
    half = joint(trio.run(fed.study(**terms, transport="bfloat16")))

    moved, rounding = np.linalg.norm(full - first), vectors.from_bfloat16(vectors.to_bfloat16(full))
    assert np.linalg.norm(half - full) < 0.1 * moved
    assert moved < np.linalg.norm(full - rounding)  # or this test could not tell


def test_record_level_privacy_is_spent_round_by_round_and_never_beyond(trio: Federation) -> None:
    terms = {"epsilon": 6.0, "clip": 0.5}

    ended = trio.run(fed.study(privacy=terms, rounds=3))

    for name in (COORDINATOR, SITE):
        home = trio.homes[name]
        spent = [event for _, event in records(home, events.PrivacySpent, run=ended.run)]
        examples = len(datasets.load("digits", part=fed.PARTS[name == SITE]).train)
        plan = models._privacy.plan(
            models.Privacy(**terms), examples=examples, batch=32, epochs=1, rounds=3
        )
        assert [event.round for event in spent] == [1, 2, 3]
        assert len({event.question for event in spent}) == 3
        np.testing.assert_allclose(
            [event.epsilon for event in spent], [plan.spent(n) for n in (1, 2, 3)], atol=1e-4
        )
        assert spent[-1].epsilon <= 6.0
        assert spent[-1].delta < 1 / examples
        assert (home.keys / "noise.key").stat().st_mode & 0o777 == 0o600
    train = [e for _, e in records(trio.coordinator, events.AnswerReceived, run=ended.run)]
    assert all("epsilon" in e.metrics for e in train if e.phase == "train")
    assert not any("loss" in e.metrics for e in train if e.phase == "train")
    progressed = [
        event
        for home in trio.homes.values()
        for _, event in records(home, events.TrainingProgressed, run=ended.run)
    ]
    assert progressed
    assert all(event.loss is None for event in progressed)
    assert [event.tight is None for event in spent] == [True, True, False]
    assert spent[-1].tight < spent[-1].epsilon


@pytest.fixture
def limited(trio: Federation) -> Iterator[Federation]:
    """The site allows epsilon 1 on all its digits."""
    before = trio.homes[SITE].settings.read_text()
    trio.homes[SITE].settings.write_text(before.replace("[limits]", "[limits]\nepsilon = 1.0"))
    yield trio
    trio.homes[SITE].settings.write_text(before)


@pytest.mark.parametrize(
    "terms", [{"epsilon": 3.0}, pytest.param({"noise": 0.3}, marks=pytest.mark.slow)]
)
def test_a_site_spends_no_more_than_its_own_limit(
    limited: Federation, terms: dict[str, float]
) -> None:
    both = Quorum(minimum_sites=2)
    run = limited.start(fed.study(privacy=terms, rounds=1, quorum=both))

    refused = fed.until(
        limited.coordinator, lambda e: isinstance(e, events.AnswerRefused) and e.run == run
    )
    ended = limited.ended(run)

    assert refused.event.site == SITE
    assert "limits.epsilon" in refused.event.cause
    assert f"({SITE}: Epsilon" in ended.cause  # the run's end says why, not where to read it
    assert "Read why" not in ended.cause
    assert not records(limited.homes[SITE], events.PrivacySpent, run=run)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"privacy": {"epsilon": -1.0}}, "epsilon"),
        ({"privacy": {"epsilonn": 1.0}}, "epsilonn"),
        ({"aggregation": {"rate": 1.0}}, "rate"),
        ({"strategy": "fedadam", "aggregation": {"rate": -1.0}}, "rate"),
        ({"strategy": "fedprox"}, "proximal"),
        (
            {"strategy": "trimmed_mean", "quorum": Quorum(minimum_sites=2)},
            "a trim of 0.2 leaves out none of the 2 sites",
        ),
        ({"model": "resnet18"}, "resnet18 needs images; digits gives a table."),
        ({"model": "gru"}, "gru needs a series; digits gives a table."),
        ({"metric": "auroc"}, "auroc, is of two classes, and digits has 10"),
    ],
)
def test_a_setting_that_does_not_fit_is_named_before_the_run(
    trio: Federation, changes: dict[str, Any], word: str
) -> None:
    with pytest.raises(UsageError) as refused:
        trio.start(fed.study(**changes))

    assert word in str(refused.value)


@pytest.mark.parametrize(
    ("sites", "settings", "remedy"),
    [
        (2, {"trim": 0.49}, "Choose fedavg"),
        (3, {}, "trim under [aggregation] to at least 0.34, or choose median"),
        (4, {}, "at least 0.25,"),
        (7, {"trim": 0.14}, "at least 0.15,"),
        (6, {"trim": 0.0}, "at least 0.17,"),
    ],
)
def test_a_trimmed_mean_that_trims_nobody_is_refused_with_a_trim_that_does(
    sites: int, settings: dict[str, float], remedy: str
) -> None:
    def agreed(trim: dict[str, float]) -> Study:
        names, quorum = tuple(f"s{n}" for n in range(sites)), Quorum(minimum_sites=sites)
        return fed.study(sites=names, strategy="trimmed_mean", aggregation=trim, quorum=quorum)

    with pytest.raises(UsageError) as refused:
        fitting.check(agreed(settings))

    assert remedy in refused.value.remedy
    if found := re.search(r"0\.\d+", refused.value.remedy):
        fitting.check(agreed({"trim": float(found[0])}))


def test_a_trimmed_mean_of_five_leaves_out_one_by_itself() -> None:
    names, quorum = tuple(f"site{number}" for number in range(5)), Quorum(minimum_sites=5)

    fitting.check(fed.study(sites=names, strategy="trimmed_mean", quorum=quorum))


def test_where_every_site_refuses_alike_that_is_how_the_run_ends(trio: Federation) -> None:
    ended = trio.run(fed.study(data="breast_cancer", model="logistic"))

    assert (ended.outcome, ended.code) == ("failed", 6)
    assert "every site refuses. This site offers no data set 'breast_cancer'. Add [" in ended.cause


def test_a_trimmed_mean_is_judged_by_the_fewest_sites_that_a_round_goes_on_with() -> None:
    names = tuple(f"site{number}" for number in range(5))
    quorum = Quorum(minimum_sites=4, on_deadline="continue")

    with pytest.raises(UsageError, match="of the 4 sites that a round may have"):
        fitting.check(fed.study(sites=names, strategy="trimmed_mean", quorum=quorum))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"privacy": {"epsilon": 3.0}, "training": {"patience": 2}}, "patience"),
        ({"privacy": {"epsilon": 3.0}, "parameters": {"norm": "local"}}, "norm"),
        ({"data": "breast_cancer", "training": {"augmentation": {"flips": True}}}, "augmentation"),
        ({"data": "breast_cancer", "training": {"class_weights": [1, 1, 1]}}, "class_weights"),
        ({"pretrained": "0" * 64}, "pretrained: the weights come with batch normalisation"),
        ({"pretrained": "0" * 64, "model": "cnn"}, "pretrained: cnn takes no weights"),
        ({"parameters": {"norm": "frozen"}}, "norm is frozen"),
    ],
)
def test_settings_that_do_not_go_together_are_named_before_anybody_approves(
    changes: dict[str, Any], word: str
) -> None:
    terms: dict[str, Any] = {"data": "siim_isic", "model": "resnet18", "training": {}}
    if changes.get("data"):
        terms["model"] = "logistic"

    with pytest.raises(UsageError, match=f"^The study's {word}"):
        fitting.check(fed.study(**terms | changes))


def test_pretrained_weights_are_the_studys_or_none(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_file({"conv1.weight": np.zeros((64, 3, 7, 7), np.float32)}, file)
    other = fed.study(pretrained="0" * 64)
    same = fed.study(pretrained=hashlib.sha256(file.read_bytes()).hexdigest())

    with pytest.raises(DataError, match="this site names no file") as nameless:
        brought.pretrained(other, None)
    with pytest.raises(DataError, match="the study names 000000000000"):
        brought.pretrained(other, str(file))

    assert "[weights]" in nameless.value.remedy
    assert brought.pretrained(same, str(file)) == file
    assert brought.pretrained(fed.study(), None) is None


def test_bfloat16_is_the_nearest_value_with_8_bits() -> None:
    random = np.random.default_rng(5)
    values = (random.normal(size=5000) * 10.0 ** random.integers(-30, 30, 5000)).astype("f4")

    back = vectors.from_bfloat16(vectors.to_bfloat16(values))

    exponent = np.floor(np.log2(np.abs(values.astype(float))))
    assert (np.abs(back - values.astype(float)) <= 2.0 ** (exponent - 8)).all()
    assert not (back.view("<u4") & 0xFFFF).any()
    np.testing.assert_array_equal(vectors.from_bfloat16(vectors.to_bfloat16(back)), back)
