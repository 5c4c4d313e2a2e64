"""Where memory does not hold a batch: it is cut, that is told once, and the work goes on."""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import pytest
from typer.testing import CliRunner

import datasets
import models
from fedtui import agreement, events, operations, site
from fedtui import study as studies
from fedtui.cli import _register, app
from fedtui.disclosure import rounded
from fedtui.errors import ResourceError
from fedtui.flower import alone, workbench
from fedtui.flower.assignment import Assignment
from fedtui.flower.brought import stream_of
from fedtui.flower.client import SiteClient
from fedtui.flower.ledger import Ledger
from fedtui.flower.trainer import Trainer
from fedtui.flower.vectors import bytes_of
from fedtui.flower.work import Key, Work
from fedtui.flower.workbench import Workbench
from fedtui.journal import Journal
from fedtui.operations import _training
from fedtui.site import Home
from fedtui.study import Study, Validation
from models import _bookmark, _engine, _rounds
from models._engine import Engine
from models._program import Program, program
from tests import federation as fed

EPOCHS, BATCH = 2, 32  # what ``Training`` takes where a study does not say
STUDY = fed.study(
    id="cut",
    sites=("halland", "sahlgrenska"),
    data="breast_cancer",
    rounds=3,
    training={"learning_rate": 1e-4, "epochs": EPOCHS},
)
EXAMPLES = len(datasets.load("breast_cancer").train)


def engine() -> Engine:
    training = models.configure(models.Training, STUDY.training)
    return Engine(
        model=STUDY.model,
        config={},
        training=training,
        data=datasets.load("breast_cancer"),
        seed=0,
        normalisation=None,
    )


@dataclass
class Hospital:
    """A site's own side of the protocol, with a real trainer, and what its operator is told."""

    home: Home
    told: list[events.Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        operations.create(self.home, "halland", sources={"breast_cancer": {"part": "all"}})
        self.work, self.journal = Work(self.home.work), Journal(self.home.journal, source="test")
        self.bench = Workbench(
            self.home,
            "halland",
            on_start=lambda *_: None,
            on_end=lambda cause: self.told.append(
                events.ProcessEnded(process="trainer", cause=cause)
            ),
        )

    def train(self, round: int, vector: Any) -> Any:
        (cohorts := self.home.path / "cohorts").mkdir(exist_ok=True)
        assignment = Assignment(
            key=Key("run", round, "train"),
            study=STUDY,
            text=studies.canonical(STUDY).decode(),
            fingerprint=studies.fingerprint(STUDY),
            normalisation=None,
            size=len(vector),
            initial=False,
        )
        client = SiteClient(
            assignment,
            site=site.load(self.home),
            work=self.work,
            bench=self.bench,
            ledger=Ledger(self.journal, limit=None),
            on_progress=self.told.append,
            on_event=self.told.append,
            cohorts=cohorts,
            audit=self.home.audit,
            on_access=lambda *_: None,
        )
        return client.fit([vector], {})[0][0]

    def heard(self) -> list[str | int]:
        """Deaths and splits since this was last asked."""
        found: list[str | int] = []
        for event in self.told:
            if isinstance(event, events.ProcessEnded):
                found.append(event.cause)
            elif isinstance(event, events.BatchSplit):
                found.append(event.pieces)
        self.told.clear()
        return found


@pytest.fixture
def hospital(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hospital]:
    monkeypatch.setattr(workbench, "_COUNTERS", tmp_path / "vmstat")  # a kernel that does not say
    made = Hospital(Home(tmp_path / "h"))
    yield made
    made.bench.close()
    made.journal.close()


def test_a_trainer_killed_again_over_the_same_training_cuts_its_batches(
    hospital: Hospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = "killed by SIGKILL"
    moments = ("trainer.training@1=A", "trainer.training@2=B", "trainer.training@2=C")
    crash = ",".join(moment.replace("=", f"={tmp_path}/") for moment in moments)
    monkeypatch.setenv("FEDTUI_CRASH", crash)
    here = engine()
    start = here.initial()

    def wanted(round: int, vector: Any, pieces: int) -> bytes:
        trained = here.train(vector, round=round, stream=stream_of("halland"), pieces=pieces)
        return trained.vector.tobytes()

    first = hospital.train(1, start)

    steps = [e for e in hospital.told if isinstance(e, events.TrainingProgressed)]
    assert (steps[-1].step, steps[-1].steps) == (EPOCHS * -(-EXAMPLES // BATCH),) * 2
    assert steps[-1].examples == EPOCHS * rounded(EXAMPLES) < steps[-1].step * BATCH
    assert hospital.heard() == [killed]  # by whomever: the same again, to the same bits
    assert first.tobytes() == wanted(1, start, 1)

    second = hospital.train(2, first)
    assert hospital.heard() == [killed, killed, 2]
    hospital.bench.close()  # whatever comes next is another trainer
    third = hospital.train(3, second)
    assert hospital.heard() == []
    both = wanted(3, second, 1), wanted(3, second, 2)  # in this order: an engine only cuts finer
    assert both[0] != third.tobytes() == both[1]


def test_a_kernel_that_says_so_is_believed_at_once(
    hospital: Hospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters = tmp_path / "vmstat"
    counters.write_text("pgfault 77\noom_kill 3\nswap_ra 0\n")
    monkeypatch.setenv("FEDTUI_CRASH", f"trainer.training@1={tmp_path}/A")
    ended = hospital.bench._on_end

    def on_end(cause: str) -> None:
        counters.write_text("pgfault 99\noom_kill 4\nswap_ra 0\n")
        ended(cause)

    hospital.bench._on_end = on_end

    hospital.train(1, engine().initial())

    assert hospital.heard() == ["killed by SIGKILL", 2]


def test_a_trainer_that_dies_before_it_trains_is_not_helped_by_smaller_pieces(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workbench, "_starved", iter(range(99)).__next__)  # others are killed, too
    hospital.home.path.joinpath("cache").mkdir(exist_ok=True)
    monkeypatch.setenv("PYTHONPATH", str(hospital.home.path))
    script = "import os, sys\nif 'fedtui.flower.trainer' in sys.orig_argv: os.kill(os.getpid(), 9)"
    hospital.home.path.joinpath("sitecustomize.py").write_text(script)

    with pytest.raises(ResourceError, match="died 3 times"):
        hospital.train(1, engine().initial())

    assert hospital.heard() == ["killed by SIGKILL"] * 3


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that holds a quarter of a batch."""

    def full(*_: Any) -> None:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 byte")

    def poor(*given: Any, pieces: int, **more: Any) -> Program:
        functions = program(*given, pieces=pieces, **more)
        return functions if pieces >= 4 else replace(functions, advance=full)

    monkeypatch.setattr(_engine, "program", poor)


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    monkeypatch.setattr(_engine, "use_cache", lambda _: None)  # this process is also other tests'
    return Trainer("halland", tmp_path, secret=bytes(32))


def order(folder: Path, agreed: Study = STUDY, **more: Any) -> dict[str, Any]:
    for name in ("cohorts", "folder"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "in").write_bytes(bytes_of(engine().initial()))
    return {
        "study": studies.canonical(agreed).decode(),
        "fingerprint": studies.fingerprint(agreed),
        "source": {"path": None, "part": "all", "excluded": None},
        "round": 1,
        "normalisation": None,
        "local": None,
        "input": str(folder / "in"),
        "first": str(folder / "in"),
        "output": str(folder / "out"),
        "folder": str(folder / "folder"),
        "cohorts": str(folder / "cohorts"),
        "minimum": 10,
        **more,
    }


def messages(out: io.StringIO, kind: str) -> list[Any]:
    return [m[kind] for m in map(json.loads, out.getvalue().splitlines()) if kind in m]


@pytest.mark.parametrize(("pieces", "loads"), [(1, 2), (2, 0)])
def test_a_step_is_loaded_ahead_unless_memory_asks_for_another(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pieces: int, loads: int
) -> None:
    asked: list[Engine] = []
    monkeypatch.setattr(Engine, "load_ahead", lambda self: asked.append(self))

    trainer.prepare(order(tmp_path, pieces=pieces, initial=False))
    trainer.train(order(tmp_path, pieces=pieces), io.StringIO())

    assert len(asked) == loads


def test_a_device_that_is_full_is_told_of_before_the_round_is_over_and_once(
    small: None, trainer: Trainer, tmp_path: Path
) -> None:
    first, second = io.StringIO(), io.StringIO()

    trainer.train(order(tmp_path), first)
    trainer.train(order(tmp_path, round=2), second)

    kinds = [next(iter(json.loads(line))) for line in first.getvalue().splitlines()]
    assert kinds[:3] == ["training", "split", "split"]
    assert set(kinds[3:-1]) == {"progress"}
    assert messages(first, "split") == [2, 4]
    assert messages(first, "training") == [BATCH, 0]
    assert messages(second, "split") == []


VALIDATED = replace(STUDY, validation=Validation(local=True, fine_tuning=1))


@pytest.mark.slow  # the same class by the same trainer as above
def test_so_is_it_in_a_validation_whose_models_share_what_was_learned(
    small: None, trainer: Trainer, tmp_path: Path
) -> None:
    out = io.StringIO()

    trainer.validate(order(tmp_path, VALIDATED, do="validate"), out)

    done = [told["step"] == told["steps"] for told in messages(out, "progress")]
    assert sum(done) == VALIDATED.rounds + 1
    assert messages(out, "split") == [2, 4]


class Killed(Exception):
    pass


class Dies(io.StringIO):
    """Where a trainer writes until it is killed at its so many-th news of progress."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._left = at

    def write(self, text: str) -> int:
        self._left -= '"progress"' in text
        if not self._left:
            raise Killed
        return super().write(text)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps a stretch, each of them told and kept."""
    monkeypatch.setattr(_rounds, "_paced", lambda *_: 2)
    monkeypatch.setattr(_rounds, "_PACE", 0.0)
    monkeypatch.setattr(_bookmark, "_EVERY", 0.0)
    monkeypatch.setattr(_bookmark, "_SHARE", 0)


@pytest.mark.slow
@pytest.mark.parametrize("training", ["local", "fine-tuned"])
def test_a_validation_that_is_killed_goes_on_in_the_middle_of_a_round(
    often: None, trainer: Trainer, tmp_path: Path, training: str
) -> None:
    whole, again = io.StringIO(), io.StringIO()
    undisturbed = trainer.validate(order(tmp_path / "a", VALIDATED, do="validate"), whole)
    steps = [told["step"] for told in messages(whole, "progress")]
    at = (steps.index(max(steps)) if training == "local" else len(steps)) - 2

    with pytest.raises(Killed):
        trainer.validate(order(tmp_path / "b", VALIDATED, do="validate"), Dies(at))
    another = Trainer("halland", tmp_path, secret=bytes(32))
    found = another.validate(order(tmp_path / "b", VALIDATED, do="validate"), again)

    assert len(messages(again, "progress")) <= len(steps) - at + 3  # and not the whole round
    assert found["vector"] == undisturbed["vector"]
    assert found["results"] == undisturbed["results"]
    assert not list((tmp_path / "b" / "folder").glob("*.mid"))


def test_a_round_of_a_run_goes_on_in_its_middle_in_another_trainer(
    often: None, trainer: Trainer, tmp_path: Path
) -> None:
    asked = order(tmp_path, bookmark=str(tmp_path / "mid"))
    whole = trainer.train(dict(asked), io.StringIO())
    out = io.StringIO()

    with pytest.raises(Killed):
        trainer.train(dict(asked), Dies(6))
    found = Trainer("halland", tmp_path, secret=bytes(32)).train(dict(asked), out)

    assert messages(out, "progress")[0]["step"] > 2
    assert found["vector"] == whole["vector"]


def test_so_is_it_where_a_site_trains_alone(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def here(home: Home, order: dict[str, Any], on_news: Any) -> Any:
        return alone.train(order, lambda **news: on_news(news))

    loads: list[Engine] = []
    monkeypatch.setattr(Engine, "load_ahead", lambda self: loads.append(self))
    monkeypatch.setattr(_engine, "use_cache", lambda _: None)
    monkeypatch.setattr(_training, "_carried_out", here)  # in this process, whose device is small
    home, file = Home(tmp_path / "h"), tmp_path / "study.toml"
    operations.create(home, "halland", sources={"breast_cancer": {"part": "all"}})
    file.write_text(agreement.to_toml(STUDY))

    _register(["train"])
    done = CliRunner().invoke(app, ["train", str(file), "--home", str(home.path)])

    assert done.exit_code == 0, done.output
    told = [line for line in done.stderr.splitlines() if line.startswith("round")]
    assert ["parts" in line for line in told] == [True, True, False, False, False]
    assert "each batch is worked out in 4 parts" in told[1]
    assert len(loads) == 1
