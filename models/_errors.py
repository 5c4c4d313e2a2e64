"""What goes wrong with models, in an operator's words."""


class ModelError(ValueError):
    """A model, a setting or a vector that cannot be used; settings are named by their key.

    Attributes:
        remedy: The next step, as a sentence.
    """

    def __init__(
        self, message: str, *, remedy: str = "Mend the study's model or training settings."
    ) -> None:
        super().__init__(message)
        self.remedy = remedy
