"""The hands on the ledger's database: a fixed pool of connections, and a deadline that holds even when it hangs.

psycopg answers a cancelled query by asking the server to cancel and waiting for it, which a hung server never does; a
cancel request would even turn a commit that waits for the quorum into an acknowledged one. So a missed deadline shuts
the socket down instead: the query fails at once on our side, and the connection is replaced in the background.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import os
import select
import socket
from collections import deque
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.errors import Diagnostic
from psycopg.pq import TransactionStatus

from wallet.breaker import Breaker
from wallet.deadline import Deadline
from wallet.errors import Outage
from wallet.settings import DatabaseSettings

OPENERS = 8
OPEN_DEADLINE_S = 2.0
"""Opening takes three round trips (0.5 s from a far region): more than a request may wait, so it happens in the
background, and the pool never shrinks."""
REOPEN_DELAY_S_MIN = 0.05
REOPEN_DELAY_S_MAX = 0.5
UNAVAILABLE_SQLSTATES = frozenset(
    {"25006", "40001", "40P01", "55P03", "53100", "53200", "53300", "57014", "3F000", "42883", "42P01", "SG002"}
)
"""Read-only, serialization, deadlock, lock not available, disk full, memory, connections, statement time-out; and a
database that lacks what we rely on: schema, function, table, or the gate's row. Without its gate it moves no money."""


class Lane(enum.Enum):
    """Reads and writes fail apart: a lost quorum stops commits only."""

    READ = "read"
    WRITE = "write"


@dataclass(slots=True, eq=False)
class _Link:
    connection: psycopg.AsyncConnection[tuple[Any, ...]]
    warned: bool = False
    """The server sent a warning: of a commit, that it was made without the quorum."""
    shut: bool = False


class Postgres:
    """Runs one statement a request, in autocommit, through the pooler."""

    def __init__(self, settings: DatabaseSettings, password: str) -> None:
        self._settings = settings
        self._password = password
        self._deadline_s = settings.deadline_ms / 1000
        self._idle: list[_Link] = []
        self._waiting: deque[asyncio.Future[_Link]] = deque()
        self._missing = asyncio.Semaphore(settings.pool_max)
        self._open_count = 0
        self._open_error = ""
        self._first_tried = asyncio.Event()
        self._breakers = {lane: Breaker() for lane in Lane}
        self._openers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open the pool; the first try is awaited, its success is not: a node starts while the database is away."""
        self._openers = [asyncio.create_task(self._keep_open()) for _ in range(min(OPENERS, self._settings.pool_max))]
        await self._first_tried.wait()

    async def stop(self) -> None:
        """Close every connection."""
        for opener in self._openers:
            opener.cancel()
        await asyncio.gather(*self._openers, return_exceptions=True)
        for link in self._idle:
            link.connection.pgconn.finish()
        self._idle.clear()

    async def fetch(
        self, statement: str, parameters: tuple[object, ...], lane: Lane, *, repeatable: bool = True
    ) -> list[tuple[Any, ...]]:
        """Run one statement within the deadline; Outage when the database cannot, or its answer proves nothing."""
        loop = asyncio.get_running_loop()
        breaker = self._breakers[lane]
        if not breaker.admits(loop.time()):
            raise Outage("database", f"the last {lane.value}s failed, the next trial is less than a second away")
        deadline_at = loop.time() + self._deadline_s
        try:
            rows = await self._fetch(statement, parameters, deadline_at, repeatable)
        except Outage:
            breaker.miss(loop.time())
            raise
        breaker.hit()
        return rows

    async def _fetch(
        self, statement: str, parameters: tuple[object, ...], deadline_at: float, repeatable: bool
    ) -> list[tuple[Any, ...]]:
        while True:
            link = await self._acquire(deadline_at)
            try:
                return await self._execute(link, statement, parameters, deadline_at)
            except psycopg.Error as error:
                if link.shut:
                    raise Outage("database", f"no answer within {self._settings.deadline_ms} ms") from None
                if link.connection.closed and repeatable:
                    repeatable = False  # once: the connection may have died while it was idle
                    continue
                if link.connection.closed or _is_unavailable(error):
                    raise Outage("database", _reason(error)) from None
                raise
            finally:
                self._release(link)

    async def _execute(
        self, link: _Link, statement: str, parameters: tuple[object, ...], deadline_at: float
    ) -> list[tuple[Any, ...]]:
        link.warned = False
        deadline = Deadline(deadline_at, lambda: _shut(link))
        try:
            cursor = await link.connection.execute(statement, parameters)
            rows = await cursor.fetchall()
        finally:
            deadline.cancel()
        if link.warned:
            # "committed locally, but might not have been replicated": no acknowledgement (decision 8).
            raise Outage("database", "the commit was not confirmed by the quorum")
        return rows

    async def _acquire(self, deadline_at: float) -> _Link:
        while self._idle:
            link = self._idle.pop()
            if not _has_ended(link):
                return link
            self._discard(link)
        if self._open_count == 0 and self._open_error:
            raise Outage("database", self._open_error)
        waiter: asyncio.Future[_Link] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        late = Outage("database", f"no connection within {self._settings.deadline_ms} ms")
        deadline = Deadline(deadline_at, lambda: _refuse(waiter, late))
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._release(waiter.result())
            raise
        finally:
            deadline.cancel()

    def _release(self, link: _Link) -> None:
        if link.connection.pgconn.transaction_status != TransactionStatus.IDLE:  # shut, lost, or cancelled halfway
            self._discard(link)
            return
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(link)
                return
        self._idle.append(link)

    def _discard(self, link: _Link) -> None:
        link.connection.pgconn.finish()
        self._open_count -= 1
        self._missing.release()

    async def _keep_open(self) -> None:
        delay_s = REOPEN_DELAY_S_MIN
        while True:
            await self._missing.acquire()
            while (link := await self._open()) is None:
                self._first_tried.set()
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, REOPEN_DELAY_S_MAX)
            delay_s = REOPEN_DELAY_S_MIN
            self._open_count += 1
            self._open_error = ""
            self._release(link)
            self._first_tried.set()

    async def _open(self) -> _Link | None:
        settings = self._settings
        try:
            async with asyncio.timeout(OPEN_DEADLINE_S):
                connection: psycopg.AsyncConnection[tuple[Any, ...]] = await psycopg.AsyncConnection.connect(
                    host=settings.host,
                    port=settings.port,
                    dbname=settings.name,
                    user=settings.user,
                    password=self._password,
                    sslmode=settings.sslmode,
                    gssencmode="disable",
                    application_name="wallet",  # one name for all nodes: the pooler sends a SET when it changes
                    autocommit=True,
                    prepare_threshold=None,  # transaction pooling: the next statement meets another server connection
                )
        except (psycopg.Error, OSError, TimeoutError) as error:
            self._open_error = f"no connection: {_reason(error)}"
            if self._open_count == 0:
                self._refuse_waiting(self._open_error)
            return None
        link = _Link(connection)
        connection.add_notice_handler(lambda diagnostic: _note(link, diagnostic))
        return link

    def _refuse_waiting(self, why: str) -> None:
        while self._waiting:
            _refuse(self._waiting.popleft(), Outage("database", why))


def _refuse(waiter: asyncio.Future[_Link], outage: Outage) -> None:
    if not waiter.done():
        waiter.set_exception(outage)


def _shut(link: _Link) -> None:
    link.shut = True
    with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(link.connection.fileno())) as end:
        end.shutdown(socket.SHUT_RDWR)


def _has_ended(link: _Link) -> bool:
    if link.connection.closed:
        return True
    poll = select.poll()
    poll.register(link.connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))  # an idle connection has nothing to say but its end


def _note(link: _Link, diagnostic: Diagnostic) -> None:
    if diagnostic.severity_nonlocalized == "WARNING":
        link.warned = True


def _is_unavailable(error: psycopg.Error) -> bool:
    state = error.sqlstate or ""
    return state in UNAVAILABLE_SQLSTATES or state.startswith(("08", "57P")) or not state


def _reason(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
