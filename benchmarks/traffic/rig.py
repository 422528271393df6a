"""What every engine stands on: four nodes in two regions, the distance between them, faults."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from siaga.platform.relay import Link
from siaga.site.model import Database, DatabaseServer, Distance, Node, Region, SessionStore, Site

ROUND_TRIP_MS = 160
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong at some nodes."""

    name: str
    nodes: tuple[str, ...] = ("sgp-1",)
    signal: int = 0
    settings: Mapping[str, object] = field(default_factory=dict)


ONE_NODE = (
    Fault("kill", signal=signal.SIGKILL),
    Fault("hang", signal=signal.SIGSTOP),
    Fault("+800 ms", settings={"delay_ms": 800, "livez": True}),
    Fault("+800 ms on 30 %, health check clean", settings={"delay_ms": 800, "share": 0.3}),
    Fault("503, health check clean", settings={"status": 503}),
)
_REGION = ("sgp-1", "sgp-2")
WHOLE_REGION = (
    Fault("region kill", nodes=_REGION, signal=signal.SIGKILL),
    Fault("region hang", nodes=_REGION, signal=signal.SIGSTOP),
    Fault("region +800 ms, health check clean", nodes=_REGION, settings={"delay_ms": 800}),
    Fault("region 503, health check clean", nodes=_REGION, settings={"status": 503}),
)
_EVERY_NODE = ("sgp-1", "sgp-2", "fra-1", "fra-2")
OTHERS = (
    Fault("+800 ms, health check clean", settings={"delay_ms": 800}),
    Fault("far node hang", nodes=("fra-1",), signal=signal.SIGSTOP),
    Fault("far node +800 ms on 30 %, health check clean", nodes=("fra-1",), settings={"delay_ms": 800, "share": 0.3}),
    Fault("database outage", _EVERY_NODE, settings={"status": 503, "outage": "database"}),
    Fault("slow database outage", _EVERY_NODE, settings={"status": 503, "outage": "database", "delay_ms": 50}),
)
NONE = Fault("none", nodes=())
FAULTS = {fault.name: fault for fault in (NONE, *ONE_NODE, *WHOLE_REGION, *OTHERS)}


class Ports:
    """Free loopback ports below the ephemeral range, none twice."""

    def __init__(self) -> None:
        self._next = 20_000 + os.getpid() % 9_000
        self.by_name: dict[str, int] = {}

    def of(self, name: str) -> int:
        """The port of that name, chosen at the first call."""
        while name not in self.by_name:
            self._next += 1
            with socket.socket() as probe, contextlib.suppress(OSError):
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", self._next))
                self.by_name[name] = self._next
        return self.by_name[name]

    def address(self, name: str) -> str:
        """`host:port` of that name."""
        return f"127.0.0.1:{self.of(name)}"


class Rig:
    """The nodes and the distance, running."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ports = Ports()
        self.site = _site(self.ports)
        self.node_of_address = {str(node.address): node.name for node in self.site.nodes}
        self._nodes: dict[str, asyncio.subprocess.Process] = {}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Rig]:
        """Start nodes and relay; stop them at the end."""
        relay_file = self.directory / "relay.json"
        relay_file.write_text(json.dumps([asdict(link) for link in self.links()]))
        async with started([sys.executable, "-m", "siaga.platform.relay", str(relay_file)]):
            try:
                await asyncio.gather(*(self._start(node.name) for node in self.site.nodes))
                yield self
            finally:
                for name in list(self._nodes):
                    await self._stop(name)

    def links(self) -> Iterator[Link]:
        """From each region to the other's door, and to each of its nodes."""
        for origin in self.site.regions:
            for region in self.site.regions:
                if origin is not region:
                    for end in (f"door-{region.name}", *(node.name for node in region.nodes)):
                        name = f"{origin.name}-{end}"
                        yield Link(name, self.ports.address(name), self.ports.address(end), ROUND_TRIP_MS)

    def node_of_link(self) -> dict[str, str]:
        """Which node is reached at each address, over the distance or not."""
        far = {link.listen: self.node_of_address.get(link.target, "") for link in self.links()}
        return far | self.node_of_address

    async def inject(self, fault: Fault) -> None:
        """Let it go wrong."""
        for name in fault.nodes:
            if fault.signal:
                self._nodes[name].send_signal(fault.signal)
                if fault.signal == signal.SIGKILL:
                    await self._nodes[name].wait()
            else:
                await self._tell(name, fault.settings)

    async def heal(self, fault: Fault) -> None:
        """Make every node well again."""
        for name in fault.nodes:
            if fault.signal:
                await self._stop(name)
                await self._start(name)
            else:
                await self._tell(name, {})

    async def _start(self, name: str) -> None:
        distance_ms = self.site.round_trip_ms(self.site.region_of(name).name, "sgp")
        argv = [sys.executable, str(HERE / "node.py"), "--name", name, "--port", str(self.ports.of(name))]
        self._nodes[name] = await asyncio.create_subprocess_exec(*argv, "--database-ms", str(distance_ms))
        await listening(self.ports.of(name))

    async def _stop(self, name: str) -> None:
        process = self._nodes.pop(name)
        if process.returncode is None:
            process.kill()
        await process.wait()

    async def _tell(self, name: str, settings: Mapping[str, object]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports.of(name))
        body = json.dumps(dict(settings)).encode()
        writer.write(b"PUT /fault HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await reader.readuntil(b"ok")
        writer.close()


@contextlib.asynccontextmanager
async def started(
    argv: Sequence[str], env: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process for as long as the block lasts."""
    process = await asyncio.create_subprocess_exec(*argv, env={**os.environ, **(env or {})})
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def listening(port: int, deadline_s: float = 10.0) -> None:
    """Return once somebody accepts connections there."""
    async with asyncio.timeout(deadline_s):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.02)


def _site(ports: Ports) -> Site:
    regions = tuple(
        Region(
            name=region,
            front_door=ports.address(f"front-{region}"),
            door=ports.address(f"door-{region}"),
            nodes=tuple(Node(name=name, address=ports.address(name)) for name in (f"{region}-1", f"{region}-2")),
        )
        for region in ("sgp", "fra")
    )
    # Only the front door is measured; the model wants the rest named.
    elsewhere = (DatabaseServer(name="elsewhere", address="127.0.0.1:1"),)
    return Site(
        regions=regions,
        distances=(Distance(between=("sgp", "fra"), round_trip_ms=ROUND_TRIP_MS),),
        transactions=Database(servers=elsewhere, database="transactions", region="sgp"),
        history=Database(
            servers=(DatabaseServer(name="history", address="127.0.0.1:2"),), database="history", region="sgp"
        ),
        sessions=SessionStore(servers=(DatabaseServer(name="sessions", address="127.0.0.1:3"),)),
    )
