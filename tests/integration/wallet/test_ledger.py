"""The ledger: double entry, one execution per key, no overdraft, append-only."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import Callable

import psycopg
import pytest
from wallet_servers import APP_PASSWORD, DEADLINE_MS, Answer, Database, User, assert_books_balance, wait_until

NewUser = Callable[[], User]


async def test_every_movement_is_two_entries_and_the_sum_stays_zero(new_user: NewUser, database: Database) -> None:
    ann, bob = await new_user().register(1000), await new_user().register()
    sent = await ann.send("POST", "/transfer", {"to": bob.account, "amount": 300}, key=secrets.token_hex(8))
    taken = await bob.send("POST", "/withdraw", {"amount": 100}, node=1, key=secrets.token_hex(8))
    assert (sent.status, sent.content["balance"]) == (200, 700)
    assert (taken.status, taken.content["balance"]) == (200, 200)
    assert (await bob.send("GET", "/balance", node=1)).content["balance"] == 200
    statement = await bob.send("GET", "/statement?limit=5")
    shown = [(e["sequence"], e["kind"], e["amount"], e["balance_after"]) for e in statement.content["entries"]]
    assert shown == [(2, "withdraw", -100, 200), (1, "transfer", 300, 300)]
    assert_books_balance(database)


async def test_a_repeated_key_answers_the_same_and_says_so(new_user: NewUser, database: Database) -> None:
    ann = await new_user().register(1000)
    key = secrets.token_hex(8)
    first = await ann.send("POST", "/withdraw", {"amount": 10}, key=key)
    again = await ann.send("POST", "/withdraw", {"amount": 10}, node=1, key=key)
    assert again.content == first.content
    assert ("idempotent-replayed" in first.headers, again.headers["idempotent-replayed"]) == (False, "true")
    assert database.query("select replay_count from wallet.transfers where idempotency_key = %s", key) == [(1,)]


async def test_a_refusal_is_stored_so_a_duplicate_is_refused_too(new_user: NewUser, database: Database) -> None:
    ann = await new_user().register(5)
    key = secrets.token_hex(8)
    refused = await ann.send("POST", "/withdraw", {"amount": 10}, key=key)
    await ann.send("POST", "/deposit", {"amount": 100}, key=secrets.token_hex(8))
    again = await ann.send("POST", "/withdraw", {"amount": 10}, key=key)
    assert (refused.status, refused.content["reason"]) == (409, "insufficient_funds")
    assert (again.status, again.content) == (409, refused.content)
    nobody = await ann.send("POST", "/transfer", {"to": 999_999_999, "amount": 1}, key=secrets.token_hex(8))
    float_account = await ann.send("POST", "/transfer", {"to": 3, "amount": 1}, key=secrets.token_hex(8))
    myself = await ann.send("POST", "/transfer", {"to": ann.account, "amount": 1}, key=secrets.token_hex(8))
    reasons = [answer.content["reason"] for answer in (nobody, float_account, myself)]
    assert reasons == ["unknown_account", "unknown_account", "same_account"]
    assert_books_balance(database)


async def test_a_key_used_for_another_request_is_a_conflict(new_user: NewUser) -> None:
    ann, bob = await new_user().register(100), await new_user().register(100)
    key = secrets.token_hex(8)
    assert (await ann.send("POST", "/withdraw", {"amount": 10}, key=key)).status == 200
    assert (await ann.send("POST", "/withdraw", {"amount": 11}, key=key)).status == 422
    assert (await ann.send("POST", "/deposit", {"amount": 10}, key=key)).status == 422
    assert (await bob.send("POST", "/withdraw", {"amount": 10}, key=key)).status == 422


async def test_one_key_on_two_nodes_at_once_is_executed_once_and_answered_twice(
    new_user: NewUser, database: Database
) -> None:
    ann = await new_user().register(10_000)
    for _ in range(30):
        key = secrets.token_hex(8)
        pair = [ann.send("POST", "/withdraw", {"amount": 7}, node=node, key=key) for node in (0, 1)]
        one, other = await asyncio.gather(*pair)
        assert (one.status, one.content) == (200, other.content)
        assert sorted("idempotent-replayed" in answer.headers for answer in (one, other)) == [False, True]
    assert (await ann.send("GET", "/balance")).content["balance"] == 10_000 - 30 * 7
    assert_books_balance(database)


async def test_concurrent_withdrawals_never_overdraw(new_user: NewUser, database: Database) -> None:
    ann = await new_user().register(100)
    tries = [ann.send("POST", "/withdraw", {"amount": 30}, node=n % 2, key=secrets.token_hex(8)) for n in range(12)]
    statuses = sorted([answer.status for answer in await asyncio.gather(*tries)])
    assert statuses == [200] * 3 + [409] * 9
    assert (await ann.send("GET", "/balance")).content["balance"] == 10
    assert_books_balance(database)


async def test_crossing_transfers_do_not_deadlock(new_user: NewUser, database: Database) -> None:
    ann, bob = await new_user().register(1000), await new_user().register(1000)
    crossing = [
        sender.send("POST", "/transfer", {"to": receiver.account, "amount": 3}, node=n % 2, key=secrets.token_hex(8))
        for n in range(6)
        for sender, receiver in ((ann, bob), (bob, ann))
    ]
    assert {answer.status for answer in await asyncio.gather(*crossing)} == {200}
    assert_books_balance(database)


@pytest.mark.parametrize(
    "statement",
    [
        "insert into wallet.entries values (1, 1, 1, 1, 1, now())",
        "update wallet.entries set amount = 0",
        "delete from wallet.entries",
        "truncate wallet.entries",
        "update wallet.accounts set balance = 1000000",
        "insert into wallet.accounts (kind, owner) values ('float', null)",
        "update wallet.transfers set state = 'refused'",
        "select password_hash from wallet.users",
        "create table wallet.mine ()",
        "select wallet.refuse_change()",
    ],
)
def test_the_application_role_moves_money_through_the_functions_only(database: Database, statement: str) -> None:
    port = database.pooler.port
    conninfo = f"host=127.0.0.1 port={port} user=wallet_app password={APP_PASSWORD} dbname=wallet"
    connection = psycopg.connect(conninfo, autocommit=True, prepare_threshold=None)
    with connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement.encode())


@pytest.mark.parametrize("statement", ["update wallet.entries set amount = amount", "delete from wallet.entries"])
def test_even_the_owner_cannot_change_an_entry(database: Database, statement: str) -> None:
    with psycopg.connect(database.admin) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("set role wallet_owner")
        connection.execute(statement.encode())


def test_no_password_reaches_the_servers_log(database: Database) -> None:
    log = (database.postgres.directory / "postgres.log").read_text()
    assert APP_PASSWORD not in log
    assert "SCRAM-SHA-256$" not in log


@pytest.mark.clause("DRP-3.2b")
async def test_a_replay_is_not_confirmed_while_the_quorum_is_missing(new_user: NewUser, database: Database) -> None:
    """Decision 8: a commit whose waiting backend was terminated is visible, but may be in no archive."""
    ann = await new_user().register(100)
    key = secrets.token_hex(8)
    database.receiver.signal(signal.SIGSTOP)
    try:
        first = await ann.send("POST", "/withdraw", {"amount": 10}, key=key)
        waiting = "select pid from pg_stat_activity where wait_event = 'SyncRep' and usename = 'wallet_app'"
        for (pid,) in database.query(waiting):
            database.query("select pg_terminate_backend(%s)", pid)
        stored = "select state from wallet.transfers where idempotency_key = %s"
        wait_until(lambda: database.query(stored, key) == [("done",)], "the unconfirmed commit is visible")
        again = await ann.send("POST", "/withdraw", {"amount": 10}, node=1, key=key)
        reading = await ann.send("GET", "/balance")
    finally:
        database.receiver.signal(signal.SIGCONT)
    assert (first.status, first.headers["x-siaga-outage"]) == (503, "database")
    assert (again.status, again.headers["x-siaga-outage"]) == (503, "database")
    assert again.latency_ms < DEADLINE_MS + 200
    assert (reading.status, reading.content["balance"]) == (200, 90)
    confirmed = await _until_answered(ann, key)
    assert (confirmed.status, confirmed.headers["idempotent-replayed"]) == (200, "true")
    assert_books_balance(database)


async def test_a_commit_whose_wait_was_cancelled_is_not_acknowledged(new_user: NewUser, database: Database) -> None:
    """PostgreSQL answers such a commit with success and a warning."""
    ann = await new_user().register(100)
    key = secrets.token_hex(8)
    database.receiver.signal(signal.SIGSTOP)
    try:
        sending = asyncio.create_task(ann.send("POST", "/withdraw", {"amount": 10}, key=key))
        cancelling = "select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'"
        await asyncio.to_thread(wait_until, lambda: bool(database.query(cancelling)), "a commit waits")
        answer = await sending
    finally:
        database.receiver.signal(signal.SIGCONT)
    assert (answer.status, answer.headers["x-siaga-outage"]) == (503, "database")
    assert (await _until_answered(ann, key)).status == 200


async def _until_answered(user: User, key: str) -> Answer:
    for _ in range(200):
        answer = await user.send("POST", "/withdraw", {"amount": 10}, key=key)
        if answer.status != 503:
            return answer
        await asyncio.sleep(0.02)
    raise AssertionError("no answer after the quorum came back")
