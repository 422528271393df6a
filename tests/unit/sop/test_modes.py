"""Modes, the safety lever, the second witness, and the score of advice (decisions 3 and 4)."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest

from siaga.errors import BadInput, Refused
from siaga.sop.advice import TIME_LIMIT, Advice, Answer, Deed, Score, counted, settle
from siaga.sop.clauses import ClauseId
from siaga.sop.modes import (
    WITNESS_AGE_S_MAX,
    Kind,
    Mode,
    Permission,
    Vantage,
    Witness,
    change_mode,
    default_mode,
    permits,
    second_witness,
)

NOW = datetime(2026, 11, 25, tzinfo=UTC)
CLAUSE = ClauseId.ZDT_1_1A


@pytest.mark.parametrize(
    ("mode", "free", "under_the_lever"),
    [
        (Mode.OBSERVE, Permission.SAY, Permission.SAY),
        (Mode.ADVISE, Permission.ADVISE, Permission.ADVISE),
        (Mode.APPROVE, Permission.ASK, Permission.HELD),
        (Mode.ACT, Permission.ACT, Permission.HELD),
    ],
)
def test_each_mode_permits_its_own_and_the_lever_holds_every_act(
    mode: Mode, free: Permission, under_the_lever: Permission
) -> None:
    assert permits(mode, "", Kind.ACT) is free
    assert permits(mode, "figures look wrong", Kind.ACT) is under_the_lever


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("halted", ["", "figures look wrong"])
def test_probes_go_on_in_every_mode_and_under_the_lever(mode: Mode, halted: str) -> None:
    assert permits(mode, halted, Kind.PROBE) is Permission.ACT


def test_the_embedded_platform_acts_and_a_site_observes() -> None:
    assert (default_mode(embedded=True), default_mode(embedded=False)) == (Mode.ACT, Mode.OBSERVE)


@pytest.mark.parametrize("actor", ["", "controller", "keeper"])
def test_only_a_person_moves_a_clause_up_and_anybody_moves_it_down(actor: str) -> None:
    with pytest.raises(Refused, match="expected a person"):
        change_mode(CLAUSE, Mode.OBSERVE, Mode.ADVISE, actor=actor, reason="score of 98 %", at=NOW)
    assert not change_mode(CLAUSE, Mode.ACT, Mode.OBSERVE, actor=actor, reason="blind", at=NOW).is_up
    assert change_mode(CLAUSE, Mode.OBSERVE, Mode.ADVISE, actor="ani", reason="score of 98 %", at=NOW).is_up


def test_no_clause_goes_above_what_the_site_allows_and_none_moves_without_a_reason() -> None:
    with pytest.raises(Refused, match="allows at most approve"):
        change_mode(CLAUSE, Mode.ADVISE, Mode.ACT, actor="ani", reason="x", at=NOW, highest=Mode.APPROVE)
    with pytest.raises(BadInput, match="no reason given"):
        change_mode(CLAUSE, Mode.ACT, Mode.OBSERVE, actor="ani", reason="  ", at=NOW)


# Blind means still --------------------------------------------------------------------------------------

OWN = Vantage("controller", "controller")
PROXY = Witness("envoy sgp", Vantage("front-sgp", "envoy"), agrees=True, age_s=1.0)
REPLICA = Witness("replica", Vantage("database", "postgres"), agrees=True, age_s=1.0)


def other(witness: Witness, **changes: object) -> Witness:
    fields = {"name": witness.name, "vantage": witness.vantage, "agrees": witness.agrees, "age_s": witness.age_s}
    return Witness(**(fields | changes))  # type: ignore[arg-type]


def test_a_witness_apart_from_us_confirms() -> None:
    assert second_witness("fence transactions-1", OWN, [PROXY]).confirmed


@pytest.mark.parametrize(
    "witnesses",
    [
        [],
        [other(PROXY, vantage=Vantage("controller", "envoy"))],
        [other(PROXY, vantage=Vantage("front-sgp", "controller"))],
        [other(PROXY, agrees=None)],
        [other(PROXY, age_s=WITNESS_AGE_S_MAX + 0.1)],
        [other(PROXY, age_s=-1.0)],
        [other(PROXY, age_s=math.nan)],
        [other(PROXY, agrees=False)],
        [PROXY, other(REPLICA, agrees=False)],
        # The same eyes twice are one witness.
        [other(PROXY, agrees=False), PROXY, other(REPLICA, agrees=None)],
    ],
)
def test_without_one_it_is_an_alarm_and_no_act(witnesses: list[Witness]) -> None:
    found = second_witness("fence transactions-1", OWN, witnesses)
    assert not found.confirmed
    assert "no act" in found.reason


def test_of_several_witnesses_more_must_confirm_than_contradict() -> None:
    third = Witness("keeper", Vantage("host-2", "keeper"), agrees=False, age_s=1.0)
    assert second_witness("promote", OWN, [PROXY, REPLICA, third]).reason == (
        "promote: confirmed by envoy sgp, replica, against keeper"
    )


# The score of advice ------------------------------------------------------------------------------------

DRAIN = Advice("a-1", CLAUSE, "drain", "sgp-1", NOW)


def deed(decision: str, *, target: str = "sgp-1", minutes: float = 5) -> Deed:
    return Deed(CLAUSE, decision, target, "ani", NOW + timedelta(minutes=minutes))


def answers(*deeds: Deed, minutes: float = 20) -> list[Answer]:
    return [one.answer for one in settle([DRAIN], deeds, NOW + timedelta(minutes=minutes))[1]]


def test_what_people_did_in_time_is_the_answer() -> None:
    assert answers(deed("drain")) == [Answer.AGREED]
    assert answers(deed("restart")) == [Answer.OTHERWISE]
    assert answers() == [Answer.NOTHING]


def test_the_first_deed_upon_the_target_decides() -> None:
    assert answers(deed("drain", minutes=6), deed("restart", minutes=5)) == [Answer.OTHERWISE]


def test_deeds_elsewhere_before_or_too_late_are_no_answer() -> None:
    late = TIME_LIMIT.total_seconds() / 60 + 0.1
    assert answers(deed("drain", target="fra-1"), deed("drain", minutes=-1), deed("drain", minutes=late)) == [
        Answer.NOTHING
    ]


def test_before_its_time_limit_it_stays_open() -> None:
    still_open, answered = settle([DRAIN], [], NOW + TIME_LIMIT)
    assert (still_open, answered) == ((DRAIN,), ())


def test_one_deed_answers_one_advice() -> None:
    again = Advice("a-2", CLAUSE, "drain", "sgp-1", NOW + timedelta(minutes=1))
    _, answered = settle([again, DRAIN], [deed("drain")], NOW + timedelta(hours=1))
    assert [(one.advice.id, one.answer) for one in answered] == [("a-1", Answer.AGREED), ("a-2", Answer.NOTHING)]


def test_the_score_counts_what_was_left_undone_too() -> None:
    _, answered = settle([DRAIN], [deed("drain")], NOW)
    scores = counted({CLAUSE: Score(agreed=2, otherwise=0, nothing=1)}, answered)
    assert scores[CLAUSE] == Score(agreed=3, otherwise=0, nothing=1)
    assert scores[CLAUSE].share_agreed == 0.75
    assert Score().share_agreed is None
