"""What a message asks of this site: the coordinator's order, checked.

Every message carries the whole study; the site checks it anew each time against what it would
compute itself, so a changed study, other numeric code or a stranger's data set is refused.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Message

from fedtui import study as studies
from fedtui.errors import DataError, TrustError
from fedtui.flower import arrays
from fedtui.flower.work import Key
from fedtui.study import Study
from models import Manifest, ModelError


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One message's order, checked: which study, which piece of work, on what terms.

    Attributes:
        normalisation: Agreed mean and deviation, float64 [features] each, or None.
        transport: How parameters come and go; from bfloat16 on, an answer is the change alone.
        size: Number of parameters; 0 in round 0, before there is a manifest, and None where a
            stock coordinator does not say.
        initial: Whether this site is to draw the first model.
        share: Of the round's steps, where the study lets slow sites do fewer; else 1.
    """

    key: Key
    study: Study
    text: str
    fingerprint: str
    normalisation: tuple[list[float], ...] | None
    size: int | None
    initial: bool
    transport: arrays.Transport = "float32"
    share: float = 1.0


def key_of(message: Message) -> Key:
    """The piece of work that a message of our own coordinator asks for."""
    config: dict[str, Any] = dict(message.content.config_records["config"])
    return Key(str(config["run"]), int(config["round"]), config["phase"])


def read_order(message: Message, *, site: str) -> Assignment:
    """The checked order in a message of our own coordinator.

    Raises:
        TrustError: the study is not what its fingerprint says here, or does not name this site.
        DataError: the manifest cannot be read.
    """
    config: dict[str, Any] = dict(message.content.config_records["config"])
    text = str(config["study"])
    study = studies.parse(text.encode())
    for name, here in (("protocol", studies.PROTOCOL), ("code", studies.numeric_code())):
        if config.get(name, here) != here:
            what = {"protocol": "protocol", "code": "numeric code"}[name]
            raise TrustError(
                f"The coordinator has {what} {str(config[name])[:12]}, and this site "
                f"{str(here)[:12]}.",
                remedy="Bring both to the same fedtui, then approve the study anew.",
            )
    own = studies.fingerprint(study)
    if own != config["fingerprint"]:
        raise TrustError(
            f"Study {study.id} has fingerprint {own[:12]} here and "
            f"{str(config['fingerprint'])[:12]} at the coordinator.",
            remedy="Bring both to the same fedtui: its numeric code or the study differs.",
        )
    if site not in study.sites:
        raise TrustError(
            f"Study {study.id} does not name this site.", remedy="Ask for a study that does."
        )
    size = 0
    if config["manifest"]:
        try:
            size = Manifest.from_json(json.loads(str(config["manifest"]))).size
        except (ValueError, ModelError) as error:
            raise DataError(
                "The coordinator's manifest cannot be read.",
                remedy="Check that both run the same fedtui.",
            ) from error
    normalisation = None
    if config["normalisation"]:
        rows = np.frombuffer(config["normalisation"], dtype="<f8")
        scale = rows.reshape(int(config.get("rows", 2)), -1)
        normalisation = tuple(row.tolist() for row in scale)
    return Assignment(
        key=key_of(message),
        study=study,
        text=text,
        fingerprint=own,
        normalisation=normalisation,
        size=size,
        initial=bool(config["initial"]),
        transport=study.transport,
        share=_share(config) if study.quorum.adaptive else 1.0,
    )


def _share(config: dict[str, Any]) -> float:
    """What share of its steps a site is to do.

    Raises:
        DataError: it is none.
    """
    share = config.get("share", 1.0)
    if isinstance(share, float) and 0 < share <= 1:
        return share
    raise DataError(
        "The coordinator asks for a share of the steps that is none.",
        remedy="Check that both run the same fedtui.",
    )
