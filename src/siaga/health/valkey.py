"""Head-room of session servers: clients and memory of what they may have."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from valkey.asyncio import Valkey
from valkey.exceptions import ValkeyError

from siaga.errors import Unreachable
from siaga.health.model import Kind, Observation, Reader


@dataclass(frozen=True, slots=True)
class SessionServer:
    """A server of the session cluster by name."""

    name: str
    host: str
    connect: Callable[[], Valkey]
    """With time-outs; its user needs INFO alone."""


def reader(server: SessionServer) -> Reader:
    """Read clients and memory of one server."""

    async def read(now: datetime) -> Sequence[Observation]:
        return observations(await ask(server), server)

    kinds = (Kind.SESSION_CLIENTS, Kind.SESSION_MEMORY)
    return Reader(f"head-room of {server.name}", server.host, kinds, read, server.name)


@contextlib.asynccontextmanager
async def connected(server: SessionServer) -> AsyncIterator[Valkey]:
    """A client for some questions; Unreachable when one gets no answer."""
    client = server.connect()
    try:
        yield client
    except (ValkeyError, OSError) as error:
        raise Unreachable(f"{server.name}: {error}", hint="Look at its log.") from None
    finally:
        await client.aclose()


async def ask(server: SessionServer) -> Mapping[str, Any]:
    """Everything INFO says; Unreachable when it says nothing."""
    async with connected(server) as client:
        said: Mapping[str, Any] = await client.info()
    return said


def observations(said: Mapping[str, Any], server: SessionServer) -> tuple[Observation, ...]:
    """Both observations, from INFO."""
    clients, clients_max = int(said["connected_clients"]), int(said["maxclients"])
    used, used_max = int(said["used_memory"]), int(said["maxmemory"])
    memory: float | None = None
    why = "maxmemory is unlimited: sessions may take all there is"
    if used_max:
        memory, why = round(100 * used / used_max, 2), f"{used / 1e6:.0f} of {used_max / 1e6:.0f} MB"
    share = round(100 * clients / clients_max, 2)
    return (
        Observation(Kind.SESSION_CLIENTS, server.host, server.name, share, f"{clients} of {clients_max} clients"),
        Observation(Kind.SESSION_MEMORY, server.host, server.name, memory, why),
    )
