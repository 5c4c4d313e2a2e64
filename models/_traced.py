"""A step whose trace is kept in a file: of a deep network it takes longer than to load its code.

JAX's own cache saves compiling; before it can ask that cache it has to trace the Python code again.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
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
_MOST = 32  # files, of some 50 kB each

_folder: Path | None = None


def keep(folder: Path | None) -> None:
    """Where this process keeps traces from now on; None for nowhere, as it begins."""
    global _folder
    _folder = folder


class Traced:
    """A function of arrays, compiled at the first call with new shapes.

    On one device it is compiled from the trace as a file holds it, whether just traced or read, so
    that both give the same bits. On several nothing is kept, nor of a function that calls back into
    Python, which no file can hold.

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
        last = next(_newest_first(_folder, f"{self._name}-*"), None)
        if last is not None and last not in self._known and (traced := _read(last)):
            self._known.add(last)
            self._ahead[last] = _loader().submit(_loaded, traced)

    def _compiled(self, width: int, tree: Any, shapes: Any, moved: int) -> Compiled:
        def flat(*leaves: Any) -> list[Any]:
            arguments = jax.tree.unflatten(tree, leaves)
            return jax.tree.leaves(self._step(*arguments, width=width))

        plain = jax.jit(flat, donate_argnums=tuple(range(moved)))
        if jax.local_device_count() > 1:  # how arrays lie on them is no part of what is kept
            return plain
        traced, file = None, None
        if _folder is not None:
            name = f"{self._name}-{question(width, str(tree), shapes)}"
            file = _folder / f"{name}.traced"
            ahead = self._ahead.pop(file, None)
            if ahead is not None and ahead.exception() is None:
                return ahead.result()
            self._known.add(file)
            traced = _read(file)
        if traced is None:
            given = [_aimed(shape, dtype) for shape, dtype in shapes]
            try:
                content = bytes(export.export(jax.jit(flat))(*given).serialize())
            except (NotImplementedError, ValueError):  # no file can hold it: see the class
                return plain  # which raises anew what is wrong with the step itself
            if file is not None:
                _write(file, content)
            traced = export.deserialize(bytearray(content))
        return _loaded(traced)

    @property
    def _name(self) -> str:
        versions = [library.__version__ for library in (jax, jaxlib, flax, optax, np)]
        settings = sorted(jax.config.values.items())
        return question(_LOADED, versions, settings, identities(), *self._depends)


def _loaded(traced: export.Exported) -> Compiled:
    given = [_aimed(one.shape, one.dtype) for one in traced.in_avals]
    taken = tuple(range(len(traced.out_avals)))
    compiled: Compiled = jax.jit(traced.call, donate_argnums=taken).lower(*given).compile()
    return compiled


def _aimed(shape: Any, dtype: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]


@lru_cache
def _loader() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "loading a step")


def _sources() -> str:
    paths = sorted(_SOURCES.rglob("*.py"))
    return question(*[(str(path.relative_to(_SOURCES)), path.read_bytes()) for path in paths])


_LOADED = _sources()  # what this process runs, whatever stands there later


def _newest_first(folder: Path, pattern: str) -> Iterator[Path]:
    found = []
    for file in folder.glob(f"{pattern}.traced"):
        with contextlib.suppress(OSError):  # gone meanwhile
            found.append((file.stat().st_mtime, file))
    return (file for _, file in sorted(found, reverse=True))


def _read(file: Path) -> export.Exported | None:
    """What was written; None if nothing was, or it is damaged and the step is traced anew."""
    try:
        content = file.read_bytes()
    except OSError:
        return None
    digest, trace = content[:32], content[32:]
    if hashlib.sha256(trace).digest() != digest:
        return None
    with contextlib.suppress(OSError):
        file.touch()  # the last one asked for
    return export.deserialize(bytearray(trace))


def _write(file: Path, trace: bytes) -> None:
    if _sources() != _LOADED:  # upgraded meanwhile, and the trace perhaps of both
        return
    with contextlib.suppress(OSError):  # it saves time and no more
        replace(file, hashlib.sha256(trace).digest() + trace)
        for old in [*_newest_first(file.parent, "*")][_MOST:]:
            old.unlink(missing_ok=True)
