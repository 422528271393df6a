"""The connection of a check: one repeatable-read transaction that holds the snapshot, and no secret in sight."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg import conninfo

from siaga.errors import BadInput, SiagaError, Unreachable
from siaga.hosts.local import write_and_rename
from siaga.ledger import catalog
from siaga.ledger.catalog import Qualified
from siaga.ledger.engine import NOTHING_HIDDEN, Source

SECRETS = ("password", "sslpassword", "oauth_client_secret")
LINE_MAX = 400
PATIENCE = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""A host that went away without a word is noticed within half a minute; seconds, and one of milliseconds."""


def refuse_secrets(dsn: str) -> None:
    """A password in an argument can be read by every user of the machine, and stays in the shell's history."""
    found = next((name for name in SECRETS if name in _parsed(dsn)), None)
    if found is not None:
        raise BadInput(
            f"--dsn holds a {found}, expected a connection string without one",
            hint="put it into ~/.pgpass (or --dsn passfile=FILE), a service file, or PGPASSWORD in the environment",
        )


@contextlib.contextmanager
def opened(dsn: str, scratch: Path, tables: Sequence[Qualified] = ()) -> Iterator[Source]:
    """Connect and take a snapshot; Unreachable where nobody answers or lets us in, undetermined where it ends us.

    A password in `dsn` (Siaga's own errands; never an argument) goes on in a passfile below `scratch`, since DuckDB
    repeats connection strings in its messages.
    """
    parsed = _without_password(_parsed(dsn), scratch)
    clean = conninfo.make_conninfo("", **{**PATIENCE, **parsed, "client_encoding": "UTF8"})
    try:
        connection = psycopg.connect(conninfo.make_conninfo(clean, application_name="siaga ledger check"))
    except psycopg.OperationalError as error:
        raise Unreachable(
            f"no connection to {_shown(parsed)}: {first_line(error)}",
            hint="check the address, the role and its passfile; the check needs CONNECT and SELECT alone",
        ) from None
    with contextlib.closing(connection):
        if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
            raise BadInput(
                f"the database {connection.info.dbname} is encoded in SQL_ASCII: nobody knows what its texts mean",
                hint="restore it into a database with an encoding, such as UTF8, and check that one",
            )
        try:
            yield _snapshot(connection, clean, tables)
        except psycopg.Error as error:
            raise SiagaError(
                f"the database ended what it was asked: {first_line(error)}",
                hint="look for statement_timeout, lock_timeout, locks on the tables, and who ends backends",
            ) from None


def _snapshot(connection: psycopg.Connection[Any], clean: str, tables: Sequence[Qualified]) -> Source:
    # Before the snapshot, so that whatever rewrites a table after this shows (`catalog.files`).
    files = catalog.files(connection, tables)
    connection.rollback()
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    # We are idle in this transaction while others read under its snapshot. A row that a policy hides is an error.
    connection.execute(f"set local idle_in_transaction_session_timeout = 0; {NOTHING_HIDDEN}")
    position = catalog.position(connection)
    row = connection.execute("select pg_export_snapshot()").fetchone()
    assert row is not None, "a function call has one row"
    return Source(clean, connection, str(row[0]), position, files)


def files_now(source: Source, tables: Sequence[Qualified]) -> tuple[str, ...]:
    """The files that hold the tables at this moment, as opposed to the snapshot's."""
    with contextlib.closing(psycopg.connect(source.conninfo, autocommit=True)) as connection:
        return catalog.files(connection, tables)


def _parsed(dsn: str) -> dict[str, str | int]:
    try:
        return {key: value for key, value in conninfo.conninfo_to_dict(dsn).items() if value is not None}
    except psycopg.ProgrammingError:
        # Its own message repeats the string, which may hold a password.
        raise BadInput(
            "--dsn: not a connection string, expected `host=... dbname=...` or postgresql://user@host/database",
            hint="see PostgreSQL's manual, chapter libpq, connection strings",
        ) from None


def _without_password(parsed: dict[str, str | int], scratch: Path) -> dict[str, str | int]:
    password = parsed.pop("password", None)
    if password is None:
        return parsed
    path = scratch / "passfile"
    escaped = str(password).replace("\\", "\\\\").replace(":", "\\:")
    write_and_rename(path, f"*:*:*:*:{escaped}\n".encode())
    return {**parsed, "passfile": str(path)}


def _shown(parsed: dict[str, str | int]) -> str:
    named = {key: parsed[key] for key in ("service", "host", "port", "dbname", "user") if key in parsed}
    return " ".join(f"{key}={value}" for key, value in named.items()) or "the default server"


def first_line(error: BaseException) -> str:
    """What a database or driver says, without the statement and the rest; of several addresses, of each one."""
    first, *rest = str(error).strip().splitlines() or [type(error).__name__]
    return "; ".join([first, *(line for line in rest if line.startswith("- "))])[:LINE_MAX]
