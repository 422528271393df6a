"""What the domains see, as facts of incidents (ZDT-1, decision 20): none of them knows of incidents itself (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from siaga.incidents.model import Fact, FactKind
from siaga.sop.adherence import Adherence, Standing
from siaga.sop.clauses import ClauseId
from siaga.uptime.model import WHOLE_PPM, Change, Outage

LOOKED_AT = ("clause:", "node:", "part:")
"""Prefixes of the keys whose whole state each look knows."""
LASTING = timedelta(seconds=10)
"""What users don't notice is told when it lasts: a restart of a part, or of everything, is no incident."""
_SERVING = ("serving", "returning")


def of_uptime(change: Change) -> Fact:
    """An outage, or a budget that burns too fast, begun or ended."""
    if isinstance(change, Outage):
        return Fact(
            key="outage",
            kind=FactKind.OUTAGE,
            since=_moment(change.onset_ms if change.ended_ms is None else change.ended_ms),
            present=change.ended_ms is None,
            subject=f"users are not served in {', '.join(change.regions)}: {change.first_failure}",
            clause=str(ClauseId.ZDT_1),
            share=change.share_ppm / WHOLE_PPM,
        )
    return Fact(
        key=f"burn:{change.rate:g}",
        kind=FactKind.BURN,
        since=_moment(change.begun_ms if change.ended_ms is None else change.ended_ms),
        present=change.ended_ms is None,
        subject=f"the month's budget burns {change.measured_short:.1f} times too fast, the limit is {change.rate:g}",
        clause=str(ClauseId.ZDT_1),
    )


def of_parts(parts: Iterable[Mapping[str, Any]], now: datetime) -> list[Fact]:
    """Processes of the platform that should run and don't."""
    return [
        Fact(
            f"part:{part['name']}", FactKind.REDUNDANCY, now, True, f"{part['name']} is {part['state']}: {part['why']}"
        )
        for part in parts
        if part["state"] == "restarting"
    ]


def of_nodes(nodes: Iterable[Mapping[str, Any]], now: datetime) -> list[Fact]:
    """Nodes that users are kept away from by judgement; what an operator drained is nobody's fault."""
    clause = str(ClauseId.ZDT_1_1A)
    return [
        Fact(f"node:{node['node']}", FactKind.REDUNDANCY, now, True, f"{node['node']}: {node['why']}", clause)
        for node in nodes
        if not node["operator"] and (node["verdict"] == "bad" or node["state"] not in _SERVING)
    ]


def of_standings(standings: Iterable[Standing], now: datetime) -> list[Fact]:
    """Parts of clauses that do not hold or are at risk, but for ZDT-1: minutes and incidents speak for themselves."""
    return [
        Fact(
            key=f"clause:{standing.clause}:{standing.part}",
            kind=_kind(standing),
            since=now,
            present=True,
            subject=f"{standing.clause}{f', {standing.part}' if standing.part else ''}: {standing.why}",
            clause=str(standing.clause),
        )
        for standing in standings
        if standing.adherence in (Adherence.AT_RISK, Adherence.BROKEN) and standing.clause is not ClauseId.ZDT_1
    ]


def _kind(standing: Standing) -> FactKind:
    if standing.clause is ClauseId.SUM and standing.adherence is Adherence.BROKEN:
        # Evidence that does not verify, or that its witness refuses: what it proves is in doubt.
        return FactKind.INTEGRITY
    if standing.clause is ClauseId.PMT and standing.adherence is Adherence.AT_RISK:
        # Due within days or weeks: somebody has to act, and nobody at three in the morning.
        return FactKind.DEGRADATION
    return FactKind.CLAUSE_AT_RISK


def lasting(
    facts: Sequence[Fact], seen: Mapping[str, datetime], now: datetime
) -> tuple[list[Fact], dict[str, datetime]]:
    """The facts that have been seen for long enough, since when; and since when all of them have been seen."""
    since = {fact.key: seen.get(fact.key, now) for fact in facts}
    return [replace(fact, since=since[fact.key]) for fact in facts if now - since[fact.key] >= LASTING], since


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
