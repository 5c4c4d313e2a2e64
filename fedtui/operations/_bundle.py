"""Everything that a host without a network needs to install this fedtui: wheels, hashes, a script.

The versions are those installed here, so that both hosts compute the same; which are needed is
read from the wheels themselves for the target's Python and platform, since pip evaluates markers
for the Python it runs on. fedtui's own wheel is packed from the very files that run here.
"""

import base64
import hashlib
import importlib.util
import json
import platform as host
import subprocess
import sys
import tempfile
import venv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import Parser
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from fedtui import __version__
from fedtui.errors import NetworkError, ResourceError, RunError, UsageError

PLATFORMS = ("linux-x86_64", "linux-aarch64")
_PACKAGES = ("fedtui", "models", "datasets")
_PASSES = 10  # of downloading what the wheels so far ask for; two are usual
_OLDEST_GLIBC = 5  # 2.5, manylinux1
_ALIASES = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}

_INSTALL = """\
#!/bin/sh
# Installs fedtui {version} into a new folder, without a network: sh install.sh [FOLDER]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${{1:-fedtui-{version}}}
python=${{PYTHON:-python{python}}}
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != ({comma}))' ||
  {{ echo "$python is not Python {python}: set PYTHON to one." >&2; exit 2; }}
(cd "$here" && sha256sum --check --quiet SHA256SUMS)
"$python" -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --no-index --find-links "$here/wheels" \\
  --require-hashes -r "$here/requirements.txt"
"$folder/bin/python" -m pip check
"$folder/bin/fedtui" --version
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What the other host runs.

    Attributes:
        python: Minor version, e.g. '3.11'.
        platform: One of ``PLATFORMS``.
        glibc: Its minor version, 28 for 2.28: wheels for newer ones are not taken.
        extras: fedtui's own, e.g. 'gpu'.
    """

    python: str
    platform: str
    glibc: int
    extras: tuple[str, ...] = ()

    @property
    def machine(self) -> str:
        """As uname says it."""
        return self.platform.partition("-")[2]

    @property
    def tags(self) -> list[str]:
        """Platform tags of the wheels that run there."""
        modern = [f"manylinux_2_{n}" for n in range(self.glibc, _OLDEST_GLIBC - 1, -1)]
        legacy = [name for minor, name in _ALIASES.items() if minor <= self.glibc]
        return [f"{name}_{self.machine}" for name in [*modern, *legacy]]

    def wants(self, requirement: Requirement, extras: tuple[str, ...]) -> bool:
        """Whether a requirement holds there."""
        if requirement.marker is None:
            return True
        there = {
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "os_name": "posix",
            "sys_platform": "linux",
            "platform_system": "Linux",
            "platform_machine": self.machine,
        }
        return any(requirement.marker.evaluate({**there, "extra": e}) for e in ("", *extras))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What was written, and for which host."""

    path: str
    version: str
    python: str
    platform: str
    wheels: int
    bytes: int


def bundle_target(
    python: str = "", platform: str = "", glibc: str = "", extras: tuple[str, ...] = ()
) -> Target:
    """The host that a bundle is for; whatever is not said is as here.

    Raises:
        UsageError: it is none that fedtui runs on.
    """
    python = python or f"{sys.version_info.major}.{sys.version_info.minor}"
    major, _, minor = python.partition(".")
    if major != "3" or not minor.isdigit() or int(minor) < 11:
        raise UsageError(f"--python {python}: fedtui needs 3.11 or newer.", remedy="Write 3.12.")
    platform = platform or f"linux-{host.machine()}"
    if platform not in PLATFORMS:
        raise UsageError(
            f"--platform {platform} is none that fedtui is bundled for.",
            remedy=f"Choose {' or '.join(PLATFORMS)}.",
        )
    glibc = glibc or host.libc_ver()[1] or "2.28"
    first, _, second = glibc.partition(".")
    if first != "2" or not second.isdigit():
        raise UsageError(
            f"--glibc {glibc} is no version.", remedy="'ldd --version' there shows it: 2.28."
        )
    return Target(python=python, platform=platform, glibc=int(second), extras=extras)


def bundle(to: Path, target: Target) -> Bundle:
    """Write wheels, ``requirements.txt`` with hashes and ``install.sh`` into the new folder ``to``.

    Raises:
        UsageError: the folder is not empty.
        NetworkError: the package index was not reached, or has no such wheel.
        ResourceError: this host has no pip.
    """
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UsageError(f"{to} exists and is not empty.", remedy="Give a new folder.")
    wheels = to / "wheels"
    wheels.mkdir(parents=True)
    own = pack_own_wheel(wheels)
    with tempfile.TemporaryDirectory(prefix="fedtui-bundle-") as scratch:
        pip = _pip(Path(scratch))
        for _ in range(_PASSES):
            missing = _missing(wheels, target)
            if not missing:
                break
            _download(pip, missing, wheels, target, Path(scratch) / "wanted.txt")
    _refuse_misfits(wheels, target)
    _write_texts(to, wheels, target)
    sizes = [path.stat().st_size for path in wheels.iterdir()]
    return Bundle(
        path=str(to),
        version=own,
        python=target.python,
        platform=target.platform,
        wheels=len(sizes),
        bytes=sum(sizes),
    )


def pack_own_wheel(folder: Path) -> str:
    """Pack the installed fedtui, models and datasets as a wheel; returns its version."""
    installed = metadata.distribution("fedtui")
    about = f"fedtui-{__version__}.dist-info"
    contents: dict[str, bytes] = {}
    for package in _PACKAGES:
        spec = importlib.util.find_spec(package)
        assert spec is not None
        root = Path((spec.submodule_search_locations or [""])[0])
        for path in _sources(root):
            contents[f"{package}/{path.relative_to(root).as_posix()}"] = path.read_bytes()
    for file in installed.files or ():
        inside = file.as_posix().partition(".dist-info/")[2]
        if inside in ("METADATA", "entry_points.txt") or inside.startswith("licenses/"):
            contents[f"{about}/{inside}"] = Path(str(file.locate())).read_bytes()
    wheel = f"Wheel-Version: 1.0\nGenerator: fedtui {__version__}\nRoot-Is-Purelib: true\n"
    contents[f"{about}/WHEEL"] = f"{wheel}Tag: py3-none-any\n".encode()
    lines = []
    for name, data in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
        lines.append(f"{name},sha256={digest},{len(data)}\n")
    contents[f"{about}/RECORD"] = "".join([*lines, f"{about}/RECORD,,\n"]).encode()
    with zipfile.ZipFile(
        folder / f"fedtui-{__version__}-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED
    ) as archive:
        for name, data in contents.items():
            entry = zipfile.ZipInfo(name)  # of 1980: the same fedtui packs to the same bytes
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, data)
    return __version__


def _sources(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        hidden = any(part.startswith(".") or part == "__pycache__" for part in path.parts)
        if path.is_file() and not hidden:
            yield path


def _missing(wheels: Path, target: Target) -> dict[str, Requirement]:
    """What the wheels so far ask for and none of them is."""
    there = set(_versions(wheels))
    found: dict[str, Requirement] = {}
    for requirement in _asked(wheels, target):
        if (name := canonicalize_name(requirement.name)) not in there:
            found.setdefault(name, requirement)
    return found


def _asked(wheels: Path, target: Target) -> Iterator[Requirement]:
    """Every requirement of every wheel that holds at the target, with the extras asked for."""
    requirements = {p: list(_requirements(p)) for p in sorted(wheels.glob("*.whl"))}
    extras: dict[str, set[str]] = {"fedtui": set(target.extras)}
    grown = True
    while grown:  # an extra may ask for another package's extra
        grown = False
        for path, wanted in requirements.items():
            name = parse_wheel_filename(path.name)[0]
            for requirement in wanted:
                if target.wants(requirement, tuple(extras.get(name, ()))):
                    known = extras.setdefault(canonicalize_name(requirement.name), set())
                    grown |= not requirement.extras <= known
                    known |= requirement.extras
    for path, wanted in requirements.items():
        chosen = tuple(extras.get(parse_wheel_filename(path.name)[0], ()))
        yield from (r for r in wanted if target.wants(r, chosen))


def _requirements(wheel: Path) -> Iterator[Requirement]:
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        text = archive.read(name).decode("utf-8")
    for line in Parser().parsestr(text, headersonly=True).get_all("Requires-Dist") or ():
        yield Requirement(line)


def _versions(wheels: Path) -> dict[str, str]:
    found = (parse_wheel_filename(path.name) for path in wheels.glob("*.whl"))
    return {name: str(version) for name, version, _, _ in found}


def _download(
    pip: list[str], wanted: dict[str, Requirement], wheels: Path, target: Target, list_: Path
) -> None:
    list_.write_text("".join(f"{_pinned(r)}\n" for r in wanted.values()), encoding="utf-8")
    command = [
        *pip, "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(wheels),
        "--implementation", "cp", "--python-version", target.python,
        *(word for tag in target.tags for word in ("--platform", tag)), "-r", str(list_),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
        cause = (said[-1] if said else done.stderr.strip()[-300:]).removeprefix("ERROR: ")
        raise NetworkError(
            f"pip could not fetch the wheels: {cause.rstrip('.')}.",
            remedy="Check that this host reaches its package index ('pip download flwr'); a "
            "version without a wheel for that host needs another --python or --glibc.",
        )


def _pinned(requirement: Requirement) -> str:
    """The version installed here; where it is only needed there, what is asked for."""
    try:
        return f"{requirement.name}=={metadata.version(requirement.name)}"
    except metadata.PackageNotFoundError:
        return f"{requirement.name}{requirement.specifier}"


def _pip(scratch: Path) -> list[str]:
    """A pip to call: this environment's, or that of a fresh one."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    try:
        venv.create(scratch / "pip", with_pip=True)
    except (subprocess.CalledProcessError, OSError) as error:
        raise ResourceError(
            "There is no pip on this host.",
            remedy="Install it, e.g. 'apt-get install python3-pip python3-venv'.",
        ) from error
    return [
        str(scratch / "pip/bin/python"),
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--no-input",
    ]


def _refuse_misfits(wheels: Path, target: Target) -> None:
    """Every requirement must be met by a wheel: the other host has no second try."""
    there = _versions(wheels)
    for requirement in _asked(wheels, target):
        version = there.get(canonicalize_name(requirement.name), "")
        if not version or not requirement.specifier.contains(version, prereleases=True):
            raise RunError(
                f"The wheels do not fit each other: {requirement} is wanted, "
                f"{version or 'nothing'} is there.",
                remedy="Mend this installation first ('pip check'), then bundle it again.",
            )


def _write_texts(to: Path, wheels: Path, target: Target) -> None:
    lines = []
    for path in sorted(wheels.glob("*.whl")):
        name, version, _, _ = parse_wheel_filename(path.name)
        lines.append(f"{name}=={version} --hash=sha256:{_sha256(path)}\n")
    about = {
        "schema": 1,
        "fedtui": __version__,
        "python": target.python,
        "platform": target.platform,
        "glibc": f"2.{target.glibc}",
        "extras": target.extras,
    }
    script = _INSTALL.format(
        version=__version__, python=target.python, comma=target.python.replace(".", ", ")
    )
    (to / "requirements.txt").write_text("".join(lines), encoding="utf-8")
    (to / "bundle.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    (to / "install.sh").write_text(script, encoding="utf-8")
    (to / "install.sh").chmod(0o755)
    files = [*sorted(wheels.iterdir()), to / "requirements.txt", to / "bundle.json"]
    sums = "".join(f"{_sha256(path)}  {path.relative_to(to)}\n" for path in files)
    (to / "SHA256SUMS").write_text(sums, encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
