"""Round 0 compares what the sites' data are, and not only how many columns they have."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from fedtui.errors import DataError
from fedtui.flower import preparation


def told(**more: str) -> Any:
    fields = {"manifest": json.dumps([]), "features": "[]", "classes": '["no", "yes"]', **more}
    return SimpleNamespace(body={"fields": fields})


def test_sites_whose_images_differ_in_size_do_not_train_together() -> None:
    replies = {"halland": told(schema="a" * 64), "skane": told(schema="b" * 64)}

    with pytest.raises(DataError, match="different schema") as refused:
        preparation.pool(replies, first="halland", federated=False)

    assert "size of images" in refused.value.remedy


def test_a_stock_peer_that_tells_no_schema_is_compared_by_the_rest() -> None:
    replies = {"halland": told(schema="a" * 64), "stock": told()}

    with pytest.raises(DataError, match="first model"):  # which this test does not send
        preparation.pool(replies, first="halland", federated=False)
