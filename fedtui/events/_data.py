"""What happens to a site's own data, told to nobody else."""

from fedtui.events._event import Event, event


@event
class CohortLoaded(Event):
    """The trainer read this site's data: at its start, and when who opted out has changed.

    Attributes:
        cohort: A keyed hash, this site's own, of who is in it; another one as soon as anybody is
            left out.
        excluded: Patients left out because they opted out.
        unmatched: Ids on the site's list that match nobody.
    """

    data: str
    part: str
    cohort: str
    excluded: int = 0
    unmatched: int = 0

    @property
    def sentence(self) -> str:
        left = f", {self.excluded} who opted out left out" if self.excluded else ""
        stray = f"; {self.unmatched} on the list match nobody" if self.unmatched else ""
        return f"{self.data}, {self.part}: cohort {self.cohort[:12]}{left}{stray}."


@event
class ScaleAgreed(Event):
    """What round 0 agreed on for all sites of a run, as this site got it.

    Attributes:
        mean: Over all sites, one number a feature in the data set's order, in its unit.
        deviation: Likewise.
    """

    run: str
    data: str
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @property
    def sentence(self) -> str:
        return f"{self.data}: mean and deviation of {len(self.mean)} features are agreed."
