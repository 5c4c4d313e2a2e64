"""How far a long reading is, for whoever wants to know; the reader does not know who listens."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str, float], None]
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def watching(listener: Listener) -> Iterator[None]:
    """While inside, ``listener`` gets (what is being read, share done from 0 to 1).

    It may raise, KeyboardInterrupt too, to stop the reading between two pieces; what was finished
    by then is kept and not read again.
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def report(what: str, share: float) -> None:
    """Tells the listener, if there is one."""
    listener = _listener.get()
    if listener is not None:
        listener(what, share)
