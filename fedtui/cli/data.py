"""This site's data, looked at where they lie: nothing of it is sent."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from fedtui.cli import _data_words as words
from fedtui.cli._shared import (
    HomeOption,
    JsonOption,
    app,
    group,
    home_of,
    named,
    print_json,
    say,
    there,
)

data = group("Look at this site's data; nothing is sent.")
app.add_typer(data, name="data")

PathArgument = Annotated[Path, typer.Argument(help="The folder or file, as downloaded.")]
NameOption = Annotated[str, typer.Option("--name", help="Which data set; default recognised.")]
ExcludedOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Patients who opted out, one id a line.", show_default=False),
]
PartOption = Annotated[str, typer.Option(help="Which part of it.")]
SeedOption = Annotated[int, typer.Option(min=0, help="The study's; it decides the splits.")]


@data.command("list")
@named
def list_(json_: JsonOption = False) -> None:
    """The data sets that fedtui reads, and what a site can hold of each."""
    import datasets

    found: list[dict[str, Any]] = [
        {"name": n, "parts": datasets.parts(n), "needs_path": datasets.needs_path(n)}
        for n in datasets.names()
    ]
    if json_:
        print_json({"schema": 1, "data": found})
        return
    for entry in found:
        needs = "needs a path" if entry["needs_path"] else "bundled"
        typer.echo(f"{entry['name']:<22}{needs:<14}{words.first(entry['parts'])}")


@data.command()
@named
def inspect(
    path: PathArgument,
    name: NameOption = "",
    part: PartOption = "all",
    excluded: ExcludedOption = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Also the columns that say whether another was measured.")
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Rows, patients, label rate, missing values and histograms; small counts stay hidden."""
    import datasets

    there(path)
    with _translated():
        told = datasets.inspect(name or _recognised(path), path=path, part=part, excluded=excluded)
    if json_:
        print_json({"schema": 1, **told})
        return
    counts = f"{told['rows']} rows, {told['patients']} patients"
    typer.echo(f"{told['name']}, part {told['part']}: {counts}")
    typer.echo(f"label rate {told['label_rate']}, schema {told['schema_hash'][:12]}")
    for line in words.beside(told):
        typer.echo(f"  {line}")
    shown = [f for f in told["features"] if all_ or not words.is_flag(f)]
    typer.echo(words.LEGEND)
    for feature in shown:
        typer.echo(
            f"  {feature['name'][:34]:<35}{feature['unit'][:12]:<13}"
            f"{words.missing(feature):>10} missing  {words.histogram(feature)}"
        )
    if folded := len(told["features"]) - len(shown):
        typer.echo(f"  … and {folded} columns that say whether another was measured (--all)")


@data.command()
@named
def check(
    path: PathArgument,
    name: NameOption = "",
    study: Annotated[
        str, typer.Option(help="The study that they should fit: its id, or a study.toml.")
    ] = "",
    part: PartOption = "all",
    excluded: ExcludedOption = None,
    key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A secret of 16 bytes or more that two hospitals share."),
    ] = None,
    seal: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A new file for the other hospital: this part's patients as hashes under the "
            "--key, in which it finds its own and reads no other.",
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What the other hospital sealed under the same --key: how many patients both "
            "have; exit 6 if any.",
        ),
    ] = None,
    seed: SeedOption = 0,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Name what is wrong by file, column and row number, never by value; exit 6 if it blocks.

    With --key two hospitals prove that their parts share no patient: one writes --seal FILE and
    hands it over, the other looks --against it. Nothing is sent.
    """
    from dataclasses import asdict

    import datasets
    from fedtui import operations

    there(path)
    agreed = operations.study_named(home_of(home), study) if study else None
    with _translated():
        chosen = name or (agreed.data if agreed else _recognised(path))
        found = datasets.check(chosen, path, excluded=excluded)
        fine = not any(violation.blocks for violation in found)
        data_ = None
        if fine:
            seed = agreed.seed if agreed else seed
            data_ = datasets.load(chosen, path=path, part=part, seed=seed, excluded=excluded)
            _fits(data_, agreed)
    proof = _proof(data_, key, seal, against) if data_ is not None else {}
    if json_:
        print_json({"schema": 1, "name": chosen, "violations": [asdict(v) for v in found], **proof})
    for line in () if json_ else words.lines(found):
        typer.echo(line)
    if not fine:
        raise typer.Exit(6)
    if not json_:
        typer.echo(f"{chosen}: nothing stands in the way")
        for what, patients in proof.items():
            typer.echo(f"{patients} patients {what.replace('_', ' ')}")
    if proof.get("in_common"):
        raise typer.Exit(6)


@data.command()
@named
def stats(
    name: Annotated[str, typer.Argument(help="Of site.toml's data; default the only one.")] = "",
    seed: SeedOption = 0,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """This site's features beside what all sites of the last run agreed on; nothing is sent."""
    from fedtui.cli._statistics import statistics

    with _translated():
        told = statistics(home_of(home), name, seed=seed)
    if json_:
        print_json({"schema": 1, **told})
        return
    run = f", beside run {told['run']}" if told["run"] else ", no run to compare with"
    typer.echo(f"{told['data']}, part {told['part']}, training split{run}")
    typer.echo(f"{'':<28}{'count':>9}{'mean':>10}{'deviation':>11}{'missing':>12}{'shift':>8}")
    for one in told["features"]:
        label = f"{one['name'][:20]} {one['unit'][:7]}".strip()
        typer.echo(
            f"{label:<28}{words.count(one):>9}{words.few(one['mean']):>10}"
            f"{words.few(one['deviation']):>11}{words.missing(one):>12}{words.shift(one['shift']):>8}"
        )


@data.command()
@named
def synth(
    kind: Annotated[str, typer.Argument(help="mimic_iv, siim_isic or clinical.")],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="A new folder.")],
    rows: Annotated[int, typer.Option(min=50, help="Stays, images or patients.")] = 1000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    json_: JsonOption = False,
) -> None:
    """Write a made-up set in the official layout, with the real one's traps."""
    from dataclasses import asdict

    import datasets

    with _translated():
        written = datasets.synthesise(kind, to, rows=rows, seed=seed)
    if json_:
        print_json({"schema": 1, **asdict(written)})
    else:
        typer.echo(f"{kind}: made up in {to}")


@data.command()
@named
def purge(home: HomeOption = None, json_: JsonOption = False) -> None:
    """Remove everything that was derived from this site's files and cached."""
    import datasets

    # A home's trainer caches in the home, the commands here in the account's own folder.
    freed = datasets.purge() + datasets.purge(home_of(home).path / "cache")
    if json_:
        print_json({"schema": 1, "freed_bytes": freed})
    else:
        typer.echo(f"{freed / 1e6:.1f} MB freed")


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """The data layer's errors as an operator's."""
    from datasets import DataError
    from fedtui.errors import DataError as OperatorDataError

    try:
        yield
    except DataError as error:
        raise OperatorDataError(str(error), remedy=error.remedy) from error


def _recognised(path: Path) -> str:
    import datasets
    from fedtui.errors import DataError

    found = datasets.recognise(path)
    if len(found) > 1 and all(name.startswith(found[0]) for name in found):
        say(f"{found[0]}; the same files also serve {', '.join(found[1:])} (--name).")
    elif len(found) != 1:
        what = f"could be {', '.join(found)}" if found else "is no data set that fedtui knows"
        raise DataError(f"{path} {what}.", remedy="Say which with --name; 'fedtui data list'.")
    return found[0]


def _proof(found: Any, key: Path | None, seal: Path | None, against: Path | None) -> dict[str, int]:
    """How many patients were sealed, and how many another hospital's file has as well."""
    from fedtui.cli import _disjoint
    from fedtui.errors import UsageError
    from fedtui.site import Limits

    if key is None:
        if seal or against:
            raise UsageError(
                "--seal and --against need --key.", remedy="Share one, then try again."
            )
        return {}
    proof = {}
    if seal is not None:
        minimum = Limits().minimum_cell
        proof["sealed"] = _disjoint.seal(found, key, seal, minimum=minimum)
    if against is not None:
        proof["in_common"] = _disjoint.in_common(found, key, against)
    return proof


def _fits(found: Any, agreed: Any) -> None:
    """Refuse data that are not what a study agreed on.

    Raises:
        DataError: another data set, or other names, units, ranges or classes.
    """
    from fedtui.errors import DataError

    if agreed is None:
        return
    if agreed.data != found.name:
        raise DataError(
            f"The study wants {agreed.data}.", remedy=f"Check with --name {agreed.data}."
        )
    if agreed.schema and agreed.schema != found.schema_hash:
        raise DataError(
            f"These data have schema {found.schema_hash[:12]}, and study {agreed.id} agreed on "
            f"{agreed.schema[:12]}.",
            remedy="Bring names, units, ranges and classes to what the study's data sheet says.",
        )
