"""Studies: written, read, compared, proposed to the other sites, approved, declined, withdrawn."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fedtui.cli._passphrase import PassphraseOption, passphrase
from fedtui.cli._shared import HomeOption, JsonOption, app, group, home_of, named, print_json, say

study = group("Agree on a study with the other sites.")
app.add_typer(study, name="study")

StudyArgument = Annotated[
    str, typer.Argument(metavar="STUDY", help="An id, ID@2 for its second version, or a file.")
]
PersonOption = Annotated[
    str, typer.Option("--as", metavar="NAME", help="Who signs; default whom the study names.")
]
KeyOption = Annotated[
    Path | None, typer.Option("--key", help="That person's key file, if it is not in the home.")
]


@study.command("list")
@named
def list_(home: HomeOption = None, json_: JsonOption = False) -> None:
    """Every study that this site knows, and who has said what."""
    from fedtui import operations

    found = operations.studies(home_of(home))
    if json_:
        print_json({"schema": 1, "studies": found})
        return
    for entry in found:
        version = f"{entry['id']} v{entry['version']}"
        said = ", ".join(f"{name} {_said(s)}" for name, s in entry["sites"].items())
        older = "" if entry["newest"] else " (a later version is there)"
        typer.echo(f"{version:<28} {entry['state']:<10} {said}{older}")
    if not found:
        say("No study yet. Write one with 'fedtui study new', then propose it.")


@study.command()
@named
def show(
    name: StudyArgument,
    sizes: Annotated[
        bool, typer.Option("--sizes/--no-sizes", help="Look at this site's data for sizes.")
    ] = True,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """A study in plain language: its terms, who can see what, what leaves a site."""
    from fedtui import operations

    place = home_of(home)
    operations.study_named(place, name)  # a name that nobody knows is said first
    if not json_ and sizes:
        _measured(place, name)
    if json_:
        print_json(operations.study_document(place, name))
    else:
        typer.echo(operations.study_text(place, name), nl=False)


@study.command()
@named
def diff(
    before: StudyArgument,
    after: Annotated[str, typer.Argument(metavar="STUDY", help="The later one.")],
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Every clause that differs between two studies."""
    from dataclasses import asdict

    from fedtui import operations

    found = operations.study_changes(home_of(home), before, after)
    if json_:
        print_json({"schema": 1, "changes": [asdict(change) for change in found]})
        return
    for change in found:
        typer.echo(change.key)
        typer.echo(f"  - {_shown(change.before)}")
        typer.echo(f"  + {_shown(change.after)}")
    if not found:
        say("No clause differs.")


@study.command()
@named
def propose(
    file: Annotated[Path, typer.Argument(help="The study.toml.")],
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Put a study to all its sites; it is signed by this one."""
    from fedtui import operations
    from fedtui import study as studies

    told = operations.propose_study(home_of(home), studies.load(file))
    if json_:
        print_json({"schema": 1, **told})
        return
    typer.echo(f"{told['id']}  {told['fingerprint']}")
    _say_sent(told["sent"])


@study.command()
@named
def approve(
    name: StudyArgument,
    read: Annotated[
        str,
        typer.Option("--yes-i-have-read", metavar="ID", help="The study's id, instead of asking."),
    ] = "",
    person: PersonOption = "",
    key: KeyOption = None,
    passphrase_file: PassphraseOption = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Sign a study with your own key, once this site's data fit it. Starts nothing by itself."""
    from fedtui import operations

    place = home_of(home)
    agreed = operations.study_named(place, name)
    signer = _signer(place, name, person)
    if not read:
        _on_terminal("--yes-i-have-read ID")
        _measured(place, name)
        typer.echo_via_pager(operations.study_text(place, name))
        say("Approving starts nothing. It lets the coordinator start training on this site's data.")
        read = typer.prompt("Type the study's id to approve it", err=True)
    _same(read, agreed.id)
    secret = _secret(place, signer, passphrase_file, key=key)
    told = operations.approve_study(place, name, person=signer, passphrase=secret, key=key)
    _done(told, "approved", json_=json_)


@study.command()
@named
def decline(
    name: StudyArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why, for all sites to read.")] = "",
    person: PersonOption = "",
    key: KeyOption = None,
    passphrase_file: PassphraseOption = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Refuse a study, signed with your own key, for a reason that all sites read."""
    from fedtui import operations

    place = home_of(home)
    signer = _signer(place, name, person)
    secret = _secret(place, signer, passphrase_file, key=key)
    told = operations.decline_study(
        place, name, reason=reason, person=signer, passphrase=secret, key=key
    )
    _done(told, "declined", json_=json_)


@study.command()
@named
def withdraw(
    name: StudyArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why, for all sites to read.")] = "",
    by_site: Annotated[
        bool, typer.Option("--by-site", help="Nobody's key: the site itself withdraws.")
    ] = False,
    confirmed: Annotated[
        str, typer.Option("--yes", metavar="ID", help="The study's id, instead of asking.")
    ] = "",
    person: PersonOption = "",
    key: KeyOption = None,
    passphrase_file: PassphraseOption = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Take this site's approval back: from now on it refuses every message of the study."""
    from fedtui import operations

    place = home_of(home)
    agreed = operations.study_named(place, name)
    if not confirmed:
        _on_terminal("--yes ID")
        say("What this site has already sent stays in the joint model of the rounds before.")
        confirmed = typer.prompt("Type the study's id to withdraw", err=True)
    _same(confirmed, agreed.id)
    signer = "" if by_site else _signer(place, name, person)
    secret = "" if by_site else _secret(place, signer, passphrase_file, key=key, new=False)
    told = operations.withdraw_study(
        place, name, reason=reason, person=signer, passphrase=secret, key=key
    )
    _done(told, "withdrawn", json_=json_)


@study.command("key")
@named
def key_(
    person: Annotated[str, typer.Argument(metavar="NAME", help="As studies name you.")],
    passphrase_file: PassphraseOption = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Make your own key, under your passphrase, with which you approve studies."""
    from fedtui import operations

    place = home_of(home)
    file = operations.create_person(place, person, passphrase(passphrase_file, twice=True))
    if json_:
        print_json({"schema": 1, "person": person, "file": str(file)})
    else:
        typer.echo(file)


@study.command()
@named
def new(
    file: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("study.toml"),
    id: Annotated[str, typer.Option("--id", help="A short name.")] = "",
    purpose: Annotated[str, typer.Option(help="What it is for.")] = "",
    legal_basis: Annotated[str, typer.Option(help="The ethics approval's number.")] = "",
    sites: Annotated[str, typer.Option(help="Names, with commas.")] = "",
    approvers: Annotated[str, typer.Option(help="SITE=NAME, with commas.")] = "",
    data: Annotated[str, typer.Option(help="The data set.")] = "",
    cohort: Annotated[str, typer.Option(help="Who is in it, in words.")] = "",
    model: Annotated[str, typer.Option(help="The model.")] = "",
    rounds: Annotated[int, typer.Option(min=0, help="Rounds of joint training.")] = 0,
    metric: Annotated[str, typer.Option(help="The number that screens show.")] = "auroc",
    epsilon: Annotated[
        float | None, typer.Option(help="Record-level privacy of the whole run; default none.")
    ] = None,
    minimum_sites: Annotated[
        int, typer.Option(min=0, help="A round's quorum; default all sites.")
    ] = 0,
    expires: Annotated[str, typer.Option(help="The last day, as 2027-06-30.")] = "",
    exchange: Annotated[str, typer.Option(help="joint, local or both, with a comma.")] = "",
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Write a study.toml from answers or flags; this site's data say which schema it has."""
    from fedtui import agreement
    from fedtui import study as studies
    from fedtui.cli import _writing as writing

    place = home_of(home)
    given: dict[str, Any] = {
        "id": id,
        "purpose": purpose,
        "legal_basis": legal_basis,
        "sites": sites,
        "approvers": approvers,
        "data": data,
        "cohort": cohort,
        "model": model,
        "rounds": rounds or "",
        "expires": expires,
    }
    more = {"metric": metric, "epsilon": epsilon, "quorum": minimum_sites, "exchange": exchange}
    written = writing.written(
        place, given, more, file=file, ask=sys.stdin.isatty() and not json_, say=say
    )
    print_ = studies.fingerprint(written)
    if json_:
        study_toml = agreement.to_toml(written)
        print_json({"schema": 1, "file": str(file), "fingerprint": print_, "toml": study_toml})
    else:
        typer.echo(file)
        say(f"Read it, edit it, then: fedtui study propose {file}")


def _measured(place: Any, name: str) -> None:
    """Look at this site's data once, so that sizes are known; what is wrong is said, no more."""
    from fedtui import operations
    from fedtui.errors import OperatorError

    try:
        paper = operations.study_paper(place, name)
        if paper.measured.parameters is None:
            say("Looking at this site's data…")
            operations.measure_study(place, name)
    except OperatorError as error:
        say(f"Sizes are not known here: {error}")


def _signer(place: Any, name: str, person: str) -> str:
    from fedtui import operations
    from fedtui.errors import UsageError

    signer = person or operations.approver_of(place, name)
    if not signer:
        raise UsageError(
            "The study names nobody to approve for this site.", remedy="Say who signs with --as."
        )
    return signer


def _secret(
    place: Any, person: str, file: Path | None, *, key: Path | None, new: bool = True
) -> str:
    """The passphrase of a person's key, which is made here at its first use."""
    from fedtui import operations

    if key is not None or not new or operations.has_person(place, person):
        return passphrase(file)
    say(f"{person} has no key here yet; it is made now. Nobody else is to know its passphrase.")
    made = passphrase(file, twice=True)
    operations.create_person(place, person, made)
    return made


def _on_terminal(instead: str) -> None:
    from fedtui.errors import UsageError

    if not sys.stdin.isatty():
        raise UsageError(
            "Nobody is here to be asked.", remedy=f"Without a terminal, use {instead}."
        )


def _same(typed: str, id: str) -> None:
    from fedtui.errors import UsageError

    if typed.strip() != id:
        raise UsageError(f"'{typed}' is not {id}: nothing was signed.", remedy=f"Type {id}.")


def _done(told: dict[str, Any], word: str, *, json_: bool) -> None:
    if json_:
        print_json({"schema": 1, **told})
        return
    by = f" by {told['person']}" if told["person"] else " by the site"
    typer.echo(f"{told['id']} v{told['version']} {word}{by}  {told['fingerprint'][:12]}")
    _say_sent(told["sent"])


def _say_sent(sent: bool) -> None:
    if not sent:
        say("Not sent yet: it is, as soon as this site is up and reaches the coordinator.")


def _said(standing: dict[str, str]) -> str:
    said = "--" if standing["said"] == "missing" else standing["said"]
    return f"{said} ({standing['person']})" if standing["person"] else said


def _shown(value: Any) -> str:
    return "(not there)" if value is None else str(value)
