"""A record: an event as the journal holds it, the body that its hash covers, and its JSON line."""

import json
import time
from dataclasses import dataclass
from typing import Any

from fedtui import events
from fedtui.errors import DataError

SCHEMA = 1  # of the journal's table and of a line
GENESIS = bytes(32)  # the chain's value before the first record
_ENVELOPE = ("schema", "seq", "time", "source", "origin", "level", "hash")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An event as the journal holds it.

    Attributes:
        seq: Position in this journal, from 1, without gaps.
        time: Seconds since 1970, by this host's clock.
        source: Which process wrote it: agent, coordinator, supervisor, operator.
        origin: 0, or the position in the coordinator's journal of news taken from there.
        hash: The chain's value after this record, 32 bytes.
    """

    seq: int
    time: float
    source: str
    origin: int
    event: events.Event
    hash: bytes

    @property
    def line(self) -> dict[str, Any]:
        """The record as one JSON object, the form of every ``--json`` stream and export."""
        return {
            "schema": SCHEMA,
            "seq": self.seq,
            "time": iso(self.time),
            "source": self.source,
            "origin": self.origin,
            "level": self.event.level,
            **events.to_fields(self.event),
            "hash": self.hash.hex(),
        }


def iso(seconds: float) -> str:
    """UTC with milliseconds, as ISO 8601."""
    thousandths = round(seconds * 1000)
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(thousandths // 1000))
    return f"{whole}.{thousandths % 1000:03d}Z"


def body_of(seq: int, now: float, source: str, origin: int, event: str) -> str:
    """What the hash covers: a record's envelope, and its event as ``events.to_json`` wrote it."""
    envelope = json.dumps({"origin": origin, "seq": seq, "source": source, "time": now})
    return f'{{"envelope":{envelope},"event":{event}}}'


def chained(last: bytes, body: str) -> bytes:
    """The chain's value after a record of ``body``, from the value before it."""
    import hashlib  # OpenSSL, 3 ms: a command that only reads does without

    return hashlib.sha256(last + body.encode()).digest()


def parse_body(seq: int, body: str, value: bytes) -> Record:
    """A record from its body and the chain's value after it.

    Raises:
        DataError: it is not one that this fedtui can read.
    """
    try:
        document = json.loads(body)
        envelope = document["envelope"]
        return Record(
            seq=seq,
            time=envelope["time"],
            source=envelope["source"],
            origin=envelope["origin"],
            event=events.from_fields(document["event"]),
            hash=value,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"Record {seq} of the journal cannot be read.",
            remedy="It was written by a newer fedtui, or damaged: run 'fedtui verify', or upgrade.",
        ) from error


def parse_line(line: dict[str, Any]) -> tuple[Record, str]:
    """A record from its ``line``, and the body that its hash covers.

    Raises:
        DataError: it is not a line that this fedtui can read.
    """
    try:
        fields = {name: value for name, value in line.items() if name not in _ENVELOPE}
        moment = _seconds(line["time"])
        record = Record(
            seq=int(line["seq"]),
            time=moment,
            source=str(line["source"]),
            origin=int(line["origin"]),
            event=events.from_fields(fields),
            hash=bytes.fromhex(line["hash"]),
        )
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return record, body_of(record.seq, moment, record.source, record.origin, text)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            "A line is not a record of a fedtui journal.",
            remedy="Give a file that 'fedtui export' or 'fedtui logs --json' wrote.",
        ) from error


def _seconds(moment: str) -> float:
    whole, _, rest = moment.partition(".")
    import calendar

    stamp = calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S"))
    return (stamp * 1000 + int(rest.rstrip("Z"))) / 1000
