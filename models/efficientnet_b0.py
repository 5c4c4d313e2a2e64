"""EfficientNet-B0 over images, with a branch for metadata."""

from typing import TYPE_CHECKING

from models._images import ImageConfig as Config

if TYPE_CHECKING:
    from flax import nnx

__all__ = ["EATS", "PRETRAINED", "Config", "build"]

EATS = "images"
PRETRAINED = True  # ``_pretrained`` knows the names in torchvision's and timm's files


def build(
    config: Config, *, gives: str, features: int, outputs: int, rngs: "nnx.Rngs"
) -> "nnx.Module":
    """5.3 million parameters with 1,000 outputs, as torchvision's and timm's."""
    from models._efficientnet import EfficientNet  # so that a study is validated without JAX

    del gives
    return EfficientNet(
        width=1.0, depth=1.0, features=features, outputs=outputs, norm=config.norm, rngs=rngs
    )
