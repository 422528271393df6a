"""The calendar's judgement: one Wednesday, looked at from everywhere."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time

import pytest

from siaga.runbooks.appointments import Appointment, Occurrence, Tenure, expected, from_document, to_document
from siaga.runbooks.calendar import (
    Facts,
    Hold,
    RunSeen,
    Settled,
    State,
    Verdict,
    judge,
    may_start_by_hand,
    past_hard_stop,
)
from siaga.runbooks.conditions import Conditions, hold
from siaga.runbooks.freezes import Freeze
from siaga.runbooks.low_traffic import Level, Traffic
from siaga.runbooks.windows import Window
from siaga.sop.clauses import ClauseId
from siaga.sop.modes import Mode

UPDATE = Appointment(
    "update-database",
    "update-database",
    ClauseId.PMT_2_1,
    Window(frozenset({3}), time(3), time(4), "Asia/Jakarta"),
    only_at_low_traffic=True,
)
WEDNESDAY = Occurrence(UPDATE, UPDATE.window.opening(date(2026, 11, 25)))
NEXT_WEDNESDAY = date(2026, 12, 2)


def wib(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+07:00").astimezone(UTC)


def at(clock: str) -> datetime:
    return wib(f"2026-11-25T{clock}")


def verdict(now: datetime, facts: Facts | None = None) -> Verdict:
    return judge([WEDNESDAY], facts or Facts(), now)[0]


def frozen(begin: str, end: str, *, clauses: frozenset[ClauseId] = frozenset()) -> Freeze:
    return Freeze(wib(begin), wib(end), "stock-taking", "the site file", clauses=clauses)


@pytest.mark.clause("PMT-2.1")
@pytest.mark.parametrize(
    ("clock", "state"),
    [
        ("02:59:59", State.EXPECTED),
        ("03:00:00", State.DUE),
        ("03:20:00", State.DUE),
        ("03:40:00", State.DUE),
        ("03:40:01", State.TOO_LATE),
        ("03:50:00", State.TOO_LATE),
        ("03:59:59", State.TOO_LATE),
        ("04:00:00", State.MISSED),
        ("04:10:00", State.MISSED),
    ],
)
def test_a_window_that_nothing_ran_in_is_due_then_too_late_then_missed(clock: str, state: State) -> None:
    assert verdict(at(clock)).state is state


def test_a_miss_names_why_and_the_next_window() -> None:
    found = verdict(at("04:10"), Facts(watching_since=at("04:10")))
    assert found.compensating == NEXT_WEDNESDAY
    assert "nobody was watching until 2026-11-25 04:10 Asia/Jakarta" in found.reason


def test_a_start_that_failed_is_named_by_its_trouble() -> None:
    found = verdict(at("04:00"), Facts(troubles={WEDNESDAY.id: "the journal does not answer"}))
    assert found.reason == "it could not be started: the journal does not answer"


def test_the_id_is_the_same_whoever_computes_it() -> None:
    assert WEDNESDAY.id == "update-database/2026-11-25"


@pytest.mark.parametrize("clock", ["02:50", "03:20", "03:50", "05:00"])
def test_what_ran_is_never_due_again_wherever_the_clock_is_set(clock: str) -> None:
    done = Settled(State.DONE, "done", at("03:12"), run=WEDNESDAY.id)
    assert verdict(at(clock), Facts(settled={WEDNESDAY.id: done})).state is State.DONE
    running = RunSeen(WEDNESDAY.id, "update-database", at("03:00"))
    assert verdict(at(clock), Facts(runs=(running,))).state is State.RUNNING


def test_a_run_that_ended_as_it_should_is_done_and_any_other_is_undone() -> None:
    run = RunSeen(WEDNESDAY.id, "update-database", at("03:00"), at("03:12"), done=True, outcome="done")
    assert verdict(at("03:13"), Facts(runs=(run,))).state is State.DONE
    other = verdict(at("03:13"), Facts(runs=(replace(run, done=False, outcome="undone: a check failed"),)))
    assert (other.state, "a check failed" in other.reason) == (State.UNDONE, True)


def test_a_run_that_a_person_began_in_the_window_counts_and_one_outside_it_does_not() -> None:
    by_hand = RunSeen("by-hand", "update-database", at("03:05"), at("03:10"), done=True, outcome="done")
    found = verdict(at("03:20"), Facts(runs=(by_hand,)))
    assert (found.state, found.run) == (State.DONE, "by-hand")
    early = replace(by_hand, began_at=at("02:55"))
    assert verdict(at("03:20"), Facts(runs=(early,))).state is State.DUE


def test_a_run_still_under_way_is_past_its_hard_stop_from_then_on() -> None:
    running = Facts(runs=(RunSeen(WEDNESDAY.id, "update-database", at("03:30")),))
    assert not past_hard_stop(verdict(at("03:54:59"), running), at("03:54:59"))
    assert past_hard_stop(verdict(at("03:55"), running), at("03:55"))


# Freezes ------------------------------------------------------------------------------------------------


def test_a_freeze_skips_the_window_with_its_reason_and_the_next_free_window() -> None:
    long = frozen("2026-11-20T00:00", "2026-12-03T00:00")
    found = verdict(at("03:00"), Facts(freezes=(long,), freezes_known_since={long.key: at("00:00")}))
    assert (found.state, found.compensating) == (State.SKIPPED, date(2026, 12, 9))
    assert "stock-taking" in found.reason


def test_a_freeze_to_come_is_announced_and_not_yet_recorded() -> None:
    long = frozen("2026-11-20T00:00", "2026-12-03T00:00")
    found = verdict(at("02:00"), Facts(freezes=(long,)))
    assert (found.state, "will be skipped" in found.reason) == (State.EXPECTED, True)


def test_a_freeze_of_a_few_minutes_freezes_the_whole_window() -> None:
    assert verdict(at("03:00"), Facts(freezes=(frozen("2026-11-25T03:58", "2026-11-25T05:00"),))).state is State.SKIPPED
    assert verdict(at("03:00"), Facts(freezes=(frozen("2026-11-25T02:00", "2026-11-25T03:00"),))).state is State.DUE


@pytest.mark.clause("SUM")
def test_a_freeze_first_seen_after_the_window_makes_no_miss_disappear() -> None:
    backdated = frozen("2026-11-20T00:00", "2026-11-26T00:00")
    assert verdict(at("04:10"), Facts(freezes=(backdated,))).state is State.MISSED
    seen_in_time = Facts(freezes=(backdated,), freezes_known_since={backdated.key: at("03:10")})
    assert verdict(at("04:10"), seen_in_time).state is State.SKIPPED


@pytest.mark.parametrize(
    ("clause", "state"),
    [
        (ClauseId.PMT, State.SKIPPED),
        (ClauseId.PMT_2_1, State.SKIPPED),
        (ClauseId.PMT_2_2, State.DUE),
        (ClauseId.DRP, State.DUE),
    ],
)
def test_a_freeze_of_a_section_is_one_of_its_clauses(clause: ClauseId, state: State) -> None:
    freeze = frozen("2026-11-20T00:00", "2026-11-26T00:00", clauses=frozenset({clause}))
    assert verdict(at("03:00"), Facts(freezes=(freeze,))).state is state


# Holds --------------------------------------------------------------------------------------------------


def test_what_is_held_until_the_last_start_is_skipped_for_that_reason() -> None:
    halted = Hold("halted", "halted: figures look wrong")
    assert verdict(at("03:10"), Facts(holds={"update-database": halted})).state is State.HELD
    after = verdict(at("03:41"), Facts(held={WEDNESDAY.id: halted}))
    assert (after.state, "figures look wrong" in after.reason) == (State.SKIPPED, True)
    assert after.compensating == NEXT_WEDNESDAY


def test_what_is_let_go_in_time_still_starts() -> None:
    assert verdict(at("03:39"), Facts(held={WEDNESDAY.id: Hold("traffic", "not low")})).state is State.DUE


LOW, NOT_LOW, UNKNOWN = (Traffic(level, "as measured", {}) for level in Level)


@pytest.mark.parametrize(
    ("conditions", "rule"),
    [
        (Conditions(ClauseId.PMT_2_1, Mode.ACT, traffic=LOW), None),
        (Conditions(ClauseId.PMT_2_1, Mode.ACT, traffic=NOT_LOW), "traffic"),
        (Conditions(ClauseId.PMT_2_1, Mode.ACT, traffic=NOT_LOW, allowed_by="ani"), "traffic"),
        (Conditions(ClauseId.PMT_2_1, Mode.ACT, traffic=UNKNOWN), "traffic unknown"),
        (Conditions(ClauseId.PMT_2_1, Mode.ACT, traffic=UNKNOWN, allowed_by="ani"), None),
        (Conditions(ClauseId.PMT_2_1, Mode.APPROVE, traffic=LOW), "approval"),
        (Conditions(ClauseId.PMT_2_1, Mode.APPROVE, traffic=LOW, allowed_by="ani"), None),
        (Conditions(ClauseId.PMT_2_1, Mode.OBSERVE, allowed_by="ani"), "mode observe"),
        (Conditions(ClauseId.PMT_2_1, Mode.ADVISE), "mode advise"),
        (Conditions(ClauseId.PMT_2_1, Mode.ACT, halted="wrong figures", allowed_by="ani"), "halted"),
        (Conditions(ClauseId.PMT_2_1, Mode.OBSERVE, halted="wrong figures"), "halted"),
        (Conditions(ClauseId.PMT_2_1, Mode.ACT, freezes_unreadable="gone", allowed_by="ani"), "change calendar"),
        (Conditions(ClauseId.PMT_2_1, Mode.ACT, other="a Level 2 is open", allowed_by="ani"), "condition"),
    ],
)
def test_a_person_opens_modes_and_the_unknown_and_nothing_else(conditions: Conditions, rule: str | None) -> None:
    found = hold(conditions)
    assert (found.rule if found else None) == rule


# Clocks and populations ---------------------------------------------------------------------------------


def test_a_verdict_of_a_clock_that_was_far_ahead_is_withdrawn_when_the_window_comes() -> None:
    missed = Facts(settled={WEDNESDAY.id: Settled(State.MISSED, "", wib("2026-11-28T03:00"))})
    assert verdict(wib("2026-11-23T12:00"), missed).state is State.MISSED, "not before it has to be"
    assert verdict(at("02:30"), missed).state is State.EXPECTED
    assert verdict(at("03:20"), missed).state is State.DUE
    assert verdict(at("03:41"), missed).state is State.MISSED


def test_a_clock_set_back_by_minutes_opens_no_window_again() -> None:
    skipped = Facts(settled={WEDNESDAY.id: Settled(State.SKIPPED, "held", at("03:40:01"))})
    assert verdict(at("03:20"), skipped).state is State.SKIPPED
    assert verdict(at("02:59"), skipped).state is State.SKIPPED


def test_the_past_before_the_first_start_is_not_expected() -> None:
    begun_in_it = Tenure(UPDATE, at("03:20"))
    assert [o.id for o in expected([begun_in_it], wib("2026-01-01T00:00"), wib("2026-12-10T00:00"))] == [
        "update-database/2026-12-02",
        "update-database/2026-12-09",
    ]


def test_a_window_that_was_moved_leaves_the_past_as_it_was() -> None:
    thursday = replace(UPDATE, window=replace(UPDATE.window, weekdays=frozenset({4})))
    tenures = [
        Tenure(UPDATE, wib("2026-11-01T00:00"), wib("2026-11-27T00:00")),
        Tenure(thursday, wib("2026-11-27T00:00")),
    ]
    found = expected(tenures, wib("2026-11-16T00:00"), wib("2026-12-11T00:00"))
    assert [o.opening.day.day for o in found] == [18, 25, 3, 10]


def test_a_window_moved_on_its_very_day_is_expected_once() -> None:
    later = replace(UPDATE, window=replace(UPDATE.window, begin=time(3, 10)))
    tenures = [Tenure(UPDATE, wib("2026-11-01T00:00"), at("03:05")), Tenure(later, at("03:05"))]
    found = expected(tenures, wib("2026-11-25T00:00"), wib("2026-11-26T00:00"))
    assert [(o.id, o.opening.begin) for o in found] == [(WEDNESDAY.id, at("03:00"))]


def test_an_appointment_survives_the_evidence_unchanged() -> None:
    assert from_document(to_document(UPDATE)) == UPDATE


def test_a_year_has_a_verdict_under_every_wednesday() -> None:
    occurrences = expected([Tenure(UPDATE, wib("2027-01-01T00:00"))], wib("2027-01-01T00:00"), wib("2028-01-01T00:00"))
    verdicts = judge(occurrences, Facts(), wib("2028-01-01T00:00"))
    assert len(verdicts) == 52
    assert {v.state for v in verdicts} == {State.MISSED}


# By hand ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "words"),
    [
        ("2026-11-25T02:59:59", "outside its window, Wednesday 03:00-04:00 Asia/Jakarta"),
        ("2026-11-25T03:00:00", ""),
        ("2026-11-25T03:40:00", ""),
        ("2026-11-25T03:50:00", "after the last start 2026-11-25 03:40 Asia/Jakarta"),
        ("2026-11-25T04:00:00", "outside its window"),
    ],
)
def test_a_person_starts_it_in_its_window_and_before_the_last_start(now: str, words: str) -> None:
    refusal = may_start_by_hand([UPDATE], (), "update-database", wib(now))
    assert words in refusal
    assert bool(refusal) == bool(words)


def test_a_person_goes_round_no_freeze_and_a_runbook_without_a_window_starts_at_any_time() -> None:
    freeze = frozen("2026-11-20T00:00", "2026-11-26T00:00")
    assert "stock-taking" in may_start_by_hand([UPDATE], (freeze,), "update-database", at("03:10"))
    assert may_start_by_hand([UPDATE], (freeze,), "recover", at("12:00")) == ""


def test_of_two_windows_one_that_is_open_is_enough() -> None:
    noon = replace(UPDATE, name="at-noon", window=Window(frozenset({3}), time(12), time(13), "Asia/Jakarta"))
    assert may_start_by_hand([UPDATE, noon], (), "update-database", at("12:10")) == ""
    refusal = may_start_by_hand([UPDATE, noon], (), "update-database", at("14:00"))
    assert "03:00-04:00" in refusal
    assert "12:00-13:00" in refusal
