"""How a site trains in one round, as the sites agreed on it; judged without JAX."""

import math
from dataclasses import dataclass, field
from typing import Literal

from models._augmentation import Augmentation
from models._errors import ModelError


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """Local work in one round, as the sites agreed on it.

    Attributes:
        optimizer: Starts afresh every round, as FedAvg has it.
        learning_rate: Of a step; what ``schedule``, ``warmup`` and ``decay`` multiply.
        batch: Examples a step; the last of an epoch may have fewer. Under record-level privacy as
            many as are expected.
        epochs: Passes over the training split a round.
        share: Of the steps of those passes, how much a round does: below 1 sites average before
            they drift apart, and a round begins with another order. More than 0, at most 1.
        l2: Adds l2 / 2 times the squared norm of weights, not of biases, to the loss.
        weight_decay: Decoupled decay of weights, not of biases; adamw only.
        momentum: Of sgd only; 0 for none.
        clip: Largest global norm of a step's gradient; None for no bound.
        schedule: The learning rate within a round: as it is, or down to 0 along a line or half
            a cosine.
        warmup: Share of a round's steps in which the rate first rises from 0, in [0, 1).
        decay: Factor on the rate from one round to the next, in (0, 1].
        proximal: FedProx's mu: adds mu / 2 times the squared distance from the round's start to
            the loss; 0 is FedAvg.
        patience: Epochs without a better loss on the validation split before a round stops; it
            then ends with its best epoch's parameters. 0 runs all epochs and takes the last.
        focal: Exponent of the focal loss; 0 is the cross-entropy, 2 is usual.
        class_weights: Factor on the loss of each class' examples; empty for 1.
        augmentation: How training images vary; nothing unless said, and images only.
        precision: Of the arithmetic in the network while it trains; 'auto' is bfloat16 on a GPU,
            else float32. Parameters, normalisation statistics, the loss, the optimiser and the sum
            of private gradients stay in float32, and so does whatever measures a model.

    Raises:
        ModelError: a value that cannot be, by the setting's name.

    References:
        Li et al., Federated Optimization in Heterogeneous Networks, MLSys 2020 (proximal).
        Lin et al., Focal Loss for Dense Object Detection, ICCV 2017 (focal).
    """

    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    learning_rate: float = 0.1
    batch: int = 32
    epochs: int = 1
    share: float = 1.0
    l2: float = 0.0
    weight_decay: float = 0.0
    momentum: float = 0.0
    clip: float | None = None
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup: float = 0.0
    decay: float = 1.0
    proximal: float = 0.0
    patience: int = 0
    focal: float = 0.0
    class_weights: tuple[float, ...] = ()
    augmentation: Augmentation = field(default_factory=Augmentation)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    def __post_init__(self) -> None:
        for key, choice in {
            "optimizer": ("sgd", "adam", "adamw"),
            "schedule": ("constant", "linear", "cosine"),
            "precision": ("auto", "float32", "bfloat16"),
        }.items():
            if getattr(self, key) not in choice:
                raise ModelError(f"{key}: choose {', '.join(choice[:-1])} or {choice[-1]}")
        for key in (
            "learning_rate",
            "l2",
            "weight_decay",
            "momentum",
            "clip",
            "warmup",
            "decay",
            "proximal",
            "patience",
            "focal",
        ):
            value = getattr(self, key)
            if value is not None and not 0 <= value < math.inf:
                raise ModelError(f"{key}: it must be a number, and not negative")
        for key in ("learning_rate", "batch", "epochs", "share", "clip", "decay"):
            value = getattr(self, key)
            if value is not None and value <= 0:
                raise ModelError(f"{key}: it must be more than 0")
        for key in ("momentum", "warmup"):
            if getattr(self, key) >= 1:
                raise ModelError(f"{key}: it must be less than 1")
        for key in ("decay", "share"):
            if getattr(self, key) > 1:
                raise ModelError(f"{key}: it must not be more than 1")
        if self.momentum and self.optimizer != "sgd":
            raise ModelError("momentum: only sgd takes it")
        if self.weight_decay and self.optimizer != "adamw":
            raise ModelError("weight_decay: only adamw takes it; use l2 with the others")
        if any(not 0 < weight < math.inf for weight in self.class_weights):
            raise ModelError("class_weights: each must be a number more than 0")

    def steps(self, examples: int) -> int:
        """Of a round over so many training examples."""
        steps = self.share * self.epochs * math.ceil(examples / self.batch)
        return max(1, math.ceil(steps - 1e-9))  # .1 of 30 are 3, and .1 * 30 somewhat more
