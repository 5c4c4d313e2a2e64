"""What several test modules share: one warm federation a session."""

from collections.abc import Iterator

import pytest

from tests import federation as fed
from tests.federation import COORDINATOR, SITE, Federation

STRANGE = "malmo"


@pytest.fixture(scope="session")
def _warm() -> Iterator[Federation]:
    with fed.homes(COORDINATOR, SITE, STRANGE) as made:
        for name in (COORDINATOR, SITE):
            made.up(name)
        for name in (COORDINATOR, SITE):
            made.linked(name)
        yield made


@pytest.fixture
def trio(_warm: Federation) -> Iterator[Federation]:
    """Two sites up and warm; the third, malmo, is on the roster and runs nothing: a test plays it.

    Idle before and after each test.
    """
    yield _warm
    _warm.idle()
