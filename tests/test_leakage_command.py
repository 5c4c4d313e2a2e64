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

from fedtui import agreement, events, keys, operations, persons
from fedtui import study as studies
from fedtui.errors import TrustError, UsageError
from fedtui.journal import Journal
from fedtui.register import Register
from fedtui.site import Home
from tests import federation as fed
from tests.federation import Federation

NOW = "2026-11-23T10:00:00Z"
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
        assert kept["logits"].shape[-1] == 10
        assert kept["member"][-1].sum() == told["members"]
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


def test_a_batch_that_gives_records_away_keeps_every_model_here(trio: Federation) -> None:
    home = trio.homes[fed.SITE]
    study = fed.study(id="leak-batch", parameters={"hidden": [16]}, training={"batch": 8})
    run = trio.run(dataclasses.replace(study, rounds=1)).run
    ordered = operations.validate(trio.coordinator, run)
    operations.await_validation(trio.coordinator, run, ordered["attempt"])

    code, told = audit(home, "--object", "alone")

    assert (code, told["run"], told["round"], told["verdict"]) == (7, run, 1, "BLOCK")
    assert "batch of 8" in told["reasons"][0]
    assert "says BLOCK" in operations.release_refusal(home, run, "local")
    assert "not audited" in operations.release_refusal(home, run, "joint")
    assert audit(home, run)[1]["round"] == 1
    assert "says BLOCK" in operations.release_refusal(home, run, "joint")


def test_what_is_not_there_is_named(trio: Federation) -> None:
    home = trio.homes[fed.SITE]

    code, told = audit(home, "no-such-run")
    assert (code, told["error"]) == (2, "UsageError")
    assert "global model of run no-such-run" in told["message"]

    code, told = audit(home, "--object", "everything")
    assert (code, told["error"]) == (2, "UsageError")


def test_only_who_approved_the_study_here_can_override(tmp_path: Path) -> None:
    home = Home(tmp_path / "halland")
    operations.create(home, "halland", sources={"digits": {"part": "odd"}})
    node = keys.load_private(home.keys / "node.key")
    agreed = fed.study(sites=("halland", "vgr"), approvers={"halland": "Bo Berg", "vgr": "Eva Ek"})
    for name in ("Bo Berg", "Anna Ek"):
        persons.create(home.persons, name, PASSPHRASE)
    bo = persons.load(persons.file_of(home.persons, "Bo Berg"), PASSPHRASE)
    decision = agreement.Decision(
        word="approve",
        study=agreed.id,
        fingerprint=studies.fingerprint(agreed),
        protocol=studies.PROTOCOL,
        code=studies.numeric_code(),
        site="halland",
        person="Bo Berg",
        key=persons.public_text(bo),
        serial=1,
        time=NOW,
        nonce="0" * 32,
    )
    register = Register(home.studies)
    register.pin("halland", keys.public_bytes(node.public_key()))
    register.add(agreement.propose(agreed, site="halland", key=node, time=NOW))
    signature = persons.sign(bo, agreement.to_sign(decision))
    register.add(agreement.decide(decision, person=signature, key=node))
    verdict = audited(fingerprint=decision.fingerprint)
    book = Journal(home.journal, source="agent")
    book.append(verdict)
    book.close()

    with pytest.raises(TrustError, match="Anna Ek is not who approved"):
        operations.sign_override(
            home, verdict, reason=REASON, signer="Anna Ek", passphrase=PASSPHRASE
        )
    with pytest.raises(UsageError, match="Who signs"):
        operations.sign_override(home, verdict, reason=REASON, signer="", passphrase=PASSPHRASE)
    assert "says BLOCK" in operations.leakage_refusal(home, "r1", "local model")

    signed = operations.sign_override(
        home, verdict, reason=REASON, signer="Bo Berg", passphrase=PASSPHRASE
    )

    assert operations.leakage(home, "r1", "local model") == (verdict, signed)
    assert operations.leakage_refusal(home, "r1", "local model", vector="a" * 64) == ""
    assert "not audited" in operations.leakage_refusal(home, "r1", "global model")


def audited(**changes: Any) -> events.LeakageAudited:
    usual: dict[str, Any] = {
        "run": "r1",
        "round": 3,
        "object": "local model",
        "vector": "a" * 64,
        "fingerprint": "b" * 64,
        "verdict": "BLOCK",
        "reasons": ("at 1 % false positives 6.0% to 9.0% of members are found.",),
        "attack": "lira",
        "shadows": 64,
        "speaks": "recipe",
        "seconds": 9.0,
    }
    numbers = ("rate", "rate_low", "rate_high", "auc", "auc_low", "auc_high", "epsilon", "claimed")
    unknown = dict.fromkeys((*numbers, "members", "nonmembers"))
    return events.LeakageAudited(**unknown | usual | changes)


def test_a_pass_needs_nobody_and_no_verdict_lets_nothing_leave() -> None:
    assert operations.verdict_allows_release(audited(verdict="PASS"))
    assert operations.verdict_allows_release(audited(verdict="WARN"))
    assert not operations.verdict_allows_release(audited(verdict="BLOCK"))
    assert not operations.verdict_allows_release(audited(verdict="NOT ASSESSABLE"))
    assert not operations.verdict_allows_release(None)


def test_what_an_audit_says_reads_back_and_is_said_in_words() -> None:
    event = audited(rate=0.075, rate_low=0.06, rate_high=0.09, members=700)

    assert events.accept(json.loads(events.to_json(event))) == event
    assert "BLOCK" in event.sentence
    assert event.level == "WARN"
