"""Images decoded once: JPEG files to one uint8 array on disk, from which batches are mapped."""

import hashlib
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasets import DataError
from datasets._cache import kept, place
from datasets._progress import report

LARGEST = 80_000_000  # pixels of one image; Pillow warns from 89, dermoscopes have 24 million
_BLOCK = 64  # images between two reports of progress
_BOMB = "has more than 80 million pixels"
_CODE = ("_images", "_cache")


class Decoded(NamedTuple):
    """All images of a site.

    Attributes:
        pixels: uint8 [images, size, size, 3], red, green, blue; memory-mapped, read only.
        prints: uint64 [images], equal where all pixels are.
    """

    pixels: NDArray[np.uint8]
    prints: NDArray[np.uint64]


class UnreadableImage(Exception):
    """An image that cannot be used; ``number`` is its place in the list, ``cause`` a clause."""

    def __init__(self, number: int, cause: str) -> None:
        super().__init__(cause)
        self.number, self.cause = number, cause


def decoded(name: str, files: Sequence[Path], *, size: int) -> Decoded:
    """The files' images, centre-cropped to a square of ``size`` pixels, from the cache if known.

    Raises:
        DataError: there is no room for the cache.
        UnreadableImage: the first file that is no image, or a broken one.
    """
    cache = place(name, sources=files, code=_CODE, schema={"size": size, "files": len(files)})
    pixels, prints = cache / "pixels.npy", cache / "prints.npy"
    if not (pixels.exists() and prints.exists()):
        need = len(files) * size * size * 3
        if need > (free := shutil.disk_usage(cache).free):
            raise DataError(
                f"The images take {need / 1e9:.1f} GB in {cache.parent}, and {free / 1e9:.1f} GB "
                "are free.",
                remedy="Make room, or set FEDTUI_CACHE to a folder with room.",
            )
        found = np.zeros(len(files), dtype=np.uint64)
        kept(pixels, lambda to: _decode(files, size, to, found))
        kept(prints, lambda to: np.save(to, found))
    return Decoded(np.load(pixels, mmap_mode="r"), np.load(prints))


def _decode(files: Sequence[Path], size: int, to: Path, prints: NDArray[np.uint64]) -> None:
    """Writes all pixels to ``to`` as .npy and fills ``prints``."""
    shape = (len(files), size, size, 3)
    target = np.lib.format.open_memmap(to, mode="w+", dtype=np.uint8, shape=shape)

    def one(number: int) -> None:
        target[number] = square(files[number], size, number)
        digest = hashlib.blake2b(target[number].tobytes(), digest_size=8).digest()
        prints[number] = int.from_bytes(digest, "big")

    workers = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(workers) as pool:  # Pillow decodes without Python's lock
        for first in range(0, len(files), _BLOCK):
            report("images", first / len(files))
            list(pool.map(one, range(first, min(first + _BLOCK, len(files)))))
    target.flush()
    report("images", 1.0)


def square(file: Path, size: int, number: int = 0) -> NDArray[np.uint8]:
    """The middle of an image, uint8 [size, size, 3].

    ``draft`` lets the JPEG decoder halve the image as often as that still leaves ``size`` pixels:
    three times as fast as decoding all of it, and .55 of 255 apart in the mean.

    Raises:
        UnreadableImage: it is none, or broken; it is called ``number``.
    """
    from PIL import Image

    try:
        with Image.open(file, formats=("JPEG", "PNG")) as image:
            width, height = image.size
            if width * height > LARGEST:
                raise UnreadableImage(number, _BOMB)
            side = min(width, height)
            image.draft("RGB", (width * size // side, height * size // side))
            width, height = image.size
            left, top = (width - min(image.size)) / 2, (height - min(image.size)) / 2
            box = (left, top, left + min(image.size), top + min(image.size))
            small = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR, box)
        return np.asarray(small, dtype=np.uint8)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise UnreadableImage(number, _BOMB) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise UnreadableImage(number, _cause(file, error)) from error


def _cause(file: Path, error: Exception) -> str:
    try:
        with file.open("rb") as opened:
            start = opened.read(132)
    except OSError:
        return getattr(error, "strerror", None) or "cannot be read"
    if start[128:132] == b"DICM":
        return "is a DICOM file and not a JPEG"
    if not start:
        return "is empty"
    known = start.startswith((b"\xff\xd8\xff", b"\x89PNG"))
    return "is cut off or damaged" if known else "is not a JPEG"
