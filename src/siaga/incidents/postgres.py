"""Incidents in PostgreSQL, for two controllers that share their state: the next leader goes on with the same ones."""

from __future__ import annotations

import json
from typing import Any

from siaga.incidents.documents import to_document
from siaga.incidents.model import CLOSED_KEPT, Incident
from siaga.incidents.store import Kept, from_text, readable, to_text, with_closed
from siaga.state_database import Connect, StateDatabase

DELIVERIES_MAX = 200_000
"""Older attempts go."""

_SCHEMA = """
create schema if not exists siaga_incidents;
create table if not exists siaga_incidents.kept (name text primary key, body text not null);
create table if not exists siaga_incidents.closed (
    number bigint generated always as identity primary key,
    id text not null unique,
    body text not null
);
create table if not exists siaga_incidents.delivery (
    number bigint generated always as identity primary key,
    body text not null
)
"""
_SAVE = """
insert into siaga_incidents.kept values ('open', %s) on conflict (name) do update set body = excluded.body
"""
_CLOSE = """
insert into siaga_incidents.closed (id, body) values (%s, %s) on conflict (id) do update set body = excluded.body
"""


class PostgresStore:
    """An IncidentStore in the state's database, fenced by the leader's epoch."""

    def __init__(self, connect: Connect, *, epoch: int) -> None:
        """Nothing is asked of the database yet."""
        self._database = StateDatabase(connect, _SCHEMA, epoch=epoch)

    def load(self) -> Kept:
        """What was kept; a damaged row is set aside under the name `damaged`."""
        with self._database.reading() as connection:
            row = connection.execute("select body from siaga_incidents.kept where name = 'open'").fetchone()
            closed = connection.execute(
                "select body from siaga_incidents.closed order by number desc limit %s", [CLOSED_KEPT]
            ).fetchall()
        kept = from_text(row[0]) if row else Kept()
        if kept is None:
            with self._database.writing() as connection:
                connection.execute("delete from siaga_incidents.kept where name = 'damaged'")
                connection.execute("update siaga_incidents.kept set name = 'damaged' where name = 'open'")
        return with_closed(kept or Kept(), [json.loads(body) for (body,) in reversed(closed)])

    def save(self, kept: Kept) -> None:
        """Keep it, all in one transaction."""
        with self._database.writing() as connection, connection.cursor() as cursor:
            cursor.execute(_SAVE, [to_text(kept)])
            cursor.executemany(_CLOSE, [(one.id, json.dumps(to_document(one))) for one in kept.unarchived])

    def archive(self) -> list[Incident]:
        """Every closed incident ever, oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute("select body from siaga_incidents.closed order by number").fetchall()
        return readable(json.loads(body) for (body,) in rows)

    def deliveries(self, count: int) -> list[dict[str, Any]]:
        """The latest attempts, oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "select body from siaga_incidents.delivery order by number desc limit %s", [count]
            ).fetchall()
        return [json.loads(body) for (body,) in reversed(rows)]

    def note_delivery(self, attempt: dict[str, Any]) -> None:
        """Keep one attempt."""
        with self._database.writing() as connection:
            connection.execute("insert into siaga_incidents.delivery (body) values (%s)", [json.dumps(attempt)])
            connection.execute(
                "delete from siaga_incidents.delivery"
                " where number <= (select max(number) from siaga_incidents.delivery) - %s",
                [DELIVERIES_MAX],
            )
