"""Models that are trained here round by round, kept as each ends: what goes on after a kill."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load

from fedtui.flower.vectors import Vector


def newest(folder: Path, stem: str, about: Mapping[str, str]) -> tuple[int, Vector, Vector] | None:
    """The last whole round in ``folder``'s ``STEM-00012.safetensors``, of just this work.

    Args:
        about: What the file must say of itself; one of other work is passed over.

    Returns:
        Round, parameters float32 [parameters], and what the site keeps for itself float32 [local];
        None where nothing is kept.
    """
    for path in sorted(folder.glob(f"{stem}-*.safetensors"), reverse=True):
        data = path.read_bytes()
        try:
            tensors = load(data)
            length = int.from_bytes(data[:8], "little")
            said = json.loads(data[8 : 8 + length])["__metadata__"]
            if all(said[name] == value for name, value in about.items()):
                return int(said["round"]), tensors["parameters"], tensors["own"]
        except (SafetensorError, KeyError, ValueError):  # damaged: train that round again
            continue
    return None
