"""Open-loop users: a request leaves when it is due, whether or not earlier ones are answered.

Latency counts from the scheduled send, so that a stall is charged to every request it delays.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

TIMEOUT_S = 5.0
BODY = b'{"amount":1}'


@dataclass(frozen=True, slots=True)
class Answer:
    """What one user saw."""

    sent_s: float
    """Scheduled, since the start of the load."""
    latency_ms: float
    region: str
    kind: str
    status: int
    """0: no answer."""
    served_by: str
    attempted: tuple[str, ...]
    """Addresses of the nodes asked, in order, where the proxy tells."""


class _Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    def __init__(self, idle: list[_Connection]) -> None:
        self.idle = idle
        self.received = b""
        self.waiting: asyncio.Future[tuple[int, Mapping[str, str]]] | None = None
        self.transport: asyncio.Transport
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance.

    def send(self, request: bytes) -> asyncio.Future[tuple[int, Mapping[str, str]]]:
        self.waiting = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self.waiting

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, separator, body = self.received.partition(b"\r\n\r\n")
        if not separator or self.waiting is None:
            return
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if "content-length" in headers:
            if len(body) < int(headers["content-length"]):
                return
        elif not body.endswith(b"0\r\n\r\n"):
            return
        self.received, waiting, self.waiting = b"", self.waiting, None
        if not waiting.done():
            waiting.set_result((int(lines[0].split(" ")[1]), headers))
        if headers.get("connection") == "close":
            self.transport.close()
        else:
            self.idle.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result((0, {}))


class Load:
    """Users of several front doors."""

    def __init__(self, front_doors: Mapping[str, int], *, rate_per_s: float, seed: int) -> None:
        self.front_doors = front_doors
        self.rate_per_s = rate_per_s
        self.chance = random.Random(seed)  # noqa: S311 (a mix of requests, no secret)
        self.answers: list[Answer] = []
        self._begin = 0.0
        self._idle: dict[str, list[_Connection]] = {region: [] for region in front_doors}

    async def run(self, duration_s: float) -> None:
        """Send for `duration_s`, then wait for every answer."""
        loop = asyncio.get_running_loop()
        await self._warm()
        self._begin = begin = loop.time()
        regions, under_way = list(self.front_doors), set()
        for number in range(int(duration_s * self.rate_per_s)):
            due = begin + number / self.rate_per_s
            while (left := due - loop.time()) > 0:
                await asyncio.sleep(left)
            task = loop.create_task(self._one(begin, due, regions[number % len(regions)]))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        if under_way:
            await asyncio.wait(under_way)
        for idle in self._idle.values():
            for connection in idle:
                connection.transport.close()

    def now_s(self) -> float:
        """Seconds since the load began."""
        return asyncio.get_running_loop().time() - self._begin

    async def _warm(self) -> None:
        for region, idle in self._idle.items():
            idle.extend([await self._open(region) for _ in range(16)])

    async def _open(self, region: str) -> _Connection:
        loop = asyncio.get_running_loop()
        idle = self._idle[region]
        _, connection = await loop.create_connection(lambda: _Connection(idle), "127.0.0.1", self.front_doors[region])
        return connection

    async def _one(self, begin: float, due: float, region: str) -> None:
        kind, request = self._request()
        idle = self._idle[region]
        status = 0
        headers: Mapping[str, str] = {}
        try:
            async with asyncio.timeout(TIMEOUT_S):
                while idle and idle[-1].closed:
                    idle.pop()
                connection = idle.pop() if idle else await self._open(region)
                status, headers = await connection.send(request)
        except (TimeoutError, OSError):
            pass
        attempted = headers.get("x-siaga-nodes-attempted", "")
        self.answers.append(
            Answer(
                sent_s=due - begin,
                latency_ms=(asyncio.get_running_loop().time() - due) * 1000,
                region=region,
                kind=kind,
                status=status,
                served_by=headers.get("x-served-by", ""),
                attempted=tuple(part.strip() for part in attempted.split(",") if part.strip()),
            )
        )

    def _request(self) -> tuple[str, bytes]:
        draw = self.chance.random()
        if draw < 0.70:
            return "safe", b"GET /balance HTTP/1.1\r\nhost: x\r\n\r\n"
        kind, key = ("keyed", f"idempotency-key: {self.chance.getrandbits(64):x}\r\n") if draw < 0.85 else ("raw", "")
        head = f"POST /transfer HTTP/1.1\r\nhost: x\r\n{key}content-length: {len(BODY)}\r\n\r\n"
        return kind, head.encode() + BODY
