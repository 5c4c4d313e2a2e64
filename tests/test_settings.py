"""A hand-written file says exactly where it is wrong: file, line, key, and what to write."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtui import settings, site, study
from fedtui.errors import TrustError, UsageError
from fedtui.settings import parse
from fedtui.site import Home, Site
from fedtui.study import Study
from models import _metrics

STUDY = """\
id = "sepsis"
purpose = "Who falls ill"
sites = ["vgr", "halland"]
data = "digits"
model = "mlp"
rounds = 5

[parameters]
hidden = [8, 8]

[training]
learning_rate = 0.1

[quorum]
minimum_sites = 2
"""
SITE = """\
name = "halland"
roles = ["site"]

[limits]
minimum_cell = 10

[data.digits]
part = "odd"
"""


def test_a_sound_study_is_read() -> None:
    agreed = parse(STUDY, Study, name="study.toml")

    assert agreed.sites == ("vgr", "halland")
    assert agreed.parameters == {"hidden": [8, 8]}
    assert agreed.quorum.minimum_sites == 2


def test_a_sound_site_is_read() -> None:
    own = parse(SITE, Site, name="site.toml")

    assert own.data["digits"].part == "odd"


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "remedy"),
    [
        ("rounds = 5", "ronds = 5", 6, "ronds", "'rounds'"),
        ("rounds = 5", "", 1, "top level", "rounds"),
        ("rounds = 5", "rounds = 0", 6, "rounds", "Change"),
        ("rounds = 5", "rounds = 5.5", 6, "rounds", "Change"),
        ("rounds = 5", "rounds = true", 6, "rounds", "Change"),
        ("rounds = 5", 'rounds = "5"', 6, "rounds", "Change"),
        ("rounds = 5", "rounds = [5]", 6, "rounds", "Change"),
        ('model = "mlp"', "model = mlp", 5, "line 5", "Mend"),
        ('id = "sepsis"', 'id = "séps is"', 1, "id", "Change"),
        ('"halland"]', '"halland", "vgr"]', 3, "sites", "Change"),
        ('sites = ["vgr", "halland"]', 'sites = "vgr"', 3, "sites", "sites = ["),
        ('sites = ["vgr", "halland"]', "sites = [1, 2]", 3, "sites", "Change"),
        ('sites = ["vgr", "halland"]', "sites = []", 3, "sites", "Change"),
        ("minimum_sites = 2", "minimum_site = 2", 15, "quorum.minimum_site", "'minimum_sites'"),
        ("minimum_sites = 2", "minimum_sites = -1", 15, "quorum.minimum_sites", "Change"),
        ("minimum_sites = 2", "minimum_sites = 3", 14, "quorum", "Change"),
        ("minimum_sites = 2", 'on_deadline = "hope"', 15, "quorum.on_deadline", "wait"),
        ("minimum_sites = 2", "deadline_seconds = 0", 15, "quorum.deadline_seconds", "Change"),
        ("[quorum]", "[[quorum]]", 14, "quorum", "[quorum]"),
        ("rounds = 5", "rounds = 5\nseed = -1", 7, "seed", "Change"),
        (
            "rounds = 5",
            'rounds = 5\nmetric = "aurocc"',
            7,
            "metric: there is no 'aurocc'",
            "'auroc'",
        ),
        ("rounds = 5", 'rounds = 5\nmetric = "f1"', 7, "metric: there is no 'f1'", "brier, auroc"),
        ("[training]", '[aggregation]\nstrategy = "fedsgd"', 12, "at the top", "above [agg"),
        ("minimum_sites = 2", "rounds = 2", 15, "quorum.rounds: it belongs at the top", "above"),
        ("rounds = 5", "rounds = 5\nrounds = 6", 7, "line 7", "Mend"),
    ],
)
def test_a_mistake_in_a_study_is_named_by_line_and_key(
    old: str, new: str, line: int, key: str, remedy: str
) -> None:
    text = STUDY.replace(old, new)
    assert text != STUDY

    with pytest.raises(UsageError) as refused:
        parse(text, Study, name="study.toml")

    assert refused.value.exit_code == 2
    assert "study.toml" in str(refused.value)
    assert f"line {line}" in str(refused.value)
    assert key in str(refused.value)
    assert remedy in refused.value.remedy


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "remedy"),
    [
        ("minimum_cell = 10", "minimum_cell = 9", 5, "limits.minimum_cell", "Change"),
        ("minimum_cell = 10", "minimum_sell = 10", 5, "limits.minimum_sell", "'minimum_cell'"),
        ('roles = ["site"]', 'roles = ["boss"]', 2, "roles", "site, coordinator"),
        ('roles = ["site"]', "roles = []", 2, "roles", "Change"),
        ('name = "halland"', 'name = "Halland"', 1, "name", "Change"),
        ('part = "odd"', "part = 1", 8, "data.digits.part", "Change"),
        ('part = "odd"', 'pat = "/x"', 8, "data.digits.pat", "'path'"),
        ('part = "odd"', 'path = "~nobody-of-that-name/x"', 8, "data.digits.path", "Change"),
        ("[data.digits]", "[dat.digits]", 7, "dat", "'data'"),
        ("[limits]", "[coordinator]\nport = 70000\n[limits]", 5, "coordinator.port", "Change"),
    ],
)
def test_a_mistake_in_a_site_is_named_by_line_and_key(
    tmp_path: Path, old: str, new: str, line: int, key: str, remedy: str
) -> None:
    home = Home(tmp_path)
    home.settings.write_text(SITE.replace(old, new))

    with pytest.raises(UsageError) as refused:
        site.load(home)

    assert f"site.toml, line {line}, {key}" in str(refused.value)
    assert remedy in refused.value.remedy


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.unlink(missing_ok=True), "cannot be read"),
        (lambda path: path.mkdir(), "cannot be read"),
        (lambda path: path.write_bytes(b"id = '\xff\xfe'"), "not UTF-8"),
        (lambda path: path.write_text("id = "), "not valid TOML"),
        (lambda path: path.write_text("a" + "=[" * 5000), "not valid TOML"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, make: Any, words: str) -> None:
    make(path := tmp_path / "study.toml")

    with pytest.raises(UsageError, match=words) as refused:
        study.load(path)

    assert "study.toml" in str(refused.value)


@given(st.text(max_size=80), st.integers(0, len(STUDY)), st.integers(0, 30))
def test_no_text_raises_anything_but_a_named_error(scrap: str, place: int, cut: int) -> None:
    text = STUDY[:place] + scrap + STUDY[place + cut :]

    found: Study | UsageError
    try:
        found = parse(text, Study, name="study.toml")
    except UsageError as refused:
        found = refused

    assert isinstance(found, Study) or found.remedy


VALUES = st.recursive(
    st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(codec="utf-8"), max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    st.integers(1, 10**6),
    st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), VALUES, max_size=4),
)
def test_a_study_survives_its_canonical_form(rounds: int, training: dict[str, Any]) -> None:
    agreed = dataclasses.replace(parse(STUDY, Study, name="s"), rounds=rounds, training=training)

    back = study.parse(study.canonical(agreed))

    assert study.canonical(back) == study.canonical(agreed)
    assert study.fingerprint(back) == study.fingerprint(agreed)


def test_the_fingerprint_does_not_depend_on_how_the_file_is_written() -> None:
    lines = STUDY.split("\n\n")
    reordered = "\n\n".join([lines[0], lines[3], lines[2], lines[1]])
    spelled = reordered.replace("0.1", "1e-1").replace("'", '"') + "# a remark\n"

    agreed, same = (parse(text, Study, name="s") for text in (STUDY, spelled))

    assert study.fingerprint(agreed) == study.fingerprint(same)


@pytest.mark.parametrize(("classes", "names"), [(2, study.TWO_CLASS_METRICS), (3, ())])
def test_a_study_may_show_whatever_is_measured(classes: int, names: tuple[str, ...]) -> None:
    logs = np.log(np.full((6, classes), 1 / classes, dtype=np.float32))

    measured = _metrics.measure(np.arange(6, dtype=np.int32) % classes, logs)

    assert (*study.METRICS, *names) == tuple(measured)


def test_a_study_that_does_not_say_needs_all_of_its_sites() -> None:
    silent = parse(STUDY.replace("minimum_sites = 2", ""), Study, name="s")
    patient = parse(STUDY.replace("minimum_sites = 2", "deadline_seconds = 60"), Study, name="s")
    said = parse(STUDY, Study, name="s")

    assert silent.quorum.minimum_sites == patient.quorum.minimum_sites == 2
    assert study.fingerprint(silent) == study.fingerprint(said)
    assert silent.quorum.needed(2, of=2) == silent.quorum.needed(1, of=2) == 2
    assert silent.quorum.needed(1, of=1) == 1  # only one of them trains, as was ordered


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Study)])
def test_every_field_of_a_study_changes_its_fingerprint(field: str) -> None:
    agreed = parse(STUDY, Study, name="s")
    value = getattr(agreed, field)
    other: Any = {
        "metric": "brier",
        "normalisation": "none",
        "imputation": "median",
        "clipping": 5.0,
        "sites": ("vgr", "halland", "malmo"),
        "quorum": study.Quorum(minimum_sites=1),
        "parameters": {},
        "training": {},
        "rounds": 6,
        "seed": 1,
        "interop": True,
        "schema": "0" * 64,
        "pretrained": "0" * 64,
        "approvers": dict.fromkeys(agreed.sites, "Anna Berg"),
        "expires": "2027-06-30",
        "privacy": {"epsilon": 3.0},
        "strategy": "median",
        "aggregation": {"rate": 0.5},
        "transport": "bfloat16",
        "validation": study.Validation(local=False),
        "exchange": ("joint",),
    }.get(field, f"{value}-x")
    changed = dataclasses.replace(agreed, **{field: other})

    assert study.fingerprint(changed) != study.fingerprint(agreed)


@pytest.mark.parametrize(
    "line", ["x = nan", "x = inf", "x = 9007199254740993", "x = 1979-05-27", "x = 07:32:00"]
)
def test_a_value_that_cannot_be_agreed_on_is_named(line: str) -> None:
    text = STUDY.replace("learning_rate = 0.1", line)

    with pytest.raises(UsageError) as refused:
        study.canonical(parse(text, Study, name="study.toml"))

    assert refused.value.remedy


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"7", b"\xff", b'{"id": 1}', b"[" * 100_000])
def test_a_study_that_arrives_broken_is_a_matter_of_trust(data: bytes) -> None:
    with pytest.raises(TrustError):
        study.parse(data)


def test_a_home_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a fedtui home"):
        site.load(Home(tmp_path))


def test_a_path_that_is_too_long_for_a_socket_is_named() -> None:
    home = Home(Path("/") / ("x" * 100))

    with pytest.raises(UsageError, match=r"of 107 bytes") as refused:
        site.check_socket_path(home)

    assert "shorter" in refused.value.remedy


def test_a_membership_that_was_mangled_is_named(tmp_path: Path) -> None:
    (tmp_path / "federation.toml").write_text('adress = "h:1"\nauthority = ""\n')

    with pytest.raises(UsageError, match=r"federation.toml, line 1, adress"):
        site.load_membership(Home(tmp_path))


def test_optional_and_nested_fields_convert() -> None:
    found = settings.from_mapping(
        {"name": "vgr", "data": {"x": {"path": "~/data"}}, "coordinator": {"names": ["a"]}}, Site
    )

    assert found.data["x"].path == Path.home() / "data"
    assert found.coordinator.names == ("a",)
