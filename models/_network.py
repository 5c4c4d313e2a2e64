"""A model's module as pure functions over a list of arrays, in the order of its manifests."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

import models
from models import Entry, Manifest
from models._layers import Frozen, Local, Statistic

Leaves = list[Array]
"""The arrays of a model, each in its own shape: those of the shared vector, then the local ones."""

Inputs = Any
"""What a network is called with, one array or a tuple; the first axis of each is the examples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network without state.

    Attributes:
        manifest: What all sites share.
        local: What each site keeps for itself; it begins at 0 and follows the shared arrays in
            ``Leaves``. Empty for most.
        moves: For each leaf whether gradients move it.
        weights: For each leaf whether decay and penalties make it small: not biases, nor scales.
        statistics: Places among the leaves of what a training pass moves by itself.
        at_once: For how many examples a processor is fastest, as their activations stay in its
            cache; None where that does not matter.
        unmeasured: Parameters outside the layers that know their per-example gradients.
        initial: (seed uint32 []) to the shared leaves.
        logits: (leaves, inputs, real) to float32 [batch, outputs] and the new statistics. ``real``
            is bool [batch], False on padding, while training; None otherwise.
    """

    manifest: Manifest
    local: Manifest
    moves: tuple[bool, ...]
    weights: tuple[bool, ...]
    statistics: tuple[int, ...]
    at_once: int | None
    unmeasured: tuple[str, ...]
    initial: Callable[[Any], Leaves]
    logits: Callable[[Leaves, Inputs, Array | None], tuple[Array, Leaves]]


def network(model: str, config: Any, *, gives: str, features: int, outputs: int) -> Network:
    """``models.load(model).build(config, ...)`` without state."""
    source = models.load(model)
    shared = nnx.Any(nnx.Param, Frozen)

    def build(seed: Any) -> nnx.Module:
        rngs = nnx.Rngs(jax.random.key(seed))
        return source.build(config, gives=gives, features=features, outputs=outputs, rngs=rngs)

    def initial(seed: Any) -> Leaves:
        return jax.tree.leaves(nnx.state(build(seed), shared))

    abstract = nnx.eval_shape(lambda: build(0))
    graph, ours, own = cast("tuple[Any, Any, Any]", nnx.split(abstract, shared, Local))
    (entries, kinds, tree), (own_entries, own_kinds, own_tree) = map(_described, (ours, own))
    kinds, first_own = kinds + own_kinds, len(kinds)
    statistics = tuple(p for p, kind in enumerate(kinds) if issubclass(kind, Statistic))

    def logits(leaves: Leaves, inputs: Inputs, real: Array | None) -> tuple[Array, Leaves]:
        module: Any = nnx.merge(
            graph,
            jax.tree.unflatten(tree, leaves[:first_own]),
            jax.tree.unflatten(own_tree, leaves[first_own:]),
        )
        arguments = inputs if isinstance(inputs, tuple) else (inputs,)
        if not statistics:
            return module(*arguments).astype(jnp.float32), []
        found = module(*arguments, real=real).astype(jnp.float32)
        moved = jax.tree.leaves(nnx.state(module, Local))
        return found, [moved[place - first_own] for place in statistics]

    return Network(
        manifest=Manifest(entries),
        local=Manifest(own_entries),
        moves=tuple(not issubclass(kind, Frozen | Statistic) for kind in kinds),
        weights=tuple(
            len(entry.shape) > 1 and not entry.name.endswith("bias")
            for entry in (*entries, *own_entries)
        ),
        statistics=statistics,
        at_once=getattr(abstract, "AT_ONCE", None),
        unmeasured=_unmeasured(abstract),
        initial=initial,
        logits=logits,
    )


def exactly() -> Any:
    """While it is traced, factors are float32 whole, of which a GPU else keeps 10 bits."""
    return jax.default_matmul_precision("float32")


def narrowed(leaves: Sequence[Array], moves: Sequence[bool], dtype: Any) -> Leaves:
    """The leaves that gradients move in the dtype to compute in; statistics stay as they are."""
    return [leaf.astype(dtype) if move else leaf for leaf, move in zip(leaves, moves, strict=True)]


def _described(state: Any) -> tuple[tuple[Entry, ...], list[type[Any]], Any]:
    """Entries, kinds of variable and tree of one part of a module."""
    paths, tree = jax.tree.flatten_with_path(state)
    entries = tuple(
        Entry(name=_name(path), shape=leaf.shape, dtype=str(leaf.dtype)) for path, leaf in paths
    )
    kinds = {".".join(map(str, path)): type(leaf) for path, leaf in nnx.to_flat_state(state)}
    return entries, [kinds[entry.name] for entry in entries], tree


def _unmeasured(module: nnx.Module) -> tuple[str, ...]:
    names = []
    for path, inner in nnx.iter_modules(module):
        for name, value in vars(inner).items():
            trained = isinstance(value, nnx.Param) or type(value) is Local
            if trained and not getattr(type(inner), "MEASURED", False):
                names.append(".".join(map(str, (*path, name))))
    return tuple(sorted(names))


def _name(path: tuple[Any, ...]) -> str:
    """'layers.0.kernel' of a path in nnx's tree; the variable's own '.value' is not said."""
    return ".".join(str(step.key) for step in path if hasattr(step, "key"))


def bounds(manifest: Manifest) -> list[int]:
    """Where a vector in this order is cut."""
    found: list[int] = np.cumsum([entry.size for entry in manifest.entries])[:-1].tolist()
    return found
