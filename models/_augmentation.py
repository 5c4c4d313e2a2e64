"""Images varied anew in every step, on the device; the same study, round and site vary alike."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models._errors import ModelError

if TYPE_CHECKING:
    from jax import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How training images vary; labels, tables and what is evaluated on stay as they are.

    Attributes:
        flips: Mirrored left to right and top to bottom, each with chance 1/2.
        turns: Turned by 0, 90, 180 or 270 degrees; an oblong image by 0 or 180.
        rotation: Turned by up to so many degrees either way; what comes into view repeats the edge.
        crop: A window is enlarged to the whole whose sides are shorter by up to this share.
        brightness: Every value multiplied by up to so much more or less than 1.

    Raises:
        ModelError: a value out of its range, by the setting's name.
    """

    flips: bool = False
    turns: bool = False
    rotation: float = 0.0
    crop: float = 0.0
    brightness: float = 0.0

    def __post_init__(self) -> None:
        for key, limit in {"rotation": 180.0, "crop": 0.9, "brightness": 0.9}.items():
            if not 0 <= getattr(self, key) <= limit:
                raise ModelError(f"augmentation.{key}: it must lie between 0 and {limit:g}")

    def __bool__(self) -> bool:
        """Whether anything varies."""
        return self != Augmentation()


def varied(images: "Array", rows: "Array", key: Any, how: Augmentation) -> "Array":
    """Each image varied by a draw of its own, uint8 like ``images`` [batch, height, width, 3].

    The draw follows from ``key`` and the example's row, so that neither the place in the batch nor
    how a batch is cut into pieces or spread over devices changes it.

    Args:
        rows: int32 [batch], each example's row number; -1 on padding.
    """
    import jax

    keys = jax.vmap(lambda row: jax.random.fold_in(key, row))(rows)
    found: Array = jax.vmap(lambda image, own: _one(image, own, how))(images, keys)
    return found


def _one(image: "Array", key: Any, how: Augmentation) -> "Array":
    import jax
    import jax.numpy as jnp

    mirror, tip, turn, angle, zoom, place, light = jax.random.split(key, 7)
    if how.flips:
        image = jnp.where(jax.random.bernoulli(mirror), image[:, ::-1], image)
        image = jnp.where(jax.random.bernoulli(tip), image[::-1], image)
    if how.turns:
        image = jnp.where(jax.random.bernoulli(turn), image[::-1, ::-1], image)
        if image.shape[0] == image.shape[1]:
            quarter = jax.random.bernoulli(jax.random.fold_in(turn, 1))
            image = jnp.where(quarter, image.transpose(1, 0, 2)[::-1], image)
    if not (how.rotation or how.crop or how.brightness):
        return image
    found = image.astype(jnp.float32)
    if how.rotation or how.crop:
        angle = jax.random.uniform(angle, (), minval=-1.0) * math.radians(how.rotation)
        share = 1 - how.crop * jax.random.uniform(zoom)
        room = (1 - share) / 2 * jnp.array(image.shape[:2])  # the window's middle stays as near
        shift = jax.random.uniform(place, (2,), minval=-1.0) * room
        found = _resampled(found, angle, share, shift)
    if how.brightness:
        found *= 1 + how.brightness * jax.random.uniform(light, minval=-1.0)
    return jnp.clip(jnp.round(found), 0, 255).astype(jnp.uint8)


def _resampled(image: "Array", angle: "Array", share: "Array", shift: "Array") -> "Array":
    """A turned window of the image at the image's own size, between pixels linearly."""
    import jax.numpy as jnp
    from jax.scipy.ndimage import map_coordinates

    height, width = image.shape[:2]
    y, x = jnp.meshgrid(
        jnp.arange(height) - (height - 1) / 2, jnp.arange(width) - (width - 1) / 2, indexing="ij"
    )
    sine, cosine = share * jnp.sin(angle), share * jnp.cos(angle)
    at = [
        cosine * y + sine * x + (height - 1) / 2 + shift[0],
        cosine * x - sine * y + (width - 1) / 2 + shift[1],
    ]
    colours = [
        map_coordinates(image[:, :, colour], at, order=1, mode="nearest")
        for colour in range(image.shape[2])
    ]
    return jnp.stack(colours, axis=2)
