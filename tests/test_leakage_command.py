"""`fedtui audit leakage` at a site of a real federation: verdict, journal, override, bundle."""

import dataclasses
import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedtui import events, operations, persons
from fedtui.errors import TrustError, UsageError
from fedtui.site import Home
from tests import federation as fed
from tests.federation import Federation

PASSPHRASE = "a sentence of the test alone"
SHORT = ("--json", "--seconds", "3", "--home")
REASON = "The data are public; the ethics board agreed on 3 May."


def audit(home: Home, *words: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "fedtui.cli", "audit", "leakage", *words, *SHORT, home.path],
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_model_that_cannot_be_assessed_leaves_only_with_a_signed_reason(
    trio: Federation, tmp_path: Path
) -> None:
    home = trio.homes[fed.SITE]
    run = trio.run(fed.study(id="leak", parameters={"hidden": [16]})).run
    assert "not audited" in operations.leakage_refusal(home, run, "global model")
    bundle, words = tmp_path / "bundle.npz", tmp_path / "passphrase"
    words.write_text(PASSPHRASE)
    words.chmod(0o600)
    persons.create(home.persons, "Eva Ek", PASSPHRASE)

    code, told = audit(home, run, "--bundle", str(bundle))

    # 898 digits are fewer than the 1,000 of which ten are 1 %.
    assert (code, told["verdict"], told["rate"], told["may_leave"]) == (
        7,
        "NOT ASSESSABLE",
        None,
        False,
    )
    assert (told["run"], told["round"], told["object"]) == (run, 2, "global model")
    assert 0.3 < told["auc"] < 0.9
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o600
    with np.load(bundle) as kept:
        assert kept["logits"].shape[1:] == (told["nonmembers"], 10)
    journaled = [e for _, e in fed.records(home, events.LeakageAudited, run=run)]
    assert [e.verdict for e in journaled] == ["NOT ASSESSABLE"]
    assert fed.records(home, events.AuditProgressed, run=run)
    assert "NOT ASSESSABLE" in operations.leakage_refusal(home, run, "global model")

    code, signed = audit(home, run, "--override", REASON, "--passphrase-file", str(words))

    assert (code, signed["may_leave"]) == (0, True)
    assert (signed["override"]["signer"], signed["override"]["reason"]) == ("Eva Ek", REASON)
    assert signed["auc"] == told["auc"]  # the verdict stands; nothing was computed again
    assert len(fed.records(home, events.LeakageAudited, run=run)) == 1
    assert operations.leakage_refusal(home, run, "global model") == ""
    assert "not audited" in operations.leakage_refusal(home, run, "global model", vector="0" * 64)
    assert "not audited" in operations.leakage_refusal(home, run, "local update")

    verdict, override = operations.leakage(home, run, "global model")
    assert verdict is not None
    assert override is not None
    for change in ({"reason": "Another reason than was signed."}, {"vector": "0" * 64}):
        forged = dataclasses.replace(override, **change)
        assert not operations.verdict_allows_release(verdict, forged)
    with pytest.raises(TrustError, match="wrong passphrase"):
        operations.sign_override(home, verdict, reason=REASON, signer="", passphrase="wrong words!")
    with pytest.raises(UsageError, match="reason"):
        operations.sign_override(home, verdict, reason="ok", signer="", passphrase=PASSPHRASE)

    code, update = audit(home, run, "--object", "local")

    assert (code, update["object"]) == (7, "local update")
    assert update["vector"] != told["vector"]


def test_a_batch_that_gives_records_away_is_blocked_by_name(trio: Federation) -> None:
    home = trio.homes[fed.SITE]
    study = fed.study(id="leak-batch", parameters={"hidden": [16]}, training={"batch": 8})
    run = trio.run(dataclasses.replace(study, rounds=1)).run

    code, told = audit(home, "--object", "local")

    assert (code, told["run"], told["verdict"]) == (7, run, "BLOCK")
    assert "batch of 8" in told["reasons"][0]


def test_what_is_not_there_is_named(trio: Federation) -> None:
    home = trio.homes[fed.SITE]

    code, told = audit(home, "no-such-run")
    assert (code, told["error"]) == (2, "UsageError")
    assert "global model of run no-such-run" in told["message"]

    code, told = audit(home, "--object", "everything")
    assert (code, told["error"]) == (2, "UsageError")
