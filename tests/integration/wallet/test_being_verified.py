"""What a user meets while accounts are verified after a recovery: everything but movements (DRP-3.2b)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator

import psycopg
import pytest
from wallet_servers import MAP, Answer, Database, User, assert_books_balance, install_ledger

from siaga.ledger.gate import Gate
from siaga.ledger.proof import proof

NewUser = Callable[[], User]


@pytest.fixture
def gate(database: Database) -> Iterator[Gate]:
    """The gate; open again after the test."""
    yield Gate(database.admin)
    asyncio.run(open_all(Gate(database.admin), database))


async def raised(gate: Gate) -> None:
    """Close every account."""
    await gate.raise_generation("a recovery", by="ann")
    assert await gate.settle(10.0) == ()


async def open_all(gate: Gate, database: Database, closed: tuple[User, ...] = ()) -> None:
    """Open what a check of this moment would verify, were these accounts at fault."""
    if (await gate.standing()).settled_system is None:
        assert await gate.settle(10.0) == ()
    ((system, timeline, lsn, snapshot),) = database.query(
        "select (select system_identifier::text from pg_control_system()), 1, pg_current_wal_insert_lsn()::text,"
        " pg_current_snapshot()::text"
    )
    source = {"system_id": system, "timeline": timeline, "database": "wallet"}
    bad = [{"account": str(user.account), "failed_checks": ["balance"], "entries": []} for user in closed]
    verified = {
        "verdict": "mismatch" if bad else "verified",
        "scope": "journal",
        "grade": "full",
        "accounts": 1,
        "verified": 1,
    }
    where = {"listed": True, "lsn": lsn, "snapshot": snapshot, "source": source, "map_digest": MAP.digest()}
    await gate.release(proof(verified | where | {"mismatched": bad, "tainted": []}), by="ann")


def assert_being_verified(answer: Answer) -> None:
    """423, and nothing was done."""
    assert (answer.status, answer.content["reason"]) == (423, "being_verified"), answer
    assert answer.headers["retry-after"] == "30"
    assert "x-siaga-outage" not in answer.headers


@pytest.mark.clause("DRP-3.2b")
async def test_a_fenced_user_logs_in_sees_the_marked_balance_and_cannot_move_money(
    new_user: NewUser, database: Database, gate: Gate
) -> None:
    ann, bob = await new_user().register(500), await new_user().register(500)
    assert (await ann.send("GET", "/balance")).content["being_verified"] is False
    await raised(gate)
    login = await ann.send("POST", "/login", {"name": ann.name, "password": "correct horse"})
    assert login.status == 200
    shown = await ann.send("GET", "/balance")
    assert (shown.content["balance"], shown.content["being_verified"]) == (500, True)
    assert len((await ann.send("GET", "/statement")).content["entries"]) == 1
    for path, body in (
        ("/deposit", {"amount": 1}),
        ("/withdraw", {"amount": 1}),
        ("/transfer", {"to": bob.account, "amount": 1}),
    ):
        assert_being_verified(await ann.send("POST", path, body, key=secrets.token_hex(8)))
    newcomer = await new_user().register()
    assert_being_verified(await newcomer.send("POST", "/deposit", {"amount": 1}, key=secrets.token_hex(8)))
    await open_all(gate, database)
    assert (await ann.send("GET", "/balance")).content["being_verified"] is False
    assert (await newcomer.send("POST", "/deposit", {"amount": 1}, key=secrets.token_hex(8))).status == 200
    assert_books_balance(database)


@pytest.mark.clause("DRP-3.2b")
async def test_a_refused_movement_goes_through_with_the_same_key_once_the_account_is_open(
    new_user: NewUser, database: Database, gate: Gate
) -> None:
    ann = await new_user().register(500)
    key = secrets.token_hex(8)
    await raised(gate)
    for node in (0, 1):
        assert_being_verified(await ann.send("POST", "/withdraw", {"amount": 10}, node=node, key=key))
    assert database.query("select count(*) from wallet.transfers where idempotency_key = %s", key) == [(0,)]
    await open_all(gate, database)
    done = await ann.send("POST", "/withdraw", {"amount": 10}, key=key)
    assert (done.status, done.content["balance"], "idempotent-replayed" in done.headers) == (200, 490, False)


@pytest.mark.clause("DRP-3.2b")
async def test_what_was_decided_before_the_fence_is_still_answered(
    new_user: NewUser, database: Database, gate: Gate
) -> None:
    ann = await new_user().register(500)
    key = secrets.token_hex(8)
    first = await ann.send("POST", "/withdraw", {"amount": 10}, key=key)
    await raised(gate)
    again = await ann.send("POST", "/withdraw", {"amount": 10}, key=key)
    assert (again.status, again.content) == (200, first.content)
    assert again.headers["idempotent-replayed"] == "true"


@pytest.mark.clause("DRP-3.2b")
async def test_one_closed_account_neither_sends_nor_receives_and_stops_nobody_else(
    new_user: NewUser, database: Database, gate: Gate
) -> None:
    ann, bob, eve = [await new_user().register(500) for _ in range(3)]
    await raised(gate)
    await open_all(gate, database, closed=(ann,))
    sent = await ann.send("POST", "/transfer", {"to": bob.account, "amount": 5}, key=secrets.token_hex(8))
    received = await bob.send("POST", "/transfer", {"to": ann.account, "amount": 5}, key=secrets.token_hex(8))
    between = await bob.send("POST", "/transfer", {"to": eve.account, "amount": 5}, key=secrets.token_hex(8))
    assert_being_verified(sent)
    assert_being_verified(received)
    assert (between.status, between.content["balance"]) == (200, 495)
    assert (await ann.send("GET", "/balance")).content["being_verified"] is True
    assert (await bob.send("GET", "/balance")).content["being_verified"] is False
    state = await gate.account(str(ann.account))
    assert (state.is_open, state.why) == (False, "mismatch: balance")


@pytest.mark.clause("DRP-3.2b")
async def test_a_key_that_another_node_is_executing_is_not_called_closed(
    new_user: NewUser, database: Database, gate: Gate
) -> None:
    """The fence rises while one node waits to commit: the other one finds out what became of the key."""
    ann = await new_user().register(500)
    key = secrets.token_hex(8)
    with psycopg.connect(database.admin) as executing:
        moved = executing.execute("select outcome from wallet.move(%s, 'withdraw', %s, null, 10)", (key, ann.account))
        assert moved.fetchone() == ("done",)
        await gate.raise_generation("a recovery", by="ann")
        duplicate = asyncio.create_task(ann.send("POST", "/withdraw", {"amount": 10}, key=key))
        waiting = "select count(*) from pg_stat_activity where usename = 'wallet_app' and wait_event_type = 'Lock'"
        for _ in range(200):
            if database.query(waiting) == [(1,)] or duplicate.done():
                break
            await asyncio.sleep(0.01)
        assert not duplicate.done()
        executing.commit()
    answer = await duplicate
    assert (answer.status, answer.content["balance"]) == (200, 490)


@pytest.mark.clause("DRP-3.2b")
async def test_a_database_without_its_gate_is_an_outage_and_moves_no_money(
    new_user: NewUser, database: Database
) -> None:
    ann = await new_user().register(500)
    for missing in ("drop schema siaga cascade", "drop table siaga.gate cascade", "delete from siaga.gate"):
        database.query(missing)
        try:
            written = await ann.send("POST", "/deposit", {"amount": 1}, key=secrets.token_hex(8))
            login = await ann.send("POST", "/login", {"name": ann.name, "password": "correct horse"})
        finally:
            await install_ledger(database.admin)
        assert (written.status, written.headers.get("x-siaga-outage")) == (503, "database"), missing
        assert login.status == 200
        assert (await ann.send("POST", "/deposit", {"amount": 1}, key=secrets.token_hex(8))).status == 200


@pytest.mark.clause("DRP-3.2b")
async def test_the_table_of_entries_refuses_a_movement_that_did_not_ask(
    new_user: NewUser, database: Database, gate: Gate
) -> None:
    ann = await new_user().register(500)
    await raised(gate)
    entry = "insert into wallet.entries select account, sequence + 1, 5, balance_after + 5, transfer, now()"
    with pytest.raises(psycopg.Error, match="is being verified") as refused:
        database.query(f"{entry} from wallet.entries where account = %s", ann.account)
    assert refused.value.sqlstate == "SG001"
