"""What several test modules share: one warm federation a session."""

from collections.abc import Iterator

import pytest

from tests import federation as fed
from tests.federation import COORDINATOR, SITE, Federation

STRANGE = "malmo"
# Files of few tests that take a minute and more: begun last, one of two workers would wait.
_LONG = (
    "whole_study", "recovery", "faults", "commands", "interop", "tui_orders", "checks_lab",
    "backup", "guide", "checks_live", "study_settings", "aggregation",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, each whole, the others as they were."""

    def place(item: pytest.Item) -> int:
        name = item.path.stem.removeprefix("test_")
        return _LONG.index(name) if name in _LONG else len(_LONG)

    items.sort(key=place)


@pytest.fixture(scope="session")
def _warm() -> Iterator[Federation]:
    with fed.homes(COORDINATOR, SITE, STRANGE) as made:
        made.warm(COORDINATOR, SITE)
        yield made


@pytest.fixture
def trio(_warm: Federation) -> Iterator[Federation]:
    """Two sites up and warm; the third, malmo, is on the roster and runs nothing: a test plays it.

    Idle before and after each test.
    """
    yield _warm
    _warm.idle()
