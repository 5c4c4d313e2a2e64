"""Small homes for tests that look into them."""

from pathlib import Path

import pytest

from fedtui import operations
from fedtui.journal import Journal
from fedtui.operations import _sealed
from fedtui.record import Record
from fedtui.site import Home

PASSPHRASE = "four words by phone"


def rows(home: Home) -> list[Record]:
    book = Journal(home.journal, source="test")
    try:
        return book.read()
    finally:
        book.close()


def coordinator(folder: Path) -> Home:
    """vgr, a coordinator that is a site too; nothing runs."""
    home = Home(folder / "vgr")
    operations.create(home, "vgr", coordinator=True, host="127.0.0.1", names=("old.example",))
    return home


def seal_quickly(patch: pytest.MonkeyPatch) -> None:
    """What a passphrase costs is tested once."""
    patch.setattr(_sealed, "_COST", (10, 8, 1))
