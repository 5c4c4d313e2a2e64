"""This fedtui in a folder that installs without a network, for another Python or platform."""

import base64
import csv
import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from fedtui import __version__, operations
from fedtui.errors import NetworkError, RunError, UsageError
from fedtui.operations import _bundle
from fedtui.operations._bundle import Target

HERE = Target(python="3.11", platform="linux-x86_64", glibc=28)


def test_the_own_wheel_holds_every_source_and_a_record_of_it(tmp_path: Path) -> None:
    _bundle.pack_own_wheel(tmp_path)

    path = tmp_path / f"fedtui-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
        record = csv.reader(
            io.StringIO(wheel.read(f"fedtui-{__version__}.dist-info/RECORD").decode())
        )
        for name, digest, size in record:
            if digest:
                data = wheel.read(name)
                expected = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode()
                assert (digest, int(size)) == (f"sha256={expected.rstrip('=')}", len(data))
    root = Path(__file__).parent.parent
    sources = {
        path.relative_to(root).as_posix()
        for package in ("fedtui", "models", "datasets")
        for path in (root / package).rglob("*.py")
    }
    assert sources <= names
    assert "fedtui/tui/app.tcss" in names or not (root / "fedtui/tui/app.tcss").exists()
    assert not any("__pycache__" in name or name.startswith("tests") for name in names)


def test_the_same_fedtui_packs_to_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        _bundle.pack_own_wheel(tmp_path / name)

    one, two = (next((tmp_path / name).iterdir()).read_bytes() for name in ("a", "b"))
    assert one == two


def test_requirements_are_judged_for_the_other_host_not_for_this_one() -> None:
    arm = Target(python="3.13", platform="linux-aarch64", glibc=34)

    def wanted(text: str, *extras: str) -> tuple[bool, bool]:
        requirement = Requirement(text)
        return HERE.wants(requirement, extras), arm.wants(requirement, extras)

    assert wanted("a") == (True, True)
    assert wanted('a; python_version < "3.12"') == (True, False)
    assert wanted('a; platform_machine == "aarch64"') == (False, True)
    assert wanted('a; sys_platform == "win32"') == (False, False)
    assert wanted('a; extra == "gpu"') == (False, False)
    assert wanted('a; extra == "gpu"', "gpu") == (True, True)


def test_only_wheels_that_the_other_hosts_c_library_can_load_are_asked_for() -> None:
    tags = HERE.tags

    assert tags[0] == "manylinux_2_28_x86_64"
    assert "manylinux2014_x86_64" in tags
    assert "manylinux_2_29_x86_64" not in tags
    assert (
        "manylinux2014_x86_64" not in Target(python="3.11", platform=HERE.platform, glibc=12).tags
    )


def wheel(folder: Path, name: str, version: str, *requires: str) -> None:
    about = f"{name}-{version}.dist-info/METADATA"
    lines = "".join(f"Requires-Dist: {one}\n" for one in requires)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(
            about, f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{lines}\n"
        )


def test_what_wheels_ask_for_is_followed_through_extras_of_extras(tmp_path: Path) -> None:
    wheel(tmp_path, "fedtui", "1", 'alpha[fast]; extra == "gpu"', "beta>=2")
    wheel(tmp_path, "alpha", "1", 'gamma; extra == "fast"', 'delta; python_version < "3.11"')
    gpu = Target(python="3.11", platform="linux-x86_64", glibc=28, extras=("gpu",))

    assert set(_bundle._missing(tmp_path, HERE)) == {"beta"}
    assert set(_bundle._missing(tmp_path, gpu)) == {"beta", "gamma"}
    wheel(tmp_path, "beta", "1.5")
    with pytest.raises(RunError, match=r"beta>=2 is wanted, 1\.5 is there"):
        _bundle._refuse_misfits(tmp_path, HERE)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"python": "3.10"}, "3.11 or newer"),
        ({"python": "four"}, "3.11 or newer"),
        ({"platform": "windows"}, "none that fedtui is bundled for"),
        ({"glibc": "musl"}, "is no version"),
    ],
)
def test_a_host_that_fedtui_does_not_run_on_is_refused(options: dict[str, str], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        operations.bundle_target(**options)


def test_an_index_that_is_not_there_is_named_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "pip"
    fake.write_text("#!/bin/sh\necho 'ERROR: No matching distribution found for x' >&2; exit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr(_bundle, "_pip", lambda _: [str(fake)])

    with pytest.raises(NetworkError, match="No matching distribution found for x") as refused:
        operations.bundle(tmp_path / "bundle", HERE)
    with pytest.raises(UsageError, match="not empty"):
        operations.bundle(tmp_path, HERE)

    assert refused.value.exit_code == 3


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_bundle_installs_without_a_network_and_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fedtui.cli", "bundle", str(tmp_path / "bundle"), "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode == 3:
        pytest.skip("no package index can be reached from here")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["wheels"] == len(list((tmp_path / "bundle/wheels").iterdir()))
    offline = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "PYTHON"))}
    offline |= {"PYTHON": sys.executable, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1"}

    installed = subprocess.run(
        ["sh", str(tmp_path / "bundle/install.sh"), str(tmp_path / "venv")],
        cwd=tmp_path, env=offline, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert installed.returncode == 0, installed.stderr
    assert installed.stdout.splitlines()[-1] == __version__
    where = subprocess.run(
        [tmp_path / "venv/bin/python", "-P", "-c", "import fedtui; print(fedtui.__file__)"],
        cwd=tmp_path, env=offline, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert where.stdout.startswith(str(tmp_path / "venv"))
    first = next((tmp_path / "bundle/wheels").glob("rich-*.whl"))
    first.write_bytes(first.read_bytes() + b"\0")
    spoiled = subprocess.run(
        ["sh", str(tmp_path / "bundle/install.sh"), str(tmp_path / "again")],
        cwd=tmp_path, env=offline, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert spoiled.returncode != 0
    assert not (tmp_path / "again").exists()
