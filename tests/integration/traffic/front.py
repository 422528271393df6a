"""A user of the front doors, and what a test may ask of the rig behind them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.traffic.rig import Rig
from siaga.hosts.local import LocalHost
from siaga.site.model import Region
from siaga.traffic.envoy import Envoy, HostStats


@dataclass(frozen=True)
class Answer:
    """An answer as it came over the wire."""

    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def served_by(self) -> str:
        """The node that says it answered."""
        return self.headers.get("x-served-by", "")


class Front:
    """Siaga's Envoy before the rig."""

    def __init__(self, rig: Rig, directory: Path) -> None:
        self.rig = rig
        self.directory = directory
        self.envoy = Envoy(LocalHost(), rig.ports.address("admin"), str(directory))

    def region(self, name: str) -> Region:
        """The region of that name."""
        return self.rig.site.region(name)

    async def get(self, region: str, path: str = "/balance", **headers: str) -> Answer:
        """A safe request of a user of that region."""
        return await self.ask(f"front-{region}", "GET", path, headers)

    async def post(self, region: str, body: bytes = b"{}", **headers: str) -> Answer:
        """A request that may not be repeated, unless the headers carry a key."""
        return await self.ask(f"front-{region}", "POST", "/transfer", headers, body)

    async def probe(self, region: str, node: str) -> Answer:
        """A probe of the controller, as seen from that region."""
        return await self.ask(f"probe-{region}", "GET", "/balance", {"x-siaga-probe-node": node})

    async def admin(self, path: str) -> Answer:
        """What Envoy says of itself."""
        return await self.ask("admin", "GET", path, {})

    async def ask(self, port: str, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        """One request on a connection of its own."""
        lines = [f"{method} {path} HTTP/1.1", "host: x", "connection: close", f"content-length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        async with asyncio.timeout(8):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.rig.ports.of(port), limit=1 << 22)
            writer.write("\r\n".join([*lines, "", ""]).encode() + body)
            received = ""
            # A door that refuses a large request answers and hangs up before it has read it all.
            with contextlib.suppress(ConnectionError):
                while chunk := await reader.read(65_536):
                    received += chunk.decode()
            writer.close()
        head, _, rest = received.partition("\r\n\r\n")
        first, *others = head.split("\r\n")
        found = {name.lower(): value for name, _, value in (line.partition(": ") for line in others)}
        if found.get("transfer-encoding") == "chunked":
            rest = "".join(rest.split("\r\n")[1::2])
        return Answer(int(first.split(" ")[1]), found, rest)

    async def seen(self) -> dict[str, HostStats]:
        """Every node as Envoy sees it."""
        return {stats.node: stats for stats in await self.envoy.observe()}

    async def until(self, node: str, **wanted: bool) -> None:
        """Return once Envoy sees the node so."""
        async with asyncio.timeout(10):
            while True:
                seen = (await self.seen())[node]
                if all(getattr(seen, name) == value for name, value in wanted.items()):
                    return
                await asyncio.sleep(0.05)
