"""What chance decides under record-level privacy: samples, streams of bits, noise."""

import math
from statistics import NormalDist

import jax.numpy as jnp
import numpy as np
import pytest

from models import (
    _batches,
)
from models._batches import sampled
from models._noise import Bits, normal
from models._privacy import Plan


def test_batches_are_poisson_samples() -> None:
    wanted = Plan(clip=1, noise=1, rate=0.1, batch=20, steps=2000, rounds=1, delta=1e-3)

    order = sampled(Bits("samples", 0), 200, wanted, 1)

    sizes = (order >= 0).sum(axis=1)
    assert order.shape[0] == 2000
    assert sizes.mean() == pytest.approx(20, abs=0.4)  # standard error 0.09
    assert sizes.var() == pytest.approx(18, rel=0.15)  # of a binomial; 0 were they fixed
    uses = np.bincount(order[order >= 0], minlength=200)
    assert uses.var() == pytest.approx(180, rel=0.4)
    for row, size in zip(order, sizes, strict=True):
        assert len(set(row[:size])) == size
        assert (row[size:] == -1).all()


def test_samples_are_independent_of_each_other_and_alike_at_every_place() -> None:
    steps, examples, rate = 4000, 60, 0.2
    wanted = Plan(clip=1, noise=1, rate=rate, batch=12, steps=steps, rounds=1, delta=1e-3)
    order = sampled(Bits("samples", 1), examples, wanted, 1)

    taken = np.zeros((steps, examples))
    for row, rows in zip(taken, order, strict=True):
        row[rows[rows >= 0]] = 1

    error = math.sqrt(rate * (1 - rate) / steps)
    assert abs(taken.mean(axis=0) - rate).max() < 4.5 * error  # the first and the last alike
    together = np.corrcoef(taken.T)[~np.eye(examples, dtype=bool)]
    assert abs(together).max() < 5 / math.sqrt(steps)
    across = np.corrcoef(taken[:-1].ravel(), taken[1:].ravel())[0, 1]  # one step and the next
    assert abs(across) < 5 / math.sqrt(steps * examples)
    gaps = np.diff(np.flatnonzero(taken))
    for gap in range(1, 8):  # a geometric number
        share = rate * (1 - rate) ** (gap - 1)
        assert (gaps == gap).mean() == pytest.approx(share, abs=5 * math.sqrt(share / len(gaps)))


@pytest.mark.parametrize(("rate", "expected"), [(1.0, 50), (1e-14, 0)])
def test_a_chance_of_one_takes_everybody_and_hardly_any_takes_none(
    rate: float, expected: int
) -> None:
    wanted = Plan(clip=1, noise=1, rate=rate, batch=50, steps=3, rounds=1, delta=1e-3)

    order = sampled(Bits("samples", 0), 50, wanted, 1)

    assert (order >= 0).sum(axis=1).tolist() == [expected] * 3
    for rows in order:
        assert sorted(rows[rows >= 0]) == list(range(expected))


def test_many_bits_are_one_stream() -> None:
    whole = Bits("noise", 3).draw(1, 50_000)
    by_parts = Bits("noise", 3)

    parts = np.concatenate([by_parts.draw(1, 10_000)[0] for _ in range(5)])

    np.testing.assert_array_equal(whole[0], parts)  # 200 kB and five of 40 kB


def test_bits_are_those_of_aes_in_counter_mode() -> None:
    bits = Bits("noise")
    bits._key = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    bits.place = 0xF0F1F2F3F4F5F6F7F8F9FAFBFCFDFEFF
    plain = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    secret = "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"

    found = bits.draw(1, 4).tobytes() + bits.draw(1, 4).tobytes()

    # NIST SP 800-38A, F.5.5, blocks 1 and 2: what is drawn is what was added to the text.
    assert found.hex() == f"{int(plain, 16) ^ int(secret, 16):064x}"


def test_every_use_and_every_word_gives_other_bits() -> None:
    kinds = [Bits("noise", 1, 2), Bits("samples", 1, 2), Bits("noise", 1, 3), Bits("noise", 12)]

    assert len({each.draw(1, 4).tobytes() for each in kinds}) == 4


def test_noise_is_box_and_mullers_of_its_bits() -> None:
    random = np.random.default_rng(0)
    ends = np.array([0, 1, 2**29 - 1, 2**29, 2**30, 2**31 - 1, 2**31, 2**32 - 1], np.uint32)
    far = np.concatenate([ends, random.integers(0, 2**32, 4000, dtype=np.uint32)])
    where = np.concatenate([ends[::-1], random.integers(0, 2**32, 4000, dtype=np.uint32)])
    # In 64 bits: the upper half of the first word counts down to the middle.
    below, above = (far % 2**31 + 0.5) / 2**32, far >= 2**31
    distance = np.sqrt(-2 * np.where(above, np.log1p(-below), np.log(below)))
    angle = (where % 2**29 + 0.5) / 2**29 * np.pi / 4
    swapped = where & 2**29 > 0
    x, y = np.cos(angle), np.sin(angle)
    x, y = np.where(swapped, y, x), np.where(swapped, x, y)

    along, across = normal(jnp.asarray(np.concatenate([far, where])))

    error = 2e-6 * distance
    assert (np.abs(along - distance * x * np.where(where & 2**30, 1, -1)) <= error).all()
    assert (np.abs(across - distance * y * np.where(where >> 31, 1, -1)) <= error).all()
    assert distance.max() > 6.6
    assert 0 < distance.min() < 2e-5


def test_noise_is_normal_whole_and_where_halves_meet() -> None:
    bits = Bits("noise", 1).draw(1, 2_000_000)[0]
    along, across = (np.asarray(half, np.float64) for half in normal(jnp.asarray(bits)))

    both = np.concatenate([along, across])
    levels = np.array([-4, -3, -2, -1, -0.5, -0.01, 0, 0.01, 0.5, 1, 2, 3, 4])
    truth = np.array([NormalDist().cdf(level) for level in levels])
    found = np.array([(both < level).mean() for level in levels])
    # Five deviations of a count; and that the halves tell nothing of each other.
    assert (np.abs(found - truth) < 5 * np.sqrt(truth * (1 - truth) / len(both))).all()
    assert both.std() == pytest.approx(1, abs=5 / math.sqrt(2 * len(both)))
    for one, other in ((along, across), (along**2, across**2), (along * across, along)):
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / math.sqrt(len(along))


def test_room_grows_for_an_unlikely_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_batches, "widest", lambda *_: 3)
    wanted = Plan(clip=1, noise=1, rate=0.9, batch=90, steps=3, rounds=1, delta=1e-3)

    order = sampled(Bits("samples", 0), 100, wanted, 1)

    assert (order >= 0).sum(axis=1).min() > 60
