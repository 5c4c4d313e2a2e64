"""DP-SGD's noise: from bits that nobody without the site's secret can tell from chance.

It is float32 arithmetic, and does not defend against attacks on floating point (Mironov, On
Significance of the Least Significant Bits for Differential Privacy, CCS 2012).
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

Leaves = list[Array]

# Polynomials of the inverse error function over its argument, highest power first.
_GILES = (
    (2.81022636e-08, -0.000200214257),
    (3.43273939e-07, 0.000100950558),
    (-3.5233877e-06, 0.00134934322),
    (-4.39150654e-06, -0.00367342844),
    (0.00021858087, 0.00573950773),
    (-0.00125372503, -0.0076224613),
    (-0.00417768164, 0.00943887047),
    (0.246640727, 1.00167406),
    (1.50140941, 2.83297682),
)
_BLOCK = 16  # bytes of one block of AES
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
        view = memoryview(into)
        for at in range(0, size, len(_ZEROS)):  # from the cache, not from as many fresh pages
            encryptor.update_into(_ZEROS[: size - at], view[at:])
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
        noise = normal(bits[first : first + leaf.size].reshape(leaf.shape))
        first += leaf.size
        noisy = (leaf + guard.noise * guard.clip * noise) / guard.batch
        found.append(noisy if move else jnp.zeros_like(leaf))
    return found


def normal(bits: Array) -> Array:
    """Standard normal numbers, float32, from uint32: the quantiles of 2^32 shares alike.

    The first bit is the sign and 31 say how far out, so the tails reach 6.3 deviations, where one
    number in four thousand million lies; a relative error of 4e-4 there, 1e-6 in the middle.

    References:
        Giles, Approximating the erfinv Function, GPU Computing Gems Jade Edition, 2011, listing 1.
    """
    outside = ((bits & 0x7FFFFFFF).astype(jnp.float32) + 0.5) * 2.0**-32
    depth = -jnp.log(4 * outside * (1 - outside))
    near = depth < 5
    at = jnp.where(near, depth - 2.5, jnp.sqrt(depth) - 3)
    value = jnp.zeros_like(at)
    for middle, tail in _GILES:
        value = value * at + jnp.where(near, middle, tail)
    value *= 2**0.5 * (1 - 2 * outside)
    return jnp.where(bits >> 31, value, -value)
