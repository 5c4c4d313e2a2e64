"""Settings that image models share."""

from dataclasses import dataclass
from typing import Literal

from models._errors import ModelError


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """How channels are normalised.

    Attributes:
        norm: 'group' within each example, to train from scratch; 'frozen' by statistics that
            stay as pretrained weights have them; 'local' by each site's own, which never leave
            it (FedBN).

    Raises:
        ModelError: ``norm`` is none of these.
    """

    norm: Literal["group", "frozen", "local"] = "group"

    def __post_init__(self) -> None:
        if self.norm not in ("group", "frozen", "local"):
            raise ModelError("norm: choose group, frozen or local")
