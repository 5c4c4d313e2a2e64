"""What a data set is: features with units and ranges, and splits that share no patient.

One module here is one data set, and its file name is its name on screen; ``_underscored``
modules are parts that several share. A data set offers ``NEEDS_PATH``, ``PARTS``, ``GIVES``,
``CLASSES`` and ``read``, as ``Source`` says; ``names`` finds it without importing it.
"""

import importlib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from datasets._dataset import DataError, Dataset, Feature, Pictures, Split, Violation
from datasets._excluded import Excluded, people, without
from datasets._progress import watching
from datasets._statistics import (
    BINS,
    Normalisation,
    Statistics,
    Support,
    Treatment,
    agree,
    bins,
    standardise,
    statistics,
    support,
    treat,
    unsettled,
)

if TYPE_CHECKING:
    from datasets._synth import Written

__all__ = [
    "BINS",
    "DataError",
    "Dataset",
    "Excluded",
    "Feature",
    "Normalisation",
    "Pictures",
    "Source",
    "Split",
    "Statistics",
    "Support",
    "Treatment",
    "Violation",
    "agree",
    "bins",
    "check",
    "classes",
    "gives",
    "inspect",
    "load",
    "names",
    "needs_path",
    "opt_outs",
    "parts",
    "purge",
    "recognise",
    "standardise",
    "statistics",
    "summarise",
    "support",
    "synthesise",
    "treat",
    "unsettled",
    "watching",
]


class Source(Protocol):
    """What a module in this folder offers.

    Attributes:
        NEEDS_PATH: Whether the site must say where its files lie.
        PARTS: What a site can hold; the first is everything.
        GIVES: What ``Dataset.gives`` can be.
        CLASSES: How many classes there are; None where a site's files say it.

    A module may offer more: ``recognises(path) -> bool``, whether a folder holds its files;
    ``named_parts(path)``, more parts that the files name; ``excluded(path) -> Path | None``, a list
    of patients who opted out that they name; ``check(path) -> list[Violation]``; and
    ``describe(path, minimum=) -> dict``, what ``inspect`` shows beside the usual.
    """

    NEEDS_PATH: bool
    PARTS: tuple[str, ...]
    GIVES: tuple[str, ...]
    CLASSES: int | None

    def read(self, *, path: Path | None, part: str, seed: int) -> Dataset:
        """The part, split; ``part`` is one of PARTS, ``path`` is there if NEEDS_PATH.

        Raises:
            DataError: the files cannot be read, or are not what they should be.
        """
        ...


def names() -> tuple[str, ...]:
    """The data sets there are, in alphabetical order; none is imported."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in found if not name.startswith("_")))


def parts(name: str, path: Path | None = None) -> tuple[str, ...]:
    """What a site can hold of ``name``; the first is everything.

    With ``path``, also the sites that the files there name.

    Raises:
        DataError: there is no such data set, or its files cannot be read.
    """
    source = _source(name)
    own = getattr(source, "named_parts", None)
    return (*source.PARTS, *(own(path) if own is not None and path is not None else ()))


def needs_path(name: str) -> bool:
    """Whether a site must say where its files of ``name`` lie.

    Raises:
        DataError: there is no such data set.
    """
    return _source(name).NEEDS_PATH


def gives(name: str) -> tuple[str, ...]:
    """What a model must be able to eat, of which a site's files choose: no file is read.

    Raises:
        DataError: there is no such data set.
    """
    return _source(name).GIVES


def classes(name: str) -> int | None:
    """How many classes ``name`` has; None where only a site's files say it.

    Raises:
        DataError: there is no such data set.
    """
    return _source(name).CLASSES


def opt_outs(
    name: str, *, path: Path | None = None, excluded: Path | None = None
) -> tuple[Path, ...]:
    """The lists of patients who opted out that ``load`` heeds: the site's, and the files' own.

    Raises:
        DataError: no such data set, or its files cannot be read.
    """
    own = getattr(_source(name), "excluded", None)
    found = (excluded, own(path) if own is not None and path is not None else None)
    return tuple(file for file in found if file is not None)


def load(
    name: str,
    *,
    path: Path | None = None,
    part: str = "all",
    seed: int = 0,
    excluded: Path | None = None,
) -> Dataset:
    """This site's part of a data set, in three splits without a patient in common.

    The splits depend on ``seed`` and not on ``part``: the parts' test sets together are the test
    set of 'all', and no site trains on what another tests on.

    Args:
        name: One of ``names()``.
        path: Where the site's files lie, if ``needs_path(name)``.
        part: One of ``parts(name, path)``.
        seed: The study's, so that all sites split alike; not negative.
        excluded: The site's list of patients who opted out, one id a line as the files write it.

    Raises:
        DataError: no such data set or part, or the files are not what they should be.
    """
    source = _source(name)
    if part not in source.PARTS and part not in (known := parts(name, path)):
        raise DataError(
            f"'{name}' has no part '{part}'.", remedy=f"Choose one of {', '.join(known)}."
        )
    _need(source, name, path)
    data = source.read(path=path, part=part, seed=seed)
    if lists := opt_outs(name, path=path, excluded=excluded):
        return without(data, [id for file in lists for id in people(file)], seed=seed)
    return data


def recognise(path: Path) -> tuple[str, ...]:
    """The data sets whose files seem to lie in the folder ``path``; none, one or several."""
    return tuple(
        name for name in names() if getattr(_source(name), "recognises", lambda _: False)(path)
    )


def check(name: str, path: Path | None = None, *, excluded: Path | None = None) -> list[Violation]:
    """What is wrong with the site's files, by file, column and row, and never by value.

    Args:
        excluded: As ``load`` has it; ids on it that match nobody are counted.

    Raises:
        DataError: no such data set, or the files cannot be read at all.
    """
    source = _source(name)
    _need(source, name, path)
    look = getattr(source, "check", None)
    found: list[Violation] = look(path) if look is not None else []
    lists = opt_outs(name, path=path, excluded=excluded)
    if lists and not any(violation.blocks for violation in found):
        left = load(name, path=path, excluded=excluded).excluded
        if left is not None and left.unmatched:
            what = f"{left.unmatched} of the {left.listed} who opted out are in no row"
            remedy = "Write their ids exactly as the data do, or leave it so if they never were."
            files = " and ".join(file.name for file in lists)
            found.append(Violation(file=files, what=what, remedy=remedy, blocks=False))
    return found


def inspect(
    name: str,
    *,
    path: Path | None = None,
    part: str = "all",
    seed: int = 0,
    minimum: int = 10,
    excluded: Path | None = None,
) -> dict[str, Any]:
    """What the site holds, as JSON: rows, patients, label rate, missingness, histograms.

    Args:
        minimum: Counts of patients below it are None.

    Raises:
        DataError: as ``load`` does.
    """
    from datasets._report import report

    data = load(name, path=path, part=part, seed=seed, excluded=excluded)
    described = report(data, minimum=minimum)
    more = getattr(_source(name), "describe", None)
    return described | (more(path, minimum=minimum) if more is not None else {})


def summarise(data: Dataset, *, minimum: int = 10) -> list[dict[str, Any]]:
    """Count, mean, deviation and missingness of each feature of the training split, as JSON.

    Args:
        minimum: What fewer patients than that would tell is None.
    """
    from datasets._report import summary

    return summary(data, minimum=minimum)


def synthesise(kind: str, folder: Path, *, rows: int, seed: int = 0, **options: Any) -> "Written":
    """Writes a made-up set in a real one's layout, traps included: ``_synth.write`` says how."""
    from datasets import _synth

    return _synth.write(kind, folder, rows=rows, seed=seed, **options)


def purge(where: Path | None = None) -> int:
    """Everything that was derived from the site's files and cached goes; the bytes freed.

    Args:
        where: The cache folder; None for this account's own.
    """
    from datasets import _cache

    return _cache.purge(where)


def _need(source: Source, name: str, path: Path | None) -> None:
    if source.NEEDS_PATH and path is None:
        raise DataError(
            f"'{name}' needs the folder with the site's files.",
            remedy="Add its path to the site's settings.",
        )


def _source(name: str) -> Source:
    if name not in names():
        raise DataError(
            f"There is no data set '{name}'.", remedy=f"Choose one of {', '.join(names())}."
        )
    return cast("Source", importlib.import_module(f"datasets.{name}"))
