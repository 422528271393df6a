"""Limits: a site may be stricter than a clause, never looser."""

from __future__ import annotations

from datetime import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from siaga.sop.clauses import ClauseId
from siaga.sop.limits import Bound, Direction, Limits, bounds

EXPECTED = {
    "limits.uptime.uptime_percent_min": ("ZDT-1", 99.99),
    "limits.uptime.downtime_s_max": ("ZDT-1", 4.38 * 60),
    "limits.traffic.latency_ms_max": ("ZDT-1.1a", 500),
    "limits.traffic.divert_s_max": ("ZDT-1.1a", 10),
    "limits.sessions.sessions_lost_max": ("ZDT-1.1b", 0),
    "limits.database.window_weekday": ("PMT-2.1", "Wednesday"),
    "limits.database.window_begin": ("PMT-2.1", time(3)),
    "limits.database.window_end": ("PMT-2.1", time(4)),
    "limits.vendors.response_ms_max": ("PMT-2.2", 150),
    "limits.vendors.audit_interval_days_max": ("PMT-2.2", 7),
    "limits.snapshots.interval_min_max": ("DRP-3.2a", 15),
    "limits.recovery.rto_transactions_min_max": ("DRP-3.1", 30),
    "limits.recovery.rto_sessions_min_max": ("DRP-3.1", 60),
    "limits.recovery.rto_history_min_max": ("DRP-3.1", 120),
    "limits.ledger.checked_percent_min": ("DRP-3.2b", 100),
}


def limits(field_path: str, value: Any) -> Limits:
    """The limits of a site that sets one field."""
    _, group, field = field_path.split(".")
    return Limits.model_validate({group: {field: value}})


def test_the_numbers_are_those_of_the_document() -> None:
    assert {b.field_path: (str(b.clause), b.bound) for b in bounds()} == EXPECTED


def test_without_a_site_every_limit_is_at_its_bound() -> None:
    assert [b for b in bounds() if b.tightened] == []


@pytest.mark.parametrize("bound", list(bounds()), ids=lambda b: b.field_path)
def test_looser_than_the_clause_is_refused_with_clause_and_bound(bound: Bound) -> None:
    with pytest.raises(ValidationError, match=f"looser than {bound.clause} allows, {bound.direction}"):
        limits(bound.field_path, _looser(bound))


@pytest.mark.parametrize("bound", [b for b in bounds() if isinstance(b.bound, int | float)], ids=lambda b: b.field_path)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), -1, True, "7", None, [], {}])
def test_what_is_no_number_is_refused(bound: Bound, value: object) -> None:
    with pytest.raises(ValidationError):
        limits(bound.field_path, value)


@given(st.floats() | st.integers())
def test_no_number_gets_past_a_bound(value: float) -> None:
    try:
        traffic = limits("limits.traffic.divert_s_max", value).traffic
    except ValidationError:
        assert not 0 < value <= 10
    else:
        assert 0 < traffic.divert_s_max <= 10


@pytest.mark.parametrize("value", [3, 10_800, "3", "24:00", "03:00Z", "half past three", 3.5, None, False])
def test_a_time_of_day_is_not_guessed(value: object) -> None:
    with pytest.raises(ValidationError):
        limits("limits.database.window_begin", value)


def test_a_window_must_begin_before_it_ends() -> None:
    with pytest.raises(ValidationError, match="window_begin 03:50 is not before window_end 03:40"):
        Limits.model_validate({"database": {"window_begin": "03:50", "window_end": "03:40"}})


def test_stricter_is_kept_and_said() -> None:
    strict = Limits.model_validate({"traffic": {"divert_s_max": 1.5}, "database": {"window_end": "03:30:30"}})
    shown = [str(bound) for bound in bounds(strict) if bound.tightened]
    assert shown == [
        "limits.traffic.divert_s_max = 1.5: ZDT-1.1a allows at most 10",
        "limits.database.window_end = 03:30:30: PMT-2.1 allows at most 04:00",
    ]


def test_limits_survive_json_unchanged() -> None:
    strict = Limits.model_validate({"traffic": {"divert_s_max": 10, "latency_ms_max": 250}})
    assert Limits.model_validate_json(strict.model_dump_json()) == strict
    assert isinstance(strict.traffic.divert_s_max, int)


def test_limits_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError):
        Limits().traffic.divert_s_max = 60


def test_every_clause_with_a_number_has_a_limit() -> None:
    assert {b.clause for b in bounds()} == set(ClauseId) - {ClauseId.PMT, ClauseId.DRP, ClauseId.SUM}


def _looser(bound: Bound) -> object:
    if bound.direction is Direction.ONLY:
        return "Tuesday"
    if isinstance(bound.bound, time):
        return "02:59" if bound.direction is Direction.AT_LEAST else "04:01"
    assert isinstance(bound.bound, int | float)
    return bound.bound + 1 if bound.direction is Direction.AT_MOST else bound.bound - 0.5
