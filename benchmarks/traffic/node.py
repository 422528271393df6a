"""A stand-in for an application node: answers at once, or as late and as badly as it is told.

Raw asyncio, because five of them share two cores with the load. `PUT /fault` with JSON sets the fault.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from dataclasses import dataclass


@dataclass
class Fault:
    """What is wrong with the node now."""

    delay_ms: int = 0
    status: int = 200
    share: float = 1.0
    livez: bool = False
    """Whether the health check suffers too."""
    livez_only: bool = False
    outage: str = ""


class Node(asyncio.Protocol):
    """One connection. Pipelining is not needed: proxies don't."""

    def __init__(self, name: str, database_ms: int, state: dict[str, Fault], chance: random.Random) -> None:
        self.name, self.database_ms, self.state, self.chance = name, database_ms, state, chance
        self.received = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer when the whole request is here."""
        self.received += data
        head, separator, rest = self.received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if len(rest) < length:
            return
        self.received = rest[length:]
        method, path, _ = head.split(b"\r\n", 1)[0].split(b" ")
        if method == b"PUT" and path == b"/fault":
            self.state["fault"] = Fault(**json.loads(rest[:length]))
            self.answer(200, "")
        else:
            self.serve(path == b"/livez")

    def serve(self, livez: bool) -> None:
        """Answer now or later."""
        fault = self.state["fault"]
        meant = livez if fault.livez_only else fault.livez or not livez
        struck = meant and self.chance.random() < fault.share
        wait_ms = (0 if livez else self.database_ms + 2) + (fault.delay_ms if struck else 0)
        status = fault.status if struck else 200
        outage = fault.outage if struck else ""
        if wait_ms:
            asyncio.get_running_loop().call_later(wait_ms / 1000, self.answer, status, outage)
        else:
            self.answer(status, outage)

    def answer(self, status: int, outage: str) -> None:
        """Write the answer."""
        if self.transport.is_closing():
            return
        extra = f"x-siaga-outage: {outage}\r\nx-envoy-ratelimited: true\r\nretry-after: 1\r\n" if outage else ""
        self.transport.write(
            f"HTTP/1.1 {status} X\r\nx-served-by: {self.name}\r\n{extra}content-length: 2\r\n\r\nok".encode()
        )


async def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--database-ms", type=int, default=0)
    args = parser.parse_args()
    state, chance = {"fault": Fault()}, random.Random(args.name)  # noqa: S311 (a share of faults, no secret)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Node(args.name, args.database_ms, state, chance), "127.0.0.1", args.port, backlog=1024
    )
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
