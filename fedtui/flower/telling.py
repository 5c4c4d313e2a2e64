"""In which words and numbers a process that trains tells what became of its work."""

import math
import traceback

from datasets import DataError
from fedtui.errors import DataError as OperatorDataError
from fedtui.errors import OperatorError, RunError, storage
from models import ModelError


def known(number: float | None) -> float | None:
    """``number``, or None where it is none: JSON has neither NaN nor infinity."""
    return number if number is not None and math.isfinite(number) else None


def translated(error: Exception) -> OperatorError:
    """The error in an operator's words; the text of an unforeseen one could quote a value."""
    if (trouble := storage(error)) is not None:
        return trouble
    if isinstance(error, OperatorError):
        return error
    if isinstance(error, DataError):
        return OperatorDataError(str(error), remedy=error.remedy)
    if isinstance(error, ModelError):  # also training that diverged: the study's settings decide
        return RunError(str(error), remedy=error.remedy)
    return OperatorDataError(
        f"Training stopped with an unforeseen {type(error).__name__}.",
        remedy="Read run/trainer.log in the site's home; it stays at the site.",
    )


def traced(error: BaseException | None) -> str:
    """Where an error came from, for the local log: places and kinds, for its words may quote."""
    told = []
    while error is not None:
        frames = "".join(traceback.format_tb(error.__traceback__))
        told.append(f"{frames}{type(error).__name__}")
        error = error.__cause__ or error.__context__
    return "\n".join(told)
