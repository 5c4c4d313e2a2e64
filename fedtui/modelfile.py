"""A model as a file that another hospital can check before it believes it.

One safetensors file, no code in it: the vector, its manifest, the scale of its inputs, the study
and its fingerprint, the owner's public key and signature. The signature covers sha256 of all of it.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as parse_tensors

from fedtui import keys, site
from fedtui import study as studies
from fedtui.errors import DataError, TrustError
from fedtui.keys import PrivateKey, PublicKey
from fedtui.register import Register
from fedtui.site import Home
from fedtui.study import Study

Kind = Literal["joint", "local"]
Keys = dict[str, tuple[PublicKey, ...]]
_AGAIN = "Ask its owner to send it again, and tell them that this one was changed."
_FIELDS = ("fedtui_model", "owner", "run", "kind", "fingerprint", "manifest", "study", "key")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """What a model file holds.

    Attributes:
        owner: The site that signed it.
        kind: 'joint' for the federated model, 'local' for what the owner trained alone.
        manifest: The model's arrays in the order of ``parameters``, as JSON text.
        study: The study in canonical form.
        parameters: float32 [parameters].
        normalisation: float64 [2, features], mean and deviation, or None.
    """

    owner: str
    run: str
    kind: Kind
    fingerprint: str
    manifest: str
    study: str
    parameters: NDArray[np.float32]
    normalisation: NDArray[np.float64] | None


def signed_text(*, owner: str, run: str, kind: Kind, fingerprint: str, digest: str) -> bytes:
    """What the owner of a model signs."""
    return f"fedtui-model-1\n{owner}\n{run}\n{kind}\n{fingerprint}\n{digest}".encode()


def to_bytes(model: ModelFile, key: PrivateKey) -> bytes:
    """The file, signed by ``key``, the owner's node key."""
    about = {
        "fedtui_model": "1",
        "owner": model.owner,
        "run": model.run,
        "kind": model.kind,
        "fingerprint": model.fingerprint,
        "manifest": model.manifest,
        "study": model.study,
        "key": keys.public_bytes(key.public_key()).decode(),
    }
    return _format(
        _tensors(model.parameters, model.normalisation),
        {**about, "signature": keys.sign(key, _text(model, about))},
    )


def read(data: bytes, *, name: str) -> tuple[ModelFile, PublicKey]:
    """The model in a file's bytes, and the key that signed exactly these bytes.

    Raises:
        DataError: it is no model file, or is damaged.
        TrustError: the signature does not hold.
    """
    try:
        about = _about(data)
        if any(not isinstance(about.get(field), str) for field in (*_FIELDS, "signature")):
            raise ValueError("fields are missing")
        tensors = parse_tensors(data)
        kind: Any = about["kind"]
        model = ModelFile(
            owner=about["owner"],
            run=about["run"],
            kind=kind,
            fingerprint=about["fingerprint"],
            manifest=about["manifest"],
            study=about["study"],
            parameters=tensors["parameters"],
            normalisation=tensors.get("normalisation"),
        )
        signature = about.pop("signature")
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{name} is not a model file of fedtui, or is damaged.",
            remedy="Ask its owner to send it again ('fedtui models export').",
        ) from error
    key = keys.load_public(about["key"].encode(), name=f"the key in {name}")
    # The bytes must be the very ones we would write: nothing may hide beside what is signed.
    whole = _format(
        _tensors(model.parameters, model.normalisation), {**about, "signature": signature}
    )
    if kind not in ("joint", "local") or whole != data:
        raise TrustError(f"{name} holds more than was signed.", remedy=_AGAIN)
    if not keys.signed(key, signature, _text(model, about)):
        raise TrustError(
            f"{name} is not what {model.owner} signed: it was changed afterwards.", remedy=_AGAIN
        )
    return model, key


def check(model: ModelFile, key: PublicKey, *, study: Study, known: Keys) -> None:
    """Refuse a model that is not what ``study`` names, or whose signer nobody here knows.

    Raises:
        TrustError: the signer is not on the roster, not of the study, or has another key.
        DataError: it is of another study.
    """
    expected = known.get(model.owner, ())
    if not expected or model.owner not in study.sites:
        where = f"in study {study.id}" if expected else "on this federation's roster"
        raise TrustError(
            f"{model.owner}, who signed this model, is not {where}.",
            remedy="Ask for a model of a site that takes part.",
        )
    if key not in expected:
        raise TrustError(
            f"This model is signed in the name of {model.owner}, with another key than its own.",
            remedy="Call that site; do not use the file.",
        )
    own = studies.fingerprint(study)
    if model.fingerprint != own:
        raise DataError(
            f"This model is of a study with fingerprint {model.fingerprint[:12]}, and "
            f"{study.id} has {own[:12]} here.",
            remedy="Give the study that it was trained for, and the same fedtui.",
        )
    if model.study != studies.canonical(study).decode():
        raise DataError(
            "The study inside this model is not the one given.", remedy="Give the right study."
        )
    if model.kind not in study.exchange:
        raise TrustError(
            f"Study {study.id} does not exchange {model.kind} models.",
            remedy="Agree on a study whose exchange names them.",
        )


def known_keys(home: Home) -> Keys:
    """Every site's public keys, oldest first, as this home knows them; who was taken off is not."""
    found = dict(Register(home.studies).keys()) if home.studies.is_dir() else {}
    for path in (*home.roster.glob("*.pub"), *home.roster.glob("*.left")):
        found.setdefault(path.stem, (keys.load_public(path.read_bytes(), name=path.name),))
    for path in home.roster.glob("*.revoked"):
        found.pop(path.stem, None)
    own = home.keys / "node.pub"
    if own.exists():
        found.setdefault(site.load(home).name, (keys.load_public(own.read_bytes(), name=own.name),))
    return found


def to_store(
    parameters: NDArray[np.float32], *, normalisation: NDArray[np.float64] | None, **about: str
) -> bytes:
    """A model as a home keeps it, unsigned, with what a model file of it will need."""
    return _format(_tensors(parameters, normalisation), about)


def stored(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64] | None, dict[str, str]]:
    """Parameters, scale and description of a model in the home.

    Raises:
        DataError: the file is damaged.
    """
    try:
        data = path.read_bytes()
        tensors = parse_tensors(data)
        return tensors["parameters"], tensors.get("normalisation"), _about(data)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise DataError(
            f"{path.name} is not there, or is damaged.",
            remedy="Have the run validated: 'fedtui validate' at the coordinator.",
        ) from error


def write(path: Path, data: bytes) -> str:
    """Write a model file, mode 0600; returns its sha256."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(data).hexdigest()


def _tensors(
    parameters: NDArray[np.float32], normalisation: NDArray[np.float64] | None
) -> dict[str, NDArray[Any]]:
    tensors: dict[str, NDArray[Any]] = {"parameters": np.ascontiguousarray(parameters)}
    if normalisation is not None:
        tensors["normalisation"] = np.ascontiguousarray(normalisation)
    return tensors


def _text(model: ModelFile, about: dict[str, str]) -> bytes:
    digest = hashlib.sha256()
    for name in _FIELDS:
        digest.update(hashlib.sha256(about[name].encode()).digest())
    for name, array in sorted(_tensors(model.parameters, model.normalisation).items()):
        digest.update(f"{name} {array.dtype} {list(array.shape)}\0".encode())
        digest.update(hashlib.sha256(array.tobytes()).digest())
    return signed_text(
        owner=model.owner,
        run=model.run,
        kind=model.kind,
        fingerprint=model.fingerprint,
        digest=digest.hexdigest(),
    )


def _about(data: bytes) -> dict[str, str]:
    length = int.from_bytes(data[:8], "little")
    about = json.loads(data[8 : 8 + length])["__metadata__"]
    if not isinstance(about, dict):
        raise ValueError("no description")
    return about


def _format(tensors: dict[str, NDArray[Any]], about: dict[str, str]) -> bytes:
    """The safetensors format with its header in one fixed order, so that equal means equal."""
    header: dict[str, Any] = {"__metadata__": dict(sorted(about.items()))}
    body = b""
    for name, array in sorted(tensors.items()):
        data = array.tobytes()
        kind = {"float32": "F32", "float64": "F64"}[str(array.dtype)]
        place = [len(body), len(body) + len(data)]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": place}
        body += data
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # as the format aligns its tensors
    return len(text).to_bytes(8, "little") + text + body
