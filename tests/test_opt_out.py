"""A patient opts out while a run is under way."""

from pathlib import Path

from fedtui import events
from tests import federation as fed
from tests.federation import COORDINATOR, SITE, records
from tests.test_datasets_clinical import folder, rows, text


def test_who_opts_out_during_a_run_is_out_of_its_next_round(tmp_path: Path) -> None:
    path = folder(tmp_path, text(rows(120)))
    with fed.homes(COORDINATOR, SITE) as made:
        for name, home in made.homes.items():
            with home.settings.open("a") as file:
                file.write(f'\n[data.clinical]\npath = "{path}"\n')
                if name == SITE:
                    file.write('excluded = "optout.txt"\n')
        (made.site.path / "optout.txt").write_text("")
        for name in made.homes:
            made.up(name)
        for name in made.homes:
            made.linked(name)
        run = made.start(
            fed.study(
                id="optout", data="clinical", model="logistic", metric="auroc", rounds=100_000
            )
        )
        first = fed.until(made.site, lambda e: isinstance(e, events.CohortLoaded)).event
        fed.until(made.coordinator, lambda e: isinstance(e, events.RoundEnded) and e.round > 2)

        (made.site.path / "optout.txt").write_text(
            "".join(f"P{number}\n" for number in range(40)) + "19780512-9999\n"
        )

        after = fed.head(made.site)
        second = fed.until(made.site, lambda e: isinstance(e, events.CohortLoaded), after=after)
        answered = fed.until(
            made.site,
            lambda e: isinstance(e, events.WorkAnswered) and e.phase == "train",
            after=second.seq,
        ).event
        made.idle()

        before = [e for _, e in records(made.site, events.WorkAnswered, run=run)]
        assert isinstance(first, events.CohortLoaded)
        assert isinstance(second.event, events.CohortLoaded)
        assert first.excluded == first.unmatched == 0
        assert (second.event.excluded, second.event.unmatched) == (40, 1)
        assert second.event.cohort != first.cohort
        assert isinstance(answered, events.WorkAnswered)
        trained = [e.examples for e in before if e.phase == "train"]
        assert answered.examples < trained[0]
        assert "19780512" not in "".join(
            file.read_text(errors="replace") for file in made.site.state.glob("*.log")
        )
        assert b"19780512" not in made.site.journal.read_bytes()
        assert b"19780512" not in made.coordinator.journal.read_bytes()
