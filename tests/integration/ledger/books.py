"""A small double-entry ledger that a test may write, harm and check."""

from __future__ import annotations

from typing import Any

import psycopg

from benchmarks.ledger.server import Server
from siaga.ledger import check
from siaga.ledger.map import LedgerMap
from siaga.ledger.model import Check, Mismatch, Name, Report
from siaga.ledger.reading import Options

MAP: dict[str, Any] = {
    "accounts": {"table": "account", "id": "id", "balance": "balance", "version": "version"},
    "entries": {
        "table": "entry",
        "account": "account",
        "amount": "amount",
        "id": "id",
        "transaction": "transfer",
        "sequence": "sequence",
        "balance_after": "after",
    },
}
EVERYTHING = LedgerMap.model_validate(MAP)

_MOVE = """
with moved(id, amount) as (values (%(debit)s::bigint, -%(amount)s::bigint), (%(credit)s::bigint, %(amount)s::bigint)),
     changed as (update account a set balance = a.balance + m.amount, version = a.version + 1
                 from moved m where a.id = m.id returning a.id, a.balance, a.version, m.amount)
insert into entry (account, amount, transfer, sequence, after)
select id, amount, %(transfer)s, version, balance from changed
"""


class Books:
    """Its database and one connection to it."""

    def __init__(self, server: Server, database: str) -> None:
        self.server, self.database = server, database
        self.dsn = server.dsn(database)
        self.connection = server.connect(database)
        self._transfers = 0

    def create(self, accounts: int = 20) -> None:
        """Ten transfers for each account but the last three."""
        self.connection.execute(
            "create table account (id bigint primary key, balance bigint not null default 0, "
            "version bigint not null default 0); "
            "create table entry (id bigint generated always as identity primary key, account bigint not null, "
            "amount bigint not null, transfer bigint not null, sequence bigint not null, after bigint not null)"
        )
        self.connection.execute("insert into account select generate_series(1, %s)", [accounts])
        for number in range(10 * accounts):
            debit = 1 + number % (accounts - 3)
            self.move(debit, 1 + (debit + number) % (accounts - 3), 1 + number % 97)

    def move(self, debit: int, credit: int, amount: int, connection: psycopg.Connection[Any] | None = None) -> None:
        """One transfer, as one statement."""
        self._transfers += 1
        if debit != credit:
            values = {"debit": debit, "credit": credit, "amount": amount, "transfer": self._transfers}
            (connection or self.connection).execute(_MOVE, values)

    def run(self, statement: str) -> int:
        """Harm it; how many rows were touched."""
        return self.connection.execute(statement).rowcount  # type: ignore[arg-type]  # a test's own text

    def check(self, options: Options | None = None, ledger_map: LedgerMap = EVERYTHING) -> Report:
        """The verdict."""
        return check(self.dsn, ledger_map, options)

    def close(self) -> None:
        """Drop the database."""
        self.connection.close()
        with self.server.connect() as connection:
            connection.execute(f"drop database {self.database} with (force)")


def mapped(**changes: dict[str, Any]) -> LedgerMap:
    """MAP with some keys replaced; None takes one away."""
    document = {table: dict(MAP.get(table, {})) for table in (*MAP, *changes)}
    for table, values in changes.items():
        document[table] |= values
        document[table] = {key: value for key, value in document[table].items() if value is not None}
    return LedgerMap.model_validate(document)


def named(report: Report, name: Name) -> Check:
    """One check of a report."""
    return next(check for check in report.checks if check.name is name)


def wrong(report: Report) -> dict[str | None, Mismatch]:
    """The mismatches by account."""
    return {found.account: found for found in report.mismatched}
