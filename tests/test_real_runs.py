"""Whole federations on real series and real images: sequence models and a ResNet, TLS and all."""

import math
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from fedtui import events
from fedtui.site import Home
from tests import federation as fed
from tests.federation import COORDINATOR, SITE, records

SHARED = Path(os.environ.get("FEDTUI_SHARED_DATA", "../shared/data")).absolute()
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def offer(home: Home, data: str, path: Path, part: str) -> None:
    with home.settings.open("a") as file:
        file.write(f'\n[data.{data}]\npath = "{path}"\npart = "{part}"\npublic = true\n')


def finished(
    data: str, path: Path, parts: tuple[str, str], **terms: Any
) -> list[events.RoundEnded]:
    """A run's rounds; it must end well."""
    with fed.homes(COORDINATOR, SITE) as made:
        for name, part in zip((COORDINATOR, SITE), parts, strict=True):
            offer(made.homes[name], data, path, part)
            made.up(name)
        for name in (COORDINATOR, SITE):
            made.linked(name)
        ended = made.ended(
            made.start(fed.study(data=data, normalisation="federated", metric="auroc", **terms)),
            seconds=1500,
        )
        assert ended.outcome == "completed", ended.cause
        return [event for _, event in records(made.coordinator, events.RoundEnded, run=ended.run)]


@pytest.mark.parametrize("model", ["gru", "transformer"])
def test_real_intensive_care_series_train_at_two_sites(model: str) -> None:
    path = SHARED / "mimic_iv_demo"
    if not path.exists():
        pytest.skip("no mimic_iv_demo under FEDTUI_SHARED_DATA")

    rounds = finished(
        "mimic_iv_series", path, ("sahlgrenska", "halland"),
        model=model, rounds=3, training={"optimizer": "adam", "learning_rate": 0.003, "batch": 32},
    )  # fmt: skip

    losses = [event.metrics["loss"] for event in rounds]
    assert len(losses) == 3
    assert all(map(math.isfinite, losses))
    assert losses[-1] < math.log(2)  # better than knowing nothing of a rare outcome


@pytest.mark.parametrize("norm", ["group", "local"])
def test_real_skin_images_train_a_resnet_at_two_sites(tmp_path: Path, norm: str) -> None:
    source = SHARED / "ham10000_small"
    if not source.exists():
        pytest.skip("no ham10000_small under FEDTUI_SHARED_DATA")
    folder = tmp_path / "skin"
    folder.mkdir()
    (folder / "train.csv").write_bytes((source / "train.csv").read_bytes())
    with tarfile.open(source / "images_200x150.tar") as packed:
        packed.extractall(folder, filter="data")

    rounds = finished(
        "siim_isic_128", folder, ("vidir_modern", "rosendahl"),
        model="resnet18", rounds=2, parameters={"norm": norm}, transport="bfloat16",
        training={"optimizer": "adam", "learning_rate": 0.001, "batch": 32,
                  "augmentation": {"flips": True, "turns": True}},
    )  # fmt: skip

    assert [event.round for event in rounds] == [1, 2]
    assert all(math.isfinite(event.metrics["loss"]) for event in rounds)
