"""What `stiefel-agent status` says of a machine."""

import json

import pytest

from stiefel_agent.laptop.standing import standing


@pytest.fixture
def said(tmp_path):
    """Return a function that says what a machine is, by its files."""

    def say(listening=True, target=False, **settings):
        file, session = tmp_path / "autokexec.json", tmp_path / "session.json"
        if settings:
            file.write_text(json.dumps(settings))
        if target:
            session.touch()
        (tmp_path / "initrd.img-6.12.1-amd64").touch()
        return "\n".join(standing(listening, file, session, tmp_path))

    return say


def test_a_laptop_says_how_it_answers(said):
    text = said(consent="countdown", countdown_seconds=7)
    assert "moves into the server after a countdown of 7 s" in text
    assert "started with: 6.12.1-amd64" in text
    assert "after somebody here has allowed it" in said(consent="ask")


def test_a_service_that_does_not_run_is_told(said):
    assert "does not answer desktops" in said(listening=False, consent="none")


def test_a_target_and_a_stranger_are_told_apart(said):
    assert "autokexec is not set up" in said()
    assert "This is a target" in said(target=True, consent="none")
