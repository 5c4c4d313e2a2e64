"""A transformer over a table's columns or a series' hours."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models import ModelError

if TYPE_CHECKING:
    from flax import nnx

EATS = ("table", "series")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Its size.

    Attributes:
        width: Numbers in a token.
        heads: Of attention; they share the width evenly.
        layers: How many blocks.
    """

    width: int = 64
    heads: int = 4
    layers: int = 2

    def __post_init__(self) -> None:
        for key in ("width", "heads", "layers"):
            if getattr(self, key) < 1:
                raise ModelError(f"{key}: it must be 1 or more")
        if self.width % (2 * self.heads):
            raise ModelError("width: it must be a multiple of twice the heads")


def build(
    config: Config, *, gives: str, features: int, outputs: int, rngs: "nnx.Rngs"
) -> "nnx.Module":
    """Blocks with normalisation before each part, four times as wide between two dense layers.

    References:
        Gorishniy et al., Revisiting Deep Learning Models for Tabular Data, NeurIPS 2021 (tables).
    """
    from models._attention import Transformer  # here, so that a study is validated without JAX

    return Transformer(
        gives=gives,
        features=features,
        outputs=outputs,
        width=config.width,
        heads=config.heads,
        layers=config.layers,
        rngs=rngs,
    )
