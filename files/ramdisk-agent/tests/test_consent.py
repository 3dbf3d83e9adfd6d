"""Whether the laptop moves: nobody is moved without having been asked, and a no is a no."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stiefel_agent.config import AutokexecConfig, Consent
from stiefel_agent.laptop.consent import (
    DECLINED_SECONDS,
    GONE_SECONDS,
    Act,
    Decider,
    Event,
    Forget,
    Go,
    Prepare,
    Reply,
    Tell,
)
from stiefel_agent.protocol.discovery import Exchange, Proven
from stiefel_agent.protocol.keys import Key
from stiefel_agent.protocol.messages import NoticeState

COUNTDOWN = 10
EXCHANGE = Exchange(Key("red", bytes(32), bytes(31) + b"\1"), bytes(16), bytes(16))


def desktop(name: str = "Big PC", port: int = 1) -> Proven:
    return Proven(EXCHANGE, ("fe80::2", port, 0, 3), name)


def decider(consent: Consent = Consent.COUNTDOWN, inhibitor: str = "") -> Decider:
    return Decider(AutokexecConfig(consent=consent, countdown_seconds=COUNTDOWN), lambda: inhibitor)


def told(acts: list[Act]) -> str:
    """What people are told."""
    return " ".join(act.text for act in acts if isinstance(act, Tell))


def noticed(acts: list[Act]) -> list[NoticeState]:
    """What desktops are told."""
    return [act.notice.state for act in acts if isinstance(act, Reply)]


def goes(acts: list[Act]) -> bool:
    return any(isinstance(act, Go) for act in acts)


def test_a_call_is_announced_counts_down_and_moves() -> None:
    decide = decider()
    assert f"restarts in {COUNTDOWN} s" in told(decide.proven(desktop(), 100.0))
    assert noticed(decide.tick(104.0)) == [NoticeState.COUNTDOWN]
    decide.proven(desktop(), 109.0)
    assert not goes(decide.tick(109.9))
    assert decide.tick(110.0) == [Go("the desktop Big PC")]
    assert noticed(decide.moving()) == [NoticeState.SHUTTING_DOWN]


def test_a_no_holds_for_a_while_whoever_calls() -> None:
    decide = decider()
    decide.proven(desktop(), 100.0)
    acts = decide.cancel(101.0)
    assert noticed(acts) == [NoticeState.DECLINED]
    assert "stays as it is" in told(acts)
    assert noticed(decide.proven(desktop("Other PC"), 101.0 + DECLINED_SECONDS - 1)) == [NoticeState.DECLINED]
    assert not decide.busy
    assert "wants to run" in told(decide.proven(desktop(), 101.0 + DECLINED_SECONDS))


def test_ask_waits_for_a_yes_as_long_as_the_desktop_is_there() -> None:
    decide = decider(Consent.ASK)
    assert "stiefel-agent allow" in told(decide.proven(desktop(), 0.0))
    for second in range(1, 1000):
        decide.proven(desktop(), float(second))
        assert noticed(decide.tick(float(second))) == [NoticeState.ASKING]
    decide.allow()
    assert goes(decide.tick(1000.0))


def test_nobody_is_asked_when_the_owner_wants_it_so() -> None:
    decide = decider(Consent.NONE)
    assert told(decide.proven(desktop(), 0.0)) == ""
    assert goes(decide.tick(0.0))


def test_a_desktop_that_went_away_moves_nobody_and_leaves_room_for_the_next() -> None:
    decide = decider(Consent.ASK)
    decide.proven(desktop(), 0.0)
    assert "gone away" in told(decide.tick(GONE_SECONDS))
    decide.allow()
    assert not goes(decide.tick(GONE_SECONDS + 1))
    assert "Other PC" in told(decide.proven(desktop("Other PC"), GONE_SECONDS + 2))


def test_a_desktop_that_fell_silent_in_the_countdown_moves_nobody_until_it_is_back() -> None:
    decide = decider()
    decide.proven(desktop(), 0.0)
    for second in (float(COUNTDOWN), COUNTDOWN + 5.0):
        assert decide.tick(second) == []
    decide.proven(desktop(), COUNTDOWN + 6.0)
    assert goes(decide.tick(COUNTDOWN + 6.0))


def test_an_inhibitor_is_respected_and_named() -> None:
    blocking = ["apt: upgrades"]
    decide = Decider(AutokexecConfig(consent=Consent.NONE), lambda: blocking[0])
    decide.proven(desktop(), 0.0)
    first, again = decide.tick(0.0), decide.tick(1.0)
    assert "apt: upgrades" in told(first)
    assert noticed(first) == noticed(again) == [NoticeState.INHIBITED]
    assert told(again) == "", "people are told once"
    blocking[0] = ""
    assert goes(decide.tick(2.0))


def test_the_server_is_made_ready_in_the_countdown_and_not_while_something_holds_it_up() -> None:
    decide = decider(inhibitor="apt: upgrades")
    assert Prepare() in decide.proven(desktop(), 0.0)
    decide.proven(desktop(), float(COUNTDOWN))
    assert Forget() in decide.tick(float(COUNTDOWN))
    assert Prepare() not in decider(Consent.ASK).proven(desktop(), 0.0)


def test_a_second_desktop_is_told_who_was_first() -> None:
    decide = decider()
    decide.proven(desktop("Big PC"), 0.0)
    (reply,) = decide.proven(desktop("Other PC", port=2), 1.0)
    assert isinstance(reply, Reply)
    assert (reply.proven.desktop, reply.notice.state, reply.notice.who) == ("Other PC", NoticeState.BUSY, "Big PC")


def test_the_newest_proof_is_answered() -> None:
    decide = decider()
    decide.proven(desktop(port=1), 0.0)
    decide.proven(desktop(port=2), 1.0)
    (reply,) = decide.tick(2.0)
    assert isinstance(reply, Reply)
    assert reply.proven.source[1] == 2


def test_a_plugged_adapter_asks_and_needs_no_desktop() -> None:
    decide = decider()
    acts = decide.plugged(0.0)
    assert acts[0] == Event("plugged")
    assert "just plugged in" in told(acts)
    assert decide.plugged(1.0) == []
    assert goes(decide.tick(float(COUNTDOWN)))


def test_a_move_that_failed_is_told_and_not_tried_at_once_again() -> None:
    decide = decider(Consent.NONE)
    decide.proven(desktop(), 0.0)
    decide.tick(0.0)
    acts = decide.failed("no target's initrd", 1.0)
    assert "no target's initrd" in told(acts)
    assert noticed(acts) == [NoticeState.FAILED]
    assert noticed(decide.proven(desktop(), 2.0)) == [NoticeState.DECLINED]


STEPS = st.lists(
    st.tuples(st.sampled_from(["proven", "other", "plugged", "allow", "cancel", "tick"]), st.floats(0, 40)),
    max_size=60,
)


@given(STEPS)
def test_it_moves_only_after_the_countdown_or_a_yes_and_never_after_a_no(steps: list[tuple[str, float]]) -> None:
    decide, now, announced, allowed, declined = decider(), 0.0, 0.0, False, -DECLINED_SECONDS
    ready = False
    for step, seconds in steps:
        now += seconds
        was_busy = decide.busy
        acts: list[Act] = []
        match step:
            case "proven" | "other":
                acts = decide.proven(desktop(step), now)
            case "plugged":
                acts = decide.plugged(now)
            case "allow":
                acts = decide.allow()
                allowed = allowed or was_busy
            case "cancel":
                acts = decide.cancel(now)
                declined = now if was_busy else declined
            case "tick":
                acts = decide.tick(now)
                if goes(acts):
                    assert was_busy
                    assert allowed or now - announced >= COUNTDOWN
                    return
        ready = (ready or Prepare() in acts) and Forget() not in acts
        assert decide.busy or not ready, "it would start at a reboot that is about something else"
        if decide.busy and not was_busy:
            announced, allowed = now, False
            assert step == "plugged" or now - declined >= DECLINED_SECONDS
