"""The server's state table: every edge, and who may follow whom. Pure: no disk, no network, no clock."""

from dataclasses import replace

import diagram
import pytest

from stiefel_agent.errors import SessionInvalid
from stiefel_agent.protocol.crypto import digest
from stiefel_agent.protocol.handshake import Asked, Secrets
from stiefel_agent.protocol.messages import Facts
from stiefel_agent.server.sessions import (
    DURABLE,
    RETURN_SECONDS,
    TABLE,
    Act,
    Event,
    Session,
    Standing,
    State,
    Step,
    after,
    found,
    record,
    recorded,
    token_line,
)

SECRETS = Secrets(bytes(32), bytes(32), bytes(range(32)))
TOWER = Facts("tower", bytes(range(32)), bytes(range(1, 17)))
OTHER = Facts("tower", bytes(range(32)), bytes(range(2, 18)))
UNNAMED = Facts("tower", bytes(range(32)))
HELD = Session(
    TOWER,
    "stick",
    "fe80::2%eth0",
    "fd73::1",
    "secret",
    digest(token_line(SECRETS.release_token)),
    5.0,
    digest(b"over"),
    77,
)

FENCED = (Event.FENCED, Event.FENCED_TO_WAIT)
OPENS = {Act.GRANT, Act.OPEN, Act.ADMIT, Act.EXPORT_AGAIN, Act.RESUME}
"""What gives somebody a way to the disk, or promises one."""


def edges() -> list[tuple[State, Event]]:
    return [(state, event) for state in State for event in Event]


def test_every_event_has_an_answer_in_every_state() -> None:
    for state, event in edges():
        step = after(state, event)
        assert isinstance(step.state, State)
        assert all(isinstance(act, Act) for act in step.acts)


def test_nobody_is_given_the_disk_before_the_one_before_is_fenced_off() -> None:
    for state, event in edges():
        something_open = state in DURABLE | {State.STARTING}
        gives = Act.GRANT in after(state, event).acts
        assert not (gives and something_open) or (state, event) == (State.REPLACING, Event.FENCED)


def test_waiting_means_that_nothing_is_open() -> None:
    for state, event in edges():
        if after(state, event).state is State.WAITING and state is not State.WAITING:
            assert event in FENCED or state is State.GIVING


def test_a_session_is_forgotten_only_when_nothing_of_it_is_open() -> None:
    for state, event in edges():
        if Act.DROP in after(state, event).acts:
            assert event in FENCED or state is State.GIVING


@pytest.mark.parametrize("state", [state for state in State if state not in (State.STARTING, State.HOME)])
@pytest.mark.parametrize("event", [Event.ASKED, Event.CLAIMED])
def test_whoever_asks_is_answered(state: State, event: Event) -> None:
    acts = after(state, event).acts
    assert {Act.GRANT, Act.REFUSE} & set(acts) or after(state, event).state is State.REPLACING


def test_a_fence_that_does_not_hold_is_told_and_tried_again() -> None:
    for state in (State.REPLACING, State.FENCING):
        step = after(state, Event.UNFENCED)
        assert step.state is State.FENCING
        assert Act.TELL in step.acts
    assert after(State.FENCING, Event.RETRY) == Step(State.FENCING, (Act.FENCE,))


def test_the_way_home_is_never_back() -> None:
    assert all(after(State.HOME, event) == Step(State.HOME) for event in Event)
    ways_out = {after(State.RETURNING, event).state for event in Event}
    assert ways_out == {State.RETURNING, State.HOME, State.WAITING}
    assert after(State.RETURNING, Event.FENCED) == Step(State.HOME, (Act.GO_HOME,))
    assert after(State.RETURNING, Event.FENCED_TO_WAIT) == Step(State.WAITING, (Act.DROP, Act.WAIT))
    assert after(State.RETURNING, Event.UNFENCED) == Step(State.RETURNING, (Act.TELL,))
    assert after(State.RETURNING, Event.OVERDUE) == Step(State.HOME, (Act.GO_HOME,))


def test_every_state_is_reached_and_left() -> None:
    reached = {step.state for step in TABLE.values()} | {State.STARTING}
    assert reached == set(State)
    assert {state for state, _ in TABLE} == set(State) - {State.HOME}
    assert {event for _, event in TABLE} == set(Event)
    assert {act for step in TABLE.values() for act in step.acts} == set(Act)


@pytest.mark.parametrize("state", [State.STARTING, State.FENCING, State.RETURNING, State.HOME])
def test_a_session_that_is_over_opens_nothing(state: State) -> None:
    opening = [event for event in Event if OPENS & set(after(state, event).acts)]
    assert opening == ([Event.FOUND_WHOLE] if state is State.STARTING else [])


def asked(facts: Facts = TOWER, key_name: str = "stick") -> Asked:
    return Asked(facts, key_name, SECRETS)


SERVING = Standing(State.SERVING, silent=0.0, unwritten=False, takeover_seconds=0)


def test_the_same_desktop_begins_again_at_once_when_nothing_was_written() -> None:
    assert replace(SERVING, unwritten=True).asks(HELD, asked()) is Event.CLAIMED
    assert SERVING.asks(HELD, asked()) is Event.ASKED


def test_the_same_desktop_begins_again_after_three_missed_keepalives() -> None:
    assert replace(SERVING, silent=RETURN_SECONDS).asks(HELD, asked()) is Event.CLAIMED
    assert replace(SERVING, silent=RETURN_SECONDS - 1).asks(HELD, asked()) is Event.ASKED


@pytest.mark.parametrize("other", [asked(OTHER), asked(TOWER, "another stick"), asked(UNNAMED)])
def test_any_other_desktop_waits_for_what_the_owner_allows(other: Asked) -> None:
    standing = replace(SERVING, silent=10_000.0, unwritten=True)
    assert standing.asks(HELD, other) is Event.ASKED
    assert replace(standing, takeover_seconds=60).asks(HELD, other) is Event.CLAIMED
    assert replace(standing, takeover_seconds=60, silent=59.0).asks(HELD, other) is Event.ASKED


def test_a_desktop_without_anything_unique_is_never_taken_for_the_same() -> None:
    held = replace(HELD, facts=UNNAMED)
    assert replace(SERVING, unwritten=True).asks(held, asked(UNNAMED)) is Event.ASKED


def test_the_same_desktop_need_not_wait_for_its_own_first_attempt() -> None:
    giving = replace(SERVING, state=State.GIVING)
    assert giving.asks(HELD, asked()) is Event.CLAIMED
    assert giving.asks(HELD, asked(OTHER)) is Event.ASKED
    assert Standing(State.WAITING, 0.0, False, 0).asks(None, asked()) is Event.ASKED


def test_a_starting_agent_goes_on_only_with_a_whole_session() -> None:
    assert found(State.SERVING, lambda: True) is Event.FOUND_WHOLE
    assert found(State.SERVING, lambda: False) is Event.FOUND_OTHER
    assert found(State.RETURNING, lambda: False) is Event.FOUND_RELEASED
    for state in (None, State.OPENING, State.REPLACING, State.FENCING):
        assert found(state, lambda: True) is Event.FOUND_OTHER


@pytest.mark.parametrize("state", sorted(DURABLE))
def test_a_record_is_read_back_as_it_was(state: State) -> None:
    assert recorded(record(state, HELD)) == (state, HELD)


def test_a_record_holds_no_release_token_but_knows_it() -> None:
    token = token_line(SECRETS.release_token)
    assert token.decode() not in record(State.SERVING, HELD)
    assert HELD.is_released_by(token)
    assert not HELD.is_released_by(token[:-1] + b"0")
    assert not HELD.is_released_by(b"")


@pytest.mark.parametrize("damage", ["", "{}", "[]", '"x"', "null", '{"version": 2}', record(State.SERVING, HELD)[:-20]])
def test_a_record_that_cannot_be_read_is_refused(damage: str) -> None:
    with pytest.raises(SessionInvalid):
        recorded(damage)


def test_a_record_of_a_state_that_there_is_not_is_refused() -> None:
    with pytest.raises(SessionInvalid):
        recorded(record(State.SERVING, HELD).replace('"serving"', '"gone"'))


@pytest.mark.parametrize("name", diagram.DIAGRAMS)
def test_the_diagram_in_the_document_is_the_table_s(name: str) -> None:
    text = diagram.DOCUMENT.read_text()
    start, end = diagram.place(text, name)
    assert text[start:end] == diagram.drawn(*diagram.DIAGRAMS[name]), "run: python3 tests/diagram.py"
