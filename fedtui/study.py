"""What the sites agree on (``study.toml``) and its fingerprint.

The fingerprint is sha256 over the RFC 8785 form of the study, the protocol version and the hash
of the numeric code, so that sites that would compute something else cannot take part by mistake.
"""

import dataclasses
import hashlib
import importlib.util
import json
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from fedtui import settings
from fedtui.errors import TrustError, UsageError

PROTOCOL = 1
_ID = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,39}")
# What decides the numbers: a patch elsewhere (screens, security) leaves a study's fingerprint.
_NUMERIC = ("datasets/*.py", "models/*.py", "fedtui/flower/strategy.py", "fedtui/flower/vectors.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quorum:
    """When a round may go on without everybody.

    Attributes:
        minimum_sites: Fewest valid answers a round may go on with, once all have answered, or
            were refused, or the deadline has passed.
        deadline_seconds: How long a phase waits for all; with fewer, ``on_deadline`` decides.
        on_deadline: 'wait' says so and waits on; 'continue' goes on with ``minimum_sites`` or
            more, else fails; 'fail' ends the run.
    """

    minimum_sites: int = 1
    deadline_seconds: float = 3600.0
    on_deadline: Literal["wait", "continue", "fail"] = "wait"

    def __post_init__(self) -> None:
        if self.minimum_sites < 1:
            raise ValueError("minimum_sites: at least 1")
        if self.deadline_seconds <= 0:
            raise ValueError("deadline_seconds: it must be positive")


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """The agreement, as much of it as the spine needs.

    Attributes:
        id: Short name that operators type.
        metric: The one evaluation metric that screens show.
        data: Name of the data set; where it lies is each site's own decision.
        normalisation: 'federated' agrees on mean and deviation in round 0; 'none' takes the
            data as they are, for inputs with a fixed scale.
        model: Name of the model, and under ``parameters`` its configuration.
        training: Local work a round: optimizer, learning_rate, batch, epochs and the like.
        interop: Stock Flower peers may take part; public or synthetic data only.
    """

    id: str
    purpose: str
    sites: tuple[str, ...]
    data: str
    model: str
    rounds: int
    metric: str = "accuracy"
    seed: int = 0
    normalisation: Literal["federated", "none"] = "federated"
    parameters: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    strategy: Literal["fedavg"] = "fedavg"
    quorum: Quorum = field(default_factory=Quorum)
    interop: bool = False

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError("id: use 2 to 40 letters, digits and -, beginning with a letter")
        if self.rounds < 1:
            raise ValueError("rounds: at least 1")
        if not self.sites or len(set(self.sites)) != len(self.sites):
            raise ValueError("sites: name each site once, at least one")
        if self.quorum.minimum_sites > len(self.sites):
            raise ValueError("quorum: minimum_sites is more than there are sites")
        if not 0 <= self.seed < 2**32:
            raise ValueError("seed: it must lie between 0 and 4294967295")


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
            digest.update(f"{package}/{file.relative_to(root)}\0".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
