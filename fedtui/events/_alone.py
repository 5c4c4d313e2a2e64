"""What a site does for itself, without the others."""

from fedtui.events._event import Event, event


@event
class TrainedAlone(Event):
    """A study's model was trained on this site's data alone; nothing of it left.

    Attributes:
        uid: Of the account that ordered it, ``user`` its name.
    """

    study: str
    fingerprint: str
    purpose: str
    legal_basis: str
    rounds: int
    file: str
    sha256: str
    uid: int
    user: str

    @property
    def sentence(self) -> str:
        return (
            f"study {self.study} was trained here alone, {self.rounds} rounds, "
            f"by user {self.uid} {self.user}: {self.file}."
        )
