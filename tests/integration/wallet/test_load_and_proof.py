"""The load generator records what users saw, and the proof finds what was lost or doubled."""

from __future__ import annotations

import json
import secrets
import time
from collections import Counter
from pathlib import Path

import psycopg
import pytest
from wallet.load import Load, LoadPlan
from wallet.proof import Proof, prove, sessions_valid
from wallet_servers import Database, Server


@pytest.fixture
def plan(nodes: list[Server]) -> LoadPlan:
    """Two regions, a node each."""
    doors = {region: f"http://127.0.0.1:{node.port}" for region, node in zip(("sgp", "fra"), nodes, strict=True)}
    return LoadPlan(front_doors=doors, rate_per_s=80, users_per_region=5, seed=7)


async def test_a_run_without_faults_loses_and_doubles_nothing(
    plan: LoadPlan, database: Database, tmp_path: Path
) -> None:
    path = tmp_path / "acknowledgements.jsonl"
    async with Load(plan, path) as load:
        await load.prepare()
        begin = time.monotonic()
        await load.run(2.0)
    assert 1.9 < time.monotonic() - begin < 5
    assert [outcome for outcome in load.outcomes if outcome.error] == []
    assert len(load.outcomes) == 160
    assert Counter(outcome.region for outcome in load.outcomes) == {"sgp": 80, "fra": 80}
    assert {outcome.served_by for outcome in load.outcomes} == {"sgp-1", "sgp-2"}
    assert {outcome.request_class for outcome in load.outcomes} == {"safe", "keyed", "raw"}
    gaps = [b - a for a, b in zip(*(sorted(o.sent_s for o in load.outcomes)[i:] for i in (0, 1)), strict=False)]
    assert max(gaps) == pytest.approx(1 / 80, abs=1e-6)
    keyed = sum(outcome.request_class == "keyed" for outcome in load.outcomes)
    proof = await prove(database.auditor, path)
    assert proof == Proof(acknowledged=keyed + 10, lost=0, doubled=0, balances_wrong=0, sum_of_balances=0)
    assert proof.holds
    found = await sessions_valid(plan.front_doors, [*load.sessions, secrets.token_urlsafe(32)])
    assert (found.valid, found.invalid, found.unknown) == (len(load.sessions), 1, 0)


async def test_a_front_door_that_is_gone_is_recorded_and_its_keys_remembered(
    plan: LoadPlan, database: Database, tmp_path: Path
) -> None:
    async with Load(plan, tmp_path / "acknowledgements.jsonl") as load:
        await load.prepare()
        gone = LoadPlan({"sgp": plan.front_doors["sgp"], "fra": "http://127.0.0.1:9"}, 100, 5, 1, mix={"deposit": 1.0})
        load.plan = gone
        await load.run(0.5)
    failed = [outcome for outcome in load.outcomes if outcome.region == "fra"]
    assert {(outcome.status, outcome.error) for outcome in failed} == {(0, "ClientConnectorError")}
    assert sorted(load.unacknowledged) == sorted(outcome.key for outcome in failed)
    assert (await prove(database.auditor, tmp_path / "acknowledgements.jsonl")).holds


async def test_the_proof_finds_a_lost_and_an_altered_acknowledgement(
    plan: LoadPlan, database: Database, tmp_path: Path
) -> None:
    path = tmp_path / "acknowledgements.jsonl"
    async with Load(plan, path) as load:
        await load.prepare()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0]["amount"] += 1
    lines[1]["key"] = "never-written"
    lines.append(lines[2] | {"transfer": lines[3]["transfer"]})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    proof = await prove(database.auditor, path)
    assert (proof.lost, proof.doubled, proof.holds) == (3, 1, False)


async def test_the_proof_finds_a_wrong_balance_and_a_doubled_entry(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "acknowledgements.jsonl"
    path.write_text("")
    before = await prove(database.auditor, path)
    assert before.holds
    pair = "select account, sequence + 1000000, amount, balance_after, transfer, created_at from wallet.entries"
    last = "(select max(id) from wallet.transfers where state = 'done')"
    database.query(f"insert into wallet.entries {pair} where transfer = {last}")
    try:
        broken = await prove(database.auditor, path)
    finally:
        with psycopg.connect(database.admin) as connection:
            connection.execute("set session_replication_role = replica")
            connection.execute("delete from wallet.entries where sequence > 1000000")
    assert (broken.doubled, broken.balances_wrong, broken.sum_of_balances) == (1, 2, 0)


async def test_the_auditor_cannot_write_or_see_password_hashes(database: Database) -> None:
    async with await psycopg.AsyncConnection.connect(database.auditor, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("select password_hash from wallet.users")
        await connection.execute("set default_transaction_read_only = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("delete from wallet.entries")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("select wallet.register('x', 'y')")
