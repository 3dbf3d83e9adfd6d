"""The keeper's table: what must hold on every edge, and the ways that a day takes."""

import pytest

from stiefel_agent.target.links import TABLE, Act, Event, State, after

EDGES = [(state, event) for state in State for event in Event]


def way(*events, state=State.WELL):
    """Return where events lead, and what is done on the way."""
    acts = []
    for event in events:
        step = after(state, event)
        state = step.state
        acts += step.acts
    return state, acts


@pytest.mark.parametrize(("state", "event"), EDGES)
def test_nothing_is_sent_exactly_while_there_is_no_cable(state, event):
    step = after(state, event)
    if step.state is State.CUT and state is not State.CUT:
        assert Act.HOLD_BACK in step.acts
    if state is State.CUT and step.state not in (State.CUT, State.OVER):
        assert Act.LET_GO in step.acts


@pytest.mark.parametrize(("state", "event"), EDGES)
def test_connections_are_dialled_only_where_the_laptop_has_answered(state, event):
    if Act.DIAL in after(state, event).acts:
        assert after(state, event).state is State.DIALLING


@pytest.mark.parametrize("state", [state for state in State if state not in (State.WELL, State.OVER)])
def test_from_every_trouble_there_is_a_way_back(state):
    assert way(Event.CARRIER, Event.ANSWERED, Event.CONNECTED, state=state)[0] is State.WELL


def test_a_cable_that_is_back_is_let_go_at_once_and_no_connection_is_touched_before_the_laptop_answers():
    assert way(Event.CARRIER_LOST, Event.CARRIER, Event.ANSWERED, Event.CONNECTED) == (
        State.WELL,
        [Act.HOLD_BACK, Act.LET_GO, Act.PROVE, Act.DIAL],
    )


@pytest.mark.fault("F41")
def test_where_nobody_answers_another_interface_has_its_turn():
    state, acts = way(Event.CARRIER_LOST, Event.CARRIER, Event.NOBODY)
    assert (state, acts[-1]) == (State.CUT, Act.SHAKE)
    assert way(Event.NEWCOMER, state=state) == (State.PROVING, [Act.PLUG_OVER, Act.LET_GO, Act.PROVE])


@pytest.mark.fault("F41")
def test_an_adapter_through_which_nothing_comes_is_taken_down_and_up_and_then_from_its_driver():
    assert way(Event.SILENT, Event.UNANSWERED, Event.NOBODY, Event.CARRIER, Event.NOBODY_AGAIN) == (
        State.CUT,
        [Act.PROVE, Act.HOLD_BACK, Act.SHAKE, Act.LET_GO, Act.PROVE, Act.HOLD_BACK, Act.REBIND],
    )


@pytest.mark.fault("F35")
def test_a_laptop_that_calls_is_asked_at_once_wherever_the_keeper_waits():
    assert way(Event.CARRIER_LOST, Event.CALLED) == (State.PROVING, [Act.HOLD_BACK, Act.LET_GO, Act.PROVE])
    assert way(Event.CALLED, state=State.PROVING) == (State.PROVING, [Act.PROVE])
    for state in (State.WELL, State.DIALLING, State.OVER):
        assert way(Event.CALLED, state=state) == (state, [])


def test_silence_alone_is_no_trouble_if_the_laptop_answers():
    assert way(Event.SILENT, Event.ANSWERED) == (State.WELL, [Act.PROVE])


@pytest.mark.parametrize("state", State)
def test_only_the_laptops_own_word_ends_a_session_and_it_does_wherever_the_keeper_stands(state):
    ends = {event for event in Event if after(state, event).state is State.OVER}
    assert ends == (set(Event) if state is State.OVER else {Event.OVER})


def test_a_session_that_is_over_stays_over():
    assert all(after(State.OVER, event).state is State.OVER for event in Event)


def test_every_state_but_the_last_is_left_by_some_event():
    assert {state for state, _ in TABLE} == set(State) - {State.OVER}
