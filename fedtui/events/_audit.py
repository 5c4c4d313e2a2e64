"""What an audit of a model found before it leaves, and who lets it leave all the same."""

from typing import Literal

from fedtui.errors import joined
from fedtui.events._event import Event, event

Audited = Literal["local update", "global model", "local model"]
Verdict = Literal["PASS", "WARN", "BLOCK", "NOT ASSESSABLE"]


@event
class AuditProgressed(Event):
    """How far an audit is; about once a second."""

    run: str
    object: Audited
    step: int
    steps: int

    @property
    def sentence(self) -> str:
        return f"audit of the {self.object} of {self.run}: {self.step} of {self.steps}."


@event
class AuditFailed(Event):
    """An audit came to no verdict; ``error`` is one of our own, in its own words."""

    run: str
    object: Audited
    error: str
    message: str
    remedy: str

    @property
    def level(self) -> str:  # type: ignore[override]
        """Nothing leaves without a verdict."""
        return "ERROR"

    @property
    def sentence(self) -> str:
        return joined(
            f"audit of the {self.object} of {self.run} failed: {self.message}", self.remedy
        )


@event
class LeakageAudited(Event):
    """How well a stranger tells from a model who was in this site's training data.

    Attributes:
        vector: Hex sha256 of the attacked parameters.
        attack: 'lira', or a weaker one that cannot pass a model.
        shadows: Models trained for comparison.
        speaks: 'recipe' where the shadows' rate decided, 'own' where the model's own did.
        rate: Members found at 1 % false positives; None where that means nothing.
        rate_low: Lower end of its 95 % interval.
        rate_high: Upper end, which decides.
        auc: Chance that a member looks more like one than a held-out patient does, with its 95 %
            interval; None over fewer patients than the site's minimum cell.
        epsilon: Refuted by planted records at 95 %; ``claimed`` is the study's promise so far.
        members: Patients the model was trained on; None below the minimum cell.
        nonmembers: Patients of whom 1 % may be accused; None below the minimum cell.
    """

    run: str
    round: int
    object: Audited
    vector: str
    fingerprint: str
    verdict: Verdict
    reasons: tuple[str, ...]
    attack: str
    shadows: int
    speaks: str
    rate: float | None
    rate_low: float | None
    rate_high: float | None
    auc: float | None
    auc_low: float | None
    auc_high: float | None
    epsilon: float | None
    claimed: float | None
    members: int | None
    nonmembers: int | None
    seconds: float

    @property
    def level(self) -> str:  # type: ignore[override]
        """Anything but a pass wants to be read."""
        return "INFO" if self.verdict == "PASS" else "WARN"

    @property
    def sentence(self) -> str:
        why = "; ".join(reason.rstrip(".") for reason in self.reasons)
        which = f"the {self.object} of {self.run}, round {self.round}"
        return f"leakage of {which}: {self.verdict}, {why}."


@event
class LeakageOverridden(Event):
    """A person signed that a model may leave although its audit did not pass it.

    Attributes:
        vector: Of the audit that is overridden.
        signer: The person.
        key: The person's public key, and the signature over all of the above, base64.
    """

    run: str
    round: int
    object: Audited
    vector: str
    verdict: Verdict
    reason: str
    signer: str
    key: str
    signature: str

    @property
    def level(self) -> str:  # type: ignore[override]
        """Whoever reviews the journal should find it."""
        return "WARN"

    @property
    def sentence(self) -> str:
        return (
            f"{self.signer} lets the {self.object} of {self.run} leave although the audit says "
            f"{self.verdict}: {self.reason.rstrip('.')}."
        )
