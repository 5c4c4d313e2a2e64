"""A gated recurrent unit over the hours of a stay."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models import ModelError

if TYPE_CHECKING:
    from flax import nnx

EATS = "series"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Its size.

    Attributes:
        width: Units of the state.
        layers: How many, one on the other.
    """

    width: int = 128
    layers: int = 1

    def __post_init__(self) -> None:
        if self.width < 1 or self.layers < 1:
            raise ModelError(f"{'width' if self.width < 1 else 'layers'}: it must be 1 or more")


def build(
    config: Config, *, gives: str, features: int, outputs: int, rngs: "nnx.Rngs"
) -> "nnx.Module":
    """States from 0; each layer has as many parameters as PyTorch's, biases included."""
    from models._recurrent import Gru  # here, so that a study is validated without JAX

    del gives
    return Gru(
        features=features, outputs=outputs, width=config.width, layers=config.layers, rngs=rngs
    )
