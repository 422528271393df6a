"""Opening and closing a million accounts: the gate's row beside an update of each account."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable

import psycopg

from benchmarks.ledger_release.rig import MAP, Rig
from siaga.ledger.gate import Gate
from siaga.ledger.proof import proof

ONE_BY_ONE = 20_000
"""Accounts that are updated one by one; the figure is scaled to all."""

Figures = dict[str, float]


def measure(rig: Rig, *, accounts: int, entries: int, rounds: int) -> Figures:
    """Medians in seconds, the ways taking turns so that the machine's moods hit all alike."""
    _fill(rig, accounts, entries)
    ways: dict[str, Callable[[], float]] = {
        "close_gate_s": lambda: _raise(rig),
        "close_one_statement_s": lambda: _one_statement(rig, is_open=False),
        "open_gate_25_at_fault_s": lambda: _release(rig, accounts, 25),
        "open_gate_1_percent_at_fault_s": lambda: _some_at_fault(rig, accounts),
        "open_gate_without_trigger_s": lambda: _unguarded(rig, accounts),
        "open_one_statement_s": lambda: _one_statement(rig, is_open=True),
        "open_one_by_one_s": lambda: _one_by_one(rig) * accounts / ONE_BY_ONE,
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in ways.items():
            taken[name].append(way())
            print(f"round {number}: {name} {taken[name][-1]:.3f}", file=sys.stderr, flush=True)
    return {name: statistics.median(found) for name, found in taken.items()}


def _fill(rig: Rig, accounts: int, entries: int) -> None:
    rig.query(
        "set session_replication_role = replica;"
        f" insert into wallet.users (name, password_hash) select 'u' || n, '' from generate_series(1, {accounts}) n;"
        " insert into wallet.accounts (owner, kind) select id, 'user' from wallet.users;"
        " insert into wallet.transfers (idempotency_key, request_digest, kind, debit_account, credit_account, amount,"
        f" state, created_at) select n, '', 'deposit', 1, 1001, 1, 'done', now() from generate_series(1, {entries}) n;"
        " insert into wallet.entries select 1001 + id % 1000, 1 + id / 1000, 1, 1, id, now() from wallet.transfers;"
        " create table public.per_account as select id, false as is_open from wallet.accounts;"
        " alter table public.per_account add primary key (id); analyze"
    )


def _raise(rig: Rig) -> float:
    async def close() -> None:
        gate = Gate(rig.conninfo())
        await gate.raise_generation("a benchmark", by="bench")
        assert await gate.settle(5.0) == ()

    return _timed(lambda: asyncio.run(close()))


def _release(rig: Rig, accounts: int, faults: int) -> float:
    """The whole command but its start: the report is parsed, bound, and opens what it verifies."""
    ((system, lsn, snapshot),) = rig.query(
        "select (select system_identifier::text from pg_control_system()), pg_current_wal_insert_lsn()::text,"
        " pg_current_snapshot()::text"
    )
    bad = [
        {"account": str(1001 + n), "difference": "-5", "failed_checks": ["balance"], "entries": [{"sequence": n}]}
        for n in range(faults)
    ]
    report = json.dumps(
        {
            "verdict": "mismatch",
            "scope": "journal",
            "grade": "full",
            "accounts": accounts,
            "verified": accounts - faults,
            "listed": True,
            "lsn": lsn,
            "snapshot": snapshot,
            "map_digest": MAP.digest(),
            "mismatched": bad,
            "tainted": [],
            "source": {"system_id": system, "timeline": 1, "database": "wallet"},
        }
    )

    def run() -> None:
        released = asyncio.run(Gate(rig.conninfo()).release(proof(json.loads(report)), by="bench"))
        assert released.standing.closed_count == faults

    return _timed(run)


def _some_at_fault(rig: Rig, accounts: int) -> float:
    _raise(rig)
    return _release(rig, accounts, accounts // 100)


def _unguarded(rig: Rig, accounts: int) -> float:
    """Without the trigger, the table of entries itself tells what was written since: it is read whole."""
    rig.query("alter table wallet.entries disable trigger siaga_refuse_movements")
    _raise(rig)
    try:
        return _release(rig, accounts, 25)
    finally:
        rig.query("alter table wallet.entries enable trigger siaga_refuse_movements")


def _one_statement(rig: Rig, *, is_open: bool) -> float:
    taken = _timed(lambda: rig.query("update public.per_account set is_open = %s", is_open))
    rig.query("vacuum public.per_account")
    return taken


def _one_by_one(rig: Rig) -> float:
    """One transaction, one prepared statement, pipelined: as kind to it as it gets."""

    def run() -> None:
        with psycopg.connect(rig.conninfo()) as connection, connection.cursor() as cursor:
            ids = [(1001 + n,) for n in range(ONE_BY_ONE)]
            cursor.executemany("update public.per_account set is_open = true where id = %s", ids)

    return _timed(run)


def _timed(run: Callable[[], object]) -> float:
    begin = time.monotonic()
    run()
    return time.monotonic() - begin
