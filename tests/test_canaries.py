"""Identifiers that are planted in data leave by no way: every byte that a site sends is read."""

import asyncio
import contextlib
import csv
import dataclasses
import re
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import datasets
from fedtui import events, operations
from fedtui.flower.telling import traced
from fedtui.site import Home
from tests import federation as fed
from tests.federation import COORDINATOR, SITE, Federation, free_port
from tests.lab_authority import of_federation
from tests.test_identifiers import check_digit

NAMES = ("Kanariefågel", "Åsa-Britt", "Ögonblick")
SCHEMA = """
table = "patients.csv"
patient = "pnr"
label = { column = "dead", classes = ["no", "yes"], codes = ["nej", "ja"] }
[columns]
age = { called = "ålder", unit = "years", low = 18, high = 110 }
temp = { unit = "°C", low = 30, high = 45, flag = true }
sex = { kind = "binary", codes = ["K", "M"] }
"""
LEFT_AT_HOME = ("cache", "data", "optout.txt")  # the data, what is derived from them, and the list


class Recorder:
    """Between a site and its coordinator, with the federation's own certificate: hears it all.

    Attributes:
        said: What the site sent, in clear.
    """

    def __init__(self) -> None:
        self.port, self.said = free_port(), bytearray()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, made: Federation) -> None:
        """Listens with a certificate that the coordinator's authority signs."""
        keys = made.coordinator.keys
        certificate, private = of_federation(made.folder, keys).issue("127.0.0.1")
        here = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        here.load_cert_chain(certificate, private)
        there = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        there.load_verify_locations(keys / "ca.pem")

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            ends = [writer]
            with contextlib.suppress(OSError, asyncio.CancelledError):
                far, back = await asyncio.open_connection("127.0.0.1", made.port, ssl=there)
                ends.append(back)
                await asyncio.gather(
                    self._copy(reader, back, heard=True), self._copy(far, writer, heard=False)
                )
            for end in ends:
                end.transport.abort()
            self._tasks.discard(task)

        async def listen() -> None:
            self._server = await asyncio.start_server(accept, "127.0.0.1", self.port, ssl=here)

        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(listen(), self._loop).result(10)

    def close(self) -> None:
        async def end() -> None:
            if self._server is not None:
                self._server.close()
            for task in list(self._tasks):
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=5)
            await asyncio.sleep(0.2)  # what was aborted is closed in the loop's next turns

        if self._server is not None:
            asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)
            self._loop.close()

    async def _copy(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, heard: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 16):
                if heard:
                    self.said += data
                sink.write(data)
                await sink.drain()
            sink.close()
            await sink.wait_closed()


def personal(number: int) -> str:
    nine = f"{40 + number % 60}{1 + number % 12:02d}{1 + number % 28:02d}{number % 1000:03d}"
    return f"19{nine[:6]}-{nine[6:]}{check_digit(nine)}"


PEOPLE = [personal(number) for number in range(120)]


def table(path: Path, *, bad: bool = False) -> None:
    """120 patients by personal number, with names and numbers in a free text.

    With ``bad``, some cells hold a number or a name where an age, a code or a label should be.
    """
    with (path / "patients.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["pnr", "ålder", "temp", "sex", "dead", "fritext"])
        for number, person in enumerate(PEOPLE):
            cells = [str(20 + number % 70), f"{36 + number % 30 / 10:.1f}", "KM"[number % 2]]
            if bad and number % 40 == 7:
                cells = [person, NAMES[0], f"{NAMES[1]} {person}"]
            dead = "ja" if number % 3 == 0 else "nej"
            writer.writerow([person, *cells, dead, f"{NAMES[number % 3]}, {person}, dotter till x"])


def planted(text: bytes, ids: set[str]) -> list[str]:
    """Which canaries are in ``text``: names in two encodings, numbers with and without century."""
    found = [n for n in NAMES if n.encode() in text or n.encode("latin-1") in text]
    numbers = set(re.findall(rb"(?<![0-9])[0-9]{6,8}-?[0-9]{0,4}(?![0-9])", text))
    words = {number.decode() for number in numbers}
    known = ids | {person[2:] for person in ids} | {person.replace("-", "") for person in ids}
    return found + sorted(words & known)


def kept(home: Home) -> dict[str, bytes]:
    """Every file of a home that is not the data themselves: journal, logs, releases, work."""
    return {
        str(file.relative_to(home.path)): file.read_bytes()
        for file in home.path.rglob("*")
        if file.is_file() and file.relative_to(home.path).parts[0] not in LEFT_AT_HOME
    }


@contextlib.contextmanager
def heard(data: str, folder: Path) -> Iterator[tuple[Federation, Recorder]]:
    """Two sites with the same files; the second one's words are recorded."""
    recorder = Recorder()
    with fed.homes(COORDINATOR, SITE, dial=f"127.0.0.1:{recorder.port}") as made:
        try:
            recorder.open(made)
            for home in made.homes.values():
                with home.settings.open("a", encoding="utf-8") as file:
                    file.write(f'\n[data.{data}]\npath = "{folder}"\npublic = true\n')
            made.warm(*made.homes)
            yield made, recorder
        finally:
            recorder.close()


def test_canaries_in_a_clinical_table_leave_by_no_way(tmp_path: Path) -> None:
    (tmp_path / "schema.toml").write_text(SCHEMA, encoding="utf-8")
    table(tmp_path)
    ids = set(PEOPLE)
    agreed = fed.study(
        id="canaries", data="clinical", model="logistic", metric="auroc", normalisation="federated"
    )
    with heard("clinical", tmp_path) as (made, recorder):
        ended = made.run(agreed)
        assert ended.outcome == "completed", ended.cause

        table(tmp_path, bad=True)
        run = made.start(dataclasses.replace(agreed, seed=1))  # another seed reads them anew
        refused = fed.until(
            made.site, lambda e: isinstance(e, events.WorkFailed) and e.run == run
        ).event
        fed.until(made.site, lambda e: isinstance(e, events.RunEnded) and e.run == run)
        exported = operations.export_run(made.site, run, made.folder / "exported")

        assert isinstance(refused, events.WorkFailed)
        assert "row" in refused.cause  # it is named, by its place
        assert len(recorder.said) > 10_000
        assert b"/fedtui/report" in recorder.said
        assert planted(bytes(recorder.said), ids) == []
        for home in made.homes.values():
            for name, content in kept(home).items():
                assert planted(content, ids) == [], f"{home.path.name}/{name}"
        for file in exported:
            assert planted(file.read_bytes(), ids) == [], file.name


@pytest.mark.slow
def test_canaries_in_mimic_leave_by_no_way(tmp_path: Path) -> None:
    datasets.synthesise("mimic_iv", tmp_path / "mimic", rows=400, seed=1)
    ids = set()
    for file in (tmp_path / "mimic").rglob("*.csv*"):
        import polars

        frame = polars.read_csv(file, infer_schema=False)
        for column in ("subject_id", "hadm_id", "stay_id"):
            if column in frame.columns:
                ids |= set(frame[column].drop_nulls().to_list())
    agreed = fed.study(
        id="canaries", data="mimic_iv", model="logistic", metric="auroc", normalisation="federated"
    )
    with heard("mimic_iv", tmp_path / "mimic") as (made, recorder):
        ended = made.run(agreed)

        assert ended.outcome == "completed", ended.cause
        assert len(ids) > 500
        assert planted(bytes(recorder.said), ids) == []
        # As the numbers that they are in a table of integers, too.
        for one in list(ids)[:200]:
            assert np.int64(int(float(one))).tobytes() not in recorder.said
        for home in made.homes.values():
            for name, content in kept(home).items():
                if name.endswith((".log", ".json", ".db")):
                    assert planted(content, ids) == [], f"{home.path.name}/{name}"


def test_a_recorder_would_find_what_is_planted() -> None:
    said = f"x {PEOPLE[3]} and {PEOPLE[4][2:]}; {NAMES[1]}".encode() + NAMES[2].encode("latin-1")

    assert len(planted(said, set(PEOPLE))) == 4


def test_the_words_of_an_unforeseen_error_are_not_in_the_log() -> None:
    try:
        try:
            float(PEOPLE[0])
        except ValueError as error:
            raise KeyError(NAMES[0]) from error
    except KeyError as error:
        told = traced(error)

    assert planted(told.encode(), set(PEOPLE)) == []
    assert "ValueError" in told
    assert "KeyError" in told
    assert "test_canaries.py" in told
