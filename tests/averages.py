"""Small vectors, and federated averaging written without a look at fedtui's."""

import numpy as np

SIZE = 4
GOOD = np.arange(SIZE, dtype=np.float32)


def average(models: list[np.ndarray], weights: list[int]) -> np.ndarray:
    """McMahan et al. 2017, algorithm 1, in float64, written without a look at ours."""
    total = float(sum(weights))
    return sum(m.astype(np.float64) * (w / total) for m, w in zip(models, weights, strict=True))
