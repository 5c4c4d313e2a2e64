"""A site's examples on the devices of its machine, and what to say where they do not fit."""

from typing import Any, Literal

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from datasets import Dataset
from models import _inputs
from models._errors import ModelError
from models._inputs import Scale

Name = Literal["train", "validation", "test"]

_NO_MEMORY = (
    "resource_exhausted",
    "out of memory",
    "failed to allocate",
    "cudnn_status_alloc_failed",
    "cublas_status_alloc_failed",
)


class Placement:
    """The splits of a data set, each read once, on the agreed scale, whole on every device.

    Args:
        everywhere: How they lie there; None for one device.
    """

    def __init__(self, data: Dataset, scale: Scale | None, everywhere: Any) -> None:
        self._data, self._scale, self._everywhere = data, scale, everywhere
        self._resident: dict[Name, Any] = {}

    @property
    def resident(self) -> tuple[Name, ...]:
        """The splits that are on the device."""
        return tuple(self._resident)

    def of(self, split: Name) -> Any:
        """A split's inputs.

        Raises:
            ModelError: they do not fit, even alone.
        """
        if split not in self._resident:
            part = getattr(self._data, split)
            inputs = _inputs.prepare(part, self._data.gives, self._scale)
            while split not in self._resident:
                try:
                    placed = jax.device_put(inputs, self._everywhere)
                    jax.tree.map(lambda array: array.block_until_ready(), placed)
                    self._resident[split] = placed
                except jax.errors.JaxRuntimeError as error:
                    if not exhausted(error):
                        raise
                    if not self.evicted(split):
                        size = sum(array.nbytes for array in jax.tree.leaves(inputs)) / 1e9
                        raise ModelError(
                            f"The examples take {size:.1f} GB, for which the device has no room.",
                            remedy="Choose smaller images, or a device with more memory.",
                        ) from error
        return self._resident[split]

    def evicted(self, but: Name) -> bool:
        """Whether other splits lay on the device, which now do not."""
        others = [split for split in self._resident if split != but]
        for split in others:
            del self._resident[split]
        return bool(others)


def shardings(devices: list[Any]) -> tuple[Any, Any]:
    """Where arrays lie: whole on every device, and cut by columns; None for one device alone."""
    if len(devices) == 1:
        return None, None  # plain arrays, as they always were, to the bit
    mesh = jax.make_mesh((len(devices),), ("rows",), (AxisType.Auto,), devices=devices)
    whole, cut = PartitionSpec(), PartitionSpec(None, "rows")  # type: ignore[no-untyped-call]
    return NamedSharding(mesh, whole), NamedSharding(mesh, cut)


def exhausted(error: Exception) -> bool:
    """Whether a device says that it has too little memory."""
    return any(words in str(error).lower() for words in _NO_MEMORY)


def too_large(what: str) -> ModelError:
    """Not even one example fits: ``what`` was tried."""
    return ModelError(
        f"The device has too little memory to {what} even one example.",
        remedy="Choose a smaller model or smaller images, or a device with more memory.",
    )
