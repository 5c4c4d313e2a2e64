"""In the trainer: one model attacked, and what of that may stand in the journal."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load as parse_tensors

import models
from fedtui.errors import UsageError
from fedtui.flower.vectors import Vector
from fedtui.study import Study
from models import _leakage
from models._leakage_verdict import Leakage

_DECIMALS = 4


def audit(
    order: dict[str, Any],
    study: Study,
    *,
    engine: Any,
    data: Any,
    normalisation: Any,
    start: Vector,
    kept: Vector,
    report: Callable[[int, int, float], None],
) -> dict[str, Any]:
    """The fields of ``events.LeakageAudited`` that the trainer knows.

    Args:
        engine: For the study, with its plan of record-level privacy.
        start: The study's first model.
        kept: What this site keeps for itself of the joint model.

    Raises:
        UsageError: there is a file where the bundle should go.
    """
    file = Path(order["input"])
    if file.suffix == ".safetensors":
        tensors = parse_tensors(file.read_bytes())
        vector, kept = tensors["parameters"], tensors.get("own", kept)
    else:
        vector = np.fromfile(file, dtype="<f4")
    try:
        found = _leakage.audit(
            _leakage.Subject(
                object=order["object"],
                model=study.model,
                config=study.parameters,
                training=models.configure(models.Training, study.training),
                data=data,
                normalisation=normalisation,
                start=start,
                vector=vector,
                local=kept,
                rounds=max(order["round"], 1),
                plan=engine.plan,
                seed=study.seed,
            ),
            seconds=order["seconds"],
            tell=lambda step, steps: report(step, steps, 0.0),
            bundle=Path(order["bundle"]) if order["bundle"] else None,
        )
    except FileExistsError as error:
        raise UsageError(
            f"{order['bundle']} exists already.", remedy="Give --bundle another file."
        ) from error
    return _told(found, minimum=order["minimum"])


def _told(found: Leakage, *, minimum: int) -> dict[str, Any]:
    measured = found.measured
    enough = min(measured.members, measured.held_out_patients) >= minimum
    auc_low, auc_high = measured.auc_interval or (None, None)
    low, high = found.interval or (None, None)
    numbers = {
        "rate": found.rate,
        "rate_low": low,
        "rate_high": high,
        "auc": measured.auc if enough else None,
        "auc_low": auc_low if enough else None,
        "auc_high": auc_high if enough else None,
        "epsilon": measured.epsilon if enough else None,
        "claimed": measured.claimed,
        "seconds": found.seconds,
    }
    return {
        "verdict": found.verdict,
        "reasons": list(found.reasons),
        "attack": measured.attack,
        "shadows": measured.shadows,
        "speaks": found.speaks,
        "members": measured.members if measured.members >= minimum else None,
        "nonmembers": measured.nonmembers if measured.nonmembers >= minimum else None,
        **{k: None if v is None else round(float(v), _DECIMALS) for k, v in numbers.items()},
    }
