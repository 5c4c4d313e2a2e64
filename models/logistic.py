"""Logistic regression: one linear layer from zero, where every site's start is the same."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flax import nnx

EATS = "table"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Nothing to choose: the penalty is ``Training.l2``."""


def build(
    config: Config, *, gives: str, features: int, outputs: int, rngs: "nnx.Rngs"
) -> "nnx.Module":
    """Weights [features, outputs] and a bias [outputs], all 0."""
    from flax import nnx  # here, so that a study is validated without JAX

    from models._layers import Linear

    del config, gives
    return Linear(features, outputs, kernel_init=nnx.initializers.zeros, rngs=rngs)
