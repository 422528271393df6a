"""Asks the crowd of a drill over its Unix socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from siaga.drills.model import Figure
from siaga.errors import Unreachable

DEADLINE_S = 10.0
ANSWERS_SLOWLY_S = 120.0


class CrowdClient:
    """One request, one connection."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def state(self) -> dict[str, Any]:
        """Which crowd it is, and what it does: registering, loading, finished or failed."""
        return await self._ask({"op": "state"}, DEADLINE_S)

    async def figures(self, begin_s: float, end_s: float, bad_nodes: Sequence[str]) -> dict[str, Figure]:
        """What users saw of the requests due in this stretch of the monotonic clock."""
        request = {"op": "figures", "begin_s": begin_s, "end_s": end_s, "bad_nodes": list(bad_nodes)}
        return await self._ask(request, ANSWERS_SLOWLY_S)

    async def remember_sessions(self) -> int:
        """Keep the sessions acknowledged so far as those to ask for; their count."""
        return int((await self._ask({"op": "remember_sessions"}, DEADLINE_S))["sessions"])

    async def ask_sessions(self) -> dict[str, int]:
        """How many of the remembered sessions are valid, invalid, unknown."""
        return await self._ask({"op": "ask_sessions"}, ANSWERS_SLOWLY_S)

    async def log_ins(self, seconds: float) -> dict[str, Any]:
        """Log in on schedule for so long, and say how it went."""
        return await self._ask({"op": "log_ins", "seconds": seconds}, seconds + ANSWERS_SLOWLY_S)

    async def writes_again(self, since_s: float) -> float | None:
        """Seconds from `since_s` until writes are answered again; None when they are not."""
        found: float | None = (await self._ask({"op": "writes_again", "since_s": since_s}, ANSWERS_SLOWLY_S))[
            "writes_again_s"
        ]
        return found

    async def finish(self) -> None:
        """End the load and wait for its last answers."""
        await self._ask({"op": "finish"}, ANSWERS_SLOWLY_S)

    async def _ask(self, request: dict[str, Any], deadline_s: float) -> dict[str, Any]:
        try:
            async with asyncio.timeout(deadline_s):
                reader, writer = await asyncio.open_unix_connection(str(self._socket))
                try:
                    writer.write(json.dumps(request).encode() + b"\n")
                    await writer.drain()
                    line = await reader.readline()
                finally:
                    writer.close()
            answer: dict[str, Any] = json.loads(line)
        except (OSError, TimeoutError, ValueError) as error:
            raise Unreachable(
                f"the drill's users do not answer `{request['op']}` ({type(error).__name__})",
                hint="See the log of `drill-users` below the state directory; run the drill again.",
            ) from error
        if "error" in answer:
            raise Unreachable(f"the drill's users refused: {answer['error']}", hint="Run the drill again.")
        return answer
