"""What a model is: a configuration, a flat vector of parameters, and the manifest that orders it.

One module here is one model, and its file name is its name on screen; ``_underscored`` modules are
parts that several share. A model offers ``EATS``, ``Config`` and ``build``, as ``Model`` says.
Nothing here imports JAX, so that a study is validated where JAX is not loaded.
"""

import dataclasses
import importlib
import math
import pkgutil
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, cast

from models._augmentation import Augmentation
from models._errors import ModelError
from models._privacy import Privacy
from models._training import Training

if TYPE_CHECKING:
    from flax import nnx

__all__ = [
    "Augmentation",
    "Entry",
    "Manifest",
    "Model",
    "ModelError",
    "Privacy",
    "Training",
    "configure",
    "load",
    "names",
    "require_together",
    "unfit",
]

T = TypeVar("T")
_FOOD = {"table": "a table", "series": "a series", "images": "images"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One array of a model, as a stretch of the flat vector in row-major order."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The arrays of a model in the order in which they lie in its flat vector."""

    entries: tuple[Entry, ...]

    @property
    def size(self) -> int:
        """Length of the flat vector."""
        return sum(entry.size for entry in self.entries)

    def to_json(self) -> list[dict[str, Any]]:
        """The entries as JSON holds them, in order."""
        return [
            {"name": entry.name, "shape": list(entry.shape), "dtype": entry.dtype}
            for entry in self.entries
        ]

    @classmethod
    def from_json(cls, document: Iterable[Mapping[str, Any]]) -> "Manifest":
        """What ``to_json`` wrote.

        Raises:
            ModelError: it is not a manifest.
        """
        try:
            return cls(
                tuple(
                    Entry(
                        name=str(entry["name"]),
                        shape=tuple(int(length) for length in entry["shape"]),
                        dtype=str(entry["dtype"]),
                    )
                    for entry in document
                )
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                "The list of a model's arrays cannot be read.",
                remedy="Check that every site and the coordinator run the same fedtui.",
            ) from error

    def mismatch(self, other: "Manifest") -> str | None:
        """The first entry in which ``other`` differs, in words; None if it does not."""
        for place, (mine, theirs) in enumerate(zip(self.entries, other.entries, strict=False)):
            if mine != theirs:
                return f"array {place}: {_words(mine)} here, {_words(theirs)} there"
        mine_more = len(self.entries) - len(other.entries)
        if mine_more == 0:
            return None
        longer, where = (self, "here") if mine_more > 0 else (other, "there")
        place = min(len(self.entries), len(other.entries))
        return f"array {place}: {_words(longer.entries[place])} only {where}"


class Model(Protocol):
    """What a module in this folder offers.

    Attributes:
        EATS: What ``Dataset.gives`` must be, or each of several: 'table', 'series', 'images'.
        Config: Frozen dataclass of settings with defaults; refuses wrong values by ModelError.
    """

    EATS: str | tuple[str, ...]
    Config: type[Any]

    def build(
        self, config: Any, *, gives: str, features: int, outputs: int, rngs: "nnx.Rngs"
    ) -> "nnx.Module":
        """The network, a function from one batch to float32 logits [batch, outputs].

        ``outputs`` is 1 for two classes (a sigmoid follows), else the number of classes (softmax).
        What it is called with follows ``gives``:

        - 'table': x float32 [batch, features];
        - 'series': x float32 [batch, hours, features], and bool of that shape, True where measured;
        - 'images': uint8 [batch, height, width, 3], and the metadata float32 [batch, features],
          which may have no column.

        It has nnx.Param, and of ``models._layers`` Frozen, Local and Statistic, and no other
        variables: no running statistics or random numbers of nnx's own. With a Statistic it is also
        called with ``real=``, bool [batch], False on padding, or None.

        For record-level privacy every Param lies in a layer of ``_layers``, ``_convolution`` or
        ``_recurrent``, which know their per-example gradients; each is called once a pass, and no
        example may see another: what breaks the first two is refused, the last is not noticed.

        What it computes follows from these arguments and the sources in this folder alone, not from
        other files or the environment: sites agree on the former by hash, and what is compiled of
        it is kept under them.

        A network may say by ``AT_ONCE`` for how many examples at once a processor is fastest.
        """
        ...


def names() -> tuple[str, ...]:
    """The models there are, in alphabetical order; none is imported."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in found if not name.startswith("_")))


def load(name: str) -> Model:
    """The model's module; only its ``build`` imports JAX.

    Raises:
        ModelError: there is no such model.
    """
    if name not in names():
        raise ModelError(
            f"model: there is no '{name}'", remedy=f"Choose one of {', '.join(names())}."
        )
    return cast("Model", importlib.import_module(f"models.{name}"))


def unfit(model: str, data: str, gives: Iterable[str]) -> str:
    """Why ``model`` can eat nothing of what data set ``data`` gives, in words; empty if it can.

    Raises:
        ModelError: there is no such model.
    """
    eats, gives = load(model).EATS, tuple(gives)
    eats = (eats,) if isinstance(eats, str) else eats
    if set(eats) & set(gives):
        return ""
    needs, given = (" or ".join(_FOOD.get(kind, kind) for kind in kinds) for kinds in (eats, gives))
    return f"{model} needs {needs}; {data} gives {given}"


def require_together(
    model: str,
    config: Any,
    training: Training,
    *,
    private: bool,
    gives: Iterable[str],
    classes: int | None,
    pretrained: bool,
) -> None:
    """Refuse settings that each are right and do not go together, whoever's data come.

    Args:
        private: Whether record-level privacy is promised.
        gives: What the data set may give, as in ``unfit``.
        classes: Of the data; None where that is not known yet.
        pretrained: Whether the model begins with somebody's weights.

    Raises:
        ModelError: naming the setting.
    """
    norm = getattr(config, "norm", None)
    if private and training.patience:
        raise ModelError(
            "patience: no noise protects the choice of the best epoch",
            remedy="Leave patience out, or train without record-level privacy.",
        )
    if private and training.share < 1:
        raise ModelError(
            "share: the account of privacy counts on whole epochs",
            remedy="Leave share out, or train without record-level privacy.",
        )
    if private and norm == "local":
        raise ModelError(
            "norm: statistics over a batch mix its examples, which privacy keeps apart",
            remedy="Set norm to group or frozen, or train without record-level privacy.",
        )
    if training.augmentation and "images" not in gives:
        raise ModelError(
            "augmentation: the data have no images",
            remedy="Leave augmentation out of the study's training.",
        )
    if classes and training.class_weights and len(training.class_weights) != classes:
        raise ModelError(f"class_weights: name one for each of the {classes} classes")
    if pretrained and not getattr(load(model), "PRETRAINED", False):
        raise ModelError(
            f"pretrained: {model} takes no weights of others",
            remedy="Leave pretrained out, or choose resnet18 or an efficientnet.",
        )
    if pretrained and norm == "group":
        raise ModelError(
            "pretrained: the weights come with batch normalisation",
            remedy="Set norm to frozen or local in the study's parameters.",
        )


def configure(kind: type[T], values: Mapping[str, Any]) -> T:
    """Hand-written settings as ``kind``: a model's Config, or Training. Lists become tuples.

    Raises:
        ModelError: an unknown key, or a value that does not fit, by the key's name.
    """
    hints = typing.get_type_hints(kind)
    fields = [field.name for field in dataclasses.fields(cast("Any", kind))]
    fitting = {}
    for key, value in values.items():
        if key not in fields:
            remedy = f"Known are {', '.join(fields)}." if fields else "It has no settings."
            raise ModelError(f"{key}: unknown key", remedy=remedy)
        if dataclasses.is_dataclass(hints[key]) and isinstance(value, Mapping):
            value = configure(cast("type[Any]", hints[key]), value)
        fitting[key] = tuple(value) if isinstance(value, list) else value
        if not _fits(fitting[key], hints[key]):
            raise ModelError(f"{key}: a value of another kind is wanted here")
    return kind(**fitting)


def _fits(value: object, hint: Any) -> bool:
    """Whether ``value`` is of the type in an annotation: as much of typing as settings use."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is Literal:
        return value in arguments
    if origin is tuple:  # of any length, as in tuple[int, ...]
        return isinstance(value, tuple) and all(_fits(item, arguments[0]) for item in value)
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, (int, float) if hint is float else hint)


def _words(entry: Entry) -> str:
    return f"{entry.name} {entry.dtype} {list(entry.shape)}"
