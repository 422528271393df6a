"""Talks to the keeper of a host over its Unix socket."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from siaga.errors import Unreachable
from siaga.hosts.keeper import Spec

DEADLINE_S = 30.0


class KeeperClient:
    """One request, one connection: a keeper that was restarted in between is simply reached again."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def parts(self) -> list[dict[str, Any]]:
        """Every kept process: name, kind, pid, started_ticks, state, since, restarts, why."""
        parts: list[dict[str, Any]] = (await self._ask({"op": "list"}))["parts"]
        return parts

    async def pid(self) -> int:
        """The keeper's own process id."""
        return int((await self._ask({"op": "list"}))["pid"])

    async def put(self, spec: Spec, *, restart: bool = True) -> dict[str, Any]:
        """Keep this process alive from now on; with new settings it is restarted."""
        return await self._ask({"op": "put", "spec": asdict(spec), "restart": restart})

    async def start(self, name: str) -> None:
        """Start what was stopped or held; let go on what hangs."""
        await self._ask({"op": "start", "name": name})

    async def stop(self, name: str, why: str = "stopped on request") -> None:
        """End it in its own way and leave it so."""
        await self._ask({"op": "stop", "name": name, "why": why})

    async def remove(self, name: str) -> None:
        """End it and forget it."""
        await self._ask({"op": "remove", "name": name})

    async def kill(self, name: str, *, hold_s: float = 0.0) -> None:
        """SIGKILL it with its children; it is started again at once, or after `hold_s`."""
        await self._ask({"op": "kill", "name": name, "hold_s": hold_s})

    async def hang(self, name: str, *, hold_s: float) -> None:
        """SIGSTOP it with its children; it goes on after `hold_s` or at `start`."""
        await self._ask({"op": "hang", "name": name, "hold_s": hold_s})

    async def leave(self) -> None:
        """End the keeper; what it kept goes on."""
        await self._ask({"op": "leave"})

    async def answers(self) -> bool:
        """Whether a keeper listens."""
        try:
            await self._ask({"op": "list"}, deadline_s=2.0)
        except Unreachable:
            return False
        return True

    async def _ask(self, request: dict[str, Any], deadline_s: float = DEADLINE_S) -> dict[str, Any]:
        try:
            async with asyncio.timeout(deadline_s):
                reader, writer = await asyncio.open_unix_connection(str(self._socket), limit=1 << 22)
                try:
                    writer.write(json.dumps(request).encode() + b"\n")
                    await writer.drain()
                    line = await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            raise Unreachable(
                f"the keeper does not answer ({type(error).__name__})",
                hint="Start it again with `siaga up`; the servers themselves go on without it.",
            ) from error
        if not line:
            raise Unreachable("the keeper closed the connection", hint="Start it again with `siaga up`.")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise Unreachable(f"the keeper refused: {answer['error']}", hint="Bring both to one version: `siaga up`.")
        return answer
