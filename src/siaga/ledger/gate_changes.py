"""What a release writes into the gate's tables, to be called while the gate's row is locked; and the gate's history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from siaga.ledger.fence import Facts, Release, Standing
from siaga.ledger.gate_connection import Connection
from siaga.ledger.proof import Fault, Proof

ENTRIES_KEPT_MAX = 100
"""Of one account, in the gate; the report has them all."""


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the gate's history."""

    id: UUID
    changed_at: datetime
    changed_by: str
    act: str
    generation: int
    reason: str
    figures: Mapping[str, Any]


async def any_open(connection: Connection, accounts: Sequence[str]) -> bool:
    """Whether any of these accounts may move now."""
    cursor = await connection.execute(
        "select from unnest(%s::text[]) a cross join siaga.gate g"
        " left join siaga.gate_exceptions x on x.generation = g.generation and x.account = a"
        " where coalesce(x.is_open, g.is_open) limit 1",
        (accounts,),
    )
    return cursor.rowcount > 0


async def unsettle(connection: Connection) -> None:
    """An open account closes: what it has begun may still commit, and no report can have seen it."""
    await connection.execute("update siaga.gate set settled_xid = null, settled_system = null")


async def apply_default(connection: Connection, decision: Release, facts: Facts, proof: Proof, by: str) -> None:
    """Open the default; of the exceptions keep those that a newer verdict or a person made."""
    generation = facts.standing.generation
    kept = sorted(facts.newer | facts.overridden)
    await connection.execute(
        "delete from siaga.gate_exceptions where generation < %s or generation = %s and account <> all (%s)",
        (generation, generation, kept),
    )
    await _copy(connection, decision.closed, facts.newer, generation, proof, by)
    await connection.execute(
        "update siaga.gate set is_open = true, verdict_lsn = %s, verdict_system = %s, verdict_digest = %s,"
        " closed_count = (select count(*) from siaga.gate_exceptions where generation = %s and not is_open),"
        " changed_at = clock_timestamp()",
        (proof.lsn, proof.source.system_id, proof.digest, generation),
    )
    await record(connection, by, "released", generation, decision.reason, decision.figures)


async def _copy(
    connection: Connection, closed: Mapping[str, Fault], kept: frozenset[str], generation: int, proof: Proof, by: str
) -> None:
    columns = "generation, account, is_open, why, entries, lsn, system, digest, changed_by"
    async with (
        connection.cursor() as cursor,
        cursor.copy(f"copy siaga.gate_exceptions ({columns}) from stdin") as copy,
    ):
        for account, fault in closed.items():
            if account not in kept:
                entries = Jsonb(list(fault.entries[:ENTRIES_KEPT_MAX]))
                await copy.write_row(
                    (
                        generation,
                        account,
                        False,
                        fault.why,
                        entries,
                        proof.lsn,
                        proof.source.system_id,
                        proof.digest,
                        by,
                    )
                )


async def apply_named(
    connection: Connection, decision: Release, standing: Standing, by: str, proof: Proof | None
) -> None:
    """Open the accounts that are named; without a proof by the override's reason."""
    generation = standing.generation
    why = decision.reason if proof else f"override by {by}: {decision.override}"
    verdict = (proof.lsn, proof.source.system_id, proof.digest) if proof else (None, None, None)
    await connection.execute(
        "insert into siaga.gate_exceptions (generation, account, is_open, why, lsn, system, digest, changed_by)"
        " select %s, a, true, %s, %s, %s, %s, %s from unnest(%s::text[]) a"
        " on conflict (generation, account) do update set is_open = true, why = excluded.why, entries = '[]',"
        " lsn = excluded.lsn, system = excluded.system, digest = excluded.digest,"
        " changed_by = excluded.changed_by, changed_at = excluded.changed_at",
        (generation, why, *verdict, by, list(decision.opened)),
    )
    await connection.execute(
        "update siaga.gate set closed_count = (select count(*) from siaga.gate_exceptions"
        " where generation = %s and not is_open), changed_at = clock_timestamp()",
        (generation,),
    )
    act = "released" if proof else "released by override"
    await record(connection, by, act, generation, decision.reason, {"accounts": list(decision.opened)})


async def record(
    connection: Connection, by: str, act: str, generation: int, reason: str, figures: Mapping[str, Any]
) -> None:
    """One more line of the gate's history."""
    await connection.execute(
        "insert into siaga.gate_history (changed_by, act, generation, reason, figures) values (%s, %s, %s, %s, %s)",
        (by, act, generation, reason, Jsonb(dict(figures))),
    )


async def since(connection: Connection, at: datetime) -> tuple[Change, ...]:
    """The history from a time on, oldest first."""
    cursor = connection.cursor(row_factory=class_row(Change))
    await cursor.execute(
        "select id, changed_at, changed_by, act, generation, reason, figures from siaga.gate_history"
        " where changed_at >= %s order by changed_at, id",
        (at,),
    )
    return tuple(await cursor.fetchall())
