"""Faults on demand inside an application node of the embedded platform, for drills.

The wallet itself knows nothing of this: the node wraps it (`node.py`). A fault is set over a Unix
socket that only the platform's user can open, and ends by itself, so that a drill that was killed
leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from siaga.errors import Unreachable

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Fault:
    """What happens to a share of the requests, for how long, and which paths stay clean."""

    delay_ms: float = 0.0
    status: int = 0
    """0: the request is answered as usual, after the delay."""
    share: float = 1.0
    clean_paths: tuple[str, ...] = ()
    lasts_s: float = 60.0


class Faulty:
    """ASGI wrapper that applies the fault of the moment."""

    def __init__(self, application: Application, socket: Path, seed: int = 0) -> None:
        self._application = application
        self._socket = socket
        self._random = random.Random(seed)  # noqa: S311 (a share of requests, not a secret)
        self._fault: Fault | None = None
        self._ends_at = 0.0
        self._server: asyncio.Server | None = None

    def set(self, fault: Fault | None) -> None:
        """From the next request on."""
        self._fault = fault
        self._ends_at = asyncio.get_running_loop().time() + (fault.lasts_s if fault else 0.0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, perhaps badly."""
        if scope["type"] == "lifespan":
            await self._listen()
        fault = self._fault
        if fault is None or scope["type"] != "http" or scope["path"] in fault.clean_paths:
            await self._application(scope, receive, send)
            return
        if asyncio.get_running_loop().time() > self._ends_at:
            self._fault = None
        elif self._random.random() < fault.share:
            if fault.delay_ms:
                await asyncio.sleep(fault.delay_ms / 1000)
            if fault.status:
                await _refuse(send, fault.status)
                return
        await self._application(scope, receive, send)

    async def _listen(self) -> None:
        self._socket.unlink(missing_ok=True)
        # Kept: a server that nobody refers to is closed by the garbage collector.
        self._server = await asyncio.start_unix_server(self._converse, path=str(self._socket))
        self._socket.chmod(0o600)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                wanted = json.loads(line)
                if wanted is not None:
                    wanted["clean_paths"] = tuple(wanted["clean_paths"])
                self.set(Fault(**wanted) if wanted is not None else None)
                writer.write(b"set\n")
                await writer.drain()
        writer.close()


async def _refuse(send: Send, status: int) -> None:
    body = b'{"error":"injected fault"}'
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def inject(socket: Path, fault: Fault | None, deadline_s: float = 2.0) -> None:
    """Set the fault of one node (None: heal it); returns once it is in force."""
    try:
        async with asyncio.timeout(deadline_s):
            reader, writer = await asyncio.open_unix_connection(str(socket))
            try:
                writer.write(json.dumps(asdict(fault) if fault is not None else None).encode() + b"\n")
                await writer.drain()
                await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        raise Unreachable(
            f"{socket.stem} takes no fault ({type(error).__name__})",
            hint="See whether the node runs: `siaga status`.",
        ) from error
