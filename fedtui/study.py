"""What the sites agree on (``study.toml``) and its fingerprint.

The fingerprint is sha256 over the RFC 8785 form of the study, the protocol version and the hash
of the numeric code, so that sites that would compute something else cannot take part by mistake.
"""

import dataclasses
import hashlib
import importlib.util
import json
import math
import re
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Literal

from fedtui import settings
from fedtui.errors import TrustError, UsageError
from fedtui.settings import UnfitError, suggestion

PROTOCOL = 1
# Written out, since what people type is judged where no model is loaded; a test holds them to
# models._metrics.
METRICS = ("loss", "accuracy", "balanced_accuracy", "brier")
TWO_CLASS_METRICS = (
    "auroc", "auprc", "sensitivity_at_90", "sensitivity_at_95", "calibration_slope",
    "calibration_error",
)  # fmt: skip
_ID = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,39}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# What decides the numbers: a patch elsewhere (screens, security) leaves a study's fingerprint.
_NUMERIC = (
    "datasets/*.py", "models/*.py",
    "fedtui/flower/strategy.py", "fedtui/flower/rules.py", "fedtui/flower/vectors.py",
)  # fmt: skip
_BESIDE = ("_leakage", "_probe", "_synth", "_report")  # no run's numbers come from these


@dataclass(frozen=True, slots=True, kw_only=True)
class Quorum:
    """When a round may go on without everybody.

    Attributes:
        minimum_sites: Fewest valid answers a round may go on with, once all have answered, or
            were refused, or the deadline has passed. 0, and a study that does not say, is all of
            the study's sites; the study then holds their number.
        minimum_fraction: The same as a share of the sites that were asked; the larger rules.
        deadline_seconds: How long a phase waits for all; with fewer, ``on_deadline`` decides.
        on_deadline: 'wait' says so and waits on; 'continue' goes on with ``minimum_sites`` or
            more, else fails; 'fail' ends the run.
        adaptive: Whether a site that trained longer than the median of all does fewer steps in
            the next round, down to a quarter, and weighs as much less.
    """

    minimum_sites: int = 0
    minimum_fraction: float = 0.0
    deadline_seconds: float = 3600.0
    on_deadline: Literal["wait", "continue", "fail"] = "wait"
    adaptive: bool = False

    def __post_init__(self) -> None:
        if self.minimum_sites < 0:
            raise ValueError("minimum_sites: it must not be negative")
        if self.deadline_seconds <= 0:
            raise ValueError("deadline_seconds: it must be positive")
        if not 0 <= self.minimum_fraction <= 1:
            raise ValueError("minimum_fraction: it must lie between 0 and 1")

    def needed(self, asked: int, *, of: int) -> int:
        """How many valid answers an exchange needs.

        Args:
            asked: The sites that are still there to be asked.
            of: Those that it is for: one where a site trains alone, else the study's.
        """
        return max(min(self.minimum_sites, of), math.ceil(self.minimum_fraction * asked - 1e-9))


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """How the joint model is judged once a run is over.

    Attributes:
        local: Every site also trains on its own data alone, from the same start and with the same
            budget: what the joint model is compared with there.
        subgroups: Features by whose values results are also shown; 'sex' by value, 'age' by
            ``age_bands``.
        age_bands: Ascending limits in years; 3 of them make 4 bands.
        specificity: At which sensitivity is given.
        fine_tuning: Epochs on a site's own data that the joint model gets for one further row;
            0 for none.
    """

    local: bool = True
    subgroups: tuple[str, ...] = ()
    age_bands: tuple[float, ...] = (45.0, 65.0, 80.0)
    specificity: float = 0.9
    fine_tuning: int = 0

    def __post_init__(self) -> None:
        if list(self.age_bands) != sorted(set(self.age_bands)):
            raise ValueError("age_bands: they must ascend")
        if not 0 < self.specificity < 1:
            raise ValueError("specificity: it must lie between 0 and 1")
        if self.fine_tuning < 0:
            raise ValueError("fine_tuning: it must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """The agreement. What a study.toml may hold, beside the tables [quorum] and [validation].

    Attributes:
        id: Short name that operators type.
        legal_basis: What allows it: the ethics approval's number, or the like.
        cohort: Who is in it, in words; the data set's module is the rule itself.
        schema: Hex sha256 of the data's names, units, ranges and classes; a site whose data have
            another refuses. Empty: round 0 only compares the sites with each other.
        approvers: By site, the person who must approve; empty where no approval is wanted, which
            sites accept for public data only.
        expires: Last day, as 2027-06-30, on which a run may start or go on; empty for no end.
        metric: The one evaluation metric that screens show.
        data: Name of the data set; where it lies is each site's own decision.
        normalisation: 'federated' agrees on mean and deviation in round 0; 'none' takes the
            data as they are, for inputs with a fixed scale.
        imputation: What stands in for a missing number: the agreed 'mean', which did better on
            Heart Disease (by .002 of AUROC, ten seeds), or the 'median'.
        clipping: Numbers farther from the agreed mean than this many agreed deviations become
            that far; 0 for no limit.
        model: Name of the model, and under ``parameters`` its configuration.
        pretrained: Hex sha256 of the safetensors file from which the first model is drawn; empty
            for none. The site that draws it holds the file.
        training: Local work a round: optimizer, learning_rate, batch, epochs and the like.
        privacy: Record-level privacy: epsilon (or noise), clip, delta; empty for none.
        strategy: How the sites' models become one, and under ``aggregation`` its settings.
        transport: How parameters travel; bfloat16 halves the bytes and rounds to 8 bits.
        exchange: Which models may be handed out as files once the leakage gate has passed.
        interop: Stock Flower peers may take part; public or synthetic data only.
    """

    id: str
    purpose: str
    sites: tuple[str, ...]
    data: str
    model: str
    rounds: int
    legal_basis: str = ""
    cohort: str = ""
    schema: str = ""
    approvers: dict[str, str] = field(default_factory=dict)
    expires: str = ""
    metric: str = "accuracy"
    seed: int = 0
    normalisation: Literal["federated", "none"] = "federated"
    imputation: Literal["mean", "median"] = "mean"
    clipping: float = 0.0
    parameters: dict[str, Any] = field(default_factory=dict)
    pretrained: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    privacy: dict[str, Any] = field(default_factory=dict)
    strategy: Literal[
        "fedavg", "fedprox", "fedavgm", "fedadam", "fedyogi", "trimmed_mean", "median"
    ] = "fedavg"
    aggregation: dict[str, float] = field(default_factory=dict)
    transport: Literal["float32", "bfloat16"] = "float32"
    quorum: Quorum = field(default_factory=Quorum)
    validation: Validation = field(default_factory=Validation)
    exchange: tuple[Literal["joint", "local"], ...] = ()
    interop: bool = False

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError("id: use 2 to 40 letters, digits and -, beginning with a letter")
        if self.rounds < 1:
            raise ValueError("rounds: at least 1")
        if not self.sites or len(set(self.sites)) != len(self.sites):
            raise ValueError("sites: name each site once, at least one")
        if not self.quorum.minimum_sites:
            everybody = dataclasses.replace(self.quorum, minimum_sites=len(self.sites))
            object.__setattr__(self, "quorum", everybody)
        if self.quorum.minimum_sites > len(self.sites):
            raise ValueError("quorum: minimum_sites is more than there are sites")
        if self.metric not in (known := (*METRICS, *TWO_CLASS_METRICS)):
            raise UnfitError(
                f"metric: there is no '{self.metric}'", remedy=suggestion(self.metric, known)
            )
        if not 0 <= self.seed < 2**32:
            raise ValueError("seed: it must lie between 0 and 4294967295")
        for key in ("schema", "pretrained"):
            if (value := getattr(self, key)) and not _SHA256.fullmatch(value):
                raise ValueError(f"{key}: 64 hex digits are wanted here")
        if self.approvers and set(self.approvers) != set(self.sites):
            raise ValueError("approvers: name one person for each site of the study")
        if self.expires:
            try:
                date.fromisoformat(self.expires)
            except ValueError:
                raise ValueError("expires: write a date as 2027-06-30") from None
        if self.interop and (self.strategy != "fedavg" or self.transport != "float32"):
            raise ValueError("interop: stock Flower peers know fedavg and float32 only")
        if self.clipping < 0:
            raise ValueError("clipping: it must not be negative")
        if self.normalisation == "none" and self.treated:
            raise ValueError("imputation, clipping: they need normalisation = 'federated'")
        if self.interop and self.imputation != "mean":
            raise ValueError("interop: stock Flower peers count nothing for medians")
        if self.interop and self.quorum.adaptive:
            raise ValueError("interop: stock Flower peers do all their steps; leave adaptive out")
        if self.privacy and self.quorum.adaptive:
            raise ValueError("privacy: its account counts on all steps; leave adaptive out")
        if self.privacy and self.training.get("share", 1) != 1:
            raise ValueError("privacy: its account counts on whole epochs; leave share out")
        if self.interop and self.privacy:
            raise ValueError("interop: stock Flower peers keep no account of privacy")

    @property
    def treated(self) -> bool:
        """Whether more is done to values than scaling."""
        return self.imputation != "mean" or self.clipping > 0

    def expired(self, today: date) -> bool:
        """Whether the study's last day has passed."""
        return bool(self.expires) and date.fromisoformat(self.expires) < today


def load(path: Path) -> Study:
    """The study in ``path``. Raises UsageError naming line and key."""
    return settings.read(path, Study)


def canonical(study: Study) -> bytes:
    """The study in RFC 8785 form: what is fingerprinted, sent and stored.

    Raises:
        UsageError: a value has no canonical form (NaN, infinity, an integer above 2**53).
    """
    import rfc8785

    try:
        data = rfc8785.dumps(dataclasses.asdict(study))
        rfc8785.dumps(json.loads(data))  # 1e16 is written as an integer that nobody may read
        return data
    except rfc8785.CanonicalizationError as error:
        raise UsageError(
            f"Study {study.id} holds a number that cannot be agreed on: {error}.",
            remedy="Use finite numbers below 2**53.",
        ) from error


def parse(data: bytes) -> Study:
    """The study that ``canonical`` wrote.

    Raises:
        TrustError: it is not one; whoever sent it runs another fedtui.
    """
    try:
        return settings.from_mapping(json.loads(data), Study)
    except (ValueError, RecursionError) as error:
        raise TrustError(
            "The study that arrived cannot be read.",
            remedy="Check that every site and the coordinator run the same fedtui.",
        ) from error


def fingerprint(study: Study) -> str:
    """Hex sha256 of study, protocol version and numeric code."""
    digest = hashlib.sha256()
    digest.update(f"fedtui-study-{PROTOCOL}\n{numeric_code()}\n".encode())
    digest.update(canonical(study))
    return digest.hexdigest()


@cache
def numeric_code() -> str:
    """Hex sha256 over the sources that decide a run's numbers, in this installation."""
    digest = hashlib.sha256()
    for pattern in _NUMERIC:
        package, _, rest = pattern.partition("/")
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            continue
        root = Path(spec.submodule_search_locations[0])
        for file in sorted(root.glob(rest)):
            if file.name.startswith(_BESIDE):
                continue
            digest.update(f"{package}/{file.relative_to(root)}\0".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
