"""A PostgreSQL server with the wallet's ledger, and the journal's own process beside it."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from wallet_servers import UNPRIVILEGED, Server, wait_until

from siaga.journal import segments, status
from siaga.journal.install import prepare
from siaga.journal.lsn import parse
from siaga.journal.records import ENTRY_FIELDS, FLAT_FIELDS
from siaga.ledger.load import load as load_map

HERE = Path(__file__).parent / "journal"
MAP = HERE / "bank.toml"
ROLE = "siaga_journal"
PASSWORD = secrets.token_urlsafe(32)
_ACCOUNT = FLAT_FIELDS.index("account")


@dataclass
class Postgres:
    """One cluster that a test may stop, kill and start again."""

    server: Server
    superuser: str
    engine: Path

    def conninfo(self, database: str = "postgres") -> str:
        """As superuser."""
        return f"host=127.0.0.1 port={self.server.port} user={self.superuser} dbname={database}"

    def query(self, statement: str, *parameters: object, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Ask as superuser."""
        with psycopg.connect(self.conninfo(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def start(self) -> None:
        """Start, and wait until it lets us in."""
        self.server.start()
        wait_until(self.lets_in, "PostgreSQL accepts connections", 30)

    def lets_in(self) -> bool:
        """Whether it answers."""
        try:
            return self.query("select 1") == [(1,)]
        except psycopg.OperationalError:
            return False


def create_cluster(directory: Path, engine: Path, name: str, port: int, settings: dict[str, object]) -> Postgres:
    """A fresh cluster in `directory / name`, not started."""
    superuser = UNPRIVILEGED if os.geteuid() == 0 else Path.home().owner()
    home = directory / name
    initdb = [str(engine / "bin/initdb"), "-D", str(home), "-A", "trust", "-N", "--wal-segsize=1", "-E", "UTF8"]
    setup = Server(f"{name}-initdb", [*initdb, "--locale=C"], 0, directory)
    setup.start()
    assert setup.process is not None
    assert setup.process.wait(60) == 0, (directory / f"{name}-initdb.log").read_text()
    hba = home / "pg_hba.conf"
    # The journal's role proves who it is; the test's superuser is trusted.
    hba.write_text(f"host all {ROLE} 127.0.0.1/32 scram-sha-256\n" + hba.read_text())
    return cluster(directory, engine, name, port, superuser, settings)


def cluster(
    directory: Path, engine: Path, name: str, port: int, superuser: str, settings: dict[str, object]
) -> Postgres:
    """How a cluster that exists is run."""
    whole = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": 60, "fsync": "off"}
    whole |= {"wal_level": "logical", "max_wal_senders": 12, "max_replication_slots": 40, "wal_sender_timeout": "3s"}
    whole |= {"max_wal_size": "256MB", "hot_standby_feedback": "on", "port": port} | settings
    options = [argument for key, value in whole.items() for argument in ("-c", f"{key}={value}")]
    argv = [str(engine / "bin/postgres"), "-D", str(directory / name), *options]
    return Postgres(Server(name, argv, port, directory), superuser, engine)


@dataclass
class Ledger:
    """One database with a small ledger (bank.sql) on a server."""

    postgres: Postgres
    name: str

    @property
    def conninfo(self) -> str:
        """As superuser."""
        return self.postgres.conninfo(self.name)

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Ask as superuser."""
        return self.postgres.query(statement, *parameters, database=self.name)

    def move(self, debit: int, credit: int, amount: int = 1, *, kind: str = "transfer", key: str = "") -> str:
        """One movement; its key."""
        key = key or secrets.token_hex(8)
        self.query("select bank.move(%s, %s, %s, %s, %s)", key, kind, debit, credit, amount)
        return key

    def entries(self) -> set[tuple[str, str]]:
        """(account, sequence) of every entry."""
        return {(str(a), str(s)) for a, s in self.query("select account, sequence from bank.entries")}


def create_ledger(postgres: Postgres, name: str) -> Ledger:
    """A database with the ledger, published for the journal."""
    postgres.query(sql.SQL("create database {}").format(sql.Identifier(name)).as_string(None))
    ledger = Ledger(postgres, name)
    ledger.query((HERE / "bank.sql").read_text())
    if not postgres.query("select 1 from pg_roles where rolname = %s", ROLE):
        postgres.query(f"create role {ROLE} login replication password '{PASSWORD}'")
    publish(ledger)
    return ledger


def publish(ledger: Ledger, *, marker: str | None = None, ledger_map: Path = MAP) -> None:
    """What the owner of the tables does for the journal."""

    async def run() -> None:
        async with await psycopg.AsyncConnection.connect(ledger.conninfo, autocommit=True) as connection:
            await prepare(connection, load_map(ledger_map), marker, ROLE)

    asyncio.run(run())


@dataclass
class Journal:
    """The journal's own process, as the keeper runs it."""

    ledger: Ledger
    home: Path
    settings: dict[str, object] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def directory(self) -> Path:
        """Where it keeps what it read."""
        return self.home / "journal"

    @property
    def slot(self) -> str:
        """Its slot."""
        return f"journal_{self.ledger.name}"

    def configure(self, **settings: object) -> Path:
        """Write its configuration."""
        self.home.mkdir(exist_ok=True)
        (self.home / "password").write_text(PASSWORD)
        port = self.ledger.postgres.server.port
        content = {
            "directory": str(self.directory),
            "map": str(MAP),
            "conninfo": f"host=127.0.0.1 port={port} dbname={self.ledger.name} user={ROLE}",
            "password_file": str(self.home / "password"),
            "slot": self.slot,
            "status": str(self.home / "status.json"),
        }
        path = self.home / "config.json"
        path.write_text(json.dumps(content | self.settings | settings))
        return path

    def start(self, **settings: object) -> None:
        """Run it."""
        argv = [sys.executable, "-m", "siaga.journal.main", str(self.configure(**settings))]
        # What the one before said must not be taken for what this one says.
        (self.home / "status.json").unlink(missing_ok=True)
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log)

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        assert self.process is not None
        self.process.terminate()
        code = self.process.wait(20)
        self.process = None
        return code

    def status(self) -> dict[str, Any]:
        """What it says of itself."""
        return status.read(self.home / "status.json")

    def log(self) -> str:
        """What it printed."""
        return (self.home / "log").read_text()

    def await_state(self, state: str, deadline_s: float = 20.0) -> dict[str, Any]:
        """Wait until it says so."""
        wait_until(lambda: self.status()["state"] == state, f"the journal is {state}: {self.status()}", deadline_s)
        return self.status()

    def catch_up(self, deadline_s: float = 20.0) -> None:
        """Wait until everything that is committed now was acknowledged by the journal."""
        ((now,),) = self.ledger.query("select pg_current_wal_insert_lsn()::text")
        wait_until(lambda: self.confirmed() >= parse(now), f"the journal read up to {now}\n{self.log()}", deadline_s)

    def confirmed(self) -> int:
        """What the slot was told."""
        statement = "select confirmed_flush_lsn::text from pg_replication_slots where slot_name = %s"
        rows = self.ledger.query(statement, self.slot)
        return parse(rows[0][0]) if rows and rows[0][0] else 0

    def contents(self) -> segments.Contents:
        """Its directory, read by somebody else."""
        return segments.load(self.directory)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Everything in it, in order."""
        rows = segments.read_settled(
            self.directory, lambda contents: list(segments.transactions(contents, segments.EVERYTHING))
        )
        yield from (dict(zip(FLAT_FIELDS, row, strict=True)) for _, row in rows)

    def entries(self) -> list[tuple[str, str]]:
        """(account, sequence) of every entry in it, in order."""
        return [(row["account"], row["sequence"]) for row in self.rows() if row["kind"] == "entry"]


def discard(directory: Path) -> None:
    """Remove what a test made."""
    shutil.rmtree(directory, ignore_errors=True)


__all__ = ["ENTRY_FIELDS", "Journal", "Ledger", "Postgres"]
