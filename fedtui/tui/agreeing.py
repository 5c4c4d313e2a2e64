"""Orders about studies: proposed, signed, declined, withdrawn, run; and what a run was worth."""

from pathlib import Path
from typing import Any

from fedtui import operations
from fedtui.errors import UsageError
from fedtui.site import Home
from fedtui.tui.desk import named
from fedtui.tui.operator import Operator
from fedtui.tui.ordering import Outcome
from fedtui.tui.screens.forms import Field


class Agreeing(Operator, inherit_bindings=False):
    """What screens 4 and 6 take."""

    def action_propose_study(self) -> None:
        fields = (Field(name="file", label="study, its file"),)

        def work(home: Home, given: dict[str, str]) -> str:
            from fedtui import study

            agreed = study.load(Path(given["file"]).expanduser())
            told = operations.propose_study(home, agreed)
            return f"{told['id']} is proposed, {_sent(told)}"

        self._ask("Propose", "Every site of the study sees it, word by word.", fields, work)

    def action_sign_study(self) -> None:
        one = self._chosen_study()
        if one is None:
            return
        if not self._agreements.is_read(one):
            self.redraw(note="read it to its end first: PgDn")
            return
        fields = (
            Field(name="person", label="who signs", value=str(one["approver"])),
            Field(name="passphrase", label="passphrase", secret=True),
            Field(name="again", label="again, for a new key", secret=True, needed=False),
            Field(name="id", label=f"type {one['id']} to sign"),
        )
        about = (
            f"Signs {one['id']} v{one['version']}, fingerprint {str(one['fingerprint'])[:16]}, "
            "under a person's own key, after this site's data are checked against it. That takes "
            "seconds to minutes."
        )

        def work(home: Home, given: dict[str, str]) -> Outcome:
            _check_typed(given["id"], str(one["id"]))
            if not operations.has_person(home, given["person"]):
                if given["again"] != given["passphrase"]:
                    raise UsageError(
                        f"{given['person']} has no key here yet.",
                        remedy="Type the passphrase of the new key twice.",
                    )
                operations.create_person(home, given["person"], given["passphrase"])
            told = operations.approve_study(
                home, named(one), person=given["person"], passphrase=given["passphrase"]
            )
            return Outcome(said=_signed(told, "approved"))

        self._ask("Sign", about, fields, work)

    def action_decline_study(self) -> None:
        one = self._chosen_study()
        if one is None:
            return
        fields = (
            Field(name="reason", label="reason"),
            Field(name="person", label="who signs", value=str(one["approver"])),
            Field(name="passphrase", label="passphrase", secret=True),
        )
        effect = f"No run of {one['id']} v{one['version']} can start. All sites read the reason."

        def work(home: Home, given: dict[str, str]) -> str:
            told = operations.decline_study(
                home,
                named(one),
                reason=given["reason"],
                person=given["person"],
                passphrase=given["passphrase"],
            )
            return _signed(told, "declined")

        self._confirm_and_ask("Decline", effect, str(one["id"]), fields, work)

    def action_withdraw_study(self) -> None:
        one = self._chosen_study()
        if one is None:
            return
        fields = (Field(name="reason", label="reason", needed=False),)
        effect = (
            "This site refuses the next message of any run of the study. What it gave before stays "
            "in the joint model; nothing can take that out again."
        )

        def work(home: Home, given: dict[str, str]) -> str:
            told = operations.withdraw_study(home, named(one), reason=given["reason"])
            return _signed(told, "withdrawn")

        self._confirm_and_ask("Withdraw", effect, str(one["id"]), fields, work)

    def action_run_study(self) -> None:
        one = self._chosen_study()
        if one is None:
            return
        if not self._view.coordinates:
            self.redraw(note="the coordinator's operator starts runs")
            return

        def work(home: Home) -> str:
            agreed = operations.study_named(home, named(one))
            return f"run {operations.run(home, agreed)} is submitted; press 5 to watch"

        effect = f"Starts a run of {one['id']} v{one['version']} at {', '.join(one['sites'])}."
        self._confirm("Run", effect, str(one["id"]), work)

    def action_validate_run(self) -> None:
        home = self._home
        if home is not None:
            self._order(
                "Validate",
                lambda: f"run {operations.validate(home)['run']} is being validated at every site",
            )

    def _chosen_study(self) -> dict[str, Any] | None:
        one = self._agreements.study(self._view)
        if one is None:
            self.redraw(note="there is no study to choose yet")
        return one


def _check_typed(typed: str, id: str) -> None:
    if typed != id:
        raise UsageError(f"'{typed}' is not {id}.", remedy="Nothing was signed; try again.")


def _signed(told: dict[str, Any], word: str) -> str:
    by = told["person"] or "this site"
    return f"{told['id']} v{told['version']} is {word} by {by}, {_sent(told)}"


def _sent(told: dict[str, Any]) -> str:
    return "and sent to its sites" if told["sent"] else "and kept until the link is up"
