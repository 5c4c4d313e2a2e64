"""What a home says of itself is its own: no other host's path, no news of an agent that is gone."""

from pathlib import Path

from fedtui import checks, events, operations
from fedtui.journal import Journal
from fedtui.site import Home
from tests.federation import COORDINATOR, SITE, Federation, records, study, until
from tests.lab_authority import Authority
from tests.lab_servers import context_of, coordinator, listening, tls

ABROAD = "/srv/elsewhere/runs/r1/model.safetensors"


def ended_run(home: Home) -> None:
    """A completed run in the journal, with the path that the coordinator has it under."""
    book = Journal(home.journal, source="agent")
    sites = (COORDINATOR, SITE)
    book.append(
        events.RunSubmitted(
            run="r1", study="s", fingerprint="ab" * 32, sites=sites, train_sites=sites, rounds=1,
            metric="auroc",
        )
    )  # fmt: skip
    book.append(events.RunEnded(run="r1", outcome="completed", cause="done", file=ABROAD))
    book.close()


def test_a_site_names_its_own_copy_of_a_model_or_none(tmp_path: Path) -> None:
    home = Home(tmp_path / "h")
    operations.create(home, SITE)
    ended_run(home)

    before = [operations.runs(home)[0]["file"], operations.status(home)["run"]["file"]]
    kept = home.models / "r1" / "joint.safetensors"
    kept.parent.mkdir(parents=True)
    kept.touch()
    after = [operations.runs(home)[0]["file"], operations.status(home)["run"]["file"]]

    assert before == ["", ""]
    assert after == [str(kept), str(kept)]


def test_the_coordinator_names_the_model_that_it_wrote(tmp_path: Path) -> None:
    home = Home(tmp_path / "h")
    operations.create(home, COORDINATOR, coordinator=True)
    ended_run(home)

    assert operations.runs(home)[0]["file"] == ABROAD


def test_sites_are_not_told_where_the_coordinator_keeps_its_models(trio: Federation) -> None:
    ended = trio.run(study(rounds=1))

    told = until(
        trio.homes[SITE], lambda e: isinstance(e, events.RunEnded) and e.run == ended.run
    ).event
    assert isinstance(told, events.RunEnded)
    assert ended.file.startswith(str(trio.coordinator.path))
    assert (told.file, told.sha256) == ("", ended.sha256)


def test_a_stale_cause_is_not_shown_where_no_agent_lives(tmp_path: Path) -> None:
    home = Home(tmp_path / "h")
    operations.create(home, SITE)
    book = Journal(home.journal, source="agent")
    book.append(
        events.LinkChanged(up=False, code="certificate", cause="The certificate is another's.")
    )
    book.close()

    told = operations.status(home)

    assert (told["link"], told["link_cause"]) == ("down", "")


def test_a_coordinator_that_meets_another_on_its_port_is_not_told_to_ask_for_an_invitation(
    tmp_path: Path,
) -> None:
    other = Authority(tmp_path, "fedtui federation of elsewhere").issue("127.0.0.1")
    home = Home(tmp_path / "h")
    with listening(tls(context_of(other), coordinator())) as port:
        operations.create(home, COORDINATOR, coordinator=True, port=port, names=("127.0.0.1",))

        found = {f.check: f for f in checks.run(home=home, only=("tls",))}

    assert found["tls"].code == "tls-wrong-authority"
    assert "another process answers" in found["tls"].meaning
    assert f"port {port}" in found["tls"].remedy
    assert "invitation" not in found["tls"].meaning + found["tls"].remedy


def test_the_settings_say_what_of_them_others_hear(tmp_path: Path) -> None:
    home = Home(tmp_path / "h")
    operations.create(home, COORDINATOR, coordinator=True)

    head = home.settings.read_text(encoding="utf-8").partition("\nname =")[0]

    assert "Others hear of its name" in head
    assert "Nothing here is sent" not in head


def test_a_device_whose_kind_is_its_platform_is_one_word(trio: Federation) -> None:
    told = [event.device.split() for _, event in records(trio.homes[SITE], events.DeviceReported)]

    assert told
    assert all(len(words) == len(set(words)) for words in told)
