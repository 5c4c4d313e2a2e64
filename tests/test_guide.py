"""The handbook says what is so: its commands work as they stand, its exit codes are the errors'."""

import ast
import dataclasses
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer

import models
from fedtui import checks, errors, events, guide, processes, study
from fedtui.events._audit import Verdict
from fedtui.flower import rules
from fedtui.site import Home
from tests.federation import free_port, until

FEDTUI = Path(sys.executable).with_name("fedtui")
ORDER = re.compile(r"^ {2}\[(\w+)\] \$ (fedtui .*)$", re.MULTILINE)
MENTIONED = re.compile(r"(?:^ {4}|\$ |')fedtui ((?:[a-z]+ ?)+)", re.MULTILINE)
CODE = re.compile(r"\b[a-z]+(?:-[a-z0-9]+)+\b")
FLAGS = re.compile(r"fedtui ([a-z]+(?: [a-z]+)?)[^'\n]*? (--[a-z-]+)")


def sites() -> dict[str, str]:
    """What each of the guide's site names offers of the digits."""
    return {"sahlgrenska": "even", "halland": "odd"}


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="fg-"))
    yield made
    for name in sites():
        if (made / name / "site.toml").exists():
            processes.stop(Home(made / name))
    shutil.rmtree(made)


def run(words: str, home: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FEDTUI_HOME": str(home), "LC_ALL": "C.UTF-8"}
    line = f"{FEDTUI} {words.removeprefix('fedtui ')}"
    return subprocess.run(
        ["sh", "-c", line], env=environment, cwd=cwd, capture_output=True, text=True, timeout=150
    )


def study_in(text: str) -> str:
    """The study that a topic shows, its indented lines from ``id`` on."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.strip().startswith("id = "))
    return "\n".join(line.strip() for line in lines[start:] if line.startswith("    "))


@pytest.mark.timeout(300)
def test_the_first_federation_works_as_the_guide_says(folder: Path) -> None:
    text, port = guide.text("first"), free_port()
    known = {"ADDRESS": f"127.0.0.1 --port {port}", "CODE": "", "WORDS": "", "RUN": ""}
    (folder / "digits.toml").write_text(study_in(text))
    joining: subprocess.Popen[str] | None = None
    for site, words in ORDER.findall(text):
        home = folder / site
        for name, value in known.items():
            words = re.sub(rf"\b{name}\b", value, words)
        if words.startswith("fedtui join"):
            joining = subprocess.Popen(
                [FEDTUI, *words.split()[1:], "--home", str(home)],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            assert joining.stderr is not None
            line = next(line for line in joining.stderr if "six words" in line)
            known["WORDS"] = line.split("enrolment:")[1].strip()
            continue
        if words.startswith("fedtui run "):
            for name, part in sites().items():
                with (folder / name / "site.toml").open("a") as file:
                    file.write(f'\n[data.digits]\npart = "{part}"\n')
        if words.startswith("fedtui watch"):  # an operator is not as quick as this test
            until(Home(home), lambda e: isinstance(e, events.RunSubmitted))
        done = run(words, home, folder)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        if words.startswith("fedtui invite"):
            found = re.search(r"127\.0\.0\.1:\d+/[0-9A-Z-]+", done.stdout)
            assert found is not None, done.stdout
            known["CODE"] = found[0]
        elif words.startswith("fedtui sites --confirm"):
            assert joining is not None
            out, err = joining.communicate(timeout=60)
            assert joining.returncode == 0, err
            assert "enrolled" in out
        elif words.startswith("fedtui run "):
            known["RUN"] = done.stdout.split()[-1]

    assert (folder / "exported" / "SHA256SUMS").exists()
    assert all(processes.running(Home(folder / name), "agent") is None for name in sites())


def test_every_other_command_of_the_guide_runs_on_a_home(folder: Path) -> None:
    home = folder / "halland"
    assert run("fedtui init halland", home, folder).returncode == 0
    for topic in guide.TOPICS:
        if topic == "first":
            continue
        for _, words in ORDER.findall(guide.text(topic)):
            done = run(words, home, folder)
            usual = (0, 3, 4) if "check" in words else (0,)  # nothing runs and nothing is joined
            assert done.returncode in usual, (words, done.stdout, done.stderr)
            assert "Traceback" not in done.stderr


def test_every_command_and_flag_that_the_guide_names_exists() -> None:
    from fedtui.cli import _register, app

    _register([])
    root = typer.main.get_command(app)
    for topic in guide.TOPICS:
        text = guide.text(topic)
        for mention in MENTIONED.findall(text):
            command = root
            for word in mention.split():
                found = getattr(command, "commands", {}).get(word)
                if found is None:
                    break
                command = found
            assert command is not root, (topic, mention)
        for words, flag in FLAGS.findall(text):
            first, *rest = words.split()
            command = root.commands[first]  # type: ignore[attr-defined]
            command = getattr(command, "commands", {}).get(rest[0] if rest else "", command)
            flags = {option for p in command.params for option in p.opts}
            assert flag in flags, (topic, words, flag)


def finding_codes() -> set[str]:
    """Every string of the checks that has the form of a code, and some that are none."""
    return {
        node.value
        for path in Path(checks.__file__).parent.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and CODE.fullmatch(node.value)
    }


def test_every_finding_that_the_guide_names_exists() -> None:
    known = finding_codes()
    subjects = {code.partition("-")[0] for code in known}

    named = {
        word
        for topic in guide.TOPICS
        for word in CODE.findall(guide.text(topic))
        if word.partition("-")[0] in subjects
    }

    assert named >= {"tls-intercepted", "key-revoked", "key-left"}
    assert named <= known


def test_the_guide_knows_every_verdict_of_the_leakage_gate() -> None:
    said = " ".join(guide.text("validate").split())

    assert all(verdict in said for verdict in get_args(Verdict))


def test_the_guide_knows_every_exit_code_and_no_other() -> None:
    said = {
        int(code) for code in re.findall(r"^ {2}(\d)  ", guide.text("exit-codes"), re.MULTILINE)
    }

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = {k.exit_code for k in kinds if issubclass(k, errors.OperatorError)}
    assert said == codes | {0}


def settings() -> dict[str, dict[str, Any]]:
    """Every setting that a study has, by the guide's headings, with its default."""
    found: dict[str, dict[str, Any]] = {}

    def add(heading: str, values: dict[str, Any]) -> None:
        if values:
            found[heading] = values

    def defaults(kind: Any, *, but: str = "") -> dict[str, Any]:
        every = {f.name: f for f in dataclasses.fields(kind) if f.name != but}
        return {name: f.default for name, f in every.items()}

    for name in models.names():
        add(f"[parameters] of {name}", defaults(models.load(name).Config))
    add("[training]", defaults(models.Training, but="augmentation"))
    add("[training] augmentation", defaults(models.Augmentation))
    for name, rule in rules._RULES.items():
        keys = inspect.signature(rule).parameters.values()
        add(
            f"[aggregation] of {name}",
            {k.name: k.default for k in keys if k.kind is k.KEYWORD_ONLY},
        )
    add("[privacy]", defaults(models.Privacy))
    add("[quorum]", defaults(study.Quorum))
    return found


def test_the_guide_knows_every_setting_and_its_default() -> None:
    said: dict[str, dict[str, Any]] = {}
    under: list[dict[str, Any]] = []
    for line in guide.text("settings").splitlines():
        if found := re.fullmatch(r"(\[\w+\](?: augmentation)?)(?: of ([\w, ]+))?(?:,.*)?", line):
            names = [f"{found[1]} of {name}" for name in (found[2] or "").split(", ") if name]
            under = [said.setdefault(name, {}) for name in names or [found[1]]]
        elif found := re.match(r"    (\w+) = (.+?)(?:  |$)", line):
            told = "None" if found[2] == "none" else found[2]
            value = ast.literal_eval(told.replace("true", "True").replace("false", "False"))
            for section in under:
                section[found[1]] = tuple(value) if isinstance(value, list) else value

    assert said == settings()
    metrics = guide.text("settings").partition("metric:")[2]
    assert {*study.METRICS, *study.TWO_CLASS_METRICS} <= {*re.findall(r"\w+", metrics)}


def test_the_guide_fits_a_terminal_and_reads_without_a_home(tmp_path: Path) -> None:
    listed = run("fedtui guide", tmp_path / "none", tmp_path).stdout
    whole = json.loads(run("fedtui guide --json", tmp_path / "none", tmp_path).stdout)
    wrong = run("fedtui guide nonsense", tmp_path / "none", tmp_path)

    assert [line.split()[0] for line in listed.splitlines()] == list(guide.TOPICS)
    assert all(len(line) <= 78 for text in whole["topics"].values() for line in text.splitlines())
    assert wrong.returncode == 2
    assert "Choose one of" in wrong.stderr
