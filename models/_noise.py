"""DP-SGD's noise: from bits that nobody without the site's secret can tell from chance."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

Leaves = list[Array]

_LARGEST = 1 - 2**-24  # of float32 below 1: where the normal's tails end, at 5.4 deviations
_BLOCK = 16  # bytes of one block of AES


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

    Drawn on the host: with AES in the processor a step's noise takes 3 % of the time that JAX's
    own generator does, and unlike that one it is made to keep its key.

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

    def draw(self, rows: int, columns: int, *, room: int = 0) -> NDArray[np.uint32]:
        """uint32 [rows, columns], or [room, columns] with nothing of use behind the rows.

        What is left of the last block is not used.
        """
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        size = 4 * rows * columns
        counter = modes.CTR(self.place.to_bytes(_BLOCK, "big"))
        self.place += -(-size // _BLOCK)
        whole = 4 * max(rows, room) * columns
        into = bytearray(whole + _BLOCK)
        encryptor = Cipher(algorithms.AES256(self._key), counter).encryptor()
        encryptor.update_into(bytes(size), into)
        return np.frombuffer(into, np.uint32, whole // 4).reshape(-1, columns)


def columns(parameters: int) -> int:
    """How many numbers a step draws for so many parameters: whole blocks, so that steps add up."""
    return -(-parameters // 4) * 4


def noised(summed: Leaves, moves: Sequence[bool], bits: Array, guard: Guard) -> Leaves:
    """The noisy mean: (sum + Normal(0, (noise x clip)^2)) / expected batch; 0 where none moves.

    Args:
        bits: uint32 [at least the parameters], each the quantile of one draw.
    """
    found, first = [], 0
    for leaf, move in zip(summed, moves, strict=True):
        own = bits[first : first + leaf.size].reshape(leaf.shape)
        first += leaf.size
        noise = guard.noise * guard.clip * normal(own)
        found.append((leaf + noise) / guard.batch if move else jnp.zeros_like(leaf))
    return found


def normal(bits: Array) -> Array:
    """Standard normal numbers, float32, from uint32 by the inverse of their distribution."""
    even = bits.astype(jnp.int32).astype(jnp.float32) * 2.0**-31
    return jnp.sqrt(2.0) * jax.lax.erf_inv(jnp.clip(even, -_LARGEST, _LARGEST))
