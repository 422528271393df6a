"""What the domains see becomes facts, and only what lasts is told (ZDT-1)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from siaga.controller import incident_facts
from siaga.incidents.levels import level_of
from siaga.incidents.model import FactKind, Level
from siaga.sop.adherence import Adherence, Standing
from siaga.sop.clauses import ClauseId
from siaga.uptime.model import BurnAlert, Outage, Step

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


def standing(clause: ClauseId, adherence: Adherence, part: str = "") -> Standing:
    return Standing(clause, adherence, "", "", "because", NOW, part=part)


@pytest.mark.clause("ZDT-1")
def test_an_outage_is_level_3_from_its_first_bad_moment_whatever_its_share() -> None:
    outage = Outage(1_000, None, False, ("sg",), 1, (Step.BALANCE,), "balance: 503", 1_000)
    fact = incident_facts.of_uptime(outage)
    assert (fact.present, fact.since, fact.share) == (True, datetime.fromtimestamp(1, UTC), 1e-6)
    assert level_of(fact)[0] is Level.CRITICAL
    over = incident_facts.of_uptime(Outage(1_000, 4_000, True, ("sg",), 1, (), "balance: 503", 4_000))
    assert (over.key, over.present, over.since) == ("outage", False, datetime.fromtimestamp(4, UTC))


def test_each_burn_rate_has_its_own_fact() -> None:
    def alert(rate: float, ended_ms: int | None) -> BurnAlert:
        return BurnAlert(rate, 3600, 300, "page", 20.0, 30.0, 1_000, ended_ms)

    fast, slow = incident_facts.of_uptime(alert(14.4, None)), incident_facts.of_uptime(alert(6.0, 9_000))
    assert (fast.key, fast.present, slow.key, slow.present) == ("burn:14.4", True, "burn:6", False)


@pytest.mark.parametrize(
    ("clause", "adherence", "kind"),
    [
        (ClauseId.ZDT_1_1B, Adherence.AT_RISK, FactKind.CLAUSE_AT_RISK),
        (ClauseId.SUM, Adherence.AT_RISK, FactKind.CLAUSE_AT_RISK),
        (ClauseId.SUM, Adherence.BROKEN, FactKind.INTEGRITY),
        (ClauseId.PMT, Adherence.AT_RISK, FactKind.DEGRADATION),
        (ClauseId.PMT, Adherence.BROKEN, FactKind.CLAUSE_AT_RISK),
    ],
)
def test_a_part_of_a_clause_that_does_not_hold_is_a_fact(
    clause: ClauseId, adherence: Adherence, kind: FactKind
) -> None:
    (fact,) = incident_facts.of_standings([standing(clause, adherence, "a part")], NOW)
    assert (fact.key, fact.kind, fact.clause) == (f"clause:{clause}:a part", kind, str(clause))


def test_what_holds_what_nobody_measured_and_the_minutes_themselves_are_no_facts() -> None:
    quiet = [standing(ClauseId.SUM, Adherence.HOLDS), standing(ClauseId.DRP_3_2B, Adherence.NOT_MEASURED)]
    assert incident_facts.of_standings([*quiet, standing(ClauseId.ZDT_1, Adherence.BROKEN)], NOW) == []


def test_a_node_that_an_operator_drained_is_nobodys_fault() -> None:
    def node(name: str, state: str, verdict: str, operator: str = "") -> dict[str, str]:
        return {"node": name, "state": state, "verdict": verdict, "operator": operator, "why": "why"}

    nodes = [
        node("a", "drained", "bad"),
        node("b", "drained", "healthy", operator="ann"),
        node("c", "returning", "healthy"),
        node("d", "serving", "bad"),
        node("e", "serving", "correlated"),
    ]
    assert [fact.key for fact in incident_facts.of_nodes(nodes, NOW)] == ["node:a", "node:d"]


def test_a_part_that_was_stopped_on_purpose_is_no_fact() -> None:
    parts = [
        {"name": n, "state": s, "why": "killed"} for n, s in (("x", "restarting"), ("y", "stopped"), ("z", "running"))
    ]
    assert [fact.key for fact in incident_facts.of_parts(parts, NOW)] == ["part:x"]


def test_only_what_lasts_is_told_and_its_time_is_when_it_was_first_seen() -> None:
    seen: dict[str, datetime] = {}
    broken = standing(ClauseId.ZDT_1_1B, Adherence.BROKEN)
    told = []
    for second in range(12):
        now = NOW + timedelta(seconds=second)
        told, seen = incident_facts.lasting(incident_facts.of_standings([broken], now), seen, now)
        assert bool(told) is (second >= 10)
    assert told[0].since == NOW
    # Away for one look, it begins anew.
    _, seen = incident_facts.lasting([], seen, NOW + timedelta(seconds=12))
    now = NOW + timedelta(seconds=13)
    told, _ = incident_facts.lasting(incident_facts.of_standings([broken], now), seen, now)
    assert told == []
