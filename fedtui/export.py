"""A run taken out of the home: its records, numbers and study as files that others can verify.

``journal.jsonl`` is the chain itself from the run's first record to its last, ``events.csv`` and
``rounds.csv`` are for spreadsheets, ``SHA256SUMS`` covers every file. Verifying recomputes the
chain, and holds it against the heads that the verifier's own journal keeps of that site. A bundle
has the papers beside it, and the site's signature under ``SHA256SUMS``.
"""

import csv
import hashlib
import io
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedtui import __version__, events
from fedtui.errors import DataError, RunError, UsageError
from fedtui.journal import Journal
from fedtui.progress import fold
from fedtui.record import GENESIS, Record, iso, parse_line

if TYPE_CHECKING:
    from collections.abc import Collection

    from fedtui.keys import PrivateKey, PublicKey

_LIBRARIES = ("flwr", "jax", "jaxlib", "flax", "optax", "numpy", "safetensors", "cryptography")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What verifying an export found.

    Attributes:
        records: How many were recomputed.
        witnessed: How many heads of that site, kept by this home, were found in its chain.
        signed: How many heads of other sites inside the export carry a valid signature.
        bundle: Whether it is a bundle, signed as a whole by ``site`` with a key known here.
        lost: How many heads kept by this home are of records that the site lost, as it said then,
            when an older copy of its home was put back.
    """

    run: str
    site: str
    records: int
    witnessed: int
    signed: int
    bundle: bool = False
    lost: int = 0


def run_records(book: Journal, run: str) -> list[Record]:
    """Every record from the run's submission to its end (or to now).

    Raises:
        UsageError: this journal has no such run.
    """
    records = book.read()
    own = [i for i, r in enumerate(records) if getattr(r.event, "run", None) == run]
    if not own:
        raise UsageError(f"There is no run {run} in this journal.", remedy="See 'fedtui runs'.")
    return records[own[0] : own[-1] + 1]


def write(
    book: Journal,
    run: str,
    to: Path,
    *,
    site: str,
    study: str | None,
    papers: Mapping[str, str] | None = None,
    key: "PrivateKey | None" = None,
) -> list[Path]:
    """Write the run into the new folder ``to``; returns the files.

    Args:
        study: The run's canonical study, where this home has it.
        papers: Further files of a bundle, by name.
        key: The site's node key, which signs a bundle.

    Raises:
        UsageError: no such run, or ``to`` exists and is not empty.
    """
    records = run_records(book, run)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UsageError(f"{to} exists and is not empty.", remedy="Give a new folder with --to.")
    to.mkdir(parents=True, mode=0o700, exist_ok=True)
    first = records[0].seq
    before = book.read(first - 2, limit=1)[0].hash if first > 1 else GENESIS
    about = {
        "schema": 1,
        "run": run,
        "site": site,
        "first": first,
        "before": before.hex(),
        "records": len(records),
        "versions": versions(),
        "bundle": key is not None,
    }
    files = {
        "about.json": json.dumps(about, indent=2) + "\n",
        "journal.jsonl": "".join(json.dumps(r.line, ensure_ascii=False) + "\n" for r in records),
        "events.csv": _events_csv(records),
        "rounds.csv": _rounds_csv(records, run),
    }
    if study is not None:
        files["study.json"] = study
    files |= papers or {}
    sums = "".join(
        f"{hashlib.sha256(text.encode()).hexdigest()}  {name}\n" for name, text in files.items()
    )
    written = []
    closing = {"SHA256SUMS": sums}
    if key is not None:
        closing["signature.json"] = _signature(key, site, sums)
    for name, text in {**files, **closing}.items():
        path = to / name
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        written.append(path)
    return written


def verify(
    folder: Path,
    *,
    witness: Journal | None,
    known: "Mapping[str, Collection[PublicKey]] | None" = None,
) -> Verdict:
    """Check an export's files, chain, signature and, with a ``witness``, the heads that it keeps.

    Args:
        known: Public keys of sites, by name; '' stands for whatever site signed.

    Raises:
        DataError: the folder is no export.
        RunError: something was changed, or nobody known signed the bundle; names what.
    """
    about = _about(folder)
    _check_sums(folder)
    bundle = _check_bundle(folder, about, known or {})
    chain = {int(about["first"]) - 1: str(about["before"])}
    last = bytes.fromhex(str(about["before"]))
    signed = count = 0
    for count, line in enumerate(_lines(folder / "journal.jsonl"), start=1):
        record, body = parse_line(line)
        last = hashlib.sha256(last + body.encode()).digest()
        if record.seq != int(about["first"]) + count - 1 or last != record.hash:
            raise _broken(f"the chain breaks at record {record.seq}")
        chain[record.seq] = last.hex()
        if isinstance(record.event, events.HeadWitnessed):
            _check_signature(record.event)
            signed += 1
    if count != int(about["records"]):
        raise _broken(f"{about['records']} records were exported and {count} are there")
    witnessed = 0
    lost = 0
    for event, firm in _witnessed(witness, str(about["site"])):
        if event.at in chain:
            _check_signature(event)
            if chain[event.at] != event.head:
                if not firm:
                    lost += 1
                    continue
                raise _broken(
                    f"record {event.at} is not what {about['site']} signed when it was written"
                )
            witnessed += 1
    return Verdict(
        run=str(about["run"]),
        site=str(about["site"]),
        records=count,
        witnessed=witnessed,
        signed=signed,
        bundle=bundle,
        lost=lost,
    )


def read(path: Path) -> Iterator[Record]:
    """Records of an export folder, or of a file that ``export`` or ``logs --json`` wrote.

    Raises:
        DataError: a line is no record.
        UsageError: the file cannot be read.
    """
    for line in _lines(path / "journal.jsonl" if path.is_dir() else path):
        yield parse_line(line)[0]


def versions() -> dict[str, str]:
    """fedtui, Python, system and the libraries that decide numbers, as installed."""
    found = {
        "fedtui": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }
    for name in _LIBRARIES:
        found[name] = metadata.version(name)
    return found


def _events_csv(records: Iterable[Record]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("seq", "time", "level", "source", "event", "sentence"))
    for r in records:
        kind = type(r.event).__name__
        writer.writerow((r.seq, iso(r.time), r.event.level, r.source, kind, r.event.sentence))
    return out.getvalue()


def _rounds_csv(records: Iterable[Record], run: str) -> str:
    """One row a round and site, and one with site 'joint'; a metric that is undefined is empty."""
    history = fold(records).runs[run].history
    names = sorted({name for r in history for m in (r.metrics, *r.by_site.values()) for name in m})
    parts = sorted({part for r in history for part in r.seconds})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("round", "site", *names, *(f"seconds_{part}" for part in parts)))
    for ended in history:
        seconds = [ended.seconds.get(part, "") for part in parts]
        writer.writerow(
            (ended.round, "joint", *(ended.metrics.get(n, "") for n in names), *seconds)
        )
        for site, metrics in sorted(ended.by_site.items()):
            blank = [""] * len(parts)
            writer.writerow((ended.round, site, *(metrics.get(n, "") for n in names), *blank))
    return out.getvalue()


def _about(folder: Path) -> dict[str, Any]:
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        needed = ("run", "site", "first", "before", "records")
        if not isinstance(about, dict) or any(name not in about for name in needed):
            raise ValueError("fields are missing")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{folder} is not an export of fedtui.", remedy="Give the folder of 'fedtui export'."
        ) from error
    return about


def _check_sums(folder: Path) -> None:
    for line in (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        path = folder / Path(name).name
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise _broken(f"{name} is not the file that was exported")


def _check_bundle(
    folder: Path, about: Mapping[str, Any], known: "Mapping[str, Collection[PublicKey]]"
) -> bool:
    """Whether the folder is a bundle, its signature checked."""
    path, sums = folder / "signature.json", (folder / "SHA256SUMS").read_text(encoding="utf-8")
    listed = {line.partition("  ")[2] for line in sums.splitlines()}
    present = {file.name for file in folder.iterdir()} - {"SHA256SUMS", "signature.json"}
    if strangers := sorted(present - listed):
        raise _broken(f"{strangers[0]} is no part of it")
    if not path.exists():
        if about.get("bundle"):
            raise _broken("the site's signature is gone")
        return False
    from fedtui import keys  # cryptography: only verifying needs it

    site = str(about["site"])
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        signature = str(told["signature"])
    except (ValueError, KeyError, TypeError) as error:
        raise _broken("its signature cannot be read") from error
    candidates = [*known.get(site, ()), *known.get("", ())]
    if not candidates:
        raise RunError(
            f"Nobody here knows the key of {site}, who is said to have signed this bundle.",
            remedy="Verify it at a home of the federation, or give the site's public key (its "
            "keys/node.pub, fingerprint compared by phone) with --signer FILE.",
        )
    if not any(keys.signed(key, signature, _signed_text(site, sums)) for key in candidates):
        raise _broken(f"{site} did not sign these files")
    return True


def _signature(key: "PrivateKey", site: str, sums: str) -> str:
    from fedtui import keys

    document = {
        "site": site,
        "signs": "SHA256SUMS",
        "key": keys.public_bytes(key.public_key()).decode(),
        "signature": keys.sign(key, _signed_text(site, sums)),
    }
    return json.dumps(document, indent=2) + "\n"


def _signed_text(site: str, sums: str) -> bytes:
    return f"fedtui-bundle-1\n{site}\n{hashlib.sha256(sums.encode()).hexdigest()}".encode()


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8") as file:
            for text in file:
                line = json.loads(text)
                if not isinstance(line, dict):
                    raise ValueError("not an object")
                yield line
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}.", remedy="Check the path."
        ) from error
    except ValueError as error:
        raise DataError(
            f"{path.name} is not a journal's lines.",
            remedy="Give a file that 'fedtui export' or 'fedtui logs --json' wrote.",
        ) from error


def _witnessed(witness: Journal | None, site: str) -> Iterator[tuple[events.HeadWitnessed, bool]]:
    """Heads of ``site``, and whether its chain must hold them: no rollback was told since."""
    kinds = ("HeadWitnessed", "JournalRolledBack")
    firm = True
    for record in witness.newest(kinds, limit=-1) if witness is not None else ():
        event = record.event
        if isinstance(event, events.JournalRolledBack) and event.site == site:
            firm = False
        elif isinstance(event, events.HeadWitnessed) and event.site == site:
            yield event, firm


def _check_signature(event: events.HeadWitnessed) -> None:
    from fedtui import keys  # cryptography: only verifying needs it

    key = keys.load_public(event.key.encode(), name=f"the key of {event.site}")
    if not keys.head_is_signed(key, event.signature, site=event.site, at=event.at, head=event.head):
        raise _broken(f"the signature of {event.site} under record {event.at} does not hold")


def _broken(what: str) -> RunError:
    return RunError(
        f"This export does not hold: {what}.",
        remedy="It was changed after it was written. Ask for a new export, and keep this one.",
    )
