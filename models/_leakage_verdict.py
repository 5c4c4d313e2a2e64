"""What the measured leakage means for a release: PASS, WARN, BLOCK or NOT ASSESSABLE, and why.

The upper end of the interval decides, for release and for refusal alike: who wants to send a model
must show that it leaks little. WARN may leave, as both lines were agreed on; it is written down.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from models import Training
from models._intervals import Interval
from models._leakage_scores import FALSE_POSITIVES, Rates

Object = Literal["local update", "global model", "local model"]
Verdict = Literal["PASS", "WARN", "BLOCK", "NOT ASSESSABLE"]

PASSES = 0.02
"""Largest upper end of members found at 1 % false positives; knowing nothing finds 1 %."""

BLOCKS = 0.05
"""Above it the model stays."""

FEWEST = 10
"""Patients that 1 % of the non-members must be, for a rate there to mean anything."""

SMALLEST_BATCH = 32
"""From which on one step's gradient no longer showed any record in a simple attack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was found out about one model.

    Attributes:
        attack: 'lira' has two distributions of each record; the others are cheaper and weaker, so
            what they do not find says little.
        shadows: Models trained for comparison.
        recipe: Of the shadows attacked one by one, over targets and patients; None without.
        own: Of the model itself at the shadows' threshold, over its members; None without.
        own_interval: Clopper-Pearson, 95 %.
        held_out: Share of held-out patients accused at that threshold, Clopper-Pearson, 95 %.
        auc: Chance that a member scores above a held-out patient.
        auc_interval: DeLong, 95 %.
        loss_auc: The same by the loss alone, without shadows.
        epsilon: Refuted by planted records at 95 %; None if none were planted.
        claimed: Epsilon that the study promises up to this round; None without a promise.
        members: Patients of the training split.
        held_out_patients: Of the other splits.
        nonmembers: Patients who did not train at least one attacked model: what 1 % is taken of.
    """

    attack: Literal["lira", "rmia", "loss"]
    shadows: int
    recipe: Rates | None
    own: float | None
    own_interval: Interval | None
    held_out: Interval | None
    auc: float | None
    auc_interval: Interval | None
    loss_auc: float | None
    epsilon: float | None
    claimed: float | None
    members: int
    held_out_patients: int
    nonmembers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Leakage:
    """One model's audit.

    Attributes:
        verdict: Whether it may leave.
        reasons: Why, a sentence each; without counts of patients.
        speaks: Whose rate decided: 'recipe' or, where the model was shown to differ, 'own'.
        rate: Members found at 1 % false positives; None where that means nothing.
        interval: Its 95 % interval.
        seconds: Wall time.
    """

    object: Object
    verdict: Verdict
    reasons: tuple[str, ...]
    speaks: Literal["recipe", "own", ""]
    rate: float | None
    interval: Interval | None
    measured: Measured
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it."""
        return dataclasses.asdict(self)


def weaknesses(training: Training, *, examples: int) -> tuple[str, ...]:
    """What of the recipe itself gives records away, a sentence each.

    Args:
        examples: Of the training split.
    """
    found = []
    batch = min(training.batch, examples)
    if batch < SMALLEST_BATCH:
        found.append(
            f"a batch of {training.batch} or fewer records: gradients of batches under "
            f"{SMALLEST_BATCH} show whole records."
        )
    if training.steps(examples) < 2:
        found.append("a round of one step: its update is a gradient, which can be inverted.")
    return tuple(found)


def judge(object: Object, measured: Measured, weak: tuple[str, ...], *, seconds: float) -> Leakage:
    """The verdict. An audit that could not look closely enough never passes."""
    speaks, rate, interval = _deciding(measured)
    verdict, reasons = _judged(measured, weak, speaks, interval)
    return Leakage(
        object=object,
        verdict=verdict,
        reasons=reasons,
        speaks=speaks,
        rate=rate,
        interval=interval,
        measured=measured,
        seconds=seconds,
    )


def _deciding(measured: Measured) -> tuple[Literal["recipe", "own", ""], float | None, Any]:
    """Whose rate counts.

    Many models of one recipe say more than the one that is to leave, unless that one is shown to
    differ, upwards or downwards, by intervals that do not touch. A joint model mostly leaks less
    than models of one site's patients alone. Its own rate then errs upwards: shadows share
    patients and vary less than strangers' models do (1 % became 2 % in a model that saw none).
    """
    recipe, own = measured.recipe, measured.own_interval
    if measured.nonmembers * FALSE_POSITIVES < FEWEST or own is None:
        return "", None, None
    if recipe is None or own.low > recipe.interval.high or own.high < recipe.interval.low:
        return "own", measured.own, own
    return "recipe", recipe.rate, recipe.interval


def _judged(
    measured: Measured, weak: tuple[str, ...], speaks: str, interval: Interval | None
) -> tuple[Verdict, tuple[str, ...]]:
    claimed, epsilon = measured.claimed, measured.epsilon
    if weak:
        return "BLOCK", weak
    if claimed is not None and epsilon is not None and epsilon > claimed:
        return "BLOCK", (
            f"planted records refute the promise: epsilon is at least {epsilon:.2f}, "
            f"and {claimed:.2f} is claimed.",
        )
    if interval is None:
        few = measured.nonmembers * FALSE_POSITIVES < FEWEST
        return "NOT ASSESSABLE", (
            f"1 % of this site's patients are fewer than {FEWEST}."
            if few
            else "too few models could be trained for comparison.",
        )
    told = f"at 1 % false positives {interval.low:.1%} to {interval.high:.1%} of members are found"
    if measured.attack != "lira":
        if interval.low > BLOCKS:
            return "BLOCK", (f"{told}, by a weak attack already.",)
        return "NOT ASSESSABLE", (f"{told} by a weak attack; a strong one was not affordable.",)
    if (
        speaks == "own"
        and measured.held_out is not None
        and (measured.held_out.low > FALSE_POSITIVES)
    ):
        return "NOT ASSESSABLE", (
            "the models trained for comparison do not describe this one: "
            "patients who were held out look like members too.",
        )
    if interval.high > BLOCKS:
        return "BLOCK", (f"{told}, and more than {BLOCKS:.0%} is not excluded.",)
    if claimed is not None and epsilon is None:
        return "NOT ASSESSABLE", ("no time was left to test the promised epsilon.",)
    if interval.high > PASSES:
        return "WARN", (f"{told}; it passes up to {PASSES:.0%}.",)
    return "PASS", (f"{told}; knowing nothing finds 1 %.",)
