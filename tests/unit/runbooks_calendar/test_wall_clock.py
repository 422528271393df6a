"""The wall clock against the monotonic one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from siaga.runbooks.wall_clock import SETTLE_S, Reading, WallClock

START = datetime(2026, 11, 25, tzinfo=UTC)


def reading(wall_s: float, monotonic_s: float) -> Reading:
    return Reading(START + timedelta(seconds=wall_s), monotonic_s)


FRESH = WallClock(reading(0, 100), START)


def test_a_second_is_a_second() -> None:
    clock, told = FRESH.look(reading(1.0, 101))
    assert told is None
    assert not clock.doubted
    assert FRESH.look(reading(1.9, 102))[1] is None, "slewing is no jump"


def test_a_clock_set_forward_or_back_is_told_once_and_doubted_for_a_while() -> None:
    for jump_s in (7200.0, -7200.0):
        clock, told = FRESH.look(reading(1 + jump_s, 101))
        assert told is not None
        assert (told.kind, round(told.jump_s)) == ("jump", jump_s)
        assert clock.doubted
        clock, told = clock.look(reading(jump_s + SETTLE_S, 100 + SETTLE_S))
        assert (told, clock.doubted) == (None, True)
        clock, _ = clock.look(reading(jump_s + SETTLE_S + 1, 101 + SETTLE_S))
        assert not clock.doubted


def test_a_machine_that_was_paused_with_its_clocks_running_is_a_gap_and_not_doubted() -> None:
    clock, told = FRESH.look(reading(3600, 3700))
    assert told is not None
    assert (told.kind, clock.doubted) == ("gap", False)
    assert clock.watching_since == START + timedelta(seconds=3600)


def test_a_machine_whose_monotonic_clock_stood_still_is_a_jump() -> None:
    _, told = FRESH.look(reading(3600, 101))
    assert told is not None
    assert told.kind == "jump"
