"""What an operator can be told went wrong, with a remedy and an exit code.

OperatorError
├── RunError         1  a run failed, or a verification did not hold
├── UsageError       2  a flag, a file edited by hand, a command out of place
├── NetworkError     3  unreachable, port in use
├── BusyError        4  locked by another process
├── TrustError       5  identity, signature or approval
├── DataError        6  data, journal or manifest is not what it should be
├── PrivacyError     7  a privacy gate closed
├── ResourceError    8  disk, memory, file system
│   └── StorageError    a disk that is full, or does not write at this moment
└── QuorumError      9  too few sites, or too late
"""

import errno
from typing import Any, ClassVar

_PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
# Of those who have no number: safetensors tells the system's in its words, SQLite its own.
_WORDS = (*(f"(os error {number})" for number in _PASSING), "disk I/O error", "or disk is full")


def joined(message: object, remedy: str) -> str:
    """What happened and what to do as running text, with a full stop between the two."""
    said = str(message).rstrip()
    end = "" if not said or said.endswith((".", "!", "?", "…", ":")) else "."
    return f"{said}{end} {remedy}".strip()


class OperatorError(Exception):
    """Something an operator can act on: what happened, what to do, never a traceback.

    Attributes:
        exit_code: What a headless command ends with; part of the interface.
        remedy: The next step, as a sentence.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy

    @property
    def sentences(self) -> str:
        """What happened and what to do, where there is one line for both."""
        return joined(self, self.remedy)

    def to_json(self) -> dict[str, Any]:
        """The same words for a script: error, message, remedy, exit_code."""
        return {
            "error": type(self).__name__,
            "message": str(self),
            "remedy": self.remedy,
            "exit_code": self.exit_code,
        }


class RunError(OperatorError):
    """A run failed, or a verification did not hold."""

    exit_code = 1


class UsageError(OperatorError):
    """A flag, a hand-edited file or a command out of place."""

    exit_code = 2


class NetworkError(OperatorError):
    """A host that does not answer, or a port that is taken."""

    exit_code = 3


class BusyError(OperatorError):
    """Another process holds what this one needs."""

    exit_code = 4


class TrustError(OperatorError):
    """An identity, a signature or an approval does not hold."""

    exit_code = 5


class DataError(OperatorError):
    """Data, a journal or a manifest is not what it should be."""

    exit_code = 6


class PrivacyError(OperatorError):
    """A privacy gate closed; nothing left the site."""

    exit_code = 7


class ResourceError(OperatorError):
    """Disk, memory or file system cannot carry the work."""

    exit_code = 8


class StorageError(ResourceError):
    """The disk is full, or does not write: what needs it waits, and goes on by itself."""


class QuorumError(OperatorError):
    """Too few sites answered, or too late."""

    exit_code = 9


_BY_NAME: dict[str, type[OperatorError]] = {
    kind.__name__: kind for kind in (*OperatorError.__subclasses__(), StorageError)
}


def from_json(document: dict[str, Any]) -> OperatorError:
    """The error that another fedtui process put into words with ``to_json``."""
    kind = _BY_NAME.get(str(document.get("error")), RunError)
    return kind(str(document.get("message")), remedy=str(document.get("remedy")))


def storage(error: BaseException | None) -> StorageError | None:
    """The disk's trouble that lies behind ``error``, if that is what it is."""
    while error is not None:
        if isinstance(error, StorageError):
            return error
        number = error.errno if isinstance(error, OSError) else None
        text = str(error)
        if number in _PASSING or any(words in text for words in _WORDS):
            failing = number == errno.EIO or "I/O error" in text
            words = "does not write (I/O error)" if failing else "is full"
            return StorageError(
                f"The disk under the home {words}.",
                remedy="Free disk space; nothing that was acknowledged is lost.",
            )
        error = error.__cause__ or error.__context__
    return None
