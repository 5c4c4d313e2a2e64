"""This site's own model: the study's model and budget, without the others and without sending.

Nothing leaves, so nobody else is asked; that patients' data are read needs this site's own approval
all the same, and is written down.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from fedtui import accesses, errors, events, processes, site, study
from fedtui.errors import RunError, TrustError, UsageError
from fedtui.journal import Journal
from fedtui.operations._deciding import account
from fedtui.operations._examining import secret_of
from fedtui.operations._studies import study_named, today
from fedtui.site import Home, Site
from fedtui.study import Study


def train_alone(
    home: Home, name: str, *, on_news: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Train a study's model on this site's data alone; every round is kept, so it may be repeated.

    Args:
        name: A study's file, or its id.
        on_news: Told about twice a second of 'progress' (round, step, steps, loss), of each
            'round' (round, rounds, metrics on this site's own test split), and of a 'split' (round,
            pieces) where memory does not hold a batch.

    Returns:
        rounds, resumed (how many were done before), metrics, file and sha256 of the model.

    Raises:
        UsageError: this site offers no such data, there is no such study, it does not name this
            site, or its parts do not fit.
        TrustError: the data here are not public, and nobody of this site has approved the study, or
            it expired.
        DataError: the data, or what the study begins with, cannot be used.
        ResourceError: the disk is full, or a file cannot be used.
        RunError: training diverged, or came to no end.
    """
    own, agreed = site.load(home), study_named(home, name)
    source = own.data.get(agreed.data)
    if source is None:
        raise UsageError(
            f"This site offers no data set '{agreed.data}'.",
            remedy=f"Add [data.{agreed.data}] to {home.settings}.",
        )
    if own.name not in agreed.sites:
        raise UsageError(
            f"Study {agreed.id} does not name {own.name}.", remedy="Add it under the study's sites."
        )
    fingerprint = study.fingerprint(agreed)
    if not source.unrestricted:
        _require_approval(home, own, agreed, fingerprint)
    weights = own.weights.get(agreed.model)
    order = {
        "study": study.canonical(agreed).decode(),
        "site": own.name,
        "source": {
            "path": str(source.path) if source.path else None,
            "part": source.part,
            "excluded": str(source.excluded) if source.excluded else None,
        },
        "folder": str(home.path / "alone" / f"{agreed.id}-{fingerprint[:12]}"),
        "weights": str(weights) if weights else None,
        "cache": str(home.path / "cache" / "compiled"),
        "audit": str(home.audit) if source.path else None,
        "secret": str(secret_of(home)) if source.path else None,
    }

    def tell(news: dict[str, Any]) -> None:
        if "access" not in news:
            on_news(news)
            return
        _append(
            home,
            lambda book: accesses.of(
                book,
                agreed,
                fingerprint,
                news["access"],
                run="",
                action="training alone",
                unit=own.name,
                minimum=own.limits.minimum_cell,
            ),
        )

    done = _carried_out(home, order, tell)
    uid, user = account()
    _append(
        home,
        lambda _: events.TrainedAlone(
            study=agreed.id,
            fingerprint=fingerprint,
            purpose=agreed.purpose,
            legal_basis=agreed.legal_basis,
            rounds=done["rounds"],
            file=done["file"],
            sha256=done["sha256"],
            uid=uid,
            user=user,
        ),
    )
    return done


def _require_approval(home: Home, own: Site, agreed: Study, fingerprint: str) -> None:
    from fedtui import agreement, keys
    from fedtui.register import Register

    if not agreed.approvers:
        raise TrustError(
            f"Study {agreed.id} names no approvers, and {agreed.data} here is not public.",
            remedy=f"Name a person for {own.name} under [approvers]; or, if everybody may see the "
            f"data, write public = true under [data.{agreed.data}] in site.toml.",
        )
    register = Register(home.studies)
    register.own(own.name, keys.load_private(home.keys / "node.key").public_key())
    ours = register.standings(agreed, fingerprint)[own.name]
    agreement.require(
        agreed,
        {own.name: ours},
        today=today(),
        starting=True,
        site=own.name,
        proposed=any(entry.fingerprint == fingerprint for entry in register.entries()),
    )


def _append(home: Home, made: Callable[[Journal], events.Event]) -> None:
    book = Journal(home.journal, source="operator")
    try:
        book.append(made(book))
    finally:
        book.close()


def _carried_out(
    home: Home, order: dict[str, Any], on_news: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    log = _log(home)
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "fedtui.flower.alone"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env=processes.for_training(processes.environment(home)),
        cwd=home.path,
    )
    os.close(log)
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(json.dumps(order) + "\n")
        child.stdin.close()
        for line in child.stdout:
            message: dict[str, Any] = json.loads(line)
            if "done" in message:
                done: dict[str, Any] = message["done"]
                return done
            if "failed" in message:
                raise errors.from_json(message["failed"])
            on_news(message)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    raise RunError(
        "Training ended before its time.",
        remedy="Order it again: it goes on with the round it was in. 'dmesg' tells of too little "
        "memory.",
    )


def _log(home: Home) -> int:
    """Where a trainer's stderr goes, and errors are traced."""
    try:
        home.state.mkdir(mode=0o700, exist_ok=True)
        return os.open(home.log("trainer"), os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    except OSError:  # of which the child will say more
        return os.open(os.devnull, os.O_WRONLY)
