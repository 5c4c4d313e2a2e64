"""A small convolutional network over images, for two processor cores.

A hundredth of ResNet-18's work; for a demo, a first look, and sites without an accelerator.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models._errors import ModelError
from models._images import ImageConfig

if TYPE_CHECKING:
    from flax import nnx

EATS = "images"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(ImageConfig):
    """Its size.

    Attributes:
        widths: Channels after each convolution; each halves the resolution.
    """

    widths: tuple[int, ...] = (16, 32, 64, 64)

    def __post_init__(self) -> None:
        ImageConfig.__post_init__(self)  # super() does not know a class with slots
        if not self.widths or any(width < 1 for width in self.widths):
            raise ModelError("widths: name at least one, each 1 or more")


def build(
    config: Config, *, gives: str, features: int, outputs: int, rngs: "nnx.Rngs"
) -> "nnx.Module":
    """60 thousand parameters as it comes."""
    from models._small import SmallNetwork  # here, so that a study is validated without JAX

    del gives
    return SmallNetwork(
        widths=config.widths, features=features, outputs=outputs, norm=config.norm, rngs=rngs
    )
