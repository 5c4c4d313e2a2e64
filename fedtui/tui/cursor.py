"""A cursor in a list that changes: it stays on its line, so that an order means what was shown."""

from collections.abc import Sequence


class Cursor:
    """Where the operator is in a list of lines with names of their own.

    Attributes:
        at: Counts from the top.
        name: Of the line it is on; '' in an empty list, and between a move and the next look.
    """

    def __init__(self) -> None:
        self.at = 0
        self.name = ""

    def settle(self, names: Sequence[str]) -> bool:
        """Find the line again among ``names``; whether it is another one than before."""
        if self.name in names:
            self.at = names.index(self.name)
            return False
        self.at = max(0, min(self.at, len(names) - 1))
        self.name = names[self.at] if names else ""
        return True

    def move(self, rows: int) -> None:
        """So many lines on, back if negative; the next look finds out which line that is."""
        if rows:
            self.at, self.name = max(0, self.at + rows), ""
