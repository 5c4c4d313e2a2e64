"""Faults of the host and the home: disk, rights, leftovers, settings, data."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedtui.site import Home
from tests.lab import Case, Lab, fault

_LOCAL = {"only": ("config", "filesystem", "disk", "permissions", "leftovers", "data", "tmp",
                   "socket_path")}  # fmt: skip


@contextmanager
def _copy(lab: Lab, name: str) -> Iterator[Home]:
    """A home like the lab's, to spoil."""
    home = Home(lab.folder / name)
    shutil.copytree(lab.site.path, home.path)
    home.path.chmod(0o700)
    try:
        yield home
    finally:
        shutil.rmtree(home.path)


@fault("a home that is none", "config-broken")
def no_home(lab: Lab) -> Iterator[Case]:
    folder = lab.folder / "empty"
    folder.mkdir(mode=0o700, exist_ok=True)
    yield Case(target=None, home=Home(folder), options=_LOCAL)


@fault("a mistake in site.toml", "config-broken")
def mistake(lab: Lab) -> Iterator[Case]:
    with _copy(lab, "mistake") as home:
        home.settings.write_text('name = "halland"\nrolse = ["site"]\n')
        yield Case(target=None, home=home, options=_LOCAL)


@fault("not joined yet", "config-not-joined")
def not_joined(lab: Lab) -> Iterator[Case]:
    with _copy(lab, "fresh") as home:
        home.membership.unlink()
        yield Case(target=None, home=home, options=_LOCAL)


@fault("the private key is lost", "config-broken")
def no_key(lab: Lab) -> Iterator[Case]:
    with _copy(lab, "keyless") as home:
        (home.keys / "node.key").unlink()
        yield Case(target=None, home=home, options=_LOCAL)


@fault("the authority in federation.toml is damaged", "config-authority")
def no_authority(lab: Lab) -> Iterator[Case]:
    with _copy(lab, "damaged") as home:
        home.membership.write_text('address = "127.0.0.1:1"\nauthority = "none"\n')
        yield Case(target=None, home=home, options=_LOCAL)


@fault("others can read the key", "permissions-open")
def open_key(lab: Lab) -> Iterator[Case]:
    with _copy(lab, "open") as home:
        (home.keys / "node.key").chmod(0o644)
        yield Case(target=None, home=home, options=_LOCAL)


@fault("the home's path is too long", "socket-path-long", also=("config-broken",))
def long_path(lab: Lab) -> Iterator[Case]:
    yield Case(target=None, home=Home(lab.folder / ("x" * 120)), options=_LOCAL)


@fault("the host was restarted", "leftover-wanted")
def restarted(lab: Lab) -> Iterator[Case]:
    with _copy(lab, "restarted") as home:
        (home.state / "wanted").write_text(json.dumps(["agent"]))
        yield Case(target=None, home=home, options=_LOCAL)


@fault("an orphan of the home runs on", "leftover-orphans")
def orphan(lab: Lab) -> Iterator[Case]:
    with _copy(lab, "orphan") as home:
        # A process that looks like an old trainer: the module's name on its command line.
        words = [sys.executable, "-c", "import time; time.sleep(60)", "fedtui.flower.trainer"]
        child = subprocess.Popen(words, cwd=home.path)
        time.sleep(5.5)
        try:
            yield Case(target=None, home=home, options=_LOCAL)
        finally:
            child.kill()
            child.wait(5)


@fault("the data's share is not mounted", "data-missing")
def no_data(lab: Lab) -> Iterator[Case]:
    yield from _with_data(lab, lab.folder / "share" / "missing.csv")


@fault("the data's file is empty", "data-empty")
def empty_data(lab: Lab) -> Iterator[Case]:
    path = lab.folder / "empty.csv"
    path.touch()
    yield from _with_data(lab, path)


@fault("the data is a folder of nothing", "data-empty")
def empty_folder(lab: Lab) -> Iterator[Case]:
    path = lab.folder / "nothing"
    path.mkdir(exist_ok=True)
    yield from _with_data(lab, path)


@fault("the home's disk is full", "disk-full", also=("filesystem-memory", "config-broken"),
       needs=("root",))  # fmt: skip
def full(lab: Lab) -> Iterator[Case]:
    yield from _mounted(lab, "full", "size=4m,mode=0700", model_bytes=10_000_000)


@fault("the home is mounted read-only", "filesystem-read-only",
       also=("disk-full", "permissions-no-write", "config-broken"), needs=("root",))  # fmt: skip
def read_only(lab: Lab) -> Iterator[Case]:
    yield from _mounted(lab, "read-only", "ro,mode=0700", model_bytes=10_000_000)


@fault("/tmp forbids programs", "tmp-noexec", needs=("root",))
def noexec(lab: Lab) -> Iterator[Case]:
    folder = _tmpfs(lab, "noexec", "noexec")
    try:
        yield Case(
            target=None,
            home=lab.site,
            inside=True,
            environment={"TMPDIR": str(folder)},
            options={"only": ("tmp",)},
        )
    finally:
        lab.namespace.do("umount", str(folder))


def _with_data(lab: Lab, path: Path) -> Iterator[Case]:
    with _copy(lab, "data") as home:
        text = home.settings.read_text()
        home.settings.write_text(f'{text}\n[data.clinical]\npath = "{path}"\n')
        yield Case(target=None, home=home, options=_LOCAL)


def _mounted(lab: Lab, name: str, how: str, **more: int) -> Iterator[Case]:
    folder = _tmpfs(lab, name, how)
    try:
        only = ("filesystem", "disk", "config", "permissions")
        options = {"only": only, **more}
        yield Case(target=None, home=Home(folder), inside=True, options=options)
    finally:
        lab.namespace.do("umount", str(folder))


def _tmpfs(lab: Lab, name: str, how: str) -> Path:
    folder = lab.folder / name
    folder.mkdir(exist_ok=True)
    lab.namespace.do("mount", "-t", "tmpfs", "-o", how, "tmpfs", str(folder))
    return folder
