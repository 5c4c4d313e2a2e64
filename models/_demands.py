"""What there must be in a site's data before anything can be learned from them."""

from datasets import Dataset
from models._errors import ModelError
from models._training import Training


def check(model: str, training: Training, data: Dataset) -> None:
    """Nothing, where ``data`` suffice.

    Raises:
        ModelError: no features, nothing to tell apart, or nothing to choose the best epoch by.
    """
    if not data.features and data.gives != "images":
        raise ModelError(
            f"model: {data.name} has no features, and {model} sees nothing else",
            remedy="Choose a data set with at least one feature.",
        )
    if len(data.classes) < 2:
        raise ModelError(
            f"model: {data.name} has {len(data.classes)} class, and there is nothing to tell apart",
            remedy="Choose a data set with two classes or more.",
        )
    if training.patience and not len(data.validation):
        raise ModelError(
            f"patience: {data.name} has no validation examples here to choose the best epoch by",
            remedy="Leave patience out of the study, or let this site bring more patients.",
        )
