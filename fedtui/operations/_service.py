"""The home under systemd: a hardened unit, installed, looked at and removed.

The unit runs ``fedtui up --foreground``, which tells systemd when all is up and keeps its watchdog
content; everything that a hospital's host does not have to allow is forbidden there, with the
reasons for what is not.
"""

import grp
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

from fedtui import processes, site
from fedtui.errors import ResourceError, UsageError
from fedtui.site import Home, Site

Scope = Literal["user", "system"]
LINGER = Path("/var/lib/systemd/linger")
_SYSTEM_UNITS = Path("/etc/systemd/system")
_TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")
_PRIVILEGED_PORT = 1024
_SYSTEMCTL_SECONDS = 60.0
# What a shell has and systemd has not: how this host reaches others, and its accelerator.
_CARRIED = (
    "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "all_proxy",
    "no_proxy", "CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS", "XLA_FLAGS", "LD_LIBRARY_PATH",
)  # fmt: skip

_UNIT = """\
# Written by 'fedtui service install' for {home}; written anew by the next one.
[Unit]
Description=fedtui at {site} ({roles})
Wants=network-online.target
After=network-online.target time-sync.target
# A link that is down for a week-end is no reason to give up.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
{who}WorkingDirectory={home}
# Proxies and the like, as they were in the shell of the installation; 0600, proxies have passwords.
EnvironmentFile=-{environment}
UMask=0077
Restart=on-failure
RestartSec=5
# Settings, identity or data that an operator must mend do not mend themselves.
RestartPreventExitStatus=2 5 6
WatchdogSec=60
TimeoutStartSec=120
# 'down' ends everything within 5 s; only what does not hear is killed.
KillMode=mixed
TimeoutStopSec=15
# The trainer that the kernel ends for want of memory is started again by its agent.
OOMPolicy=continue
# A core file would hold patients' data.
LimitCORE=0
LimitNOFILE=8192

NoNewPrivileges=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=~@clock @cpu-emulation @debug @module @mount @obsolete @raw-io @reboot @swap
SystemCallErrorNumber=EPERM
# MemoryDenyWriteExecute must stay off: JAX compiles each model's step to machine code as it runs.
MemoryDenyWriteExecute=no
{mounts}
[Install]
WantedBy={target}
"""

_SYSTEM_MOUNTS = """\
# The host is read-only but for the home; data sets need no more than reading.
ProtectSystem=strict
ProtectHome=read-only
ReadWritePaths={home}
PrivateTmp=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectProc=invisible
CapabilityBoundingSet={capabilities}
AmbientCapabilities={capabilities}
# Not PrivateDevices nor ProtectClock: both close /dev/nvidia* and other accelerators.
"""

_USER_MOUNTS = """\
# No ProtectSystem, PrivateTmp and the like: a user's systemd needs user namespaces for them, which
# hardened hosts turn off; the unit would not start there. 'service install --system' has them.
"""


def unit_name(own: Site) -> str:
    """The unit's name: several homes on one host each have their own."""
    return f"fedtui-{own.name}.service"


def service_unit(home: Home, scope: Scope) -> str:
    """The unit file for ``home``, as text.

    Raises:
        UsageError: no home there.
    """
    own = site.load(home)
    owner = home.path.stat()
    low = own.coordinates and own.coordinator.port < _PRIVILEGED_PORT
    who = ""
    mounts = _USER_MOUNTS
    if scope == "system":
        who = f"User={_user(owner.st_uid)}\nGroup={_group(owner.st_gid)}\n"
        mounts = _SYSTEM_MOUNTS.format(
            home=_quoted(str(home.path)), capabilities="CAP_NET_BIND_SERVICE" if low else ""
        )
    command = [sys.executable, "-P", "-m", "fedtui.cli", "up", "--foreground", "--home"]
    return _UNIT.format(
        home=_plain(str(home.path)),
        site=own.name,
        roles=" and ".join(own.roles),
        command=" ".join(map(_quoted, [*command, str(home.path)])),
        who=who,
        environment=_plain(str(_environment_file(home))),
        mounts=mounts,
        target="default.target" if scope == "user" else "multi-user.target",
    )


def install_service(home: Home, scope: Scope) -> dict[str, Any]:
    """Write the unit, enable it and start it; processes that run detached move under it.

    Raises:
        UsageError: the home lies where systemd or a clean-up would take it away, or only root may.
        ResourceError: systemd does not run here, or refuses.
    """
    own = site.load(home)
    text = service_unit(home, scope)
    if any(home.path.is_relative_to(folder) for folder in _TEMPORARY):
        raise UsageError(
            f"{home.path} is temporary: a service outlives it.",
            remedy="Make the home elsewhere, e.g. /var/lib/fedtui; 'fedtui backup' and 'restore' "
            "move it.",
        )
    _systemctl(scope, "show-environment")  # names a host without systemd before anything is written
    _write(_environment_file(home), _carried(), owner=home.path)
    path = unit_path(own, scope)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, text, mode=0o644)
    _systemctl(scope, "daemon-reload")
    moved = not _active(own, scope) and processes.stop(home)
    _systemctl(scope, "enable", unit_name(own))
    _systemctl(scope, "restart", unit_name(own))
    return {**service_status(home), "moved": moved}


def remove_service(home: Home) -> dict[str, Any]:
    """Stop the service and remove its unit; the home stays as it is.

    Raises:
        UsageError: there is none.
    """
    own = site.load(home)
    scope, path = _installed(own)
    _systemctl(scope, "disable", "--now", unit_name(own))
    path.unlink(missing_ok=True)
    _environment_file(home).unlink(missing_ok=True)
    _systemctl(scope, "daemon-reload")
    return {"unit": unit_name(own), "scope": scope, "removed": str(path)}


def service_status(home: Home) -> dict[str, Any]:
    """What systemd says of the home's unit; ``installed`` is False where there is none."""
    own = site.load(home)
    try:
        scope, path = _installed(own)
    except UsageError:
        return {"unit": unit_name(own), "installed": False}
    shown = _shown(own, scope)
    user = _user(os.geteuid())
    try:
        current = path.read_text(encoding="utf-8") == service_unit(home, scope)
    except OSError:
        current = False
    return {
        "unit": unit_name(own),
        "installed": True,
        "scope": scope,
        "file": str(path),
        "current": current,
        "enabled": shown.get("UnitFileState", "unknown"),
        "active": shown.get("ActiveState", "unknown"),
        "state": shown.get("SubState", "unknown"),
        "pid": int(shown.get("MainPID", "0")) or None,
        "restarts": int(shown.get("NRestarts", "0")),
        "linger": None if scope == "system" else (LINGER / user).exists(),
        "user": user,
    }


def unit_path(own: Site, scope: Scope) -> Path:
    """Where the unit file lies."""
    if scope == "system":
        return _SYSTEM_UNITS / unit_name(own)
    base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return base / "systemd" / "user" / unit_name(own)


def _installed(own: Site) -> tuple[Scope, Path]:
    scopes: tuple[Scope, ...] = ("system", "user")
    for scope in scopes:
        if (path := unit_path(own, scope)).exists():
            return scope, path
    raise UsageError(
        f"There is no service {unit_name(own)} here.",
        remedy="Install it with 'fedtui service install'.",
    )


def _shown(own: Site, scope: Scope) -> dict[str, str]:
    fields = "ActiveState,SubState,UnitFileState,MainPID,NRestarts"
    try:
        text = _systemctl(scope, "show", unit_name(own), f"--property={fields}")
    except (ResourceError, UsageError):  # what is installed can be told without a running systemd
        return {}
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def _active(own: Site, scope: Scope) -> bool:
    return _shown(own, scope).get("ActiveState") in ("active", "activating", "reloading")


def _systemctl(scope: Scope, *words: str) -> str:
    program = shutil.which("systemctl")
    if program is None or not Path("/run/systemd/system").exists():
        raise ResourceError(
            "systemd does not run on this host.",
            remedy="'fedtui service install --print' shows the unit; any supervisor can run "
            "'fedtui up --foreground', and 'fedtui up' needs none.",
        )
    command = [program, *(("--user",) if scope == "user" else ()), "--no-ask-password", *words]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_SYSTEMCTL_SECONDS, check=False
    )
    if done.returncode == 0:
        return done.stdout
    said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0].rstrip(".")
    if "bus" in said or "XDG_RUNTIME_DIR" in said:
        raise ResourceError(
            f"This user's systemd cannot be reached: {said}.",
            remedy="Log in as that user (not by su or sudo), or use --system as root.",
        )
    if os.geteuid() != 0 and scope == "system":
        raise UsageError(
            f"systemd refused: {said}.",
            remedy="Run it as root (sudo), or use --user.",
        )
    raise ResourceError(
        f"systemd refused '{words[0]}': {said}.", remedy="'journalctl -xe' says more."
    )


def _environment_file(home: Home) -> Path:
    return home.path / "service.env"


def _carried() -> str:
    found = {name: os.environ[name] for name in _CARRIED if os.environ.get(name)}
    quoted = {n: v.replace("\\", "\\\\").replace('"', '\\"') for n, v in found.items()}
    return "".join(f'{name}="{value}"\n' for name, value in quoted.items())


def _write(path: Path, text: str, *, mode: int = 0o600, owner: Path | None = None) -> None:
    """Replace ``path`` in one step; it belongs to whoever owns ``owner``."""
    scratch = path.with_name(f"{path.name}.tmp")
    scratch.unlink(missing_ok=True)
    with os.fdopen(os.open(scratch, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "w") as file:
        file.write(text)
        file.flush()
        os.fchmod(file.fileno(), mode)  # whatever the umask
        if owner is not None and os.geteuid() == 0:
            os.fchown(file.fileno(), owner.stat().st_uid, owner.stat().st_gid)
        os.fsync(file.fileno())
    scratch.replace(path)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _plain(text: str) -> str:
    """A path where systemd takes the rest of the line; % begins a specifier there."""
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    """A word of a command line or a list of paths, as systemd reads them."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if any(c in word for c in " \t\"'\\;") else escaped
