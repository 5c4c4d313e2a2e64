"""What a network is called with, from a split and the scale that all sites agreed on."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets import Split, standardise

Scale = tuple[NDArray[np.float64], ...]


def prepare(split: Split, gives: str, scale: Scale | None) -> Any:
    """The arrays that ``Model.build`` names for ``gives``; the first axis is the examples.

    Images are read from disk here, once, and stay uint8.

    Args:
        scale: Of each feature, as ``datasets.standardise`` takes it; None takes the values as they
            are.
    """
    x = split.x if scale is None else standardise(split, scale)
    if split.pictures is not None:
        return split.pictures.take(np.arange(len(split))), x
    return (x, split.mask) if gives == "series" else x


def values(inputs: Any) -> int:
    """Numbers in one example."""
    arrays = inputs if isinstance(inputs, tuple) else (inputs,)
    return sum(int(np.prod(array.shape[1:])) for array in arrays)
