"""How the readers ask a PostgreSQL, or what speaks its protocol: one short connection a question, with deadlines."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from siaga.errors import Unreachable


@dataclass(frozen=True, slots=True)
class Server:
    """A server by name; its connection string holds a password, and is made afresh for each question."""

    name: str
    host: str
    conninfo: Callable[[], str]
    """With a `connect_timeout`."""


@contextlib.asynccontextmanager
async def connected(server: Server) -> AsyncIterator[psycopg.AsyncConnection[dict[str, Any]]]:
    """A connection for some questions; Unreachable with the server's own words when one gets no answer."""
    try:
        async with await psycopg.AsyncConnection.connect(
            server.conninfo(), autocommit=True, row_factory=dict_row
        ) as connection:
            yield connection
    except psycopg.Error as error:
        said = str(error).strip().splitlines()
        raise Unreachable(
            f"{server.name}: {said[0] if said else type(error).__name__}", hint="Look at its log and its rights."
        ) from None


async def ask(server: Server, question: str) -> list[dict[str, Any]]:
    """Every row of the answer; Unreachable with the server's own words when there is none."""
    async with connected(server) as connection:
        # Without parameters: PgBouncer's console knows the simple protocol alone.
        cursor = await connection.execute(question.encode())
        return await cursor.fetchall()
