"""A round that is cut short goes on from the middle, to the same bits."""

import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets import Dataset, Feature, Split
from models import Privacy, Training, _bookmark, _device, _rounds
from models._bookmark import Bookmark, Place, question
from models._engine import Engine
from models._rounds import Trained


def split(rows: int, first: int) -> Split:
    random = np.random.default_rng(first)
    x = random.normal(size=(rows, 3)).astype(np.float32)
    y = (x[:, 0] + random.normal(size=rows) > 0).astype(np.int32)
    return Split(x=x, mask=np.ones_like(x, dtype=bool), y=y, groups=np.arange(first, first + rows))


def site(privacy: Privacy | None = None, **training: Any) -> Engine:
    data = Dataset(
        name="made",
        part="all",
        features=tuple(Feature(name=f"f{column}") for column in range(3)),
        classes=("no", "yes"),
        train=split(50, 0),
        validation=split(20, 10**6),
        test=split(4, 10**7),
    )
    return Engine(
        model="mlp",
        config={"hidden": [4]},
        training=Training(**{"batch": 8, "epochs": 3, "learning_rate": 0.3} | training),
        data=data,
        seed=7,
        normalisation=None,
        privacy=privacy,
        secret=5,
    )


class Killed(Exception):
    pass


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps a stretch, each of them told and kept."""
    monkeypatch.setattr(_rounds, "_paced", lambda *_: 2)
    monkeypatch.setattr(_rounds, "_PACE", 0.0)
    monkeypatch.setattr(_bookmark, "_EVERY", 0.0)
    monkeypatch.setattr(_bookmark, "_SHARE", 0)


def round_of(engine: Engine, keep: Path | None, tell: Any = None) -> Trained:
    engine._bench.pace = 2
    return engine.train(engine.initial(), round=2, stream=3, on_progress=tell, keep=keep)


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adamw", "weight_decay": 0.1, "schedule": "cosine", "patience": 2},
        {"privacy": Privacy(noise=1.0), "momentum": 0.9, "proximal": 0.1},
    ],
    ids=["early stopping", "private"],
)
def test_a_killed_round_goes_on_to_the_same_bits(
    tmp_path: Path, often: None, settings: dict[str, Any]
) -> None:
    keep, told = tmp_path / "round", []
    whole = round_of(site(**settings), None)

    def dies(step: int, *_: Any) -> None:
        if step >= 11:  # of 21: in the second epoch, which the file does not begin with
            raise Killed

    with pytest.raises(Killed):
        round_of(site(**settings), keep, dies)
    mode = stat.S_IMODE(keep.stat().st_mode)
    found = round_of(site(**settings), keep, lambda step, *_: told.append(step))

    assert mode == 0o600
    assert min(told) > 9  # two steps were lost, not nine
    assert found.vector.tobytes() == whole.vector.tobytes()
    assert (found.loss, found.steps, found.epoch) == (whole.loss, whole.steps, whole.epoch)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("broken", [False, True])
def test_another_rounds_or_a_broken_file_is_not_gone_on_from(
    tmp_path: Path, often: None, broken: bool
) -> None:
    keep, told = tmp_path / "round", []
    other = Bookmark(keep, question("another"))
    other.write(Place({"0": np.zeros(3, np.float32)}, {"epoch": 3}))
    if broken:
        keep.write_bytes(keep.read_bytes()[:20])

    found = round_of(site(), keep, lambda step, *_: told.append(step))

    assert told[0] == 2
    assert found.vector.tobytes() == round_of(site(), None).vector.tobytes()


def test_another_computers_file_is_not_gone_on_from(
    tmp_path: Path, often: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep, told = tmp_path / "round", []

    def dies(step: int, *_: Any) -> None:
        if step >= 11:
            raise Killed

    with pytest.raises(Killed):
        round_of(site(), keep, dies)
    monkeypatch.setattr(_device, "_CPUINFO", tmp_path / "another")
    found = round_of(site(), keep, lambda step, *_: told.append(step))

    assert told[0] == 2
    assert found.vector.tobytes() == round_of(site(), None).vector.tobytes()


def test_a_full_disk_does_not_stop_a_round(tmp_path: Path, often: None) -> None:
    keep = tmp_path / "no such folder" / "round"

    assert round_of(site(), keep).vector.tobytes() == round_of(site(), None).vector.tobytes()


def test_every_part_of_a_question_counts() -> None:
    one = np.arange(3)

    asked = [question(one, 1), question(one, 2), question(one.astype(np.float32), 1), question(1)]

    assert len({*asked, question(one[::-1], 1)}) == 5
    assert question(np.arange(6)[::2], 1) == question(np.array([0, 2, 4]), 1)


def test_a_share_of_the_epochs_is_what_a_round_does_and_weighs_as_the_whole() -> None:
    engine, whole = site(share=0.5), site()
    start = engine.initial()

    half = engine.train(start, round=1, stream=2)

    assert (half.steps, half.examples) == (11, 50)  # of 21
    asked = whole.train(start, round=1, stream=2, share=0.5)  # of one site, which then weighs less
    assert np.array_equal(half.vector, asked.vector)
    assert asked.examples == 26
    slower = engine.train(start, round=1, stream=2, share=0.5)
    assert (slower.steps, slower.examples) == (6, 27)


def test_the_smallest_share_is_a_step() -> None:
    engine = site(share=1e-11)
    start = engine.initial()

    assert engine.train(start, round=1, stream=2).steps == 1
    assert site().train(start, round=1, stream=2, share=1e-12).steps == 1


def test_rounds_of_a_share_take_other_examples_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def noted(*given: Any) -> Any:
        taken.append(order := shuffled(*given))
        return order

    shuffled = _rounds.shuffled
    monkeypatch.setattr(_rounds, "shuffled", noted)
    engine = site(share=0.25, epochs=1)

    steps = [engine.train(engine.initial(), round=n, stream=2).steps for n in range(1, 31)]

    assert steps == [2] * 30  # of 7
    seen = {row for order in taken for row in order[:2].ravel() if row >= 0}
    assert seen == set(range(50))


def test_a_share_goes_on_in_its_middle_to_the_same_bits(tmp_path: Path, often: None) -> None:
    engine = site(share=0.5)
    start = engine.initial()
    whole = engine.train(start, round=1, stream=2)
    told = []

    def until_killed(done: int, steps: int, loss: float) -> None:
        told.append((done, steps))
        if done >= 4:
            raise Killed

    with pytest.raises(Killed):
        engine.train(start, round=1, stream=2, keep=tmp_path / "mark", on_progress=until_killed)
    assert told[-1] == (4, 11)

    again = engine.train(start, round=1, stream=2, keep=tmp_path / "mark")
    assert np.array_equal(again.vector, whole.vector)
    assert again.steps == whole.steps
