"""The joint model after each round, on the coordinator's disk, whole or not there at all.

A checkpoint is one safetensors file (no code in it): temporary file, fsync, rename, fsync of the
folder; its sha256 goes to the journal, and only a file that the journal vouches for is loaded.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as parse_tensors
from safetensors.numpy import save_file

import datasets
from fedtui.errors import DataError
from fedtui.flower import crash
from fedtui.flower.vectors import Vector
from models import Manifest, ModelError

_KEPT = 3  # the newest; older rounds are in the journal as numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Everything a run needs to go on after ``round``.

    Attributes:
        parameters: Joint model, float32 [parameters].
        normalisation: ``datasets.Normalisation`` or ``datasets.Treatment``, float64 [features]
            each, or None.
        strategy: The strategy's own state: scalars by name.
        arrays: The strategy's and its optimiser's arrays by name, e.g. a momentum.
        random: State of the run's random numbers: the seed and the next round decide them all.
    """

    run: str
    round: int
    fingerprint: str
    manifest: Manifest
    parameters: Vector
    normalisation: tuple[NDArray[np.float64], ...] | None
    strategy: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    random: dict[str, int] = field(default_factory=dict)


def write(folder: Path, checkpoint: Checkpoint) -> tuple[Path, str, int]:
    """Make ``checkpoint`` durable; returns its path, sha256 and size in bytes."""
    tensors: dict[str, NDArray[Any]] = {"parameters": np.ascontiguousarray(checkpoint.parameters)}
    if checkpoint.normalisation is not None:
        for name, row in zip(datasets.Treatment._fields, checkpoint.normalisation, strict=False):
            tensors[f"normalisation.{name}"] = np.ascontiguousarray(row)
    tensors |= {f"strategy.{name}": array for name, array in checkpoint.arrays.items()}
    metadata = {
        "run": checkpoint.run,
        "round": str(checkpoint.round),
        "fingerprint": checkpoint.fingerprint,
        "manifest": json.dumps(checkpoint.manifest.to_json()),
        "strategy": json.dumps(checkpoint.strategy, sort_keys=True),
        "random": json.dumps(checkpoint.random, sort_keys=True),
    }
    path = folder / f"checkpoint-{checkpoint.round:05d}.safetensors"
    scratch = path.with_suffix(".tmp")
    scratch.unlink(missing_ok=True)
    os.close(os.open(scratch, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    save_file(tensors, scratch, metadata=metadata)
    scratch.chmod(0o600)
    with scratch.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    crash.point("coordinator.checkpointing", checkpoint.round)
    scratch.replace(path)
    _sync_folder(folder)
    for old in sorted(folder.glob("checkpoint-*.safetensors"))[1:-_KEPT]:  # the first is kept too
        old.unlink()
    return path, digest, path.stat().st_size


def newest(folder: Path, vouched: Mapping[str, str]) -> Checkpoint | None:
    """The newest checkpoint whose file has the sha256 that the journal holds, or None.

    Args:
        vouched: sha256 by file name, from the journal's CheckpointWritten events.
    """
    for path in sorted(folder.glob("checkpoint-*.safetensors"), reverse=True):
        data = path.read_bytes()
        if vouched.get(path.name) == hashlib.sha256(data).hexdigest():
            return parse(data, name=path.name)
    return None


def first(folder: Path, vouched: Mapping[str, str]) -> Checkpoint:
    """The checkpoint before the first round: where every site's own model begins, too.

    Raises:
        DataError: it is not there, or not what the journal vouches for.
    """
    name = "checkpoint-00000.safetensors"
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise DataError(
            "This run's first model is not kept: it is of an older fedtui.",
            remedy="Run the study again; only then can it be validated.",
        ) from error
    if vouched.get(name) != hashlib.sha256(data).hexdigest():
        raise DataError(f"{name} was changed.", remedy="Restore it from a backup.")
    return parse(data, name=name)


def parse(data: bytes, *, name: str) -> Checkpoint:
    """The checkpoint in a file's bytes.

    Raises:
        DataError: it is not one; ``name`` is what the error calls it.
    """
    try:
        tensors = parse_tensors(data)
        length = int.from_bytes(data[:8], "little")
        about = json.loads(data[8 : 8 + length])["__metadata__"]
        manifest = Manifest.from_json(json.loads(about["manifest"]))
        parameters = tensors["parameters"]
        if parameters.shape != (manifest.size,) or parameters.dtype != np.float32:
            raise ValueError("the vector does not fit the manifest")
        normalisation = None
        if "normalisation.mean" in tensors:
            rows = [f"normalisation.{name}" for name in datasets.Treatment._fields]
            normalisation = tuple(tensors[row] for row in rows if row in tensors)
        return Checkpoint(
            run=about["run"],
            round=int(about["round"]),
            fingerprint=about["fingerprint"],
            manifest=manifest,
            parameters=parameters,
            normalisation=normalisation,
            strategy=json.loads(about["strategy"]),
            arrays={
                key.removeprefix("strategy."): value
                for key, value in tensors.items()
                if key.startswith("strategy.")
            },
            random=json.loads(about["random"]),
        )
    except (SafetensorError, KeyError, ValueError, ModelError) as error:
        raise DataError(
            f"{name} is not a checkpoint of fedtui, or is damaged.",
            remedy="Restore it from a backup, or submit the run again.",
        ) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
