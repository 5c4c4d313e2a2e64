"""A patient opts out while a run is under way; what the site then sees of its own data."""

import json
from pathlib import Path

import numpy as np

import datasets
from fedtui import events
from tests import federation as fed
from tests.federation import COORDINATOR, SITE, records
from tests.test_commands import fedtui
from tests.test_datasets_clinical import folder, rows, text


def test_who_opts_out_during_a_run_is_out_of_its_next_round(tmp_path: Path) -> None:
    path = folder(tmp_path, text(rows(120)))
    with fed.homes(COORDINATOR, SITE) as made:
        for name, home in made.homes.items():
            with home.settings.open("a") as file:
                file.write(f'\n[data.clinical]\npath = "{path}"\npublic = true\n')
                if name == SITE:
                    file.write('excluded = "optout.txt"\n')
        (made.site.path / "optout.txt").write_text("")
        made.warm(*made.homes)
        run = made.start(
            fed.study(
                id="optout",
                data="clinical",
                model="logistic",
                metric="auroc",
                rounds=100_000,
                normalisation="federated",
            )
        )
        first = fed.until(made.site, lambda e: isinstance(e, events.CohortLoaded)).event
        fed.until(made.coordinator, lambda e: isinstance(e, events.RoundEnded) and e.round > 2)

        after = fed.head(made.site)
        (made.site.path / "optout.txt").write_text(
            "".join(f"P{number}\n" for number in range(40)) + "19780512-9999\n"
        )
        second = fed.until(made.site, lambda e: isinstance(e, events.CohortLoaded), after=after)
        answered = fed.until(
            made.site,
            lambda e: isinstance(e, events.WorkAnswered) and e.phase == "train",
            after=second.seq,
        ).event
        made.idle()
        told = json.loads(fedtui("data", "stats", "clinical", "--json", home=made.site.path).stdout)
        shown = fedtui("data", "stats", "clinical", home=made.site.path).stdout
        (agreed,) = records(made.site, events.ScaleAgreed, run=run)[:1]

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
        # What the site sees of its own beside what was agreed: NumPy's moments of who is left.
        left = datasets.load("clinical", path=path, excluded=made.site.path / "optout.txt").train
        age = left.x[:, 0][left.mask[:, 0]].astype(float)
        first_ = told["features"][0]
        assert told["run"] == run
        assert (first_["name"], first_["count"]) == ("ålder", len(age))
        assert first_["mean"] == float(f"{age.mean():.3g}")
        assert first_["deviation"] == float(f"{age.std():.3g}")
        scale = agreed[1]
        assert first_["shift"] == round((first_["mean"] - scale.mean[0]) / scale.deviation[0], 2)
        assert np.isfinite(scale.mean).all()
        assert f"beside run {run}" in shown
        assert max(map(len, shown.splitlines())) <= 80
