"""What a model tells of the patients it was trained on, looked at before it leaves."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedtui.cli._audit_access import access
from fedtui.cli._audit_released import released
from fedtui.cli._passphrase import PassphraseOption, passphrase
from fedtui.cli._shared import (
    HomeOption,
    JsonOption,
    RunArgument,
    app,
    group,
    home_of,
    named,
    print_json,
    say,
)

if TYPE_CHECKING:
    from fedtui.events import LeakageAudited, LeakageOverridden

_audit = group("Check a model before it leaves this site, and what has left.")
app.add_typer(_audit, name="audit")
_audit.command()(access)
_audit.command()(released)

_OBJECTS: dict[str, Any] = {
    "global": "global model",
    "local": "local update",
    "alone": "local model",
}


@_audit.command()
@named
def leakage(
    run_id: RunArgument = "",
    object_: Annotated[
        str,
        typer.Option(
            "--object",
            metavar="global|local|alone",
            help="Which model to attack: 'global' is the joint one, 'local' this site's last "
            "update of it, 'alone' the one that this site trained by itself.",
        ),
    ] = "global",
    override: Annotated[
        str, typer.Option(metavar="REASON", help="Sign that it may leave all the same.")
    ] = "",
    signer: Annotated[
        str, typer.Option("--as", metavar="NAME", help="Who signs; default the only key here.")
    ] = "",
    passphrase_file: PassphraseOption = None,
    seconds: Annotated[
        float, typer.Option(min=1, max=3600, help="For training models to compare with.")
    ] = 60.0,
    bundle: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Leave logits and membership for other tools; local."),
    ] = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Attack a model as a stranger would; exit 7 if it may not leave."""
    from fedtui import operations
    from fedtui.errors import UsageError

    if object_ not in _OBJECTS:
        raise UsageError(
            f"--object: there is no '{object_}'.", remedy=f"Choose from {', '.join(_OBJECTS)}."
        )
    where = home_of(home)
    audited = operations.audit_leakage(
        where,
        run_id,
        object=_OBJECTS[object_],
        seconds=seconds,
        bundle=bundle,
        again=not override,
        tell=_progress(quiet=json_),
    )
    signed = operations.leakage(where, audited.run, audited.object)[1]
    if override:
        signed = operations.sign_override(
            where, audited, reason=override, signer=signer, passphrase=passphrase(passphrase_file)
        )
    allowed = operations.verdict_allows_release(audited, signed)
    if json_:
        print_json(_document(audited, signed, allowed=allowed))
    else:
        _tell(audited, signed)
    if not allowed:
        raise typer.Exit(7)


def _progress(*, quiet: bool) -> Any:
    def tell(step: int, steps: int) -> None:
        if not quiet:
            say(f"  {step} of {steps}")

    return tell


def _document(
    audited: "LeakageAudited", signed: "LeakageOverridden | None", *, allowed: bool
) -> dict[str, Any]:
    from fedtui import events

    parts = ("reason", "signer", "key", "signature")
    return {
        "schema": 1,
        **events.to_fields(audited),
        "override": None if signed is None else {name: getattr(signed, name) for name in parts},
        "may_leave": allowed,
    }


def _tell(audited: "LeakageAudited", signed: "LeakageOverridden | None") -> None:
    typer.echo(f"{audited.verdict}  {audited.object} of {audited.run}, round {audited.round}")
    for reason in audited.reasons:
        typer.echo(f"  {reason}")
    compared = f"{audited.shadows} models of the same recipe" if audited.shadows else "none"
    typer.echo(f"  attack {audited.attack}, compared with {compared}, {audited.seconds:.1f} s")
    if audited.auc is not None and audited.auc_low is not None and audited.auc_high is not None:
        between = f"{audited.auc_low:.3f} to {audited.auc_high:.3f}"
        typer.echo(f"  AUC of members over held-out patients {audited.auc:.3f} ({between})")
    if audited.epsilon is not None:
        claimed = "" if audited.claimed is None else f", {audited.claimed:.2f} is claimed"
        typer.echo(f"  planted records: epsilon is at least {audited.epsilon:.2f}{claimed}")
    if signed is not None:
        typer.echo(f"  {signed.signer} lets it leave all the same: {signed.reason}")
