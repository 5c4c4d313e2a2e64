"""Made-up sets: the layouts that readers expect, and a best AUROC that is true."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import datasets
from datasets import DataError, _synth
from datasets._images import square


def test_the_best_auroc_is_that_of_the_risks(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    risk = random.beta(1, 6, 2000)
    drawn = [roc_auc_score(random.random(2000) < risk, risk) for _ in range(40)]

    # the mean of 40 draws has a standard error of .002
    assert _synth.best_auroc(risk) == pytest.approx(np.mean(drawn), abs=0.006)


def test_a_made_up_table_loads_and_is_learned_to_its_limit(tmp_path: Path) -> None:
    written = _synth.write("clinical", tmp_path / "c", rows=6000, seed=2)
    data = datasets.load("clinical", path=tmp_path / "c")

    splits = (data.train, data.validation, data.test)
    assert sum(map(len, splits)) == written.usable
    assert sum(int(s.y.sum()) for s in splits) == written.cases
    n = datasets.agree(datasets.statistics(data.train), data.features)
    model = LogisticRegression(max_iter=500).fit(datasets.standardise(data.train, n), data.train.y)
    scores = model.predict_proba(datasets.standardise(data.test, n))[:, 1]
    # 1,200 rows with 27 % cases: AUROC's standard error is .015
    assert roc_auc_score(data.test.y, scores) == pytest.approx(written.bayes_auroc, abs=0.04)
    assert all(written.planted.values())
    assert not [v for v in datasets.check("clinical", tmp_path / "c") if v.blocks]


@pytest.mark.parametrize("kind", _synth.KINDS)
def test_what_a_set_says_of_itself_is_what_its_files_give(tmp_path: Path, kind: str) -> None:
    small = {"size": 32} if kind == "siim_isic" else {}
    _synth.write(kind, tmp_path / "made", rows=300, seed=1, **small)

    for name in datasets.recognise(tmp_path / "made"):
        data = datasets.load(name, path=tmp_path / "made")
        assert data.gives in datasets.gives(name)
        assert datasets.classes(name) in (len(data.classes), None)


@pytest.mark.parametrize("kind", _synth.KINDS)
def test_a_seed_decides_every_byte(tmp_path: Path, kind: str) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        small = {"size": 32} if kind == "siim_isic" else {}
        _synth.write(kind, tmp_path / name, rows=60, seed=seed, **small)

    def content(name: str) -> dict[str, bytes]:
        folder = tmp_path / name
        return {
            str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()
        }

    assert content("a") == content("b")
    assert content("a") != content("c")


def test_writers_import_nothing_from_the_readers() -> None:
    program = """
import sys, importlib
from datasets import _synth
for kind in _synth.KINDS:
    importlib.import_module(f"datasets._synth_{kind}")
print(*sorted(m for m in sys.modules if m.startswith("datasets.") and "_synth" not in m))
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert answer.stdout.split() == [  # the front
        "datasets._dataset", "datasets._excluded", "datasets._progress", "datasets._statistics"
    ]  # fmt: skip


def test_wrong_orders_are_named(tmp_path: Path) -> None:
    for kind, rows, folder, said in (
        ("eicu", 100, tmp_path / "a", "There is no made-up 'eicu'"),
        ("clinical", 3, tmp_path / "a", "Fewer than 50 rows"),
        ("clinical", 100, tmp_path, "is not empty"),
    ):
        (tmp_path / "file").write_text("")
        with pytest.raises(DataError, match=said):
            _synth.write(kind, folder, rows=rows)
    with pytest.raises(DataError, match="cannot be written"):
        _synth.write("clinical", tmp_path / "file" / "x", rows=100)


def test_a_lesions_darkness_tells_nearly_all_there_is_to_know(tmp_path: Path) -> None:
    options = {"layout": "decaihealth", "size": 32}
    written = _synth.write("siim_isic", tmp_path / "s", rows=900, seed=3, **options)
    with (tmp_path / "s" / "train_concat.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))

    def brightness(name: str) -> float:
        """The lesion's red against the skin's."""
        pixels = square(tmp_path / "s" / "train" / "train" / f"{name}.jpg", 32).astype(float)
        return float(pixels[12:20, 12:20, 0].mean() / pixels[0:4, 14:18, 0].mean())

    scores = [-brightness(row["image_name"]) for row in rows]
    auroc = roc_auc_score([int(row["target"]) for row in rows], scores)

    # 122 cases: AUROC's standard error is .02; one number of a picture loses some
    assert written.bayes_auroc - 0.06 < auroc < written.bayes_auroc + 0.04
    assert written.bayes_auroc == pytest.approx(0.8556, abs=1e-4)  # Phi(1.5 / sqrt 2)
