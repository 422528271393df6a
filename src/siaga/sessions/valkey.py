"""Asks every session server at once how it stands: ROLE, its own view of the cluster, its replication.

A fresh connection each time: what a new client would meet, and nothing to clean up after a server that
hung in the middle of an answer. A stopped server costs its own deadline, never the others'.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from valkey.asyncio.connection import Connection
from valkey.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    InvalidResponse,
    NoPermissionError,
    ResponseError,
    ValkeyError,
)

from siaga.sessions.model import SLOTS, Answer, Member, Role, ServerFacts, SlotRange

COMMANDS = (("ROLE",), ("CLUSTER", "NODES"), ("CLUSTER", "INFO"), ("INFO", "server"))
"""All that the watcher's user must be allowed; each is answered from memory."""

NO_CLUSTER = "does not answer like a member of a Valkey cluster"


@dataclass(frozen=True, slots=True)
class Server:
    """A session server by name and host:port."""

    name: str
    address: str


class SessionWatcher:
    """Observes the servers of one session cluster."""

    def __init__(
        self, servers: Sequence[Server], *, user: str | None, password: str | None, deadline_s: float = 0.3
    ) -> None:
        self._servers = tuple(servers)
        self._user = user
        self._password = password
        self._deadline_s = deadline_s
        self._last: dict[str, ServerFacts] = {}

    async def observe(self) -> tuple[ServerFacts, ...]:
        """Look at every server at the same time; done when the slowest answered or missed its deadline."""
        found = await asyncio.gather(*(self._look(server) for server in self._servers))
        self._last = {facts.name: facts for facts in found}
        return tuple(found)

    async def _look(self, server: Server) -> ServerFacts:
        last = self._last.get(server.name)
        silent = ServerFacts(
            server.name, server.address, Answer.FAILED, datetime.now(UTC), node_id=last.node_id if last else ""
        )
        connection = self._connection(server)
        try:
            async with asyncio.timeout(self._deadline_s):
                return _facts(silent, await _ask(connection))
        except TimeoutError:
            timeouts = (last.timeouts if last else 0) + 1
            why = f"does not answer within {self._deadline_s * 1000:.0f} ms"
            return replace(silent, answer=Answer.HUNG, why=why, timeouts=timeouts)
        except (ValkeyError, OSError) as error:
            answer, why = _failure(error)
            return replace(silent, answer=answer, why=why)
        except (ValueError, LookupError, TypeError, AttributeError, StopIteration, RecursionError):
            return replace(silent, why=NO_CLUSTER)
        finally:
            await connection.disconnect(nowait=True)

    def _connection(self, server: Server) -> Connection:
        host, _, port = server.address.rpartition(":")
        return Connection(
            host=host,
            port=int(port),
            username=self._user,
            password=self._password,
            # The deadline is around the whole look; these would only cut it in other places.
            socket_timeout=None,
            socket_connect_timeout=None,
            lib_name=None,
            lib_version=None,
            decode_responses=True,
            encoding_errors="replace",
        )


async def _ask(connection: Connection) -> list[Any]:
    await connection.send_packed_command(connection.pack_commands(COMMANDS))
    return [await connection.read_response() for _ in COMMANDS]


def _failure(error: Exception) -> tuple[Answer, str]:
    """Word a failure in our own words: a server may repeat what it was sent, the password included."""
    if isinstance(error, AuthenticationError | NoPermissionError):
        return Answer.DENIED, "refuses our user, password or commands"
    if isinstance(error, BusyLoadingError):
        return Answer.FAILED, "is still loading its data"
    if isinstance(error, ResponseError | InvalidResponse):
        return Answer.FAILED, NO_CLUSTER
    if _refused(error):
        return Answer.REFUSED, "refuses connections"
    return Answer.FAILED, "closes the connection or cannot be reached"


def _refused(error: BaseException) -> bool:
    """Whether the host said that nobody listens; valkey-py keeps the system's error as the context of its own."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionRefusedError):
            return True
        cause = cause.__context__
    return False


def _facts(silent: ServerFacts, answers: Sequence[Any]) -> ServerFacts:
    role, nodes, cluster, server = answers
    members = tuple(_member(line.split()) for line in nodes.splitlines() if line)
    myself = next(line.split()[0] for line in nodes.splitlines() if "myself" in line.split()[2].split(","))
    is_primary = role[0] == "master"
    process = _fields(server)
    return replace(
        silent,
        answer=Answer.ANSWERED,
        role=Role.PRIMARY if is_primary else Role.REPLICA,
        node_id=myself,
        primary_id="" if is_primary else next(m.primary_id for m in members if m.node_id == myself),
        # A replica: ["slave", host, port, state of the link, offset]; a primary: ["master", offset, replicas].
        link_up=not is_primary and role[3] == "connected",
        offset=int(role[1] if is_primary else role[4]),
        serving=_fields(cluster)["cluster_state"] == "ok",
        members=members,
        process_id=int(process["process_id"]),
        run_id=process["run_id"],
    )


def _member(words: Sequence[str]) -> Member:
    """Read a line of CLUSTER NODES: id, address, flags, primary, ping, pong, epoch, link, slots."""
    node_id, address, flags, primary_id, _, _, epoch, _, *slots = words
    return Member(
        node_id=node_id,
        address=address.partition("@")[0],
        failed="fail" in flags.split(","),
        primary_id="" if primary_id == "-" else primary_id,
        epoch=int(epoch),
        # In brackets: slots on their way from one primary to another, listed with their owner as well.
        slots=tuple(_slot_range(text) for text in slots if not text.startswith("[")),
    )


def _slot_range(text: str) -> SlotRange:
    first, _, last = text.partition("-")
    slots = int(first), int(last or first)
    if not 0 <= slots[0] <= slots[1] < SLOTS:
        raise ValueError(f"slots {text} of {SLOTS}")
    return slots


def _fields(text: str) -> Mapping[str, str]:
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
