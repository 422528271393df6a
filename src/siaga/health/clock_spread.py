"""How far the clocks of the platform's servers are from the controller's: what makes two logs tell two stories.

Each server is asked for its time over its own protocol. Of some samples the one with the shortest round trip counts,
and half of that trip is what the figure may be wrong by.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from siaga.health import postgres, valkey
from siaga.health.model import Kind, Observation, Reader
from siaga.health.postgres import Server
from siaga.health.valkey import SessionServer

SAMPLES = 5
QUESTION = b"select extract(epoch from clock_timestamp())::float8 as now_s"


@dataclass(frozen=True, slots=True, order=True)
class Sample:
    """One answer; the shorter its way, the smaller."""

    trip_s: float
    """From the question to its answer, by a clock that nobody sets."""
    ahead_s: float
    """How far the server's clock was ahead of ours, if both ways took as long."""


def of_database(server: Server, now_s: Callable[[], float] = time.time) -> Reader:
    """Compare one PostgreSQL server."""

    async def read(now: datetime) -> Sequence[Observation]:
        found = []
        async with postgres.connected(server) as connection:
            for _ in range(SAMPLES):
                asked = Asked(now_s)
                row = await (await connection.execute(QUESTION)).fetchone()
                assert row is not None, "a select without a table has one row"
                found.append(asked.answered(row["now_s"]))
        return [observation(found, server.name, server.host)]

    return _reader(server.name, server.host, read)


def of_session_server(server: SessionServer, now_s: Callable[[], float] = time.time) -> Reader:
    """Compare one session server, by the clock in its INFO: its watcher may ask nothing else."""

    async def read(now: datetime) -> Sequence[Observation]:
        found = []
        async with valkey.connected(server) as client:
            # The first question also carries the log-in, and so never has the shortest way.
            for _ in range(SAMPLES):
                asked = Asked(now_s)
                said = await client.info("server")
                found.append(asked.answered(int(said["server_time_usec"]) / 1e6))
        return [observation(found, server.name, server.host)]

    return _reader(server.name, server.host, read)


class Asked:
    """A question that is under way."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._sent_s, self._begin_s = now_s(), time.monotonic()

    def answered(self, their_s: float) -> Sample:
        """With the server's time, in seconds since 1970."""
        trip_s = time.monotonic() - self._begin_s
        return Sample(trip_s, their_s - (self._sent_s + trip_s / 2))


def observation(samples: Sequence[Sample], name: str, host: str) -> Observation:
    """The distance by the best of the samples, in ms; no sign, for either way is as bad."""
    best = min(samples)
    way = "ahead of" if best.ahead_s > 0 else "behind"
    why = f"{way} the controller's clock, give or take {best.trip_s * 500:.2g} ms"
    return Observation(Kind.CLOCK_SPREAD, host, name, round(abs(best.ahead_s) * 1000, 3), why)


def _reader(name: str, host: str, read: Callable[[datetime], Awaitable[Sequence[Observation]]]) -> Reader:
    return Reader(f"clock of {name} beside the controller's", host, (Kind.CLOCK_SPREAD,), read, name)
