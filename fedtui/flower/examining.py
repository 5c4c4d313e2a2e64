"""What this site's data say about a study before anybody signs it: a child process of a command.

It reads one JSON order on stdin and writes one JSON object: counts, hashes and places of faults,
never a value. The engine is made as round 0 would make it, so what would fail there fails here.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import datasets
import models
from datasets import DataError, Dataset
from fedtui import study as studies
from fedtui.errors import DataError as OperatorDataError
from fedtui.errors import OperatorError
from fedtui.flower import fitting, patients
from fedtui.study import Study
from models import ModelError


def examine(order: dict[str, Any]) -> dict[str, Any]:
    """Check the files, load the data, and with a study also build its model on them.

    Args:
        order: ``data``, its ``source`` (path, part, excluded), the site's ``secret`` (a file, or
            None) and ``study``, its canonical text, or None.
    """
    study = None if order["study"] is None else studies.parse(order["study"].encode())
    if study is not None:
        fitting.check(study)
    places = {key: Path(order["source"][key]) if order["source"].get(key) else None for key in _AT}
    found = [v for v in datasets.check(order["data"], places["path"]) if v.blocks]
    if found:
        more = f" And {len(found) - 1} more." if len(found) > 1 else ""
        raise DataError(f"{found[0].place}: {found[0].what}.{more}", remedy=found[0].remedy)
    data = datasets.load(
        order["data"],
        part=order["source"]["part"],
        seed=0 if study is None else study.seed,
        **places,
    )
    told: dict[str, Any] = {
        "schema": data.schema_hash,
        "features": len(data.features),
        "examples": len(data.train),
    }
    if order["secret"] is not None:
        told["cohort"] = patients.cohort(data, Path(order["secret"]).read_bytes())
        groups = {int(g) for s in (data.train, data.validation, data.test) for g in s.groups}
        told["patients"] = len(groups)
    if study is None or (study.schema and study.schema != data.schema_hash):
        return told  # whoever asked refuses the data: no model is built on them
    fitting.check_metric(study, len(data.classes))
    return {**told, **_built(study, data)}


_AT = ("path", "excluded")


def _built(study: Study, data: Dataset) -> dict[str, Any]:
    from models._engine import Engine

    engine = Engine(
        model=study.model,
        config=study.parameters,
        training=models.configure(models.Training, study.training),
        data=data,
        seed=study.seed,
        normalisation=None,
        privacy=models.configure(models.Privacy, study.privacy) if study.privacy else None,
        rounds=study.rounds,
    )
    told: dict[str, Any] = {"parameters": engine.manifest.size}
    if engine.plan is not None:
        told |= {"epsilon": engine.plan.spent(study.rounds), "delta": engine.plan.delta}
    return told


def main() -> None:
    """Answer the order on stdin."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not mix with the answer
    try:
        told = examine(json.loads(sys.stdin.read()))
    except (DataError, ModelError) as error:
        told = {"failed": OperatorDataError(str(error), remedy=error.remedy).to_json()}
    except OperatorError as error:
        told = {"failed": error.to_json()}
    out.write(json.dumps(told))
    out.flush()


if __name__ == "__main__":
    main()
