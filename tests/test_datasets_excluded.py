"""Patients who opted out: the same list at every data set that tells patients apart."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import datasets
from datasets import DataError, Dataset, _synth
from tests.test_datasets_clinical import HEADER, SCHEMA, folder, rows, text


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDTUI_CACHE", str(tmp_path / "cache"))


def patients(data: Dataset) -> set[int]:
    splits = (data.train, data.validation, data.test)
    return set(np.concatenate([split.groups for split in splits]).tolist())


def only_left_out(data: Dataset, whole: Dataset) -> bool:
    """Whether nobody else changed splits."""
    return all(
        set(getattr(data, name).groups) <= set(getattr(whole, name).groups)
        for name in ("train", "validation", "test")
    )


def test_a_clinical_patient_on_the_sites_list_leaves_and_a_stranger_is_counted(
    tmp_path: Path,
) -> None:
    path = folder(tmp_path, text(rows()))
    whole = datasets.load("clinical", path=path)
    (out := tmp_path / "optout.txt").write_text("# decided in May\nP3\nP4\n\nP999\nP3\n")

    data = datasets.load("clinical", path=path, excluded=out)

    assert data.excluded == (3, 2, 1)
    assert len(patients(whole)) - len(patients(data)) == 2
    assert only_left_out(data, whole)
    assert data.cohort_hash != whole.cohort_hash
    assert data.schema_hash == whole.schema_hash
    (said,) = datasets.check("clinical", path, excluded=out)
    assert said.what == "1 of the 3 who opted out are in no row"
    assert "P999" not in f"{said}"


def test_the_sites_list_and_the_schemas_add_up(tmp_path: Path) -> None:
    path = folder(tmp_path, text(rows()), 'excluded = "out.txt"\n' + SCHEMA)
    (path / "out.txt").write_text("P3\n")
    (site := tmp_path / "site.txt").write_text("P3\nP5\n")

    data = datasets.load("clinical", path=path, excluded=site)

    assert data.excluded == (2, 2, 0)
    assert datasets.opt_outs("clinical", path=path, excluded=site) == (site, path / "out.txt")


def test_a_mimic_patient_leaves_with_all_their_stays(tmp_path: Path) -> None:
    _synth.write("mimic_iv", tmp_path / "m", rows=200, seed=3)
    import polars as pl

    stays = pl.read_csv(tmp_path / "m" / "icu" / "icustays.csv.gz")
    twice = stays.filter(stays["subject_id"].is_duplicated())["subject_id"].unique().sort()
    out = tmp_path / "optout.txt"
    out.write_text("".join(f"{subject}\n" for subject in twice))
    whole = datasets.load("mimic_iv", path=tmp_path / "m")

    data = datasets.load("mimic_iv", path=tmp_path / "m", excluded=out)

    assert data.excluded is not None
    assert data.excluded.patients == len(patients(whole)) - len(patients(data)) > 0
    assert data.excluded.patients + data.excluded.unmatched == len(twice)
    assert only_left_out(data, whole)


def test_a_dermatology_patient_leaves_and_the_images_stay_with_their_rows(tmp_path: Path) -> None:
    _synth.write("siim_isic", tmp_path / "s", rows=60, seed=3, size=64)
    whole = datasets.load("siim_isic_128", path=tmp_path / "s")
    (out := tmp_path / "optout.txt").write_text("IP_0000000\nISIC_0000001\n")

    data = datasets.load("siim_isic_128", path=tmp_path / "s", excluded=out)

    assert data.excluded == (2, 1, 1)  # the image has a patient, who did not opt out
    assert only_left_out(data, whole)
    one, same = data.train, whole.train
    assert one.pictures is not None
    assert same.pictures is not None
    where = np.flatnonzero(np.isin(same.groups, one.groups))
    assert np.array_equal(one.pictures.take(np.arange(len(one))), same.pictures.take(where))


def test_an_image_of_nobody_in_particular_is_named_by_its_own_name(tmp_path: Path) -> None:
    _synth.write("siim_isic", tmp_path / "s", rows=60, seed=3, size=64, layout="decaihealth")
    table = (tmp_path / "s" / "train_concat.csv").read_text().splitlines()[1:]
    name = next(line.split(",")[0] for line in table if line.split(",")[1] == "")
    (out := tmp_path / "optout.txt").write_text(f"{name}\n")

    data = datasets.load("siim_isic_metadata", path=tmp_path / "s", excluded=out)

    assert data.excluded == (1, 1, 0)


def test_a_list_where_patients_have_no_ids_is_refused(tmp_path: Path) -> None:
    path = folder(tmp_path, text(rows()), SCHEMA.replace('patient = "pid"\n', ""))
    (out := tmp_path / "optout.txt").write_text("P3\n")

    for name, where in (("clinical", path), ("digits", None)):
        with pytest.raises(DataError, match="tells patients apart") as refused:
            datasets.load(name, path=where, excluded=out)
        assert refused.value.remedy


def test_a_list_that_is_gone_or_leaves_nobody_stops_everything(tmp_path: Path) -> None:
    path = folder(tmp_path, text(rows()))
    everybody = tmp_path / "all.txt"
    everybody.write_text("".join(f"P{number}\n" for number in range(60)))

    with pytest.raises(DataError, match=r"opted out: gone\.txt cannot be read"):
        datasets.load("clinical", path=path, excluded=tmp_path / "gone.txt")
    with pytest.raises(DataError, match="no training examples"):
        datasets.load("clinical", path=path, excluded=everybody)


PHOTO = 'image = { column = "photo", size = 32 }\n' + SCHEMA


def photographed(path: Path, edit: dict[int, str] | None = None) -> Path:
    """A table whose rows name a JPEG each, the mouth of half of them written as Windows does."""
    random = np.random.default_rng(0)
    (path / "bilder").mkdir(parents=True)
    table = []
    for number, row in enumerate(rows(30, 1)):
        name = f"bilder{'/' if number % 2 else chr(92)}{number}.jpg"
        pixels = random.integers(0, 255, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path / "bilder" / f"{number}.jpg")
        table.append([*row, (edit or {}).get(number, name)])
    return folder(path, text(table, header=[*HEADER, "photo"]), PHOTO)


def test_a_clinical_table_with_an_image_column_gives_images_and_their_table(
    tmp_path: Path,
) -> None:
    path = photographed(tmp_path / "d")

    data = datasets.load("clinical", path=path)

    assert data.gives == "images"
    assert len(data.train) + len(data.validation) + len(data.test) == 30
    for split in (data.train, data.validation, data.test):
        assert split.pictures is not None
        pixels = split.pictures.take(np.arange(len(split)))
        assert (pixels.shape, pixels.dtype) == ((len(split), 32, 32, 3), np.uint8)
        assert split.x.shape == (len(split), len(data.features))
    assert not datasets.check("clinical", path)
    smaller = (path / "schema.toml").read_text().replace("32", "16", 1)
    (path / "schema.toml").write_text(smaller)
    assert datasets.load("clinical", path=path).schema_hash != data.schema_hash


def test_each_row_has_its_own_image(tmp_path: Path) -> None:
    path = photographed(tmp_path / "d")
    data = datasets.load("clinical", path=path)
    from datasets._images import square

    found = {
        tuple(values): data.train.pictures.take(np.array([number]))[0]
        for number, values in enumerate(data.train.x.tolist())
        if data.train.pictures is not None
    }
    for number, row in enumerate(rows(30, 1)):
        for values, pixels in found.items():
            if values[0] == float(row[1]):  # the age, which no two of these share
                assert np.array_equal(pixels, square(path / "bilder" / f"{number}.jpg", 32))


@pytest.mark.parametrize(
    ("cell", "what"),
    [
        ("", "names no image"),
        ("../../19780512-9999.jpg", "leads out of the folder"),
        ("bilder/19780512-9999.jpg", "is not there"),
        ("a" * 5000, "not the path"),
        ("bilder/text.jpg", "is not a JPEG"),
        ("bilder/empty.jpg", "is empty"),
    ],
)
def test_an_image_that_cannot_be_used_is_named_by_row_and_column(
    tmp_path: Path, cell: str, what: str
) -> None:
    path = photographed(tmp_path / "d", {4: cell})
    (path / "bilder" / "text.jpg").write_text("text")
    (path / "bilder" / "empty.jpg").touch()

    with pytest.raises(DataError, match=r"patients\.csv, row 6, column photo") as refused:
        datasets.load("clinical", path=path)
    (found,) = datasets.check("clinical", path)

    assert what in str(refused.value)
    assert (found.row, found.column, found.blocks) == (6, "photo", True)
    assert what in found.what
    assert "19780512" not in f"{refused.value} {refused.value.remedy} {found}"


def test_the_same_picture_of_two_patients_counts_once(tmp_path: Path) -> None:
    path = photographed(tmp_path / "d")
    shutil.copy(path / "bilder" / "1.jpg", path / "bilder" / "2.jpg")

    data = datasets.load("clinical", path=path)

    assert len(data.train) + len(data.validation) + len(data.test) == 29
