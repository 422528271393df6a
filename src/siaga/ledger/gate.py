"""The gate in the ledger's database: raised, settled, opened, shown. What may open is `fence.py`'s to say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from psycopg.rows import class_row, dict_row

from siaga.errors import BadInput, Refused
from siaga.ledger import fence, gate_changes, gate_ledger
from siaga.ledger.fence import Release, Standing, SystemPolicy
from siaga.ledger.gate_connection import Connection, connected
from siaga.ledger.gate_ledger import Movements
from siaga.ledger.model import Scope
from siaga.ledger.proof import Fault, Proof

SETTLE_POLL_S = 0.01
SETTLE_DEADLINE_S = 5.0

_STANDING = """
    select generation, is_open, closed_count, scope_wanted, reason, raised_by, raised_at, settled_system,
           verdict_lsn::text as verdict_lsn, verdict_digest
    from siaga.gate
"""
# A switch-over to another server leaves its own transaction ids: there the gate has to settle once more.
_SETTLED = """
    update siaga.gate set settled_xid = pg_current_xact_id(), changed_at = clock_timestamp(),
        settled_system = (select system_identifier::text from pg_control_system()) where changed_at = %s
"""
# Whoever holds the lock that movements share, by the transaction's name; without a pid it is a prepared one.
_MOVING = """
    select l.virtualtransaction, l.pid, p.gid from pg_locks l
    left join pg_locks own on l.pid is null and own.pid is null and own.locktype = 'transactionid'
        and own.virtualtransaction = l.virtualtransaction
    left join pg_prepared_xacts p on p.transaction = own.transactionid
    where l.locktype = 'advisory' and l.granted and l.objsubid = 1
        and l.database = (select oid from pg_database where datname = current_database())
        and (l.classid::bigint << 32) | l.objid::bigint = siaga.movements_lock()
"""


@dataclass(frozen=True, slots=True)
class Moving:
    """A movement that began before the generation and has not ended."""

    transaction: str
    pid: int | None
    """Of its backend; None: a prepared transaction, which only `commit prepared` or `rollback prepared` ends."""
    prepared_as: str | None

    def __str__(self) -> str:
        return f"prepared transaction {self.prepared_as!r}" if self.pid is None else f"backend {self.pid}"


@dataclass(frozen=True, slots=True)
class Raised:
    """What a raise came to."""

    generation: int
    is_new: bool
    """False where the same run had raised it before."""


@dataclass(frozen=True, slots=True)
class Released:
    """What a release came to."""

    decision: Release
    standing: Standing
    movements: Movements | None
    """Share of recent movements that are possible now; None where the map does not say how to tell."""
    moving: tuple[Moving, ...] = ()
    """Where open accounts were closed: movements that had asked before and not ended within the deadline."""


@dataclass(frozen=True, slots=True)
class AccountState:
    """One account at the gate."""

    account: str
    generation: int
    is_open: bool
    why: str
    entries: Sequence[Any]
    verdict_lsn: str | None
    verdict_digest: str | None


class Gate:
    """The gate of one database, as the role `siaga_gate` (or one with more rights) sees it."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo

    async def standing(self) -> Standing:
        """How the gate stands."""
        async with self._connected() as connection:
            return await _standing(connection)

    async def raise_generation(
        self, reason: str, *, by: str, scope: Scope = Scope.JOURNAL, key: str | None = None, above: int = 0
    ) -> Raised:
        """Close every account at once: whatever asks from now on is refused. `settle` waits for what asked before.

        `key` makes a repetition harmless; `above` is the last generation that somebody outside remembers, since a
        roll-back takes the gate's row back too.
        """
        async with self._connected() as connection:
            standing, raised_key = await _locked(connection)
            is_new = key is None or key != raised_key
            if is_new:
                generation = max(standing.generation, above) + 1
                await connection.execute(
                    "update siaga.gate set generation = %s, is_open = false, closed_count = 0, scope_wanted = %s,"
                    " reason = %s, raised_by = %s, raised_at = clock_timestamp(), raised_key = %s, settled_xid = null,"
                    " settled_system = null, verdict_lsn = null, verdict_system = null, verdict_digest = null,"
                    " changed_at = clock_timestamp()",
                    (generation, scope, reason, by, key),
                )
                await gate_changes.record(connection, by, "raised", generation, reason, {"scope": scope})
            else:
                generation = standing.generation
        return Raised(generation, is_new)

    async def settle(self, deadline_s: float) -> tuple[Moving, ...]:
        """Wait for every movement that may have asked before the last change, and bind the gate to this server.

        Returns those that had not ended within the deadline; then the gate is not settled, and no verdict opens it.
        """
        end = asyncio.get_running_loop().time() + deadline_s
        async with self._connected(autocommit=True) as connection:
            await _standing(connection)
            while True:
                cursor = await connection.execute("select changed_at from siaga.gate")
                changed_at = await cursor.fetchone()
                moving = await _outlasting(connection, end)
                if moving:
                    return moving
                # Changed meanwhile: whoever asked before that change has to be waited for too.
                if (await connection.execute(_SETTLED, changed_at)).rowcount:
                    await connection.execute("select siaga.note_all_open()")
                    return ()

    async def note_all_open(self) -> bool:
        """Spare movements the look at the gate's tables where everything is open; whether it is.

        A restarted or promoted server has to be told again; until then nothing is wrong, only slower.
        """
        async with self._connected() as connection:
            row = await (await connection.execute("select siaga.note_all_open()")).fetchone()
            return bool(row and row[0])

    async def moving(self) -> tuple[Moving, ...]:
        """Movements in flight."""
        async with self._connected() as connection:
            return tuple(await _moving(connection))

    async def release(
        self, proof: Proof, *, by: str, policy: SystemPolicy = SystemPolicy.STRICT, dry_run: bool = False
    ) -> Released:
        """Open every account that the report verifies, close those at fault; Refused as `fence.release` says."""
        return await self._open(by, dry_run, proof, lambda facts: fence.release(facts, proof, policy))

    async def release_accounts(
        self,
        proof: Proof,
        accounts: Sequence[str],
        *,
        by: str,
        policy: SystemPolicy = SystemPolicy.STRICT,
        dry_run: bool = False,
    ) -> Released:
        """Open these accounts alone; Refused when any of them is not verified."""
        return await self._open(
            by, dry_run, proof, lambda facts: fence.release_accounts(facts, proof, accounts, policy), accounts
        )

    async def release_by_override(
        self, accounts: Sequence[str], reason: str, *, by: str, dry_run: bool = False
    ) -> Released:
        """Open accounts without a verdict, on record."""
        async with self._connected(dry_run=dry_run) as connection:
            await gate_ledger.require_accounts(connection, accounts)
            standing, _ = await _locked(connection)
            decision = fence.release_by_override(standing, accounts, by, reason)
            await gate_changes.apply_named(connection, decision, standing, by, None)
            released = await _released(connection, decision)
        await self.note_all_open()
        return released

    async def refusal(self, account: str) -> Refused:
        """What to answer when an account is to be opened and no report comes with it."""
        state = await self.account(account)
        fault = Fault(state.why, state.entries) if state.verdict_lsn else Fault("no verdict of this generation")
        return fence.not_verified(account, fault, state.generation)

    async def account(self, account: str) -> AccountState:
        """How one account stands, and why; BadInput when the ledger has no such account."""
        async with self._connected() as connection:
            await gate_ledger.require_accounts(connection, [account])
            cursor = connection.cursor(row_factory=class_row(AccountState))
            await cursor.execute(
                "select %(account)s::text as account, a.generation, a.is_open, a.why,"
                " coalesce(x.entries, '[]') as entries,"
                " (case when x.account is null then g.verdict_lsn else x.lsn end)::text as verdict_lsn,"
                " case when x.account is null then g.verdict_digest else x.digest end as verdict_digest"
                " from siaga.gate g cross join siaga.account_gate(%(account)s) a left join siaga.gate_exceptions x"
                " on x.generation = g.generation and x.account = %(account)s",
                {"account": account},
            )
            found = await cursor.fetchone()
            assert found is not None, "account_gate() answers or raises"
            return found

    async def closed(self, limit: int) -> tuple[AccountState, ...]:
        """The closed exceptions, at most `limit`."""
        async with self._connected() as connection:
            cursor = connection.cursor(row_factory=class_row(AccountState))
            await cursor.execute(
                "select x.account, x.generation, x.is_open, x.why, x.entries, x.lsn::text as verdict_lsn,"
                " x.digest as verdict_digest from siaga.gate_exceptions x join siaga.gate g using (generation)"
                " where not x.is_open order by x.account limit %s",
                (limit,),
            )
            return tuple(await cursor.fetchall())

    async def history(self, since: datetime) -> tuple[gate_changes.Change, ...]:
        """What was changed from a time on, oldest first."""
        async with self._connected() as connection:
            return await gate_changes.since(connection, since)

    async def movements(self) -> Movements | None:
        """Share of recent movements that are possible as the gate stands."""
        async with self._connected() as connection:
            return await gate_ledger.movements(connection)

    async def _open(
        self,
        by: str,
        dry_run: bool,
        proof: Proof,
        decide: Callable[[fence.Facts], Release],
        accounts: Sequence[str] | None = None,
    ) -> Released:
        async with self._connected(dry_run=dry_run) as connection:
            if accounts is not None:
                await gate_ledger.require_accounts(connection, accounts)
            standing, _ = await _locked(connection)
            facts = await gate_ledger.facts(connection, standing, proof)
            decision = decide(facts)
            closes = await gate_changes.any_open(connection, list(decision.closed))
            if closes:
                await gate_changes.unsettle(connection)
            if decision.opens_default:
                await gate_changes.apply_default(connection, decision, facts, proof, by)
            else:
                await gate_changes.apply_named(connection, decision, standing, by, proof)
            released = await _released(connection, decision)
        if closes and not dry_run:
            # What an account had begun when it closed ends before anybody relies on it.
            return replace(released, moving=await self.settle(SETTLE_DEADLINE_S))
        await self.note_all_open()
        return released

    def _connected(self, *, autocommit: bool = False, dry_run: bool = False) -> AbstractAsyncContextManager[Connection]:
        return connected(self._conninfo, autocommit=autocommit, dry_run=dry_run)


async def _standing(connection: Connection) -> Standing:
    cursor = connection.cursor(row_factory=dict_row)
    await cursor.execute(_STANDING)
    row = await cursor.fetchone()
    if row is None:
        raise BadInput("siaga.gate has no row, expected one", hint="Install the gate again, closed.")
    return Standing(**{**row, "scope_wanted": Scope(row["scope_wanted"])})


async def _locked(connection: Connection) -> tuple[Standing, str | None]:
    """The gate, until this transaction ends nobody else's to change; and the key of the run that raised it."""
    cursor = await connection.execute("select raised_key from siaga.gate for update")
    row = await cursor.fetchone()
    return await _standing(connection), row[0] if row else None


async def _moving(connection: Connection) -> list[Moving]:
    cursor = await connection.execute(_MOVING)
    return [Moving(*row) for row in await cursor.fetchall()]


async def _outlasting(connection: Connection, end: float) -> tuple[Moving, ...]:
    """Those of the movements in flight now that are still in flight at the end, on the loop's clock."""
    moving = {found.transaction: found for found in await _moving(connection)}
    while moving and asyncio.get_running_loop().time() < end:
        await asyncio.sleep(SETTLE_POLL_S)
        still = {found.transaction for found in await _moving(connection)}
        moving = {name: found for name, found in moving.items() if name in still}
    return tuple(moving.values())


async def _released(connection: Connection, decision: Release) -> Released:
    return Released(decision, await _standing(connection), await gate_ledger.movements(connection))
