"""What this site's own journal tells: the last work, the device, the size of a model."""

from fedtui.checks._inquiry import MODEL_BYTES
from fedtui.errors import OperatorError
from fedtui.events import Event, WorkAnswered
from fedtui.journal import Journal
from fedtui.record import Record
from fedtui.site import Home


def last(home: Home | None, kind: type[Event]) -> Record | None:
    """The last record of ``kind`` that this site wrote itself; None where there is none to read."""
    if home is None or not home.journal.exists():
        return None
    try:
        book = Journal(home.journal, source="viewer")
    except OperatorError:  # the home is named by other checks
        return None
    try:
        records = book.newest((kind.__name__,), limit=1, own=True)
    except OperatorError:
        return None
    finally:
        book.close()
    return records[0] if records else None


def model_bytes(home: Home | None) -> int:
    """How large the study's model is: the last answer to training, or a usual size."""
    record = last(home, WorkAnswered)
    if record is None or not isinstance(record.event, WorkAnswered):
        return MODEL_BYTES
    sizes = (record.event.bytes_received, record.event.bytes_sent)
    return max(sizes) or MODEL_BYTES
