"""Head-room of connections: how many of those allowed are taken, at each database server and at the pooler."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from siaga.health.model import Kind, Observation, Reader
from siaga.health.postgres import Server, ask

# Connections kept back for superusers and pg_use_reserved_connections are no room for applications; the latter exist
# since PostgreSQL 16.
QUESTION = """
select (select count(*) from pg_stat_activity where backend_type = 'client backend') as taken,
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
           - coalesce(current_setting('reserved_connections', true), '0')::int as room
"""


def reader(server: Server) -> Reader:
    """Read one PostgreSQL server."""

    async def read(now: datetime) -> Sequence[Observation]:
        row = (await ask(server, QUESTION))[0]
        return [_observation(Kind.CONNECTIONS, server, row["taken"], row["room"])]

    return Reader(f"connections of {server.name}", server.host, (Kind.CONNECTIONS,), read, server.name)


def pooler(console: Server) -> Reader:
    """Read PgBouncer; `console` is its database `pgbouncer` and one of its admin or stats users."""

    async def read(now: datetime) -> Sequence[Observation]:
        lists = {row["list"]: row["items"] for row in await ask(console, "show lists")}
        settings = {row["key"]: row["value"] for row in await ask(console, "show config")}
        return [
            _observation(Kind.POOLER_CLIENTS, console, int(lists["used_clients"]), int(settings["max_client_conn"]))
        ]

    return Reader(f"clients of {console.name}", console.host, (Kind.POOLER_CLIENTS,), read, console.name)


def _observation(kind: Kind, server: Server, taken: int, room: int) -> Observation:
    percent = round(100 * taken / room, 2) if room > 0 else 100.0
    return Observation(kind, server.host, server.name, percent, f"{taken} of {room} taken")
