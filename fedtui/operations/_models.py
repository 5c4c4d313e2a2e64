"""Models handed out as files, and others' models taken in, checked before they are believed."""

import hashlib
from pathlib import Path
from typing import Any

from fedtui import errors, events, journal, keys, orders, processes, site
from fedtui import study as studies
from fedtui.errors import PrivacyError, RunError, TrustError, UsageError
from fedtui.events import ModelImported
from fedtui.journal import Journal
from fedtui.operations._audit import leakage_refusal
from fedtui.site import Home
from fedtui.study import Study

_AUDITED: dict[str, events.Audited] = {"joint": "global model", "local": "local model"}


def release_refusal(home: Home, run_id: str, kind: str) -> str:
    """Why a run's ``kind`` of model ('joint', 'local') may not leave this site; empty if it may."""
    path = _stored(home, run_id, kind)
    if path is None:
        return "this site holds no such model"
    return leakage_refusal(home, run_id, _AUDITED[kind], vector=_audited_digest(path, kind))


def export_model(home: Home, run_id: str, *, kind: str, to: Path) -> dict[str, Any]:
    """Write a run's model as a file that this site signed; returns what it holds.

    Args:
        run_id: Default the run whose models are newest here.
        kind: 'joint' or 'local'.

    Raises:
        UsageError: there is no such model here, or ``to`` exists.
        TrustError: the study exchanges no such model.
        PrivacyError: the leakage gate has not let it pass.
    """
    from fedtui import modelfile
    from fedtui.modelfile import ModelFile

    own = site.load(home)
    if kind not in _AUDITED:
        raise UsageError(
            f"There is no '{kind}' model.", remedy="Choose --object joint or --object local."
        )
    run_id = run_id or _newest_run(home)
    path = _stored(home, run_id, kind)
    if path is None:
        raise UsageError(
            f"This site holds no {kind} model of run {run_id}.",
            remedy="Models are kept when a run is validated: 'fedtui validate' at the coordinator.",
        )
    parameters, normalisation, about = modelfile.stored(path)
    study = studies.parse(about["study"].encode())
    if kind == "local" and int(about["round"]) < study.rounds:
        raise UsageError(
            f"The local model of run {run_id} is not trained to its end.",
            remedy="Wait for the end of the validation.",
        )
    if kind not in study.exchange:
        raise TrustError(
            f"Study {study.id} does not exchange {kind} models.",
            remedy="Agree on a study whose exchange names them.",
        )
    if study.privacy and kind == "local":
        raise PrivacyError(
            "The study's record-level privacy pays for the joint model only.",
            remedy="Export the joint model.",
        )
    if refusal := release_refusal(home, run_id, kind):
        raise PrivacyError(
            f"The {kind} model of run {run_id} may not leave: {refusal}.",
            remedy="See the audit's reasons, or have the study's approver sign an override.",
        )
    if to.exists():
        raise UsageError(f"{to} exists.", remedy="Give a new file with --to.")
    kinds: Any = kind
    model = ModelFile(
        owner=own.name,
        run=run_id,
        kind=kinds,
        fingerprint=about["fingerprint"],
        manifest=about["manifest"],
        study=about["study"],
        parameters=parameters,
        normalisation=normalisation,
    )
    data = modelfile.to_bytes(model, keys.load_private(home.keys / "node.key"))
    book = Journal(home.journal, source="operator")
    try:
        book.append(
            events.Released(
                run=run_id,
                round=study.rounds,
                kind=f"{kind} model file",
                recipient="a file, handed out by hand",
                fingerprint=model.fingerprint,
                bytes=len(data),
            )
        )
    finally:
        book.close()
    digest = modelfile.write(to, data)
    return {
        "file": str(to),
        "owner": own.name,
        "run": run_id,
        "object": kind,
        "fingerprint": model.fingerprint,
        "parameters": len(parameters),
        "bytes": len(data),
        "sha256": digest,
    }


def import_model(home: Home, file: Path, agreed: Study) -> ModelImported:
    """Judge another site's model on this site's own data, without training it.

    Raises:
        DataError: the file is damaged, or of another study or network.
        TrustError: it was changed, or its signer is not who the roster and the study name.
    """
    from fedtui import modelfile

    site.load(home)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.", remedy="Check it.") from error
    model, key = modelfile.read(data, name=file.name)
    modelfile.check(model, key, study=agreed, known=modelfile.known_keys(home))
    text = studies.canonical(agreed).decode()
    answer = orders.order(home, "agent", "import", file=str(file.absolute()), study=text)
    for record in journal.follow(
        home.journal,
        after=int(answer["after"]),
        stop=lambda: processes.running(home, "agent") is None,
    ):
        event = record.event
        if isinstance(event, ModelImported) and event.run == model.run:
            return event
        if isinstance(event, events.ImportFailed) and event.run == model.run:
            raise errors.from_json(
                {"error": event.error, "message": event.message, "remedy": event.remedy}
            )
    raise RunError("The agent ended before the model was judged.", remedy="Import it again.")


def _newest_run(home: Home) -> str:
    found = sorted(home.models.glob("*/*.safetensors"), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise UsageError(
            "This site keeps no model yet.",
            remedy="They are kept when a run is validated: 'fedtui validate' at the coordinator.",
        )
    return found[-1].parent.name


def _stored(home: Home, run_id: str, kind: str) -> Path | None:
    pattern = "local-*.safetensors" if kind == "local" else "joint.safetensors"
    return max((home.models / run_id).glob(pattern), default=None)


def _audited_digest(path: Path, kind: str) -> str:
    """Hex sha256 as the audit names the model: of a local one's file, of a joint one's vector."""
    if kind == "local":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    from fedtui import modelfile

    parameters, _, _ = modelfile.stored(path)
    return hashlib.sha256(parameters.astype("<f4").tobytes()).hexdigest()
