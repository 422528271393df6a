"""The distance between regions, simulated: TCP relays that hold every byte for half a round trip.

Decision 23: some 160 ms between the front door and the other region's nodes, and between a far
node and the database. Opening a connection costs a round trip too, as it does on a real network.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import uvloop

QUEUED_BYTES_MAX = 1 << 20


@dataclass(frozen=True)
class Link:
    """One direction-pair: who connects to `listen` reaches `target` after the distance."""

    name: str
    listen: str
    target: str
    round_trip_ms: int


class _End(asyncio.Protocol):
    """One end of a relayed connection; what it reads leaves at the other end, later."""

    def __init__(self, one_way_s: float, ready_at: float) -> None:
        self._one_way_s = one_way_s
        self._ready_at = ready_at
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[float, bytes]] = deque()
        self._queued_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are TCP transports without being subclasses of asyncio's.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._put(data)
        self._queued_bytes += len(data)
        if self._queued_bytes > QUEUED_BYTES_MAX and self.transport is not None:
            self.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._put(b"")

    def _put(self, data: bytes) -> None:
        self._queue.append((max(self._loop.time(), self._ready_at) + self._one_way_s, data))
        if self._timer is None and self.other is not None:
            self._timer = self._loop.call_at(self._queue[0][0], self._deliver)

    def _deliver(self) -> None:
        self._timer = None
        if self.other is None:
            return  # The far end is not open yet; opening it delivers what waits.
        now = self._loop.time() + 0.0005
        other = self.other.transport
        while self._queue and self._queue[0][0] <= now:
            _, data = self._queue.popleft()
            self._queued_bytes -= len(data)
            if other is not None and not other.is_closing():
                if data:
                    other.write(data)
                else:
                    other.close()
        if self._queue:
            self._timer = self._loop.call_at(self._queue[0][0], self._deliver)
        if self._queued_bytes <= QUEUED_BYTES_MAX and self.transport is not None:
            self.transport.resume_reading()


class _Near(_End):
    """The end a client connected to: it opens the far end."""

    def __init__(self, link: Link) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(link.round_trip_ms / 2000, loop.time() + link.round_trip_ms / 1000)
        self._link = link
        self._opening: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._opening = self._loop.create_task(self._open())

    async def _open(self) -> None:
        host, _, port = self._link.target.rpartition(":")
        far = _End(self._one_way_s, 0.0)
        far.other = self
        try:
            async with asyncio.timeout(5.0):
                await self._loop.create_connection(lambda: far, host, int(port))
        except (OSError, TimeoutError):
            if self.transport is not None:
                self.transport.abort()
            return
        self.other = far
        if self._queue and self._timer is None:
            self._deliver()


async def relay(links: tuple[Link, ...]) -> None:
    """Serve every link until a signal ends us."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, done.set)
    for link in links:
        host, _, port = link.listen.rpartition(":")
        await loop.create_server(lambda link=link: _Near(link), host, int(port))  # type: ignore[misc]
    await done.wait()


if __name__ == "__main__":
    uvloop.run(relay(tuple(Link(**entry) for entry in json.loads(Path(sys.argv[1]).read_text()))))
