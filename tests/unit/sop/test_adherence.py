"""Whether a clause holds: never assumed, never older than it may be."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siaga.sop.adherence import (
    NOT_BUILT_YET,
    WORST_FIRST,
    Adherence,
    Standing,
    aged,
    combine,
    from_document,
    standings,
    to_document,
)
from siaga.sop.clauses import ClauseId

NOON = datetime(2026, 11, 25, 5, tzinfo=UTC)
BROKEN, AT_RISK, NOT_MEASURED, HOLDS = WORST_FIRST


def part(adherence: Adherence, name: str = "nodes", *, observed_at: datetime = NOON) -> Standing:
    return Standing(ClauseId.ZDT_1_1A, adherence, "0.4 s", "10 s", f"why {name}", observed_at, part=name, valid_s=10)


@given(st.lists(st.sampled_from(Adherence), min_size=1))
def test_a_whole_is_as_bad_as_its_worst_part(parts: list[Adherence]) -> None:
    whole = combine(ClauseId.ZDT_1_1A, [part(adherence) for adherence in parts])
    assert whole.adherence is next(worst for worst in WORST_FIRST if worst in parts)


def test_a_part_that_nobody_measured_keeps_the_whole_from_holding() -> None:
    whole = combine(ClauseId.ZDT_1_1A, [part(HOLDS), part(NOT_MEASURED, "CDN")])
    assert whole.adherence is NOT_MEASURED
    assert whole.why == "CDN: why CDN"


def test_a_whole_without_parts_is_not_measured() -> None:
    assert combine(ClauseId.ZDT_1_1B, ()).adherence is NOT_MEASURED


def test_a_whole_is_as_recent_as_its_oldest_part() -> None:
    older = NOON - timedelta(seconds=8)
    assert combine(ClauseId.ZDT_1_1A, [part(HOLDS), part(HOLDS, "x", observed_at=older)]).observed_at == older


@pytest.mark.parametrize("adherence", [HOLDS, AT_RISK, BROKEN])
def test_the_last_valid_second_still_counts(adherence: Adherence) -> None:
    assert aged(part(adherence), NOON + timedelta(seconds=10)) == part(adherence)


def test_a_standing_past_its_time_is_not_measured_and_says_since_when() -> None:
    old = aged(part(HOLDS), NOON + timedelta(seconds=75))
    assert old.adherence is NOT_MEASURED
    assert old.why == "last measured 75 s ago, valid for 10 s; it said holds then"


def test_a_standing_from_the_future_is_not_measured() -> None:
    assert aged(part(HOLDS), NOON - timedelta(hours=1)).adherence is NOT_MEASURED


def test_a_whole_ages_with_its_parts() -> None:
    whole = combine(ClauseId.ZDT_1_1A, [part(HOLDS), part(BROKEN, "door", observed_at=NOON - timedelta(minutes=1))])
    assert aged(whole, NOON).adherence is NOT_MEASURED
    assert aged(whole, NOON).parts[0].adherence is HOLDS


def test_a_standing_that_does_not_age_stays() -> None:
    lasting = replace(part(HOLDS), valid_s=None)
    assert aged(lasting, NOON + timedelta(days=400)) == lasting


def test_every_clause_is_printed_in_order_even_when_nothing_was_measured() -> None:
    printed = standings([], NOON)
    assert [standing.clause for standing in printed] == list(ClauseId)
    assert {standing.adherence for standing in printed} == {NOT_MEASURED}


def test_not_built_and_not_measured_yet_are_told_apart() -> None:
    why = {standing.clause: standing.why for standing in standings([], NOON)}
    assert {clause for clause, text in why.items() if text == "machinery not built yet"} == NOT_BUILT_YET
    assert why[ClauseId.ZDT_1_1A] == "nothing measured yet"


def test_a_measured_clause_is_printed_as_measured() -> None:
    assert standings([part(AT_RISK)], NOON)[1] == part(AT_RISK)


def test_two_parts_of_a_clause_are_printed_as_one_whole() -> None:
    whole = standings([part(HOLDS), part(BROKEN, "door")], NOON)[1]
    assert whole.adherence is BROKEN
    assert [p.part for p in whole.parts] == ["nodes", "door"]


def test_a_standing_survives_json() -> None:
    whole = combine(ClauseId.ZDT_1_1A, [part(HOLDS), replace(part(NOT_MEASURED, "CDN"), observed_at=None)])
    assert from_document(json.loads(json.dumps(to_document(whole)))) == whole


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        part(HOLDS, observed_at=datetime(2026, 11, 25))  # noqa: DTZ001
