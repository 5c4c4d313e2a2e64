"""DP-SGD's noise: from bits that nobody without the site's secret can tell from chance.

It is float32 arithmetic, and does not defend against attacks on floating point (Mironov, On
Significance of the Least Significant Bits for Differential Privacy, CCS 2012).
"""

import hashlib
import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

Leaves = list[Array]
Draws = tuple[Array, Array]
"""Standard normal numbers, float32, in two halves, which are made together."""

BLOCK = 16  # bytes of one block of AES
_ALIGNED = 64  # bytes
_ZEROS = bytes(2**16)  # what is encrypted, over and over


class Guard(NamedTuple):
    """How a step's gradient is protected.

    Attributes:
        clip: Largest norm of one example's gradient.
        noise: Deviation of the noise on the sum, in units of ``clip``.
        batch: Expected examples a step, which the sum is divided by: the real number is private.
    """

    clip: float
    noise: float
    batch: float


class Bits:
    """AES-256 in counter mode over zeros. Equal words give equal bits.

    Drawn on the host while the device works: with AES in the processor it takes a hundredth of
    what JAX's own generator does, and unlike that one it is made to keep its key.

    Args:
        use: What they are for; other uses get other bits.
        words: Among them the site's secret.

    Attributes:
        place: Blocks drawn so far; set it to go on from there.

    References:
        NIST SP 800-38A, 2001, section 6.5.
    """

    def __init__(self, use: str, *words: int) -> None:
        self._key = hashlib.sha256(f"fedtui {use} {words}".encode()).digest()
        self.place = 0

    def draw(self, rows: int, columns: int) -> NDArray[np.uint32]:
        """uint32 [rows, columns]. What is left of the last block is not used."""
        place = room_for(rows, columns)
        self.fill(place)
        return place

    def fill(self, place: NDArray[np.uint32]) -> None:
        """The same into rows of an array of ``room_for``."""
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        counter = modes.CTR(self.place.to_bytes(BLOCK, "big"))
        self.place += -(-place.nbytes // BLOCK)
        encryptor = Cipher(algorithms.AES256(self._key), counter).encryptor()
        view = place.reshape(-1).view(np.uint8).data
        for at in range(0, len(view), len(_ZEROS)):  # from the cache, not from as many fresh pages
            encryptor.update_into(_ZEROS[: len(view) - at], view[at:])


def room_for(rows: int, columns: int) -> NDArray[np.uint32]:
    """uint32 [rows, columns], which JAX takes over on a processor without a copy."""
    memory = np.empty(4 * rows * columns + _ALIGNED, np.uint8)
    start = -memory.ctypes.data % _ALIGNED
    return memory[start : start + 4 * rows * columns].view(np.uint32).reshape(rows, columns)


@partial(jax.jit, donate_argnums=0)
def by_row(spare: Draws, bits: Array, count: Array) -> Draws:
    """``spare`` with normal numbers in the first ``count`` rows.

    Row by row: in one call over all rows XLA would spread it over a processor's cores, where the
    steps' own products then wait for it.
    """

    def one(row: Array, found: Draws) -> Draws:
        first, second = normal(bits[row])
        return found[0].at[row].set(first), found[1].at[row].set(second)

    found: Draws = jax.lax.fori_loop(0, count, one, spare)
    return found


def columns(parameters: int) -> int:
    """How many numbers a step draws for so many parameters: whole blocks, so that steps add up."""
    return -(-parameters // 4) * 4


def noised(summed: Leaves, moves: Sequence[bool], draws: Draws, guard: Guard) -> Leaves:
    """The noisy mean: (sum + Normal(0, (noise x clip)^2)) / expected batch; 0 where none moves.

    Args:
        draws: A step's, twice float32 [half], together at least the parameters.
    """
    found, first, numbers = [], 0, jnp.concatenate(draws)
    for leaf, move in zip(summed, moves, strict=True):
        drawn = numbers[first : first + leaf.size].reshape(leaf.shape)
        first += leaf.size
        noisy = (leaf + guard.noise * guard.clip * drawn) / guard.batch
        found.append(noisy if move else jnp.zeros_like(leaf))
    return found


def normal(bits: Array) -> Draws:
    """Standard normal numbers from uint32 [..., columns]: twice float32 [..., columns / 2].

    The first half of the bits says how far from the middle a pair lies, up to 6.7 deviations, where
    one in four thousand million does; the second half says in which of eight directions, and where
    between them. To 2e-6 of the distance.

    References:
        Box and Muller, A Note on the Generation of Random Normal Deviates, 1958.
    """
    far, where = jnp.split(bits, 2, axis=-1)
    outer = (far >> 31) == 0
    rest = ((far & 0x7FFFFFFF).astype(jnp.float32) + 0.5) * 2.0**-32
    log = jnp.log(jnp.where(outer, rest, 1 - rest))
    near = -rest * (1 + rest * (1 / 2 + rest / 3))  # where 1 - rest would be rounded
    log = jnp.where(outer | (rest > 2.0**-6), log, near)
    distance = jnp.sqrt(-2 * log)
    # XLA's own sine and cosine take ten times as long on a CPU. Here the angle is below 45 degrees.
    angle = ((where & 0x1FFFFFFF).astype(jnp.float32) + 0.5) * (math.pi * 2.0**-31)
    square = angle * angle
    sine = angle * _series(square, 3, 5, 7, 9)
    cosine = _series(square, 2, 4, 6, 8)
    along, across = jnp.where(where & 2**29, sine, cosine), jnp.where(where & 2**29, cosine, sine)
    return (
        jnp.where(where & 2**30, distance, -distance) * along,
        jnp.where(where >> 31, distance, -distance) * across,
    )


def _series(square: Array, *powers: int) -> Array:
    """1 - square / 3! + ..., for the factorials of ``powers``: Taylor's of a sine or a cosine."""
    value = jnp.zeros_like(square)
    for place, power in reversed([*enumerate(powers)]):
        value = square * (value + (-1) ** (place + 1) / math.factorial(power))
    return 1 + value
