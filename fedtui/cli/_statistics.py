"""What ``fedtui data stats`` finds: a site's own features beside what all sites agreed on."""

from typing import Any

from fedtui import site
from fedtui.site import Home, Source


def statistics(home: Home, name: str, *, seed: int) -> dict[str, Any]:
    """The training split of one of this site's data sets under its minimum cell, as JSON.

    ``shift`` is the own mean less the agreed one of the last run, in agreed deviations.

    Raises:
        UsageError: site.toml names no such data.
        datasets.DataError: they cannot be read.
    """
    import datasets
    from fedtui.errors import UsageError

    own = site.load(home)
    if not name and len(own.data) == 1:
        name = next(iter(own.data))
    if name not in own.data:
        what = f"no data '{name}'" if name else "no data, or several"
        known = ", ".join(own.data) or "none yet: add [data.NAME]"
        raise UsageError(f"site.toml has {what}.", remedy=f"Name one of its data: {known}.")
    minimum = own.limits.minimum_cell
    found = load(home, name, own.data[name], seed=seed)
    features = datasets.summarise(found, minimum=minimum)
    run, mean, deviation = _agreed(home, name)
    for place, feature in enumerate(features):
        known_ = run and len(mean) == len(features) and feature["mean"] is not None
        feature["agreed_mean"] = float(f"{mean[place]:.3g}") if run and known_ else None
        feature["shift"] = (
            round((feature["mean"] - mean[place]) / deviation[place], 2) if known_ else None
        )
    return {
        "data": name,
        "part": found.part,
        "minimum_cell": minimum,
        "run": run,
        "features": features,
    }


def load(home: Home, name: str, source: Source, *, seed: int) -> Any:
    """One of the site's data sets as a study would read it, without who opted out."""
    import datasets

    excluded = None if source.excluded is None else home.path / source.excluded
    return datasets.load(name, path=source.path, part=source.part, seed=seed, excluded=excluded)


def _agreed(home: Home, name: str) -> tuple[str, tuple[float, ...], tuple[float, ...]]:
    """The last run on these data, and what it agreed on; an empty name where there was none."""
    from fedtui import events
    from fedtui.journal import Journal

    book = Journal(home.journal, source="viewer")
    try:
        records = book.own(("ScaleAgreed",))
    finally:
        book.close()
    for event in (record.event for record in reversed(records)):
        if isinstance(event, events.ScaleAgreed) and event.data == name:
            return event.run, event.mean, event.deviation
    return "", (), ()
