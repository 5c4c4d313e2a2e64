"""A multilayer perceptron with ReLU between its layers."""

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from models import ModelError

if TYPE_CHECKING:
    from flax import nnx

EATS = "table"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Its shape.

    Attributes:
        hidden: Units of each hidden layer, from input to output.
    """

    hidden: tuple[int, ...] = (64, 64)

    def __post_init__(self) -> None:
        if not self.hidden or min(self.hidden) < 1:
            raise ModelError("hidden: name at least one layer, each of 1 unit or more")


def build(
    config: Config, *, gives: str, features: int, outputs: int, rngs: "nnx.Rngs"
) -> "nnx.Module":
    """Linear layers with biases from 0 and weights as He et al. draw them for ReLU.

    References:
        He et al., Delving Deep into Rectifiers, ICCV 2015, section 2.2.
    """
    from flax import nnx  # here, so that a study is validated without JAX

    from models._initial import by_inputs
    from models._layers import Linear

    del gives
    layers: list[Linear] = []
    for width, next_width in pairwise((features, *config.hidden, outputs)):
        he = partial(by_inputs, gain=2.0)
        layers.append(Linear(width, next_width, kernel_init=he, rngs=rngs))
    between = [step for layer in layers[:-1] for step in (layer, nnx.relu)]
    return nnx.Sequential(*between, layers[-1])
