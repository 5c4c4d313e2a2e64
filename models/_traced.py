"""A step whose trace is kept in a file: of a deep network it takes longer than to load its code.

JAX's own cache saves compiling; before it can ask that cache it has to trace the Python code again.
"""

import contextlib
import hashlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import flax
import jax
import jaxlib
import numpy as np
import optax  # type: ignore[import-untyped]
from jax import export

from models._bookmark import question, replace
from models._device import identities

Compiled = Callable[..., list[Any]]

_SOURCES = Path(__file__).parent  # of all that a trace is made from, besides libraries

_folder: Path | None = None


def keep(folder: Path | None) -> None:
    """Where this process keeps traces from now on; None for nowhere, as it begins."""
    global _folder
    _folder = folder


class Traced:
    """A function of arrays, compiled at the first call with new shapes.

    On one device it is compiled from the trace as a file holds it, whether just traced or read, so
    that both give the same bits; on several nothing is kept.

    Args:
        step: From trees of arrays, and ``width``, to new ones of its first two, whose memory it
            takes.
        depends: All that decides what ``step`` computes, besides the package's sources, libraries,
            their settings, the device and the arguments' shapes; each part with a fixed ``repr``.
    """

    def __init__(self, step: Callable[..., tuple[Any, Any]], *depends: Any) -> None:
        self._step, self._depends = step, depends
        self._found: dict[Any, Compiled] = {}
        self._ahead: dict[Path, Future[Compiled]] = {}
        self._known: set[Path] = set()  # loaded in this process, or being loaded

    def __call__(self, *arguments: Any, width: int) -> tuple[Any, Any]:
        """The first two arguments' trees with new arrays; those given are used up."""
        leaves, tree = jax.tree.flatten(arguments)
        asked = width, tree, tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        if asked not in self._found:
            self._found[asked] = self._compiled(*asked, len(jax.tree.leaves(arguments[:2])))
        moved = self._found[asked](*leaves)
        first, second = jax.tree.unflatten(jax.tree.structure(arguments[:2]), moved)
        return first, second

    def load_ahead(self) -> None:
        """Begin to load what was called last, in this process or another; do not wait for it."""
        if _folder is None or jax.local_device_count() > 1:
            return
        with contextlib.suppress(OSError):  # files may go at any time
            files = [*_folder.glob(f"{self._name}-*.traced")]
            last = max(files, key=lambda file: file.stat().st_mtime, default=None)
            if last is not None and last not in self._known and (content := _read(last)):
                self._known.add(last)
                self._ahead[last] = _loader().submit(_loaded, content)

    def _compiled(self, width: int, tree: Any, shapes: Any, moved: int) -> Compiled:
        def flat(*leaves: Any) -> list[Any]:
            arguments = jax.tree.unflatten(tree, leaves)
            return jax.tree.leaves(self._step(*arguments, width=width))

        if jax.local_device_count() > 1:  # how arrays lie on them is no part of what is kept
            return jax.jit(flat, donate_argnums=tuple(range(moved)))
        name = f"{self._name}-{question(width, str(tree), shapes)}.traced"
        file = None if _folder is None else _folder / name
        if file is not None and file in self._ahead:
            return self._ahead.pop(file).result()
        content = None
        if file is not None:
            self._known.add(file)
            content = _read(file)
        if content is None:
            given = [_aimed(shape, dtype) for shape, dtype in shapes]
            content = bytes(export.export(jax.jit(flat))(*given).serialize())
            if file is not None:
                _write(file, content)
        return _loaded(content)

    @property
    def _name(self) -> str:
        versions = [library.__version__ for library in (jax, jaxlib, flax, optax, np)]
        settings = sorted(jax.config.values.items())
        return question(_sources(), versions, settings, identities(), *self._depends)


def _loaded(content: bytes) -> Compiled:
    traced = export.deserialize(bytearray(content))
    given = [_aimed(one.shape, one.dtype) for one in traced.in_avals]
    taken = tuple(range(len(traced.out_avals)))
    compiled: Compiled = jax.jit(traced.call, donate_argnums=taken).lower(*given).compile()
    return compiled


def _aimed(shape: Any, dtype: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]


@lru_cache
def _loader() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "loading a step")


@lru_cache
def _sources() -> str:
    paths = sorted(_SOURCES.rglob("*.py"))
    return question(*[(str(path.relative_to(_SOURCES)), path.read_bytes()) for path in paths])


def _read(file: Path) -> bytes | None:
    """What was written; None if nothing was, or it is damaged and the step is traced anew."""
    try:
        content = file.read_bytes()
        file.touch()  # the last one asked for
    except OSError:
        return None
    digest, trace = content[:32], content[32:]
    return trace if hashlib.sha256(trace).digest() == digest else None


def _write(file: Path, trace: bytes) -> None:
    with contextlib.suppress(OSError):  # it saves time and no more
        replace(file, hashlib.sha256(trace).digest() + trace)
