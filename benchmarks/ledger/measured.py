"""Runs of the whole command and of plain SQL on a large ledger, with their time and memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.ledger.server import Server
from siaga.journal import status
from siaga.journal.install import prepare_at
from siaga.ledger.load import load

DATABASE = "large"

# The same checks as one person writes them: sums, counts and orphans; sequence and running balance; zero-sum.
PLAIN_BALANCE = """
select count(*) from account a
full join (select account, sum(amount) as total, count(*) as n from entry group by account) e on e.account = a.id
where a.id is null or a.balance is distinct from coalesce(e.total, 0) or a.version is distinct from coalesce(e.n, 0)
"""
PLAIN_CHAIN = """
select count(*) from (
    select sequence, amount, after, lag(sequence) over w as previous, lag(after) over w as previous_after
    from entry window w as (partition by account order by sequence)) l
where sequence <> coalesce(previous, 0) + 1 or after <> coalesce(previous_after, 0) + amount
"""
PLAIN_ZERO_SUM = "select count(*) from (select from entry group by transfer having sum(amount) <> 0) t"
PLAIN_SUM = """
select count(*) from account a
full join (select account, sum(amount) as total from entry group by account) e on e.account = a.id
where a.id is null or a.balance is distinct from coalesce(e.total, 0)
"""
PHYSICAL = ("select count(*) from entry", "select sum(amount) from entry")
"""No check: what reading alone takes."""
PLAIN = {
    "count(*), the physical limit": [PHYSICAL[0]],
    "sum(amount), the physical limit": [PHYSICAL[1]],
    "plain SQL, sums only": [PLAIN_SUM],
    "plain SQL, all checks": [PLAIN_BALANCE, PLAIN_CHAIN, PLAIN_ZERO_SUM],
}

_INTEGER = {"id": "bigint", "money": "bigint", "account": "account", "transfer": "transfer", "unit": "1"}
_TEXT = {
    "id": "text",
    "money": "numeric(20,2)",
    "account": "'account-' || account",
    "transfer": "md5(transfer::text)::uuid",
    "unit": "0.01",
}
_TABLES = """
create table account (id {id} primary key, balance {money} not null, version bigint not null);
create table entry (id bigint not null, transfer {transfer_type} not null, account {id} not null,
                    sequence bigint not null, amount {money} not null, after {money} not null,
                    created_at timestamptz not null default now())
"""
# Two legs a transfer, a fifth of them on few accounts, in the order of the transfers.
_FILL = """
insert into entry (id, transfer, account, sequence, amount, after)
select id, {transfer}, {account}, row_number() over w, amount * {unit}, sum(amount * {unit}) over w from (
    select 2 * t + leg as id, t as transfer, case leg when 0 then 1 else -1 end * (1 + t % 977) as amount,
           1 + case when (t + leg) % 5 = 0 then (t * 2654435761 + leg * 40503) % 1000
                    else (t * 2654435761 + leg * 97531) % {accounts} end as account
    from generate_series(0, {entries} / 2 - 1) t, generate_series(0, 1) leg) l
window w as (partition by account order by id) order by id;
insert into account
select {account}, coalesce(total, 0), coalesce(n, 0) from (select generate_series(1, {accounts}) as account) a
left join (select account as entered, sum(amount) as total, count(*) as n from entry group by 1) e
    on entered = {account}
"""
MORE = """
with last as (select max(id) as id from entry),
     new as (select l.id + 1 + 2 * t + leg as id, {transfer} as transfer, {account} as account,
                    case leg when 0 then 1 else -1 end * {unit} as amount
             from (select t, leg, 1000000000 + t as transfer, 1 + (t * 2654435761 + leg * 97531) % {accounts} as account
                   from generate_series(0, {entries} / 2 - 1) t, generate_series(0, 1) leg) g, last l),
     placed as (select n.*, a.version + row_number() over w as sequence, a.balance + sum(n.amount) over w as after
                from new n join account a on a.id = n.account window w as (partition by n.account order by n.id)),
     changed as (update account a set balance = a.balance + p.total, version = a.version + p.n
                 from (select account, sum(amount) as total, count(*) as n from placed group by 1) p
                 where a.id = p.account)
insert into entry (id, transfer, account, sequence, amount, after)
select id, transfer, account, sequence, amount, after from placed
"""

MAP = """
[accounts]
table = "account"
id = "id"
balance = "balance"
version = "version"
[entries]
table = "entry"
id = "id"
account = "account"
amount = "amount"
transaction = "transfer"
sequence = "sequence"
balance_after = "after"
"""


@dataclass(frozen=True, slots=True)
class Run:
    """One command, or some statements."""

    seconds: float
    memory_mb: float
    """Of the client's process at its largest; 0 for plain SQL."""
    document: Any = None


class Large:
    """A large ledger in a database."""

    def __init__(self, server: Server, directory: Path, *, accounts: int, entries: int, text: bool) -> None:
        self.server, self.directory = server, directory
        self.accounts, self.entries = accounts, entries
        self._words = _TEXT if text else _INTEGER
        self.map_path = directory / "map.toml"
        self.map_path.write_text(MAP)

    def create(self, database: str = DATABASE, entries: int | None = None) -> None:
        """Make and fill it; vacuumed, as a ledger that lives is."""
        words = {**self._words, "accounts": self.accounts, "entries": self.entries if entries is None else entries}
        with self.server.connect() as connection:
            connection.execute(f"create database {database}")
        with self.server.connect(database) as connection:
            kind = "uuid" if self._words is _TEXT else "bigint"
            connection.execute(_TABLES.format(**words, transfer_type=kind))
            if words["entries"]:
                connection.execute("set work_mem = '256MB'")
                connection.execute(_FILL.format(**words))
            connection.execute("alter table entry add primary key (id)")
            connection.execute("vacuum analyze")
            connection.execute("checkpoint")

    def add(self, entries: int) -> None:
        """So many more, in one transaction."""
        with self.server.connect(DATABASE) as connection:
            connection.execute(MORE.format(**self._words, accounts=self.accounts, entries=entries))

    def harm(self, accounts: int) -> None:
        """So many balances are off by one."""
        with self.server.connect(DATABASE) as connection:
            chosen = "id in (select id from account order by id limit %s)"
            connection.execute(f"update account set balance = balance + 1 where {chosen}", [accounts])

    @contextlib.contextmanager
    def journal(self) -> Iterator[Path]:
        """A journal of it, streaming; its directory."""
        directory, role = self.directory / "journal", "postgres"
        config = {
            "directory": str(directory),
            "map": str(self.map_path),
            "conninfo": self.server.dsn(DATABASE, role),
            "status": str(self.directory / "journal-status.json"),
        }
        asyncio.run(prepare_at(self.server.dsn(DATABASE), load(self.map_path), None, role))
        path = self.directory / "journal.json"
        path.write_text(json.dumps(config))
        process = subprocess.Popen([sys.executable, "-m", "siaga.journal.main", str(path)], stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 1800
            while status.read(Path(config["status"]))["state"] != "streaming":
                assert process.poll() is None and time.monotonic() < deadline, "the journal does not stream"
                time.sleep(0.2)
            yield directory
        finally:
            process.terminate()
            process.wait(30)

    def plain(self, statements: list[str]) -> Run:
        """As psql runs them with the server's defaults; every one must find nothing wrong."""
        with self.server.connect(DATABASE) as connection:
            began = time.perf_counter()
            found = [connection.execute(statement).fetchone() for statement in statements]
            seconds = time.perf_counter() - began
        wrong = statements[0] not in (
            PLAIN["count(*), the physical limit"][0],
            PLAIN["sum(amount), the physical limit"][0],
        )
        assert not wrong or all(row == (0,) for row in found), found
        return Run(seconds, 0.0)

    def command(self, *arguments: str, database: str = DATABASE, expected: tuple[int, ...] = (0,)) -> Run:
        """The whole command, from nothing to its document."""
        argv = [sys.executable, "-m", "siaga.cli.main", "ledger", "check", "--json"]
        argv += ["--dsn", self.server.dsn(database), "--map", str(self.map_path), *arguments]
        output = self.directory / "document.json"
        began = time.perf_counter()
        with output.open("wb") as file:
            process = subprocess.Popen(argv, stdout=file)
            _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        code = os.waitstatus_to_exitcode(status)
        process.returncode = code
        document = json.loads(output.read_bytes())
        assert code in expected, document["why"]
        return Run(seconds, usage.ru_maxrss / 1024, document)
