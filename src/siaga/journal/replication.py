"""The replication protocol over libpq (psycopg's `pgconn`): slots, and the stream of one slot.

Nothing is acknowledged here by itself: `confirm` says what is durable, and only that is told to the server.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import pq, sql

from siaga.errors import Unreachable
from siaga.journal import lsn as positions
from siaga.journal.gaps import Branch, Server
from siaga.journal.pgoutput import EPOCH_US, ProtocolFault

ANSWER_S_MAX = 10.0
SILENCE_S_MAX = 10.0
"""A server that we ask every second and that says nothing for so long is gone, whatever its own time-outs are."""

_DATA = struct.Struct(">cQQq")
_KEEPALIVE = struct.Struct(">cQqB")
_STATUS = struct.Struct(">cQQQqB")


@dataclass(frozen=True, slots=True)
class Message:
    """What came: a change with its bytes, or a keepalive (`content` None) that says how far the server has read."""

    content: bytes | None
    position: int


class Replication:
    """One connection in replication mode; closed at the first fault, then made anew."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection
        self._pg = connection.pgconn
        self._confirmed = 0
        self._sent_at = 0.0
        self._heard_at = time.monotonic()

    @classmethod
    async def connect(cls, conninfo: str) -> Replication:
        """Log in; Unreachable when nobody answers or the credentials are refused."""
        whole = psycopg.conninfo.make_conninfo(conninfo, replication="database", client_encoding="UTF8")
        try:
            connection = await psycopg.AsyncConnection.connect(whole, autocommit=True)
        except psycopg.OperationalError as error:
            raise unreachable(error) from error
        return cls(connection)

    async def close(self) -> None:
        """Leave without a word; the slot keeps what was not confirmed."""
        await self._connection.close()

    async def identify(self) -> Server:
        """Which server this is, how far it has written, and where its timeline came from."""
        ((system, timeline, position, _),) = await self._ask("IDENTIFY_SYSTEM")
        branches: tuple[Branch, ...] = ()
        if int(timeline) > 1:
            ((_, content),) = await self._ask(f"TIMELINE_HISTORY {int(timeline)}")
            branches = history(content if isinstance(content, str) else bytes(content).decode())
        return Server(str(system), int(timeline), positions.parse(position), branches)

    async def create_slot(self, name: str, *, failover: bool) -> tuple[int, str]:
        """Make the slot; its first position, and the snapshot that holds everything before it.

        The snapshot lives until this connection does something else.
        """
        options = sql.SQL("SNAPSHOT 'export', FAILOVER" if failover else "SNAPSHOT 'export'")
        command = sql.SQL("CREATE_REPLICATION_SLOT {} LOGICAL pgoutput ({})").format(sql.Identifier(name), options)
        # It waits for every transaction that runs now, however long that takes.
        ((_, position, snapshot, _),) = await self._ask(command.as_string(self._connection), None)
        return positions.parse(position), str(snapshot)

    async def drop_slot(self, name: str) -> None:
        """Remove the slot; Unreachable when it is in use."""
        await self._ask(sql.SQL("DROP_REPLICATION_SLOT {}").format(sql.Identifier(name)).as_string(self._connection))

    async def start(self, slot: str, position: int, publications: Sequence[str]) -> None:
        """Stream from `position` on: only what was written on this server itself, never an echo (decision 10)."""
        names = ",".join('"' + name.replace('"', '""') + '"' for name in publications)
        command = sql.SQL(
            "START_REPLICATION SLOT {} LOGICAL {} (proto_version '1', publication_names {}, origin 'none')"
        ).format(sql.Identifier(slot), sql.SQL(positions.show(position)), sql.Literal(names))
        self._pg.send_query(command.as_bytes(self._connection))
        result = await self._result()
        if result.status != pq.ExecStatus.COPY_BOTH:
            raise Unreachable(
                _first_line(result), hint=f"The slot `{slot}` may be in use or lost: `siaga journal show`."
            )
        self._confirmed = position

    def pending(self) -> Message | None:
        """The next message that has arrived already, or None."""
        while True:
            try:
                length, content = self._pg.get_copy_data(1)
            except psycopg.OperationalError as error:
                raise unreachable(error) from error
            if length == 0:
                return None
            if length < 0:
                raise Unreachable(
                    f"the server ended the stream: {_first_line(self._pg.get_result())}", hint="It is tried again."
                )
            message = self._message(bytes(content))
            if message is not None:
                return message

    def _message(self, raw: bytes) -> Message | None:
        if raw[:1] == b"w":
            return Message(raw[_DATA.size :], _DATA.unpack_from(raw)[1])
        if raw[:1] == b"k":
            _, position, _, wants_answer = _KEEPALIVE.unpack(raw)
            if wants_answer:
                self._send_status()
            return Message(None, position)
        raise ProtocolFault(f"a copy message of kind {raw[:1]!r}, expected w or k")

    async def arrive(self, timeout_s: float) -> bool:
        """Wait until something arrives; False when nothing did."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._readable()
        except TimeoutError:
            if time.monotonic() - self._heard_at > SILENCE_S_MAX:
                raise Unreachable(
                    f"the server said nothing for {SILENCE_S_MAX:g} s", hint="It is left, and tried again."
                ) from None
            return False
        return True

    def confirm(self, position: int) -> None:
        """Everything before `position` is durable here: the server may forget it."""
        if position > self._confirmed:
            self._confirmed = position
            self._send_status()

    def keep_alive(self, interval_s: float) -> None:
        """Tell the server that we live, and ask whether it does, unless it heard from us within `interval_s`."""
        if time.monotonic() - self._sent_at >= interval_s:
            self._send_status(ask=True)

    def _send_status(self, *, ask: bool = False) -> None:
        now_us = time.time_ns() // 1000 - EPOCH_US
        status = _STATUS.pack(b"r", self._confirmed, self._confirmed, self._confirmed, now_us, ask)
        try:
            self._pg.put_copy_data(status)
            # What the kernel does not take now goes with the next one: 34 bytes every second at most.
            self._pg.flush()
        except psycopg.OperationalError as error:
            raise unreachable(error) from error
        self._sent_at = time.monotonic()

    async def _ask(self, command: str, deadline_s: float | None = ANSWER_S_MAX) -> list[Any]:
        # No parameters: a replication connection speaks the simple protocol alone.
        try:
            with cut_after(deadline_s, self._pg):
                cursor = await self._connection.execute(command.encode())
                return await cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            raise unreachable(error) from error

    async def _result(self) -> pq.abc.PGresult:
        try:
            with cut_after(ANSWER_S_MAX, self._pg):
                while self._pg.flush():
                    await asyncio.sleep(0)
                while self._pg.is_busy():
                    await self._readable()
        except psycopg.OperationalError as error:
            raise unreachable(error) from error
        result = self._pg.get_result()
        assert result is not None, "libpq owes a result for every query"
        return result

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        arrived = asyncio.Event()
        loop.add_reader(self._pg.socket, arrived.set)
        try:
            await arrived.wait()
        finally:
            loop.remove_reader(self._pg.socket)
        self._heard_at = time.monotonic()
        try:
            self._pg.consume_input()
        except psycopg.OperationalError as error:
            raise unreachable(error) from error


@contextmanager
def cut_after(deadline_s: float | None, connection: pq.abc.PGconn) -> Iterator[None]:
    """Shut the connection's socket down at the deadline: psycopg's own cancellation waits for the hung server."""
    if deadline_s is None:
        yield
        return
    cut = asyncio.get_running_loop().call_later(deadline_s, _cut, connection)
    try:
        yield
    finally:
        cut.cancel()


def _cut(connection: pq.abc.PGconn) -> None:
    with suppress(OSError, psycopg.OperationalError), socket.socket(fileno=os.dup(connection.socket)) as ours:
        ours.shutdown(socket.SHUT_RDWR)


def history(content: str) -> tuple[Branch, ...]:
    """The branches of a timeline history file, oldest first (one `timeline position reason` a line)."""
    lines = (line.split() for line in content.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    return tuple(Branch(int(fields[0]), positions.parse(fields[1])) for fields in lines)


def unreachable(error: psycopg.Error) -> Unreachable:
    """What the server or libpq said, on one line; libpq never puts a password into it."""
    said = re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__
    return Unreachable(said, hint="See whether the server runs and the journal's role may log in; it is tried again.")


def _first_line(result: pq.abc.PGresult | None) -> str:
    if result is None or not result.error_message:
        return "no reason was given"
    return result.error_message.decode(errors="replace").strip().splitlines()[0]
