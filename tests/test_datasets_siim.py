"""Skin lesions: the real tables, real images where they are, and made-up ones in both layouts."""

import csv
import json
import os
import shutil
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import datasets
from datasets import DataError, Dataset, _cache, _synth
from datasets._images import decoded, square
from tests.test_datasets_broken import told

SECRET = "8112189876"  # stands for a patient's value: no message may hold it


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDTUI_CACHE", str(tmp_path / "cache"))


def shared(name: str) -> Path:
    folder = Path(os.environ.get("FEDTUI_SHARED_DATA", "../shared/data"), name)
    if not folder.is_dir():
        pytest.skip(f"{name} is not in {folder}; set FEDTUI_SHARED_DATA")
    return folder


@pytest.fixture(scope="module")
def kaggle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, _synth.Written]:
    folder = tmp_path_factory.mktemp("made") / "siim"
    return folder, _synth.write("siim_isic", folder, rows=120, seed=1, size=64)


@pytest.fixture
def copy(kaggle: tuple[Path, _synth.Written], tmp_path: Path) -> Path:
    return Path(shutil.copytree(kaggle[0], tmp_path / "copy"))


def splits(data: Dataset) -> list[datasets.Split]:
    return [data.train, data.validation, data.test]


def test_the_real_table_loses_425_duplicates_and_keeps_581_melanomas() -> None:
    data = datasets.load("siim_isic_metadata", path=shared("siim_isic2020_meta"))

    assert sum(map(len, splits(data))) == 32_701
    assert sum(int(s.y.sum()) for s in splits(data)) == 581
    assert sum(len(np.unique(s.groups)) for s in splits(data)) == 2056
    assert len(data.test) / 32_701 == pytest.approx(0.2, abs=0.01)  # whole patients
    shown = datasets.inspect("siim_isic_metadata", path=shared("siim_isic2020_meta"))
    assert (shown["duplicates_removed"], shown["label_rate"]) == (425, 0.018)
    assert not datasets.check("siim_isic_metadata", shared("siim_isic2020_meta"))


def unpack(folder: Path, to: Path, *, every: int) -> Path:
    """Every n-th row of HAM10000's table, and its images."""
    with (folder / "train.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    rows = rows[::every]
    names = {f"train/{row[0]}.jpg" for row in rows}
    to.mkdir()
    with tarfile.open(folder / "images_200x150.tar") as tar:
        tar.extractall(to, [m for m in tar.getmembers() if m.name in names], filter="data")
    with (to / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return to


SITES = ["rosendahl", "vidir_modern", "vidir_molemax", "vienna_dias"]


def test_real_images_of_four_sites_load(tmp_path: Path) -> None:
    folder = unpack(shared("ham10000_small"), tmp_path / "ham", every=20)

    data = datasets.load("siim_isic_128", path=folder)

    assert data.gives == "images"
    assert sum(map(len, splits(data))) == 201
    assert datasets.parts("siim_isic_128", folder)[-4:] == tuple(SITES)
    parts = [datasets.load("siim_isic_128", path=folder, part=part) for part in SITES]
    assert sum(len(split) for part in parts for split in splits(part)) == 201
    pictures = data.test.pictures
    assert pictures is not None
    batch = pictures.take(np.arange(3))
    assert (batch.shape, batch.dtype) == ((3, 128, 128, 3), np.uint8)
    assert 60 < batch.mean() < 220


@pytest.mark.slow
def test_all_4012_real_images_load(tmp_path: Path) -> None:
    folder = unpack(shared("ham10000_small"), tmp_path / "ham", every=1)

    data = datasets.load("siim_isic", path=folder)

    assert sum(map(len, splits(data))) == 4012
    assert sum(int(s.y.sum()) for s in splits(data)) == 450


@pytest.mark.parametrize("layout", ["kaggle", "decaihealth"])
def test_both_layouts_load_without_duplicates(tmp_path: Path, layout: str) -> None:
    written = _synth.write("siim_isic", tmp_path / "s", rows=100, seed=4, layout=layout, size=32)
    data = datasets.load("siim_isic_128", path=tmp_path / "s")

    assert datasets.recognise(tmp_path / "s") == (
        "siim_isic", "siim_isic_128", "siim_isic_metadata"
    )  # fmt: skip
    assert sum(map(len, splits(data))) == written.usable == 100
    assert sum(int(s.y.sum()) for s in splits(data)) == written.cases
    assert all(written.planted.values())


def test_an_image_twice_is_dropped_without_a_list_too(copy: Path) -> None:
    (copy / "ISIC_2020_Training_Duplicates.csv").unlink()

    data = datasets.load("siim_isic_128", path=copy)

    assert sum(map(len, splits(data))) == 120
    found = datasets.check("siim_isic_128", copy)
    assert [v.what for v in found] == ["no list of duplicates lies beside it"]


def test_images_without_a_patient_are_not_one_patient(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    _synth.write("siim_isic", folder, rows=100, seed=4, layout="decaihealth", size=16)
    with (folder / "train_concat.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    lost = sum(row[1] == "" for row in rows)
    patients = len({row[1] for row in rows[1:]} - {""})

    data = datasets.load("siim_isic_metadata", path=folder)

    assert lost > 2
    assert sum(len(np.unique(s.groups)) for s in splits(data)) == patients + lost


def test_age_sex_and_place_are_features(kaggle: tuple[Path, _synth.Written]) -> None:
    data = datasets.load("siim_isic_metadata", path=kaggle[0])

    assert [f.name for f in data.features][:3] == ["age_approx", "male", "at_head/neck"]
    missing = sum(int((~s.mask[:, 0]).sum()) for s in splits(data))
    assert missing == kaggle[1].planted["a missing age"]


def test_the_images_cache_is_private_and_read_fast_again(
    kaggle: tuple[Path, _synth.Written],
) -> None:
    folder, _ = kaggle
    first = datasets.load("siim_isic_128", path=folder)
    (cache,) = _cache.folder().iterdir()
    made = {file.name: file.stat() for file in cache.iterdir()}
    again = datasets.load("siim_isic_128", path=folder, seed=1)

    assert set(made) == {"pixels.npy", "prints.npy"}
    assert {stat.S_IMODE(status.st_mode) for status in made.values()} == {0o600}
    assert (cache / "pixels.npy").stat().st_ino == made["pixels.npy"].st_ino
    pictures, others = first.train.pictures, again.train.pictures
    assert pictures is not None
    assert others is not None
    assert np.array_equal(pictures.pixels, others.pixels)
    assert isinstance(pictures.pixels, np.memmap)
    image = next((folder / "jpeg" / "train").iterdir())
    os.utime(image, (1, 1))
    datasets.load("siim_isic_128", path=folder)
    assert len(list(_cache.folder().iterdir())) == 2


def test_each_examples_picture_is_its_own(kaggle: tuple[Path, _synth.Written]) -> None:
    folder, _ = kaggle
    data = datasets.load("siim_isic_128", path=folder)
    files = sorted((folder / "jpeg" / "train").glob("ISIC_0*.jpg"))
    by_label = {True: [], False: []}  # type: ignore[var-annotated]
    with (folder / "train.csv").open(newline="") as file:
        target = {row["image_name"]: row["target"] == "1" for row in csv.DictReader(file)}
    for file_ in files:
        by_label[target[file_.stem]].append(square(file_, 128).tobytes())

    for split in splits(data):
        pictures = split.pictures
        assert pictures is not None
        for example, label in enumerate(split.y):
            pixels = pictures.take(np.array([example]))[0].tobytes()
            assert pixels in by_label[bool(label)]


@pytest.mark.parametrize("shape", [(64, 64), (200, 100), (31, 90), (1000, 700), (8, 8)])
def test_an_image_is_cut_to_its_middle(tmp_path: Path, shape: tuple[int, int]) -> None:
    _, width = shape
    pixels = np.zeros((*shape, 3), dtype=np.uint8)
    pixels[:, width // 2 :] = 255  # black left, white right
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=95)

    small = square(tmp_path / "a.jpg", 32)

    assert small.shape == (32, 32, 3)
    assert small[:, :12].mean() < 20
    assert small[:, 20:].mean() > 235


def test_draft_decoding_is_near_the_full_one(kaggle: tuple[Path, _synth.Written]) -> None:
    file = next((kaggle[0] / "jpeg" / "train").iterdir())
    with Image.open(file) as image:
        full = np.asarray(image.convert("RGB").resize((16, 16), Image.Resampling.BOX))

    assert np.abs(square(file, 16).astype(int) - full).mean() < 3  # of 255


BROKEN: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut off": (lambda data: data[: len(data) // 2], "is cut off or damaged"),
    "its head only": (lambda data: data[:20], "is cut off or damaged"),
    "empty": (lambda _: b"", "is empty"),
    "DICOM": (lambda data: bytes(128) + b"DICM" + data, "is a DICOM file and not a JPEG"),
    "text": (lambda _: b"<html>Log in</html>", "is not a JPEG"),
    "zeros": (lambda data: bytes(len(data)), "is not a JPEG"),
    "a GIF": (lambda data: b"GIF89a" + data, "is not a JPEG"),
    "noise after the head": (
        lambda data: data[:200] + np.random.default_rng(0).bytes(len(data)),
        "is cut off or damaged"),
    "a bomb": (
        lambda data: data.replace(b"\xff\xc0\x00\x11\x08\x00\x40\x00\x40",
                                  b"\xff\xc0\x00\x11\x08\xff\xff\xff\xff"),
        "has more than 80 million pixels"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_image_is_named_by_its_row(copy: Path, name: str) -> None:
    edit, cause = BROKEN[name]
    file = copy / "jpeg" / "train" / "ISIC_0000006.jpg"
    file.write_bytes(edit(file.read_bytes()))

    refused(copy, f"train.csv, row 8: its image in train {cause}")

    (found,) = [v for v in datasets.check("siim_isic_128", copy) if v.blocks]
    assert (found.row, found.what) == (8, f"its image in train {cause}")
    assert not list(_cache.folder().rglob("*.npy"))


def refused(folder: Path, place: str) -> None:
    with pytest.raises(DataError) as caught:
        datasets.load("siim_isic_128", path=folder)

    said = str(caught.value) + " " + caught.value.remedy
    assert place in said
    assert SECRET not in told(caught.value)
    assert "ISIC_00" not in said
    assert said.isprintable()


def edit(row: int, column: int, value: str) -> Callable[[list[list[str]]], None]:
    def change(table: list[list[str]]) -> None:
        table[row][column] = value

    return change


TABLES: dict[str, tuple[Callable[[list[list[str]]], None], str]] = {
    "no target": (edit(4, 7, ""), "train.csv, row 5, column target: it is missing"),
    "a target that is none": (edit(4, 7, SECRET), "row 5, column target: not one of its codes"),
    "an age that is none": (edit(4, 3, f"{SECRET}y"), "row 5, column age_approx: not a number"),
    "a place unknown": (
        edit(4, 4, SECRET), "row 5, column anatom_site_general_challenge: not one of its codes"),
    "a sex unknown": (edit(4, 2, SECRET), "row 5, column sex: not one of its codes"),
    "a path for a name": (edit(4, 0, f"../{SECRET}"), "row 5, column image_name: not the name"),
    "no name": (edit(4, 0, ""), "row 5, column image_name: not the name of an image"),
    "a name twice": (
        lambda table: table.append(table[3]), "column image_name: the same image as in row 4"),
    "a row too short": (lambda table: table[4].pop(), "row 5: 8 columns instead of 9"),
    "no target column": (edit(0, 7, "label"), "column target is missing"),
    "no name column": (edit(0, 0, "image"), "column image_name is missing"),
    "no rows": (lambda table: table.__delitem__(slice(1, None)), "is empty"),
    "an image that is not there": (edit(4, 0, f"X{SECRET}"), "row 5: its image is not in train"),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_a_broken_table_is_named_by_row_and_column(copy: Path, name: str) -> None:
    change, place = TABLES[name]
    with (copy / "train.csv").open(newline="") as file:
        table = list(csv.reader(file))
    change(table)
    with (copy / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows(table)

    refused(copy, place)


def test_folders_that_are_no_set_are_named(copy: Path, tmp_path: Path) -> None:
    refused(tmp_path, "Neither train_concat.csv nor train.csv is in")
    shutil.rmtree(copy / "jpeg")
    refused(copy, "has the image of the table's first row")


def test_a_report_is_json_with_sites(kaggle: tuple[Path, _synth.Written]) -> None:
    shown = datasets.inspect("siim_isic_128", path=kaggle[0])

    json.dumps(shown)
    assert shown["gives"] == "images"
    assert set(shown["sites"]) <= {"north", "south", "west"}
    assert shown["classes"] == {"benign": None, "melanoma": None}  # 3 melanomas of 120


def test_a_full_disk_is_named(
    kaggle: tuple[Path, _synth.Written], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(9, 8, 1))  # type: ignore[attr-defined]

    refused(kaggle[0], "are free")


def test_decoding_in_threads_is_decoding_one_by_one(kaggle: tuple[Path, _synth.Written]) -> None:
    files = sorted((kaggle[0] / "jpeg" / "train").iterdir())

    found = decoded("siim_isic", files, size=20)

    assert all(np.array_equal(found.pixels[n], square(f, 20)) for n, f in enumerate(files))
