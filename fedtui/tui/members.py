"""Orders about belonging: this host joins a federation, a coordinator invites and confirms."""

from pathlib import Path
from typing import Any

from fedtui import operations
from fedtui.site import Home
from fedtui.tui.operator import Operator
from fedtui.tui.ordering import Outcome
from fedtui.tui.screens.forms import Field


class Members(Operator, inherit_bindings=False):
    """What screen 3 takes."""

    def action_join_federation(self) -> None:
        fields = (Field(name="code", label="code, or file"),)

        def work(home: Home, given: dict[str, str]) -> Outcome:
            path = Path(given["code"]).expanduser()
            if path.is_file() and operations.needs_key(path):
                member = operations.join(home, path)
                return Outcome(said=f"joined {member.address}; press 1, then u, to start")
            pending = operations.claim(home, given["code"])
            if pending.enrolled:
                return Outcome(said=f"enrolled at {pending.member.address}; press 1, then u")
            return Outcome(
                said=f"{pending.coordinator} at {pending.member.address} invited this host as "
                f"{pending.site}.",
                shown=(
                    "",
                    f"    {pending.words}",
                    "",
                    f"Read these six words to {pending.coordinator}'s operator by phone; they "
                    "must be the same there. Then press 1 and u: this site goes on asking by "
                    "itself until it is confirmed.",
                ),
            )

        about = "From the coordinator's operator: a code of at most 60 characters, or a file."
        self._ask("Join", about, fields, work)

    def action_invite_site(self) -> None:
        fields = (
            Field(name="name", label="site, e.g. halland"),
            Field(name="address", label="dialled at", needed=False),
        )

        def work(home: Home, given: dict[str, str]) -> Outcome:
            issued = operations.issue(home, given["name"], address=given["address"])
            if issued.code:
                shown = ("", f"    {issued.code}", "")
            else:
                path = home.path / f"{issued.site}.invitation"
                path.touch(mode=0o600)
                path.write_text(issued.file, encoding="utf-8")
                shown = ("", f"Too long for a code; the invitation is in {path}", "")
            return Outcome(
                said=f"For {issued.site}'s operator alone: good once, for 72 hours, five tries.",
                shown=(
                    *shown,
                    "It goes there by phone or another trusted way, and into 'fedtui join'.",
                ),
            )

        about = "Whoever holds the code can ask for this place; you confirm it by six words."
        self._ask("Invite", about, fields, work)

    def action_confirm_site(self) -> None:
        entry = self._chosen("pending")
        if entry is None:
            return
        name = str(entry["site"])
        fields = (Field(name="words", label="its six words"),)
        about = (
            f"{name} asks to take part, from {entry['origin']}. Type the six words that its "
            "operator reads to you."
        )

        def work(home: Home, given: dict[str, str]) -> str:
            operations.confirm(home, name, given["words"])
            return f"{name} is enrolled"

        self._ask("Confirm", about, fields, work)

    def action_decline_site(self) -> None:
        entry = self._chosen("pending", "invited")
        if entry is not None:
            name = str(entry["site"])
            effect = f"Takes the invitation of {name} back, and refuses whoever used it."

            def work(home: Home) -> str:
                operations.decline(home, name)
                return f"{name} is declined"

            self._confirm("Decline", effect, name, work)

    def action_suspend_site(self) -> None:
        entry = self._chosen("enrolled", "suspended")
        if entry is None:
            return
        name, suspended = str(entry["site"]), entry["state"] == "enrolled"
        effect = (
            f"Refuses {name} until it is taken back; a run goes on without it as its quorum allows."
            if suspended
            else f"Lets {name} take part again."
        )

        def work(home: Home) -> str:
            operations.suspend(home, name, suspended=suspended)
            return f"{name} is suspended" if suspended else f"{name} takes part again"

        self._confirm("Suspend" if suspended else "Take back", effect, name, work)

    def action_revoke_site(self) -> None:
        entry = self._chosen("enrolled", "suspended")
        if entry is None:
            return
        name = str(entry["site"])
        effect = (
            f"Takes {name} off the roster for good: it is told so under the federation's signature "
            "and ends. A run goes on without it as its quorum allows. To come back it needs a new "
            "invitation."
        )

        def work(home: Home) -> str:
            operations.revoke(home, name)
            return f"{name} is revoked"

        self._confirm("Revoke", effect, name, work)

    def _chosen(self, *states: str) -> dict[str, Any] | None:
        if not self._view.coordinates:
            self.redraw(note="only the coordinator's operator can do this")
            return None
        entry = self._joining.site(self._view)
        if entry is None or entry["state"] not in states:
            self.redraw(note=f"choose a site that is {' or '.join(states)}")
            return None
        return entry
