"""The small PostgreSQL that holds the state of two controllers: a server, a role and secrets of its own.

It shares no process, directory or password with the databases that the controllers recover. With it away
users are served on, and nobody acts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import psycopg
from psycopg import sql

from siaga.errors import BadInput
from siaga.hosts.model import Host
from siaga.platform import postgres, secrets
from siaga.platform.engines import Engines
from siaga.platform.layout import CONTROL_DATABASE, Layout
from siaga.state_database import Connect

DATABASE = "siaga_state"
ROLE = "siaga_state"
READER = "siaga standby"
"""What sessions call themselves that only read."""
_ADMIN = "siaga_control_admin"

_SETTINGS: Mapping[str, str] = {
    "shared_buffers": "32MB",
    "max_connections": "60",
    "max_wal_size": "128MB",
    "synchronous_commit": "on",
    "password_encryption": "scram-sha-256",
    "log_line_prefix": "%m [%p] %u@%d ",
    "log_statement": "none",
    "log_min_error_statement": "panic",
    # The lock of a leader whose host is gone is only freed when TCP notices.
    "tcp_keepalives_idle": "1",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "2",
    "client_connection_check_interval": "1s",
}


async def create(host: Host, layout: Layout, engines: Engines) -> bool:
    """Make the server unless it exists already; whether it was made now."""

    async def configure(scratch: Path) -> None:
        settings = {**_SETTINGS, **postgres.own_settings(layout, CONTROL_DATABASE)}
        await postgres.write_settings(host, scratch, settings)

    return await postgres.initialize(
        host,
        engines,
        layout.directory(CONTROL_DATABASE),
        admin=_ADMIN,
        password_file=layout.secret(secrets.CONTROL_ADMIN),
        configure=configure,
    )


async def prepare(layout: Layout, deadline_s: float) -> None:
    """Wait until the server answers, and make the role and its database."""
    admin = _conninfo(layout, _ADMIN, "postgres", layout.secret(secrets.CONTROL_ADMIN))
    await postgres.accepts(layout, CONTROL_DATABASE, deadline_s, login=admin)
    async with await psycopg.AsyncConnection.connect(admin, autocommit=True) as connection:
        role = sql.Identifier(ROLE)
        if not await _one(connection, "select 1 from pg_roles where rolname = %s", ROLE):
            # The verifier is made here, so that not even the server sees the password.
            password = secrets.read(layout.secret(secrets.CONTROL)).encode()
            verifier = connection.pgconn.encrypt_password(password, ROLE.encode(), b"scram-sha-256").decode()
            await connection.execute(sql.SQL("create role {} login password {}").format(role, sql.Literal(verifier)))
        if not await _one(connection, "select 1 from pg_database where datname = %s", DATABASE):
            database = sql.Identifier(DATABASE)
            await connection.execute(sql.SQL("create database {} owner {}").format(database, role))
            await connection.execute(sql.SQL("revoke connect on database {} from public").format(database))


def conninfo(layout: Layout) -> str:
    """How controllers reach their state; the password comes from its file."""
    settings = layout.site.controller
    password = layout.secret(secrets.CONTROL) if layout.site.embedded else Path(settings.password_file or "")
    return _conninfo(layout, ROLE, DATABASE, password)


def connector(layout: Layout, name: str) -> Connect:
    """Makes connections to the state for the session `name`; a new leader ends them all, but those of a READER."""
    found = conninfo(layout)
    return lambda: psycopg.connect(found, application_name=name)


def _conninfo(layout: Layout, role: str, database: str, password_file: Path) -> str:
    host, _, port = (layout.site.controller.address or "").rpartition(":")
    try:
        password = secrets.read(password_file)
    except OSError as error:
        raise BadInput(
            f"the password of `{role}` can't be read from {password_file}: {error.strerror}",
            hint="Name the file as `controller.password_file` in the site file; `siaga up` makes the embedded one.",
        ) from error
    return psycopg.conninfo.make_conninfo(
        host=host, port=port, dbname=database, user=role, password=password, connect_timeout=5
    )


async def _one(connection: psycopg.AsyncConnection, query: str, name: str) -> bool:
    # The query is one of the two above.
    found = await connection.execute(query.encode(), (name,))
    return await found.fetchone() is not None
