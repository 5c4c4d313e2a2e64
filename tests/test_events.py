"""Events survive being written, and what another host claims is checked before it is believed."""

import dataclasses
import json
import math
import types
import typing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedtui import events
from fedtui.events import Event

TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
PLAIN = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=30)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
WHOLE = st.integers(-(2**53), 2**53)


def values(hint: Any, text: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Whatever a field of this type may hold."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*(values(one, text) for one in arguments))
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        return st.lists(values(arguments[0], text), max_size=4).map(tuple)
    if origin is dict:
        return st.dictionaries(text, values(arguments[1], text), max_size=4)
    return {str: text, float: NUMBER, int: WHOLE, bool: st.booleans(), type(None): st.none()}[hint]


def any_of(kind: type[Event], text: st.SearchStrategy[str] = TEXT) -> st.SearchStrategy[Event]:
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    return st.builds(kind, **{name: values(hints[name], text) for name in names})


KINDS = sorted(events.KINDS)
FEW = settings(max_examples=25)  # for each of the kinds


@pytest.mark.parametrize("name", KINDS)
@FEW
@given(data=st.data())
def test_an_event_reads_back_as_it_was_written(name: str, data: st.DataObject) -> None:
    event = data.draw(any_of(events.KINDS[name]))

    assert events.from_json(events.to_json(event)) == event


@pytest.mark.parametrize("name", KINDS)
@FEW
@given(data=st.data())
def test_an_event_has_words_a_level_and_one_line(name: str, data: st.DataObject) -> None:
    event = data.draw(any_of(events.KINDS[name], PLAIN))

    assert event.sentence
    assert "\n" not in event.sentence
    assert event.level in ("INFO", "WARN", "ERROR")
    assert "\n" not in events.to_json(event)


@pytest.mark.parametrize("name", KINDS)
@FEW
@given(data=st.data())
def test_a_sound_event_of_another_host_is_accepted(name: str, data: st.DataObject) -> None:
    event = data.draw(any_of(events.KINDS[name], PLAIN))

    assert events.accept(json.loads(events.to_json(event))) == event


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@pytest.mark.parametrize("name", KINDS)
@FEW
@given(data=st.data())
def test_whatever_another_host_sends_is_accepted_whole_or_refused(
    name: str, data: st.DataObject
) -> None:
    kind = events.KINDS[name]
    fields = events.to_fields(data.draw(any_of(kind, PLAIN)))
    fields[data.draw(st.sampled_from(sorted(fields)))] = data.draw(JSON)

    try:
        event = events.accept(json.loads(json.dumps(fields)))
    except ValueError:
        return

    assert event.sentence
    assert events.from_json(events.to_json(event)) == event


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_never_written(value: float) -> None:
    event = events.SitesAwaited(run="r", round=1, phase="train", sites=("a",), seconds=value)

    with pytest.raises(ValueError, match="JSON"):
        events.to_json(event)


def test_fields_of_a_newer_version_are_left_out() -> None:
    fields = {"event": "SiteSeen", "site": "a", "here": True, "mood": "good"}

    assert events.from_fields(fields) == events.SiteSeen(site="a", here=True)


@pytest.mark.parametrize(
    "fields", [{}, {"event": "Unheard"}, {"event": "SiteSeen"}, {"event": "SiteSeen", "site": "a"}]
)
def test_what_is_no_event_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"event|SiteSeen"):
        events.from_fields(fields)
