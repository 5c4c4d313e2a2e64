"""What must hold after any fault, whatever it was: the checker of ``tests.faults``."""

import hashlib
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path

from fedtui import errors, events, journal, keys
from fedtui.journal import Journal
from fedtui.site import Home
from tests import federation as fed
from tests.federation import Federation, records


def numbers(home: Home, run: str) -> list[events.RoundEnded]:
    """Every round's numbers, without the times that no two runs share."""
    found = records(home, events.RoundEnded, run=run)
    return [replace(event, run="", seconds={}) for _, event in found]


def broken(
    made: Federation,
    ended: events.RunEnded,
    *,
    weights: bytes | None,
    rounds: list[events.RoundEnded] | None,
) -> list[str]:
    """What does not hold, a sentence each.

    Args:
        weights: The undisturbed model's bytes; None where results may differ.
        rounds: The undisturbed rounds' numbers, likewise.
    """
    run = ended.run
    told = [
        *_complete(made, ended),
        *_rounds_stay(made, run),
        *_at_most_one_redone(made, run),
        *_chains(made),
        *_files(ended),
        *_named_end(ended),
    ]
    if weights is not None and ended.outcome == "completed" and fed.weights(ended) != weights:
        told.append("I7: the model is not the undisturbed one")
    if rounds is not None:
        told += _differences(numbers(made.coordinator, run), rounds)
    return told


def _differences(found: list[events.RoundEnded], rounds: list[events.RoundEnded]) -> list[str]:
    """I7: which round's numbers are not the undisturbed ones, and which of them."""
    told = [] if len(found) == len(rounds) else [f"I7: {len(found)} rounds, not {len(rounds)}"]
    for one, other in zip(found, rounds, strict=False):
        differing = [
            f"{f.name} {getattr(one, f.name)} for {getattr(other, f.name)}"
            for f in fields(one)
            if getattr(one, f.name) != getattr(other, f.name)
        ]
        if differing:
            told.append(f"I7: round {other.round} is not the undisturbed one: {differing[0]}")
    return told


def _complete(made: Federation, ended: events.RunEnded) -> list[str]:
    if ended.outcome == "completed":
        return []
    return [f"the run {ended.outcome}: {ended.cause}"]


def _rounds_stay(made: Federation, run: str) -> list[str]:
    """I1: a round that any journal showed as ended stands in the coordinator's, once, as it was."""
    told = []
    here = [event for _, event in records(made.coordinator, events.RoundEnded, run=run)]
    if [event.round for event in here] != list(range(1, len(here) + 1)):
        told.append(f"I1: rounds ended in the order {[event.round for event in here]}")
    by_round = {event.round: event for event in here}
    for name, home in made.homes.items():
        book = Journal(home.journal, source="test")
        seen = [
            r.event
            for r in book.read()
            if isinstance(r.event, events.RoundEnded) and r.event.run == run
        ]
        book.close()
        if any(by_round.get(event.round) != event for event in seen):
            told.append(f"I1: {name} saw a round that the coordinator does not know")
    sums: dict[str, set[str]] = {}
    for _, event in records(made.coordinator, events.CheckpointWritten, run=run):
        sums.setdefault(event.file, set()).add(event.sha256)
    told += [f"I1: {file} was written with two contents" for file, s in sums.items() if len(s) > 1]
    return told


def _at_most_one_redone(made: Federation, run: str) -> list[str]:
    """I2: after each death of the coordinator one round in flight may be asked again, no more."""
    asked = Counter(
        (e.round, e.phase) for _, e in records(made.coordinator, events.PhaseStarted, run=run)
    )
    resumed = len(records(made.coordinator, events.RunResumed, run=run))
    again = {round for (round, _), times in asked.items() if times > 1}
    return (
        [] if len(again) <= resumed else [f"I2: rounds {sorted(again)} for {resumed} resumptions"]
    )


def _chains(made: Federation) -> list[str]:
    """I3: every chain verifies, and the heads that peers hold are in it."""
    told = []
    for name, home in made.homes.items():
        try:
            journal.verify(home.journal)
        except errors.OperatorError as error:
            told.append(f"I3: {name}: {error}")
            continue
        book = Journal(home.journal, source="test")
        own = {r.seq: r.hash.hex() for r in book.read()}
        book.close()
        public = keys.load_private(home.keys / "node.key").public_key()
        for other in made.homes.values():
            book = Journal(other.journal, source="test")
            heads = [r.event for r in book.read() if isinstance(r.event, events.HeadWitnessed)]
            book.close()
            for event in heads:
                if event.site != name:
                    continue
                if not keys.head_is_signed(
                    public, event.signature, site=name, at=event.at, head=event.head
                ):
                    told.append(f"I3: a head of {name} is not signed by it")
                elif own.get(event.at) != event.head:
                    told.append(f"I3: {name}'s chain lost what {other.path.name} witnessed")
    return told


def _files(ended: events.RunEnded) -> list[str]:
    """I4: the model that the run ended with is whole."""
    if not ended.file:
        return []
    whole = hashlib.sha256(Path(ended.file).read_bytes()).hexdigest() == ended.sha256
    return [] if whole else ["I4: the model's file is not what the journal says"]


def _named_end(ended: events.RunEnded) -> list[str]:
    """I6: an end has a cause, and a failure one of the documented codes."""
    codes = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.OperatorError)
    }
    if not ended.cause or "unforeseen" in ended.cause:
        return [f"I6: the end is not named: {ended.cause or 'no cause'}"]
    if ended.outcome == "failed" and ended.code not in codes:
        return [f"I6: exit code {ended.code} is not documented"]
    return []
