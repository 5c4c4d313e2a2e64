"""What a model says of a site's own examples, and how well it does; nothing is trained here."""

import math
import time
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from datasets import Dataset
from models import _inputs, _metrics
from models._objective import example_losses
from models._placement import Name, Placement, exhausted, too_large
from models._program import BLOCK
from models._rounds import Bench, Vector

# Of inputs in a call of ``predict``: on a processor 85 images of 128 x 128, elsewhere 445 of 224.
_VALUES, _MORE_VALUES = 2**22, 2**26


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """A model measured on one split.

    Attributes:
        metrics: By name, as ``_metrics.measure`` has them; None where not defined.
        examples: Rows they are over.
        seconds: Wall time, compilation included.
    """

    metrics: dict[str, float | None]
    examples: int
    seconds: float


class Predictor:
    """Asks models about a site's examples, in float32, as many at once as the devices hold.

    A model is given as float32 [parameters] and [local], both finite.

    Args:
        bench: Whose program is asked, and on whose devices.
    """

    def __init__(self, bench: Bench, placement: Placement, data: Dataset) -> None:
        self._bench, self._placement, self._data = bench, placement, data
        self._at_once = 0  # rows of a call; not known before the first

    def predict(self, vector: Vector, local: Vector, split: Name) -> NDArray[np.float32]:
        """Log-probability of every class, float32 [examples, classes], in the split's order.

        Raises:
            ModelError: one example is too much for the device's memory.
        """
        x = self._placement.of(split)
        weights = jax.device_put(vector, self._bench.everywhere)
        own = jax.device_put(local, self._bench.everywhere)
        examples = len(getattr(self._data, split))
        if not self._at_once:
            values = _VALUES if jax.default_backend() == "cpu" else _MORE_VALUES
            self._at_once = max(1, min(BLOCK, values // max(_inputs.values(x), 1)))
        while True:
            try:
                return self._predicted(weights, own, x, examples, min(self._at_once, examples))
            except jax.errors.JaxRuntimeError as error:
                if not exhausted(error):
                    raise
                if self._placement.evicted(split):
                    continue
                if self._at_once == 1:
                    raise too_large("predict") from error
            self._at_once //= 2

    def evaluate(self, vector: Vector, local: Vector, split: Name) -> Evaluated:
        """How well the model does on one of the splits.

        Raises:
            ModelError: as ``predict`` does.
        """
        began = time.monotonic()
        labels = getattr(self._data, split).y
        metrics = _metrics.measure(labels, self.predict(vector, local, split))
        return Evaluated(metrics=metrics, examples=len(labels), seconds=time.monotonic() - began)

    def loss(self, vector: Vector, local: Vector) -> float:
        """Mean of what training makes small, on the validation split, without penalties; infinite
        where training diverged, and the model is not finite.
        """
        if not (np.isfinite(vector).all() and np.isfinite(local).all()):
            return math.inf
        logs, y = self.predict(vector, local, "validation"), self._data.validation.y
        chosen = np.take_along_axis(logs, y[:, None], axis=1)[:, 0]
        loss = float(example_losses(self._bench.training, chosen, y).mean())
        return math.inf if math.isnan(loss) else loss

    def _predicted(
        self, vector: Any, local: Any, x: Any, examples: int, rows: int
    ) -> NDArray[np.float32]:
        blocks = [np.empty((0, len(self._data.classes)), dtype=np.float32)]
        rows = max(1, -(-rows // self._bench.width)) * self._bench.width
        for first in range(0, examples, rows):
            at = np.minimum(np.arange(first, first + rows, dtype=np.int32), examples - 1)[None]
            at = jax.device_put(at, self._bench.by_rows)
            block = self._bench.program.predict(vector, local, x, at)
            blocks.append(np.asarray(block)[: examples - first])
        return np.concatenate(blocks)
