"""DP-SGD's noise: from bits that nobody without the site's secret can tell from chance.

It is float32 arithmetic, and does not defend against attacks on floating point (Mironov, On
Significance of the Least Significant Bits for Differential Privacy, CCS 2012).
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
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
_ALIGNED = 64  # bytes
_ZEROS = bytes(2**16)  # what is encrypted, over and over
_FIRST, _GROWTH = 16, 4  # steps of a round's first draw, which the device waits for; times as many


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

        What is left of the last block is not used. The array begins where JAX takes it over on a
        processor without a copy.
        """
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        size = 4 * rows * columns
        counter = modes.CTR(self.place.to_bytes(_BLOCK, "big"))
        self.place += -(-size // _BLOCK)
        whole = 4 * max(rows, room) * columns
        memory = np.empty(whole + _BLOCK + _ALIGNED, np.uint8)
        start = -memory.ctypes.data % _ALIGNED
        encryptor = Cipher(algorithms.AES256(self._key), counter).encryptor()
        view = memory[start:].data
        for at in range(0, size, len(_ZEROS)):  # from the cache, not from as many fresh pages
            encryptor.update_into(_ZEROS[: size - at], view[at:])
        return memory[start : start + whole].view(np.uint32).reshape(-1, columns)


class Ahead:
    """The noise of the stretch that follows, made by a thread of its own while the device works.

    On a processor XLA computes what one thread gives it one after the other; what two give it goes
    side by side, and a small network leaves a core idle.

    Args:
        bits: Of which the noise of a step is always the same part.
        parameters: How many numbers a step draws.
        room: Steps for which a call is made at most; fewer are filled up, for one compiled shape.
        sharding: How arrays lie on several devices; None for one.
    """

    def __init__(self, bits: Bits, parameters: int, *, room: int, sharding: Any) -> None:
        self._bits, self._columns, self._room = bits, columns(parameters), room
        self._sharding = sharding
        self._thread = ThreadPoolExecutor(1, "noise")
        self._next: tuple[int, int, Future[Array]] | None = None
        self._most = _FIRST // _GROWTH

    def order(self, step: int, count: int) -> None:
        """Begin to draw from ``step`` on: for ``count`` steps, or as many as there is room for, but
        at most some times as many as before, so that a round begins soon.
        """
        count = self._most = min(count, self._most * _GROWTH, self._room)
        self._next = step, count, self._thread.submit(self._drawn, step, count)

    def take(self, step: int, count: int, most: int) -> tuple[int, Array]:
        """For how many steps from ``step`` on there is noise, and float32 [room, columns].

        As many as were ordered and at most ``most``; ``count`` where none were.
        """
        if self._next is None or self._next[0] != step:
            self.order(step, count)
        assert self._next is not None
        _, ready, draws = self._next
        self._next = None
        return min(ready, most), draws.result()

    def _drawn(self, step: int, count: int) -> Array:
        self._bits.place = step * self._columns * 4 // _BLOCK
        bits = self._bits.draw(count, self._columns, room=self._room)
        draws: Array = _by_row(jax.device_put(bits, self._sharding), np.int32(count))
        return draws


@jax.jit
def _by_row(bits: Array, count: Array) -> Array:
    """Normal numbers, float32 like ``bits``, in the first ``count`` rows.

    Row by row: in one call over all rows XLA would spread it over a processor's cores, where the
    steps' own products then wait for it.
    """

    def one(row: Array, found: Array) -> Array:
        return found.at[row].set(normal(bits[row]))

    nothing = jax.lax.empty(bits.shape, jnp.float32)  # type: ignore[no-untyped-call]
    found: Array = jax.lax.fori_loop(0, count, one, nothing)
    return found


def columns(parameters: int) -> int:
    """How many numbers a step draws for so many parameters: whole blocks, so that steps add up."""
    return -(-parameters // 4) * 4


def noised(summed: Leaves, moves: Sequence[bool], draws: Array, guard: Guard) -> Leaves:
    """The noisy mean: (sum + Normal(0, (noise x clip)^2)) / expected batch; 0 where none moves.

    Args:
        draws: float32 [at least the parameters], standard normal.
    """
    found, first = [], 0
    for leaf, move in zip(summed, moves, strict=True):
        drawn = draws[first : first + leaf.size].reshape(leaf.shape)
        first += leaf.size
        noisy = (leaf + guard.noise * guard.clip * drawn) / guard.batch
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
