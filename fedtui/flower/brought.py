"""What an order brings to the trainer: files, the agreed scale, and the site's own part."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

import datasets
from fedtui.errors import DataError
from fedtui.flower import vectors
from fedtui.study import Study


def stream_of(site: str) -> int:
    """The number by which a site's order of examples is its own."""
    return int.from_bytes(hashlib.sha256(site.encode()).digest()[:4], "big")


def local(order: dict[str, Any], size: int) -> vectors.Vector:
    """What this site keeps for itself, float32 [size]; zeros before it ever trained."""
    if order["local"] is None:
        return np.zeros(size, dtype=np.float32)
    kept: vectors.Vector = np.fromfile(order["local"], dtype="<f4")
    return kept


def pretrained(study: Study, weights: str | None) -> Path | None:
    """The file that the study begins with, if it names one."""
    if not study.pretrained:
        return None
    if weights is None:
        raise DataError(
            f"Study {study.id} begins with pretrained weights, and this site names no file.",
            remedy=f"Add {study.model} = '/path/to/file.safetensors' under [weights] in site.toml.",
        )
    try:
        with Path(weights).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"The pretrained weights {weights} cannot be read: {error.strerror}.",
            remedy="Check the path under [weights] in site.toml.",
        ) from error
    if found != study.pretrained:
        raise DataError(
            f"{weights} has sha256 {found[:12]}…, and the study names {study.pretrained[:12]}….",
            remedy="Fetch the file that the study means.",
        )
    return Path(weights)


def places(source: dict[str, Any]) -> dict[str, Path | None]:
    """Where the site's files lie, and its list of patients who opted out."""
    return {key: Path(source[key]) if source.get(key) else None for key in ("path", "excluded")}


def data_key(study: Study, source: dict[str, Any]) -> str:
    """Another one as soon as a study needs other data, or somebody opts out."""
    lists = datasets.opt_outs(study.data, **places(source))
    said = [hashlib.sha256(file.read_bytes()).hexdigest() for file in lists if file.is_file()]
    return json.dumps([study.data, study.seed, source, said], sort_keys=True)


def normalisation(order: dict[str, Any]) -> Any:
    """The agreed scale, rows of float64 [features] for ``datasets.standardise``; None for none."""
    if order["normalisation"] is None:
        return None
    return tuple(np.asarray(row, dtype=np.float64) for row in order["normalisation"])
