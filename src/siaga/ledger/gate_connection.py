"""One connection to the gate's database, one transaction, and every failure in words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from siaga.errors import BadInput, Refused, Unreachable
from siaga.ledger.source import first_line

CONNECT_DEADLINE_S = 5
LOCK_DEADLINE = "5s"

Connection = psycopg.AsyncConnection[tuple[Any, ...]]


@asynccontextmanager
async def connected(conninfo: str, *, autocommit: bool = False, dry_run: bool = False) -> AsyncIterator[Connection]:
    """Connect; commit at the end, or undo everything in a dry run."""
    try:
        connection = await psycopg.AsyncConnection.connect(
            conninfo, autocommit=autocommit, connect_timeout=CONNECT_DEADLINE_S, application_name="siaga gate"
        )
    except psycopg.OperationalError as error:
        raise Unreachable(
            f"the ledger's database does not answer: {first_line(error)}",
            hint="Check the address, the role and its password file.",
        ) from None
    try:
        async with connection:
            await connection.execute(f"set lock_timeout = '{LOCK_DEADLINE}'")
            # Closing must work while no quorum is there. Nothing is lost by it: a copy that lacks the raise lacks every
            # movement after it too, and whoever promotes it raises the fence; a release that is lost leaves it closed.
            await connection.execute("set synchronous_commit = local")
            yield connection
            if dry_run:
                await connection.rollback()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName, psycopg.errors.UndefinedFunction) as error:
        raise BadInput(
            f"this database lacks what the gate stands on: {first_line(error)}", hint="`siaga ledger gate` installs it."
        ) from None
    except psycopg.errors.InsufficientPrivilege as error:
        raise Refused(
            f"this role may not do that: {first_line(error)}",
            hint="The role `siaga_gate` changes the gate; only the database's owner installs it.",
        ) from None
    except psycopg.errors.ReadOnlySqlTransaction:
        raise Refused(
            "this server is a replica, and the gate is changed on its primary", hint="Connect to the primary."
        ) from None
    except psycopg.errors.LockNotAvailable:
        raise Refused(
            f"somebody else has been holding the gate or the ledger for {LOCK_DEADLINE}",
            hint="Nothing was changed; try again.",
        ) from None
    except psycopg.OperationalError as error:
        raise Unreachable(
            f"the ledger's database could not do it: {first_line(error)}", hint="Nothing was changed; try again."
        ) from None
