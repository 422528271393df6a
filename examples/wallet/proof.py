"""Proof after the fact: was every acknowledged write kept, was none made twice, do the books balance. Integers only."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psycopg

SESSIONS_AT_ONCE = 16
SESSION_TIMEOUT_S = 5.0

# Every acknowledged answer with the ledger's row of its key and what that row's entries did.
ACKNOWLEDGED = """
    select a.key, t.id is not null and t.id = a.transfer and t.kind = a.kind and t.amount = a.amount
               and t.state = case a.status when 200 then 'done' else 'refused' end
               and a.account in (t.debit_account, t.credit_account)
    from unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::int[])
         as a (key, kind, account, amount, transfer, status)
    left join wallet.transfers t on t.idempotency_key = a.key
"""
# Transfers with any effect but the one they record: two entries that move `amount` from debit to credit, or none.
MISEXECUTED = """
    select t.idempotency_key from wallet.transfers t left join wallet.entries e on e.transfer = t.id
    group by t.id
    having count(e) <> case t.state when 'done' then 2 else 0 end
        or count(*) filter (where e.account = t.debit_account and e.amount = -t.amount)
           <> case t.state when 'done' then 1 else 0 end
        or count(*) filter (where e.account = t.credit_account and e.amount = t.amount)
           <> case t.state when 'done' then 1 else 0 end
"""
UNBALANCED = """
    select a.id from wallet.accounts a left join wallet.entries e on e.account = a.id
    group by a.id having a.balance <> coalesce(sum(e.amount), 0) or a.version <> count(e)
"""


@dataclass(frozen=True, slots=True)
class Proof:
    """What the ledger says about the acknowledgements; all 0 but the first when nothing went wrong."""

    acknowledged: int
    lost: int
    """Acknowledged, but the ledger has not exactly that."""
    doubled: int
    """Keys with another effect than one execution."""
    balances_wrong: int
    sum_of_balances: int

    @property
    def holds(self) -> bool:
        """Whether no money was lost, doubled or invented."""
        return not (self.lost or self.doubled or self.balances_wrong or self.sum_of_balances)


@dataclass(frozen=True, slots=True)
class SessionsFound:
    """How many sessions the store still knows."""

    valid: int
    invalid: int
    unknown: int
    """No answer, or an outage: neither valid nor lost."""


async def prove(auditor_conninfo: str, acknowledgements: Path) -> Proof:
    """Compare every acknowledgement with the ledger, and the ledger with itself, in one snapshot."""
    lines = await asyncio.to_thread(_read, acknowledgements)
    async with await psycopg.AsyncConnection.connect(auditor_conninfo) as connection:
        await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        await connection.set_read_only(True)
        names = ("key", "kind", "account", "amount", "transfer", "status")
        columns = tuple([line.get(name) for line in lines] for name in names)
        matches = await (await connection.execute(ACKNOWLEDGED, columns)).fetchall()
        misexecuted = {row[0] for row in await (await connection.execute(MISEXECUTED)).fetchall()}
        unbalanced = await (await connection.execute(UNBALANCED)).fetchall()
        total = await (await connection.execute("select coalesce(sum(balance), 0) from wallet.accounts")).fetchone()
    assert total is not None
    return Proof(
        acknowledged=len(lines),
        lost=sum(not matches_ledger for _, matches_ledger in matches),
        doubled=len(misexecuted | answered_differently(lines)),
        balances_wrong=len(unbalanced),
        sum_of_balances=int(total[0]),
    )


def answered_differently(lines: Sequence[Mapping[str, Any]]) -> set[str]:
    """Keys that were acknowledged with more than one transfer."""
    transfers: dict[str, set[int]] = {}
    for line in lines:
        transfers.setdefault(line["key"], set()).add(line["transfer"])
    return {key for key, found in transfers.items() if len(found) > 1}


async def sessions_valid(front_doors: Mapping[str, str], cookies: Sequence[str]) -> SessionsFound:
    """Ask any front door about every session; without the claim, so that only the session store can vouch for it."""
    doors = list(front_doors.values())
    gate = asyncio.Semaphore(SESSIONS_AT_ONCE)
    timeout = aiohttp.ClientTimeout(total=SESSION_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as http:

        async def ask(number: int, cookie: str) -> int:
            url = f"{doors[number % len(doors)]}/session"
            async with gate:
                try:
                    async with http.get(url, headers={"cookie": f"session={cookie}"}) as response:
                        return response.status
                except (aiohttp.ClientError, TimeoutError, OSError):
                    return 0

        statuses = await asyncio.gather(*(ask(number, cookie) for number, cookie in enumerate(cookies)))
    valid, invalid = statuses.count(200), statuses.count(401)
    return SessionsFound(valid, invalid, len(statuses) - valid - invalid)


def _read(acknowledgements: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in acknowledgements.read_text(encoding="utf-8").splitlines() if line]
