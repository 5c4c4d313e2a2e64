"""Reading a site's own data through, alone or for a study, in a child that may load JAX."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedtui import errors, processes, site, study
from fedtui.errors import DataError, UsageError
from fedtui.operations._studies import study_named
from fedtui.site import Home
from fedtui.study import Study

if TYPE_CHECKING:  # cryptography: 60 ms that `status` does not need
    from fedtui.agreement import Measured

_EXAMINE_SECONDS = 600.0  # a hospital's tables are read through, and JAX is loaded


def measure_study(home: Home, name: str) -> "Measured":
    """Read this site's data through for a study: they fit it, and the numbers that follow.

    What would fail in round 0 fails here. Takes seconds to minutes; the answer is kept.

    Raises:
        DataError: the data are not what the study wants; names file, column and row.
        UsageError: this site offers no such data set.
    """
    from fedtui.agreement import Measured

    agreed = study_named(home, name)
    told = examine_data(home, agreed.data, agreed)
    return Measured(
        features=told["features"],
        parameters=told["parameters"],
        epsilon=told.get("epsilon"),
        delta=told.get("delta"),
    )


def examine_data(home: Home, data: str, agreed: Study | None = None) -> dict[str, Any]:
    """What this site's own ``data`` say, alone or about a study: schema, features, and the like.

    Raises:
        DataError: they cannot be used, or have another schema than the study.
        UsageError: this site offers no such data set, or the study's parts do not fit each other.
    """
    own = site.load(home)
    source = own.data.get(data)
    if source is None:
        raise UsageError(
            f"This site offers no data set '{data}'.",
            remedy=f"Add [data.{data}] to {home.settings}, or decline the study.",
        )
    order = {
        "data": data,
        "source": {
            "path": str(source.path) if source.path else None,
            "part": source.part,
            "excluded": str(source.excluded) if source.excluded else None,
        },
        "secret": str(secret_of(home)),
        "study": None if agreed is None else study.canonical(agreed).decode(),
    }
    told = _asked(home, order)
    if "failed" in told:
        raise errors.from_json(told["failed"])
    if agreed is not None:
        if agreed.schema and told["schema"] != agreed.schema:
            raise DataError(
                f"The data of {data} here have schema {told['schema'][:12]}, and study "
                f"{agreed.id} is of {agreed.schema[:12]}.",
                remedy="Bring names, units, ranges and classes to what was agreed on.",
            )
        _keep_measure(home, study.fingerprint(agreed), told)
    return told


def _asked(home: Home, order: dict[str, Any]) -> dict[str, Any]:
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "fedtui.flower.examining"],
            input=json.dumps(order),
            capture_output=True,
            text=True,
            timeout=_EXAMINE_SECONDS,
            env=processes.environment(home),
            cwd=home.path,
            check=True,
        )
        told: dict[str, Any] = json.loads(done.stdout)
    except subprocess.TimeoutExpired as error:
        raise DataError(
            f"Reading the data of {order['data']} took more than {_EXAMINE_SECONDS / 60:.0f} min.",
            remedy="Look at the disk or share that they lie on, then try again.",
        ) from error
    except (subprocess.CalledProcessError, ValueError) as error:
        raise DataError(
            f"The data of {order['data']} could not be looked at.",
            remedy="Try 'fedtui data check'; if that is well, report it.",
        ) from error
    return told


def secret_of(home: Home) -> Path:
    """The site's own secret, under which cohorts have their names; made where there is none."""
    from fedtui import keys

    path = home.keys / "noise.key"
    if not path.exists():
        keys.write_atomically(path, os.urandom(32))
    return path


def _keep_measure(home: Home, fingerprint: str, told: dict[str, Any]) -> None:
    from fedtui import keys

    names = ("features", "parameters", "epsilon", "delta")
    known = {name: told[name] for name in names if name in told}
    folder = home.path / "cache"
    folder.mkdir(mode=0o700, exist_ok=True)
    keys.write_atomically(folder / f"study-{fingerprint}.json", json.dumps(known).encode())
