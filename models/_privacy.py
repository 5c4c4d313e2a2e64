"""Record-level privacy: how much noise a promise needs, and what has been spent of it.

Neighbours differ by one record, one row, that is added or removed; batches are Poisson samples, as
``_batches`` and ``_ahead`` draw them. Of the epsilons here 'rdp' is quick, for the screen, and
'pld' tight, for the report.

A promise depends on the number of rows only as far as that is told anyway, to the nearest
``ROUNDING``: an epsilon, or the width of the noise, would else give away the number itself, and a
later one whether somebody opted out. It holds for every number that is rounded to the same.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from models._errors import ModelError

ROUNDING = 5  # of the counts that leave a site; ``fedtui.disclosure`` has the same
_LARGEST_NOISE = 1e4  # in units of the clip; more is no training


@dataclass(frozen=True, slots=True, kw_only=True)
class Privacy:
    """What is promised to each row: a patient with several rows is covered less.

    Attributes:
        epsilon: Of the whole run at one site; the noise follows from it.
        noise: Deviation of the noise on a step's sum of gradients, in units of ``clip``. Give
            either this or ``epsilon``.
        clip: Largest norm of one example's gradient.
        delta: Chance that the promise does not hold; less than one in the number of rows.
            None takes a tenth of that, or somewhat less.

    Raises:
        ModelError: a value that cannot be, by the setting's name.

    References:
        Abadi et al., Deep Learning with Differential Privacy, CCS 2016.
    """

    epsilon: float | None = None
    noise: float | None = None
    clip: float = 1.0
    delta: float | None = None

    def __post_init__(self) -> None:
        if (self.epsilon is None) == (self.noise is None):
            raise ModelError("epsilon: give either it or noise")
        for key in ("epsilon", "noise", "clip", "delta"):
            value = getattr(self, key)
            if value is not None and not 0 < value < math.inf:
                raise ModelError(f"{key}: it must be a number more than 0")
        if self.delta is not None and self.delta >= 1:
            raise ModelError("delta: it must be less than 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A promise with all its numbers, for one site.

    Attributes:
        noise: Deviation of the noise on a step's sum, in units of ``clip``.
        rate: Chance of each example to be in a step's batch.
        batch: Expected examples a step, as far as their number is told; what its sum is divided by.
        steps: Steps a round.
        rounds: In the whole run.
    """

    clip: float
    noise: float
    rate: float
    batch: float
    steps: int
    rounds: int
    delta: float

    def spent(self, rounds: int, *, by: Literal["rdp", "pld"] = "rdp") -> float:
        """Epsilon after so many rounds, at ``delta``."""
        return epsilon(
            noise=self.noise, rate=self.rate, steps=self.steps * rounds, delta=self.delta, by=by
        )


def plan(privacy: Privacy, *, examples: int, batch: int, epochs: int, rounds: int) -> Plan:
    """The numbers of a promise at a site with about so many training examples.

    Args:
        examples: Or any other number that ``ROUNDING`` does not tell from it.
        batch: Expected examples a step, of the fewest it may be; all have the same chance.
        epochs: So many times an example is expected to be used a round.

    Raises:
        ModelError: ``delta`` is not below one in ``examples``, or no noise keeps ``epsilon``.
    """
    told, fewest, most = _alike(examples)
    delta = 1 / (10 * most) if privacy.delta is None else privacy.delta
    if delta >= 1 / most:
        raise ModelError(
            f"delta: {delta:g} would allow to publish one of the site's records, up to {most}",
            remedy=f"Choose less than {1 / most:.1g}, or leave it out.",
        )
    rate = min(1.0, batch / fewest)
    steps = epochs * math.ceil(most / batch)
    noise = privacy.noise
    if noise is None:
        assert privacy.epsilon is not None  # one of the two is there
        noise = noise_for(privacy.epsilon, rate=rate, steps=steps * rounds, delta=delta)
    return Plan(
        clip=privacy.clip,
        noise=noise,
        rate=rate,
        batch=rate * told,
        steps=steps,
        rounds=rounds,
        delta=delta,
    )


def _alike(examples: int) -> tuple[int, int, int]:
    """As what ``examples`` are told, and the fewest and the most that are told so."""
    half = ROUNDING // 2
    told = max(ROUNDING, (examples + half) // ROUNDING * ROUNDING)
    return told, told - half if told > ROUNDING else 1, told + half


@lru_cache(maxsize=256)  # of little noise it takes seconds, and every round asks again
def epsilon(
    *, noise: float, rate: float, steps: int, delta: float, by: Literal["rdp", "pld"] = "rdp"
) -> float:
    """What ``steps`` Poisson samples at ``rate`` with Gaussian noise spend at ``delta``.

    References:
        Mironov et al., Renyi DP of the Sampled Gaussian Mechanism, arXiv 1908.10530 (rdp).
        Doroshenko et al., Connect the Dots: Tighter Discrete Approximations, PETS 2022 (pld).
    """
    import dp_accounting  # scipy: half a second, only where privacy is asked for
    from dp_accounting import pld, rdp

    if not steps:
        return 0.0
    event: Any = dp_accounting.GaussianDpEvent(noise)
    if rate < 1:
        event = dp_accounting.PoissonSampledDpEvent(rate, event)
    accountant: Any = rdp.RdpAccountant() if by == "rdp" else pld.PLDAccountant()
    return float(accountant.compose(event, steps).get_epsilon(delta))


def noise_for(target: float, *, rate: float, steps: int, delta: float) -> float:
    """The least noise, to a thousandth, whose RDP epsilon is at most ``target``.

    Raises:
        ModelError: there is none below 10,000 clips.
    """
    low, high = 0.0, 1.0
    while epsilon(noise=high, rate=rate, steps=steps, delta=delta) > target:
        low, high = high, 2 * high
        if high > _LARGEST_NOISE:
            raise ModelError(
                f"epsilon: no noise keeps {target:g} over {steps} steps",
                remedy="Allow a larger epsilon, fewer rounds or a smaller batch.",
            )
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        kept = epsilon(noise=middle, rate=rate, steps=steps, delta=delta) <= target
        low, high = (low, middle) if kept else (middle, high)
    return high
