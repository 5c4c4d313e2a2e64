"""A home lies where locks can be trusted."""

from pathlib import Path

import pytest

from fedtui import mounts
from fedtui.errors import OperatorError, ResourceError

MOUNTS = """
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
40 22 0:35 / {folder}/home rw - {kind} server:/export rw
50 40 0:36 / {folder}/home/local\\040disk rw - xfs /dev/sdb1 rw
"""


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "fuse.sshfs"])
def test_a_home_on_a_network_file_system_is_refused(tmp_path: Path, kind: str) -> None:
    (mountinfo := tmp_path / "mountinfo").write_text(
        MOUNTS.format(folder=tmp_path, kind=kind).strip()
    )
    (inside := tmp_path / "home" / "site").mkdir(parents=True)
    (local := tmp_path / "home" / "local disk").mkdir()

    with pytest.raises(ResourceError, match=kind) as refused:
        mounts.refuse_unsound(inside, mountinfo)
    mounts.refuse_unsound(local, mountinfo)
    mounts.refuse_unsound(tmp_path, mountinfo)

    assert isinstance(refused.value, OperatorError)
    assert "--home" in refused.value.remedy
