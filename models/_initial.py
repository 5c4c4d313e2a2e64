"""What parameters begin with, made on the host: XLA compiles each array for itself, for seconds.

The same on every device, where a GPU's normal numbers differ from a processor's in their last bits.
A key gives the same numbers in a traced function as outside one.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]

_EDGE = 2.0  # deviations at which a truncated normal ends
# The deviation that is left to it: variance 1 - 2 e phi(e) / (2 Phi(e) - 1).
_LEFT = math.sqrt(
    1 - 2 * _EDGE * math.exp(-(_EDGE**2) / 2) / math.sqrt(2 * math.pi) / math.erf(_EDGE / 2**0.5)
)


def normal(key: Array, shape: Sequence[int], *, deviation: float) -> Array:
    """Independent normal numbers around 0, float32 [shape]."""
    return _drawn(
        lambda random, shape: random.standard_normal(shape, dtype=np.float32), key, shape, deviation
    )


def uniform(key: Array, shape: Sequence[int], *, bound: float) -> Array:
    """Independent numbers between -bound and bound, float32 [shape]."""
    return _drawn(
        lambda random, shape: 2 * random.random(shape, dtype=np.float32) - 1, key, shape, bound
    )


def by_inputs(key: Array, shape: Sequence[int], dtype: Any = None, *, gain: float = 1.0) -> Array:
    """A dense kernel float32 [inputs, outputs] of variance gain / inputs, within two deviations.

    What nnx calls ``lecun_normal``, and with a gain of 2 ``he_normal``.

    References:
        LeCun et al., Efficient BackProp, 1998, section 4.6; He et al., Delving Deep into
        Rectifiers, ICCV 2015, section 2.2.
    """
    del dtype  # of an initialiser's signature; all parameters are float32
    return _drawn(_truncated, key, shape, math.sqrt(gain / shape[0]) / _LEFT)


def filled(shape: Sequence[int], value: float = 0.0) -> Array:
    """The same number everywhere, float32 [shape]."""
    made: Array = jax.device_put(np.full(tuple(shape), value, np.float32))
    return made


def _truncated(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    found = random.standard_normal(shape, dtype=np.float32)
    while (beyond := np.abs(found) > _EDGE).any():
        found[beyond] = random.standard_normal(int(beyond.sum()), dtype=np.float32)
    return found


def _drawn(draw: Draw, key: Array, shape: Sequence[int], scale: float) -> Array:
    def host(words: Any) -> np.ndarray:
        seed = int.from_bytes(np.asarray(words).tobytes(), "little")
        random = np.random.Generator(np.random.Philox(key=seed))
        return draw(random, tuple(shape)) * np.float32(scale)

    words = jax.random.key_data(key)
    if isinstance(words, jax.core.Tracer):  # nowhere else: each callback is compiled
        aimed = np.broadcast_to(np.float32(0), tuple(shape))
        traced: Array = jax.pure_callback(host, aimed, words, vmap_method="sequential")
        return traced
    drawn: Array = jax.device_put(host(words))
    return drawn
