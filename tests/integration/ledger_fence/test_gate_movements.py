"""Whether a closed account can move money: by the function, by the trigger, in a partition, by an apply worker."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from fence_server import APPLICATION, FRESH, LEDGER, MAP, Cluster, Ledger
from wallet_servers import Server, wait_until

from siaga.errors import BadInput, Refused
from siaga.ledger import check
from siaga.ledger.gate import Gate
from siaga.ledger.gate_install import guard, install
from siaga.ledger.map import LedgerMap
from siaga.ledger.model import Scope
from siaga.ledger.proof import proof


@pytest.fixture(scope="module")
def one_closed(cluster: Cluster) -> Ledger:
    """A ledger with entries, in which acc-1 alone is closed."""
    ledger = cluster.ledger()
    ledger.move("acc-1", "acc-2")
    asyncio.run(ledger.raised())
    bad = {"account": "acc-1", "failed_checks": ["balance"], "entries": []}
    asyncio.run(ledger.gate.release(ledger.proof(verdict="mismatch", mismatched=[bad]), by="ann"))
    return ledger


@pytest.mark.clause("DRP-3.2b")
async def test_every_account_is_closed_after_a_raise_new_ones_too(ledger: Ledger) -> None:
    assert ledger.move() is None
    await ledger.raised()
    assert ledger.move("acc-1", "acc-2") == "acc-1"
    ledger.query("insert into shop.accounts (id) values ('acc-new')", role=APPLICATION)
    assert ledger.move("acc-new", "acc-1") == "acc-new"
    await ledger.gate.release(ledger.proof(), by="ann")
    assert ledger.move("acc-new", "acc-1") is None
    ledger.query("insert into shop.accounts (id) values ('acc-newer')", role=APPLICATION)
    assert ledger.move("acc-newer", "acc-1") is None


@pytest.mark.clause("DRP-3.2b")
@pytest.mark.parametrize(
    "statement",
    [
        "insert into shop.entries values ('acc-2', 5, 'm'), ('acc-1', -5, 'm')",
        "update shop.entries set amount = 7 where account = 'acc-1'",
        "update shop.entries set account = 'acc-1' where account = 'acc-2'",
        "delete from shop.entries where account = 'acc-1'",
        "copy shop.entries from program 'echo acc-1,5,m' with (format csv)",
    ],
)
async def test_an_application_that_forgets_to_ask_is_refused_by_the_trigger(one_closed: Ledger, statement: str) -> None:
    before = one_closed.query("select * from shop.entries")
    with pytest.raises(psycopg.Error, match="account acc-1 is being verified") as refused:
        one_closed.query(statement, role="" if "program" in statement else APPLICATION)
    assert refused.value.sqlstate == "SG001"
    assert one_closed.query("select * from shop.entries") == before
    assert one_closed.move("acc-2", "acc-3") is None


async def test_the_word_that_everything_is_open_ends_with_any_change_and_with_the_server(ledger: Ledger) -> None:
    """It spares movements the look at the tables, so it must never outlive what it says."""
    said = "select coalesce(siaga.all_open(), false)"
    assert ledger.query(said) == [(False,)]
    for change in (
        "update siaga.gate set is_open = false, generation = 2",
        "set session_replication_role = replica; update siaga.gate set is_open = false, generation = 2",
        "delete from siaga.gate",
        "truncate siaga.gate",
        "begin; update siaga.gate set closed_count = 1; rollback",
    ):
        ledger.query(FRESH)
        assert await ledger.gate.note_all_open() is True
        assert ledger.query(said) == [(True,)]
        assert ledger.move() is None
        ledger.query(change)
        assert ledger.query(said) == [(False,)], change
    ledger.query(FRESH)
    assert await ledger.gate.note_all_open() is True
    ledger.cluster.end()
    ledger.cluster.start()
    assert ledger.query(said) == [(False,)]
    assert ledger.move() is None


async def test_the_word_is_not_given_before_the_opening_is_committed(ledger: Ledger) -> None:
    await ledger.raised()
    assert await ledger.gate.note_all_open() is False
    with psycopg.connect(ledger.admin) as connection:
        connection.execute("update siaga.gate set is_open = true, verdict_lsn = '0/1'")
        assert connection.execute("select siaga.note_all_open()").fetchone() == (False,)
        connection.rollback()
    assert ledger.move() == "acc-1"
    bad = {"account": "acc-1", "failed_checks": ["balance"], "entries": []}
    await ledger.gate.release(ledger.proof(verdict="mismatch", mismatched=[bad]), by="ann")
    assert ledger.query("select siaga.all_open()") == [(False,)]
    await ledger.gate.release(ledger.proof(), by="ann", dry_run=True)
    assert ledger.query("select siaga.all_open()") == [(False,)]
    await ledger.gate.release(ledger.proof(), by="ann")
    assert ledger.query("select siaga.all_open()") == [(True,)]


async def test_without_its_row_the_gate_is_an_error_and_never_open(ledger: Ledger) -> None:
    ledger.query("delete from siaga.gate")
    for statement in ("select siaga.closed_account('acc-1')", "select * from siaga.account_gate('acc-1')"):
        with pytest.raises(psycopg.Error) as missing:
            ledger.query(statement, role=APPLICATION)
        assert missing.value.sqlstate == "SG002"
    with pytest.raises(psycopg.Error, match="no account is open"):
        ledger.query("insert into shop.entries values ('acc-1', 5, 'm')", role=APPLICATION)
    for ask in (ledger.gate.standing(), ledger.gate.settle(1.0), ledger.gate.raise_generation("a drill", by="ann")):
        with pytest.raises(BadInput, match="no row"):
            await ask


async def test_without_its_schema_nothing_moves_and_the_gate_says_so(cluster: Cluster) -> None:
    ledger = cluster.ledger()
    ledger.query("drop schema siaga cascade")
    with pytest.raises(psycopg.errors.InvalidSchemaName):
        ledger.move()
    with pytest.raises(BadInput, match="lacks what the gate stands on"):
        await ledger.gate.standing()


@pytest.mark.parametrize("kind", ["bigint", "uuid", "numeric(12,2)"])
async def test_ids_of_any_type_are_known_as_postgresql_writes_them(cluster: Cluster, kind: str) -> None:
    ledger = cluster.ledger(trigger=False)
    one, other = {
        "bigint": ("7", "8"),
        "uuid": ("6b1f0e2c-0000-4000-8000-00000000000A", "6b1f0e2c-0000-4000-8000-00000000000b"),
        "numeric(12,2)": ("7", "8.50"),
    }[kind]
    ledger.query(
        f"drop table shop.entries; drop table shop.accounts; create table shop.accounts (id {kind} primary key,"
        f" kind text default 'user', balance bigint default 0);"
        f" create table shop.entries (account {kind}, amount bigint, movement text);"
        f" insert into shop.accounts (id) values ('{one}'), ('{other}');"
        " grant all on all tables in schema shop to shop_app"
    )
    await guard(ledger.admin, MAP)
    await ledger.raised()
    ((written,),) = ledger.query(f"select '{one}'::{kind}::text")
    await ledger.gate.release_accounts(ledger.proof(), [written], by="ann")
    ledger.query(f"insert into shop.entries values ('{one}', 5, 'm')", role=APPLICATION)
    with pytest.raises(psycopg.Error, match="is being verified"):
        ledger.query(f"insert into shop.entries values ('{other}', 5, 'm')", role=APPLICATION)
    for wrong in ("nobody", "99"):
        with pytest.raises(BadInput, match="account: "):
            await ledger.gate.account(wrong)


async def test_a_partition_is_guarded_too_and_so_is_one_that_is_made_later(cluster: Cluster) -> None:
    ledger = cluster.ledger(trigger=False)
    ledger.query(
        "drop table shop.entries;"
        " create table shop.entries (account text, amount bigint, movement text, at timestamptz)"
        " partition by range (at);"
        " create table shop.entries_1 partition of shop.entries"
        " for values from ('2026-01-01') to ('2027-01-01')"
    )
    with_time = LedgerMap.model_validate(
        MAP.model_dump(exclude_none=True) | {"entries": MAP.entries.model_copy(update={"time": "at"}).model_dump()}
    )
    await guard(ledger.admin, with_time)
    ledger.query(
        "create table shop.entries_2 partition of shop.entries for values from ('2027-01-01') to ('2028-01-01');"
        " insert into shop.entries values ('acc-1', 1, 'm', '2026-05-05')"
    )
    await ledger.raised()
    for table, year in (("entries", 2026), ("entries_1", 2026), ("entries_2", 2027)):
        with pytest.raises(psycopg.Error, match="is being verified"):
            ledger.query(f"insert into shop.{table} values ('acc-1', 1, 'm', '{year}-05-05')")
    released = await ledger.gate.release(ledger.proof(map_digest=with_time.digest()), by="ann")
    assert released.movements is not None
    for table, year in (("entries_1", 2026), ("entries_2", 2027)):
        ledger.query(f"insert into shop.{table} values ('acc-1', 1, 'm', '{year}-05-05')")


async def test_an_apply_worker_is_not_refused_and_the_gate_itself_is_replicated(cluster: Cluster) -> None:
    """Decision 18: what arrives was judged on the other side; both databases close and open together."""
    blue, green = cluster.ledger(), cluster.ledger()
    green.query("truncate siaga.gate, siaga.gate_ledger, shop.accounts")
    tables = "shop.accounts, shop.entries, siaga.gate, siaga.gate_exceptions, siaga.gate_passes, siaga.gate_history"
    blue.query("alter table shop.entries replica identity full")
    blue.query(f"create publication everything for table {tables}, siaga.gate_ledger")
    slot = f"to_{green.name}"
    blue.query("select pg_create_logical_replication_slot(%s, 'pgoutput')", slot)
    subscription = f"sub_{green.name}"
    green.query(
        f"create subscription {subscription} connection '{blue.admin}' publication everything"
        f" with (create_slot = false, slot_name = '{slot}', copy_data = true)"
    )
    try:
        wait_until(
            lambda: green.query("select generation from siaga.gate") == blue.query("select generation from siaga.gate"),
            "the gate arrived",
            30,
        )
        ready = "select count(*) from pg_subscription_rel where srsubstate <> 'r'"
        wait_until(lambda: green.query(ready) == [(0,)], "all tables are in step", 30)
        blue.move("acc-1", "acc-2")
        assert await green.gate.note_all_open() is True
        generation = await blue.raised()
        bad = {"account": "acc-1", "failed_checks": ["balance"], "entries": []}
        await blue.gate.release(blue.proof(verdict="mismatch", mismatched=[bad]), by="ann")
        arrived = "select generation, is_open, closed_count from siaga.gate"
        wait_until(lambda: green.query(arrived) == [(generation, True, 1)], "the release arrived", 30)
        assert green.move("acc-1", "acc-2") == "acc-1"
        assert green.move("acc-3", "acc-2") is None
        # Blue lets this one through by a person's word; green's apply worker must not refuse it.
        await blue.gate.release_by_override(["acc-1"], "seen with bob", by="ann")
        green.query("update siaga.gate set is_open = false")
        blue.query("insert into shop.entries values ('acc-1', 5, 'late'), ('acc-2', -5, 'late')", role=APPLICATION)
        late = "select count(*) from shop.entries where movement = 'late'"
        wait_until(lambda: green.query(late) == [(2,)], "the movement arrived", 30)
    finally:
        green.query(f"alter subscription {subscription} disable")
        green.query(f"alter subscription {subscription} set (slot_name = none)")
        green.query(f"drop subscription {subscription}")
        wait_until(
            lambda: blue.query("select active from pg_replication_slots where slot_name = %s", slot) == [(False,)],
            "the slot is free",
        )
        blue.query("select pg_drop_replication_slot(%s)", slot)


async def test_a_read_replica_shows_how_an_account_stands_and_a_check_there_opens_it(
    ledger: Ledger, directory: Path, engine: Path, start_cluster: Callable[[Path], Cluster]
) -> None:
    data = directory / "fence-replica"
    copy = [
        str(engine / "bin" / "pg_basebackup"),
        "-D",
        str(data),
        "-d",
        ledger.cluster.conninfo(),
        "-R",
        "-N",
        "-c",
        "fast",
    ]
    copying = Server("basebackup", copy, 0, directory)
    copying.start()
    assert copying.process is not None
    assert copying.process.wait(60) == 0
    replica = Ledger(start_cluster(data), ledger.name)
    await ledger.raised(scope=Scope.INTERNAL)
    shown = "select is_open, why from siaga.account_gate('acc-1')"
    wait_until(lambda: replica.query(shown, role=APPLICATION)[0] == (False, "being verified: a drill"), "it is closed")
    assert (await replica.gate.account("acc-1")).is_open is False
    with pytest.raises(Refused, match="is a replica"):
        await replica.gate.raise_generation("a drill", by="ann")
    report = await asyncio.to_thread(check, replica.admin, MAP)
    await ledger.gate.release(proof(json.loads(json.dumps(report.document()))), by="ann")
    wait_until(lambda: replica.query(shown, role=APPLICATION)[0][0] is True, "it is open")
    replica.cluster.end()


async def test_a_pg_dump_takes_the_gate_along(ledger: Ledger, engine: Path, cluster: Cluster) -> None:
    await ledger.raised()
    restored = f"{ledger.name}_restored"
    ledger.query(f"create database {restored}")
    dump = [str(engine / "bin" / "pg_dump"), "-d", ledger.admin]
    told = subprocess.run(dump, capture_output=True, check=True).stdout
    load = [str(engine / "bin" / "psql"), "-q", "-v", "ON_ERROR_STOP=1", "-d", cluster.conninfo(restored)]
    subprocess.run(load, input=told, check=True, capture_output=True)
    assert Ledger(cluster, restored).move() == "acc-1"


async def test_a_ledger_recovered_from_before_the_gate_is_installed_closed(cluster: Cluster) -> None:
    ledger = cluster.ledger()
    ledger.query("drop schema siaga cascade; drop schema shop cascade")
    await install(ledger.admin, is_open=False)
    ledger.query(LEDGER)
    await guard(ledger.admin, MAP)
    with pytest.raises(psycopg.Error, match="is being verified"):
        ledger.query("insert into shop.entries values ('acc-1', 5, 'm')")
    gate = Gate(ledger.admin)
    assert await gate.settle(5.0) == ()
    await gate.release(ledger.proof(), by="ann")
    ledger.query("insert into shop.entries values ('acc-1', 5, 'm')")
