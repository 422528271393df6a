"""Ledgers of three shapes: the wallet's own schema, pgbench's after a real run, and text ids with every column."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.ledger.server import Server
from siaga.ledger.load import load
from siaga.ledger.map import LedgerMap

WALLET = Path(__file__).parents[2] / "examples/wallet"
Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """A ledger that agrees with itself, and its map."""

    name: str
    map: LedgerMap
    fill: Callable[[Server, str], None]
    """Fills an empty database."""


PGBENCH = LedgerMap.model_validate(
    {
        "accounts": {"table": "pgbench_accounts", "id": "aid", "balance": "abalance"},
        "entries": {"table": "pgbench_history", "account": "aid", "amount": "delta"},
    }
)

TEXT = LedgerMap.model_validate(
    {
        "accounts": {
            "table": 'books."Account balances"',
            "id": "number",
            "balance": "balance",
            "opening": "opening",
            "version": "last_entry",
            "currency": "currency",
        },
        "entries": {
            "table": "books.postings",
            "account": "account",
            "amount": "amount",
            "id": "id",
            "transaction": "journal",
            "sequence": "number",
            "balance_before": "before",
            "balance_after": "after",
            "currency": "currency",
            "time": "booked_at",
        },
        "system_accounts": {"ids": ["house-EUR", "house-IDR"]},
    }
)


def _fill_wallet(server: Server, database: str) -> None:
    with server.connect(database) as connection:
        for role in ("wallet_owner", "wallet_app", "wallet_auditor"):
            connection.execute(f"do $$ begin create role {role}; exception when duplicate_object then null; end $$")
        connection.execute("create schema wallet; set search_path = wallet")
        connection.execute((WALLET / "schema.sql").read_text())
        chance = random.Random(1)
        users = 300
        connection.execute(
            f"insert into users (name, password_hash) select 'u' || n, 'x' from generate_series(1, {users}) n"
        )
        connection.execute("insert into accounts (owner, kind) select id, 'user' from users order by id")
        _book(connection, chance, users)


def _book(connection: Connection, chance: random.Random, users: int) -> None:
    """What `wallet.move` does, without the gate that a platform has before it."""
    accounts = {n: [0, 0] for n in [*range(1, 17), *range(1001, 1001 + users)]}
    transfers, entries = [], []
    for number in range(1, 2501):
        user = 1001 + min(chance.randrange(users - 20), chance.randrange(users - 20))
        kind = chance.choice(("deposit", "deposit", "transfer", "withdraw"))
        amount = chance.randint(1, 5000)
        if kind == "deposit":
            debit, credit = 1 + user % 16, user
        else:
            if accounts[user][0] < amount:
                continue
            debit, credit = user, 1 + user % 16 if kind == "withdraw" else 1001 + chance.randrange(users - 20)
        if debit == credit:
            continue
        transfers.append((number, f"k{number}", b"d", kind, debit, credit, amount))
        for account, moved in ((debit, -amount), (credit, amount)):
            accounts[account][0] += moved
            accounts[account][1] += 1
            entries.append((account, accounts[account][1], moved, accounts[account][0], number))
    with connection.cursor() as cursor:
        with cursor.copy(
            "copy transfers (id, idempotency_key, request_digest, kind, debit_account, credit_account, amount, "
            "state, created_at) from stdin"
        ) as rows:
            for transfer in transfers:
                rows.write_row((*transfer, "done", "2026-11-23 03:00+07"))
        with cursor.copy(
            "copy entries (account, sequence, amount, balance_after, transfer, created_at) from stdin"
        ) as rows:
            for entry in entries:
                rows.write_row((*entry, "2026-11-23 03:00+07"))
        cursor.executemany(
            "update accounts set balance = %s, version = %s where id = %s",
            [(balance, version, account) for account, (balance, version) in accounts.items()],
        )


def _fill_pgbench(server: Server, database: str) -> None:
    """A real run; most of its 100,000 accounts never move."""
    connection = ["-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres", database]
    server.program("pgbench", "-i", "-q", "-s", "1", *connection)
    server.program("pgbench", "-c", "4", "-t", "500", "-n", "--random-seed=7", *connection)
    with server.connect(database) as own:
        # Nobody would look at 90,000 of them, and a hundred seeds would wait for each.
        own.execute("delete from pgbench_accounts where aid > 10000 and aid not in (select aid from pgbench_history)")


def _fill_text(server: Server, database: str) -> None:
    chance = random.Random(3)
    accounts: dict[tuple[str, str], list[Any]] = {}
    for currency in ("EUR", "IDR"):
        accounts[f"house-{currency}", currency] = [Decimal(0), Decimal(0), 0]
        for number in range(150):
            opening = Decimal(chance.randint(0, 10**7)).scaleb(-2)
            # An account may have a balance in both currencies.
            accounts[f"acct/{number:04d}é", currency] = [opening, opening, 0]
    postings, bank = [], list(accounts)
    for _ in range(1500):
        currency = chance.choice(("EUR", "IDR"))
        own = [key for key in bank if key[1] == currency]
        parties = chance.sample(own[: len(own) - 10], chance.choice((2, 2, 2, 3)))
        amounts = [Decimal(chance.randint(1, 10**8)).scaleb(-4) for _ in parties[1:]]
        journal = uuid.UUID(int=chance.getrandbits(128))
        for key, amount in zip(parties, [-sum(amounts), *amounts], strict=True):
            state = accounts[key]
            state[2] += 1
            before, state[1] = state[1], state[1] + amount
            postings.append((f"e-{len(postings)}", journal, key[0], currency, state[2], amount, before, state[1]))
    with server.connect(database) as connection:
        connection.execute(
            "create schema books; set search_path = books; "
            'create table "Account balances" (number text, currency char(3), '
            "opening numeric(18,2) not null, balance numeric(20,4) not null, last_entry int not null default 0, "
            "primary key (number, currency)); create table postings (id text not null, journal uuid not null, "
            "account text not null, currency char(3) not null, number int not null, amount numeric(20,4) not null, "
            "before numeric(20,4) not null, after numeric(20,4) not null, booked_at timestamptz default now(), "
            "primary key (id, number)) partition by range (number); "
            "create table postings_early partition of postings for values from (minvalue) to (8); "
            "create table postings_late partition of postings default"
        )
        with connection.cursor() as cursor:
            with cursor.copy('copy "Account balances" from stdin') as rows:
                for (account, currency), (opening, balance, number) in accounts.items():
                    rows.write_row((account, currency, opening, balance, number))
            with cursor.copy(
                "copy postings (id, journal, account, currency, number, amount, before, after) from stdin"
            ) as rows:
                for posting in postings:
                    rows.write_row(posting)


SHAPES = (
    Shape("wallet", load(WALLET / "ledger.toml"), _fill_wallet),
    Shape("pgbench", PGBENCH, _fill_pgbench),
    Shape("text", TEXT, _fill_text),
)


def prepared(server: Server, shape: Shape) -> str:
    """A database of that shape, filled and analyzed, to be copied for each plant."""
    name = f"shape_{shape.name}"
    with server.connect() as connection:
        connection.execute(f"create database {name}")
    shape.fill(server, name)
    with server.connect(name) as connection:
        connection.execute("vacuum analyze")
    return name
