"""The PostgreSQL in which two controllers share their state: anybody reads, only the leader's epoch writes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import LiteralString

import psycopg

from siaga.errors import StoreFault

STATEMENT_TIMEOUT_MS = 10_000

Connect = Callable[[], psycopg.Connection]
"""Makes a connection, with its password from a file."""


def prepared(connect: Connect) -> psycopg.Connection:
    """A connection on which nothing waits for ever, and what was committed is on disk."""
    connection = connect()
    connection.autocommit = True
    connection.execute(f"set statement_timeout = {STATEMENT_TIMEOUT_MS:d}")
    connection.execute("set synchronous_commit = on")
    return connection


@contextlib.contextmanager
def faults() -> Iterator[None]:
    """What the driver raises, in words; it never tells a password."""
    try:
        yield
    except psycopg.Error as error:
        raise StoreFault(str(error).partition("\n")[0] or type(error).__name__) from error


class StateDatabase:
    """One store's connection, made when it is needed and made anew after it was lost; one call at a time."""

    def __init__(self, connect: Connect, schema: LiteralString, *, epoch: int) -> None:
        """`schema` makes the store's tables where there are none. With epoch 0 nothing is ever written, nor made."""
        self._connect = connect
        self._schema = schema
        self._epoch = epoch
        # Calls come from threads.
        self._lock = threading.Lock()
        self._connection: psycopg.Connection | None = None

    @contextlib.contextmanager
    def reading(self) -> Iterator[psycopg.Connection]:
        """The connection; StoreFault where the database does not answer."""
        with self._lock, faults():
            yield self._connected()

    @contextlib.contextmanager
    def writing(self) -> Iterator[psycopg.Connection]:
        """A transaction; StoreFault, and nothing of it is done, when that fails or another controller leads."""
        with self.reading() as connection, connection.transaction():
            yield connection
            # The leader's row stays locked until the commit: a new leader can't come between the two. Asked last,
            # since the lease is renewed in that row.
            found = connection.execute("select epoch from siaga_state.leader where epoch = %s for share", [self._epoch])
            if found.fetchone() is None:
                raise StoreFault(f"another controller leads, epoch {self._epoch} is over")

    def close(self) -> None:
        """End the connection."""
        with self._lock, contextlib.suppress(psycopg.Error):
            if self._connection is not None:
                self._connection.close()

    def _connected(self) -> psycopg.Connection:
        if self._connection is None or self._connection.closed:
            connection = prepared(self._connect)
            if self._epoch:
                connection.execute(self._schema)
            self._connection = connection
        return self._connection
