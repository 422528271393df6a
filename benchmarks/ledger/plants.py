"""The fault catalogue (research, section 2b): ten ways a ledger goes wrong, planted at random."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from siaga.ledger.accumulators import Key
from siaga.ledger.map import LedgerMap

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Row:
    """An entry as it stands in the table."""

    ctid: str
    table: str
    account: str
    currency: str | None
    transaction: str | None
    sequence: int | None
    amount: Any
    before: Any
    after: Any

    @property
    def key(self) -> Key:
        """Whose balance it moves."""
        return self.account, self.currency


@dataclass
class Planted:
    """What was done."""

    fault: str
    victims: set[Key] = field(default_factory=set)
    transactions: set[str] = field(default_factory=set)
    """Of every entry that was touched: their parties may be tainted."""
    sequences: dict[Key, set[int]] = field(default_factory=lambda: defaultdict(set))
    """Of the entries touched, as they were."""

    def touch(self, *rows: Row) -> None:
        """Note entries before they are changed."""
        for row in rows:
            self.victims.add(row.key)
            if row.transaction is not None:
                self.transactions.add(row.transaction)
            if row.sequence is not None:
                self.sequences[row.key].add(row.sequence)


class Bench:
    """A copy of a ledger that may be harmed."""

    def __init__(self, connection: Connection, ledger_map: LedgerMap, seed: int) -> None:
        self.connection, self.map = connection, ledger_map
        self.chance = random.Random(seed)
        self._disarm()
        self.rows = self._rows()
        self.by_account: dict[Key, list[Row]] = defaultdict(list)
        for row in self.rows:
            self.by_account[row.key].append(row)
        for own in self.by_account.values():
            own.sort(key=lambda row: (row.sequence or 0, row.ctid))

    def table(self, which: str) -> sql.Identifier:
        """Accounts or entries."""
        schema, name = getattr(self.map, which).qualified
        return sql.Identifier(schema, name) if schema else sql.Identifier(name)

    def _disarm(self) -> None:
        """What keeps such faults out of a healthy database: a torn restore or a bad hand goes past it."""
        self.connection.execute("set session_replication_role = replica")
        for which in ("accounts", "entries"):
            table = self.table(which)
            found = self.connection.execute(
                "select conname from pg_constraint where conrelid = %s::regclass and contype in ('p', 'u', 'c', 'f') "
                "and coninhcount = 0 order by contype",
                [table.as_string(None)],
            ).fetchall()
            for (name,) in found:
                self.connection.execute(
                    sql.SQL("alter table {} drop constraint {} cascade").format(table, sql.Identifier(name))
                )

    def _rows(self) -> list[Row]:
        entries = self.map.entries
        names = (
            entries.account,
            entries.currency if self.map.keyed_by_currency else None,
            entries.transaction,
            entries.sequence,
            entries.amount,
            entries.balance_before,
            entries.balance_after,
        )
        columns = [sql.Identifier(name) if name else sql.SQL("null") for name in names]
        texts = [sql.SQL("{}::text").format(column) for column in columns[:3]]
        statement = sql.SQL("select ctid::text, tableoid::regclass::text, {} from {} order by 2, ctid").format(
            sql.SQL(", ").join([*texts, *columns[3:]]), self.table("entries")
        )
        return [Row(*row) for row in self.connection.execute(statement).fetchall()]

    # --- acts --------------------------------------------------------------------------------------------------

    def change(self, row: Row, **values: object) -> None:
        """Set columns, by role."""
        entries = self.map.entries
        sets = [
            sql.SQL("{} = {}").format(sql.Identifier(getattr(entries, role)), sql.Literal(value))
            for role, value in values.items()
        ]
        changed = sql.SQL(", ").join(sets)
        self._one(sql.SQL("update {} set {} where {}").format(self.table("entries"), changed, self._here(row)))

    def delete(self, *rows: Row) -> None:
        """Take entries away."""
        for row in rows:
            self._one(sql.SQL("delete from {} where {}").format(self.table("entries"), self._here(row)))

    def copy(self, row: Row) -> None:
        """The same entry once more."""
        table = self.table("entries")
        self._one(sql.SQL("insert into {} select * from {} where {}").format(table, table, self._here(row)))

    def _here(self, row: Row) -> sql.Composed:
        """Through the parent, so that a changed row may move to another partition."""
        place = sql.SQL("ctid = {} and tableoid = {}::regclass")
        return place.format(sql.Literal(row.ctid), sql.Literal(row.table))

    def _one(self, statement: sql.Composed) -> None:
        done = self.connection.execute(statement)
        assert done.rowcount == 1, "a plant that touched nothing proves nothing"

    def roll_back(self, rows: Sequence[Row]) -> None:
        """Balances and versions as if these entries had never been."""
        accounts = self.map.accounts
        for row in rows:
            version = sql.SQL("")
            if accounts.version:
                version = sql.SQL(", {0} = {0} - 1").format(sql.Identifier(accounts.version))
            condition = sql.SQL("{}::text = {}").format(sql.Identifier(accounts.id), sql.Literal(row.account))
            if row.currency is not None and accounts.currency:
                currency = sql.SQL(" and {} = {}").format(sql.Identifier(accounts.currency), sql.Literal(row.currency))
                condition = sql.SQL("{}{}").format(condition, currency)
            self._one(
                sql.SQL("update {} set {} = {} - {}{} where {}").format(
                    self.table("accounts"),
                    sql.Identifier(accounts.balance),
                    sql.Identifier(accounts.balance),
                    sql.Literal(row.amount),
                    version,
                    condition,
                )
            )

    def some(self, count: int, entries_min: int = 1) -> list[Key]:
        """Random accounts with at least so many entries."""
        able = sorted((key for key, own in self.by_account.items() if len(own) >= entries_min), key=str)
        return self.chance.sample(able, min(count, len(able)))

    def delta(self) -> int:
        """Never 0."""
        return self.chance.choice((-1, 1)) * self.chance.randint(1, 900)

    def other(self, value: Any) -> Any:
        """Off by some, or of the other sign: a hash that leaves the sign out does not tell that."""
        return -value if value and self.chance.random() < 1 / 3 else value + self.delta()


Plant = Callable[[Bench, Planted], None]
VICTIMS = 4


def lost(bench: Bench, planted: Planted) -> None:
    """Entries are gone."""
    for key in bench.some(VICTIMS):
        row = bench.chance.choice(bench.by_account[key])
        planted.touch(row)
        bench.delete(row)


def duplicated(bench: Bench, planted: Planted) -> None:
    """Entries are there twice."""
    for key in bench.some(VICTIMS):
        row = bench.chance.choice(bench.by_account[key])
        planted.touch(row)
        bench.copy(row)


def amount_altered(bench: Bench, planted: Planted) -> None:
    """Amounts are others."""
    for key in bench.some(VICTIMS):
        row = bench.chance.choice(bench.by_account[key])
        planted.touch(row)
        bench.change(row, amount=bench.other(row.amount))


def balance_after_altered(bench: Bench, planted: Planted) -> None:
    """Running balances are others; every sum is as before."""
    for key in bench.some(VICTIMS):
        row = bench.chance.choice(bench.by_account[key])
        planted.touch(row)
        bench.change(row, balance_after=bench.other(row.after))


def altered_together(bench: Bench, planted: Planted) -> None:
    """Amount and running balance altered alike: the entry agrees with itself."""
    for key in bench.some(VICTIMS):
        row = bench.chance.choice(bench.by_account[key])
        delta = bench.delta()
        planted.touch(row)
        values = {"amount": row.amount + delta}
        if bench.map.entries.balance_after:
            values["balance_after"] = row.after + delta
        bench.change(row, **values)


def swapped(bench: Bench, planted: Planted) -> None:
    """Two entries of one account have each other's sequence; every sum is as before."""
    for key in bench.some(VICTIMS, entries_min=2):
        one, two = bench.chance.sample(bench.by_account[key], 2)
        if (one.amount, one.after) == (two.amount, two.after):
            continue  # Nothing that a chain could tell apart.
        planted.touch(one, two)
        bench.change(one, sequence=two.sequence)
        bench.change(two, sequence=one.sequence)


def compensating(bench: Bench, planted: Planted) -> None:
    """Two amounts of one account are altered by opposite differences."""
    for key in bench.some(VICTIMS, entries_min=2):
        one, two = bench.chance.sample(bench.by_account[key], 2)
        delta = bench.delta()
        planted.touch(one, two)
        bench.change(one, amount=one.amount + delta)
        bench.change(two, amount=two.amount - delta)


def moved(bench: Bench, planted: Planted) -> None:
    """Entries are on another account."""
    for key in bench.some(VICTIMS):
        row = bench.chance.choice([r for r in bench.by_account[key] if r.amount] or bench.by_account[key])
        others = [k for k in bench.by_account if k != key and k[1] == key[1] and k not in planted.victims]
        other = bench.chance.choice(others)
        planted.touch(row)
        planted.victims.add(other)
        bench.change(row, account=other[0])


def tail_lost(bench: Bench, planted: Planted) -> None:
    """The last entries of some accounts are gone, and their balances are not."""
    for key in bench.some(VICTIMS):
        own = bench.by_account[key]
        count = bench.chance.randint(1, min(20, len(own)))
        gone = own[-count:]
        if not sum(row.amount for row in gone) and not bench.map.accounts.version:
            continue  # Nothing that a sum could tell apart.
        planted.touch(*gone)
        bench.delete(*gone)


def rolled_back(bench: Bench, planted: Planted) -> None:
    """The last entries of some accounts are gone with balances and versions: as in a restore to an older point."""
    for key in bench.some(VICTIMS):
        own = bench.by_account[key]
        gone = own[-bench.chance.randint(1, min(20, len(own))) :]
        planted.touch(*gone)
        bench.delete(*gone)
        bench.roll_back(gone)


def restored_to_older_point(bench: Bench, planted: Planted) -> None:
    """Whole transactions are gone, with all that they did: the database agrees with itself in every way."""
    if bench.map.entries.transaction is None:
        rolled_back(bench, planted)
        return
    last: set[str] = set()
    for key in bench.some(VICTIMS):
        row = bench.by_account[key][-1]
        assert row.transaction is not None
        last.add(row.transaction)
    # Every later entry of their parties goes too, with its transaction: what is left is a prefix of each account.
    gone: list[Row] = []
    found = True
    while found:
        cut: dict[Key, int] = {}
        for row in self_rows(bench, last):
            cut[row.key] = min(cut.get(row.key, 1 << 62), row.sequence or 0)
        later = {
            row.transaction
            for key, first in cut.items()
            for row in bench.by_account[key]
            if (row.sequence or 0) >= first and row.transaction is not None
        }
        found = bool(later - last)
        last |= later
    gone = self_rows(bench, last)
    planted.touch(*gone)
    bench.delete(*gone)
    bench.roll_back(gone)


def self_rows(bench: Bench, transactions: set[str]) -> list[Row]:
    """The entries of these transactions."""
    return [row for row in bench.rows if row.transaction in transactions]


@dataclass(frozen=True, slots=True)
class Fault:
    """One of the catalogue, and what a map must have for it to show without a journal."""

    name: str
    plant: Plant
    shows: Callable[[LedgerMap], bool]


def _always(_: LedgerMap) -> bool:
    return True


def _running(ledger_map: LedgerMap) -> bool:
    return ledger_map.entries.balance_after is not None and ledger_map.entries.sequence is not None


def _never(_: LedgerMap) -> bool:
    return False


CATALOGUE = (
    Fault("lost entries", lost, _always),
    Fault("duplicated entries", duplicated, _always),
    Fault("amount altered", amount_altered, _always),
    Fault("only balance_after altered", balance_after_altered, _running),
    Fault("amount and balance_after altered together", altered_together, _always),
    Fault("two entries swap sequence", swapped, _running),
    Fault("compensating edits inside one account", compensating, _running),
    Fault("entry moved to another account", moved, _always),
    Fault("last entries lost, balances kept", tail_lost, _always),
    Fault("last entries lost with balances and versions", restored_to_older_point, _never),
)


def possible(fault: Fault, ledger_map: LedgerMap) -> bool:
    """Whether the columns exist that the fault alters."""
    if fault.plant in (balance_after_altered, swapped):
        return _running(ledger_map)
    return True


def plant(connection: Connection, ledger_map: LedgerMap, fault: Fault, seed: int) -> Planted:
    """Do it; what was touched."""
    bench = Bench(connection, ledger_map, seed)
    planted = Planted(fault.name)
    fault.plant(bench, planted)
    return planted
