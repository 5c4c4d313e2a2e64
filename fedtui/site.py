"""What one hospital decides alone: its home folder, paths, ports and limits (``site.toml``)."""

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fedtui import __version__, settings
from fedtui.errors import DataError, TrustError, UsageError

NAME = re.compile(r"[a-z][a-z0-9-]{1,23}")  # fits a screen column and a file name
FORMAT = 1  # of a home's files; raised when an older fedtui could not read what a newer one wrote
_SOCKET_PATH_LIMIT = 107  # bytes, sockaddr_un on Linux, without the closing zero


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where this site keeps one data set.

    Attributes:
        path: The folder or file; None for bundled data.
        part: Which part of a shared data set this site plays, e.g. 'even'.
        excluded: A file with one patient's id a line, who opted out; relative to the home. It is
            read again for every piece of work, and never leaves the site.
        public: The site's own word that everybody may see these data, or that they are made up:
            then a study without approvers may use them, and stock Flower peers may take part.
    """

    path: Path | None = None
    part: str = "all"
    excluded: Path | None = None
    public: bool = False

    @property
    def unrestricted(self) -> bool:
        """Whether these are nobody's patients: bundled data, or declared public."""
        return self.public or self.path is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Where the coordinator listens, and under which names sites may dial it."""

    host: str = "0.0.0.0"
    port: int = 8443
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.port < 65536:
            raise ValueError("port: it must lie between 1 and 65535")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What never leaves, whatever a study says.

    Attributes:
        minimum_cell: No released count or statistic is over fewer patients than this.
        epsilon: Most record-level privacy that all runs on one data set may spend together; None
            for no limit of the site's own.
    """

    minimum_cell: int = 10
    epsilon: float | None = None

    def __post_init__(self) -> None:
        if self.minimum_cell < 10:
            raise ValueError("minimum_cell: a site may raise it above 10, never lower it")
        if self.epsilon is not None and self.epsilon <= 0:
            raise ValueError("epsilon: it must be more than 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainer:
    """When the process that holds the data and the device may go.

    Attributes:
        idle_seconds: This long without work, and without a run, it ends; the next work or the
            news of a run starts it again, in some seconds.
    """

    idle_seconds: float = 600.0

    def __post_init__(self) -> None:
        if self.idle_seconds < 1:
            raise ValueError("idle_seconds: at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """How long the record of who used which patients' data is kept.

    Attributes:
        retention_years: Of the lists of patients; Swedish law asks for five years or more
            (HSLF-FS 2016:40, chapter 4).
    """

    retention_years: int = 5

    def __post_init__(self) -> None:
        if self.retention_years < 5:
            raise ValueError("retention_years: the law asks for at least 5")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One hospital's own decisions; nothing here is shared or approved.

    Attributes:
        weights: By model, the safetensors file from which a pretrained one begins.
    """

    name: str
    roles: tuple[Literal["site", "coordinator"], ...] = ("site",)
    coordinator: Listen = field(default_factory=Listen)
    data: dict[str, Source] = field(default_factory=dict)
    weights: dict[str, Path] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    trainer: Trainer = field(default_factory=Trainer)
    audit: Audit = field(default_factory=Audit)

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError("name: use 2 to 24 of a-z, 0-9 and -, beginning with a letter")
        if not self.roles:
            raise ValueError("roles: choose from site, coordinator")

    @property
    def coordinates(self) -> bool:
        """Whether this home runs the coordinator."""
        return "coordinator" in self.roles

    @property
    def trains(self) -> bool:
        """Whether this home has data, an agent and a trainer."""
        return "site" in self.roles


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """The federation this site joined: where it is, and which authority it trusts.

    Attributes:
        addresses: What the coordinator's name meant where the invitation was written.
        kind: 'flower' is a stock SuperLink, for studies marked interop only.
    """

    address: str
    authority: str
    addresses: tuple[str, ...] = ()
    kind: Literal["fedtui", "flower"] = "fedtui"

    @property
    def host(self) -> str:
        """The coordinator's name or address, without the port."""
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The coordinator's port."""
        return int(self.address.rpartition(":")[2])


@dataclass(frozen=True, slots=True)
class Home:
    """The folder that holds everything of one site: settings, keys, journal, work."""

    path: Path

    @property
    def settings(self) -> Path:
        """Written by ``init``, edited by hand."""
        return self.path / "site.toml"

    @property
    def format(self) -> Path:
        """Which ``FORMAT`` the home's files have."""
        return self.path / "format"

    @property
    def membership(self) -> Path:
        """Written by ``join``."""
        return self.path / "federation.toml"

    @property
    def ended(self) -> Path:
        """What the federation's key signed when it ended this site's membership."""
        return self.path / "ended.json"

    @property
    def interop(self) -> Path:
        """The study that this site agreed to under a stock SuperLink."""
        return self.path / "interop.toml"

    @property
    def journal(self) -> Path:
        """The book of record."""
        return self.path / "journal.db"

    @property
    def keys(self) -> Path:
        """Private keys and certificates, folder 0700."""
        return self.path / "keys"

    @property
    def roster(self) -> Path:
        """The coordinator's list of sites: one public key a file."""
        return self.path / "roster"

    @property
    def runs(self) -> Path:
        """The coordinator's runs: study, checkpoints, joint model."""
        return self.path / "runs"

    @property
    def models(self) -> Path:
        """What this site trained on its own data alone, by run."""
        return self.path / "models"

    @property
    def studies(self) -> Path:
        """The studies that this site knows, and what every site decided."""
        return self.path / "studies"

    @property
    def register(self) -> Path:
        """The coordinator's register of the federation's studies and decisions."""
        return self.path / "register"

    @property
    def persons(self) -> Path:
        """The keys of this site's people, each under its passphrase."""
        return self.keys / "persons"

    @property
    def audit(self) -> Path:
        """Whose data runs have used: a file a cohort, which never leaves."""
        return self.path / "audit"

    @property
    def work(self) -> Path:
        """The site's work in hand and its stored answers."""
        return self.path / "work"

    @property
    def releases(self) -> Path:
        """What the site told of which patients; with it gone, the exit forgets."""
        return self.path / "releases"

    @property
    def state(self) -> Path:
        """Locks, sockets and logs of the processes."""
        return self.path / "run"

    def socket(self, process: str) -> Path:
        """Where ``process`` takes orders."""
        return self.state / f"{process}.sock"

    def lock(self, process: str) -> Path:
        """What ``process`` holds while it lives."""
        return self.state / f"{process}.lock"

    def log(self, process: str) -> Path:
        """What ``process`` says on stderr."""
        return self.state / f"{process}.log"


def default_home() -> Path:
    """FEDTUI_HOME, else the user's state folder (XDG base directories)."""
    if chosen := os.environ.get("FEDTUI_HOME"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "fedtui"


def load(home: Home) -> Site:
    """The site of ``home``.

    Raises:
        UsageError: no home there, or ``site.toml`` does not hold; names line and key.
        DataError: a newer fedtui wrote it.
    """
    if not home.settings.exists():
        raise UsageError(
            f"{home.path} is not a fedtui home: it has no site.toml.",
            remedy="Make one with 'fedtui init NAME --home DIR', or give another --home.",
        )
    try:
        written = int(home.format.read_text(encoding="ascii"))
    except FileNotFoundError:  # made before homes said so
        written = 1
    except ValueError:
        written = FORMAT + 1
    if written > FORMAT:
        raise DataError(
            f"{home.path} was written by a newer fedtui: home format {written}, and this one "
            f"({__version__}) reads up to {FORMAT}.",
            remedy="Install the newer fedtui again, or restore a backup from before it into a new "
            "home. Nothing was changed.",
        )
    return settings.read(home.settings, Site)


def load_membership(home: Home) -> Membership:
    """The federation that the site of ``home`` joined.

    Raises:
        UsageError: it joined none yet.
    """
    if not home.membership.exists():
        raise UsageError(
            "This site has not joined a federation.",
            remedy="Ask the coordinator for an invitation, then run 'fedtui join CODE'.",
        )
    return settings.read(home.membership, Membership)


def left(home: Home) -> bool:
    """Whether the membership was ended here, by this site itself."""
    try:
        return bool(json.loads(home.ended.read_bytes())["what"] == "left")
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False


def ended_error(home: Home) -> TrustError:
    """What to tell where a membership ended: this site left, or the federation's key said so."""
    if left(home):
        return TrustError(
            "This site has left its federation.",
            remedy="To come back, ask its coordinator's operator for an invitation, then "
            "'fedtui join' it.",
        )
    return TrustError(
        "This site's membership has ended: the coordinator took it off its roster.",
        remedy="Call its operator; to come back, 'fedtui join' a new invitation.",
    )


def check_name(name: str) -> None:
    """Refuse what no site can be called.

    Raises:
        UsageError: it is not of the letters that a name may have.
    """
    if not NAME.fullmatch(name):
        raise UsageError(
            f"'{name}' is no site name.", remedy="Use 2 to 24 of a-z, 0-9 and -, a letter first."
        )


def check_socket_path(home: Home) -> None:
    """Refuse a home whose socket paths would not fit the operating system's limit.

    Raises:
        UsageError: naming the length and the limit.
    """
    longest = len(os.fsencode(home.socket("coordinator").absolute()))
    if longest > _SOCKET_PATH_LIMIT:
        raise UsageError(
            f"{home.path} is too long a path: its socket would take {longest} of "
            f"{_SOCKET_PATH_LIMIT} bytes.",
            remedy="Choose a shorter --home, e.g. /var/lib/fedtui.",
        )
