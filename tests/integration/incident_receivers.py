"""Real HTTP servers on loopback that stand for PagerDuty, for a chat, and for a dead-man's switch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

DEADLINE_S = 20.0


@dataclass
class Receiver:
    """Answers as it is told, and keeps whatever it was sent."""

    url: str = ""
    answers: list[int | None] = field(default_factory=list)
    """Statuses, one a request, 202 once they are used up; None hangs until the client gives up."""
    heard: list[dict[str, Any]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.heard.append(json.loads(body) if body else {})
        self.changed.set()
        status = self.answers.pop(0) if self.answers else 202
        if status is None:
            await asyncio.sleep(3600)
        return web.Response(status=status or 500, headers=self.headers)

    async def until(self, enough: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """Wait for what is to be heard."""
        async with asyncio.timeout(DEADLINE_S):
            while not enough(self.heard):
                self.changed.clear()
                await self.changed.wait()
        return self.heard


@asynccontextmanager
async def receiver(*answers: int | None) -> AsyncIterator[Receiver]:
    """A server of its own on a free port."""
    found = Receiver(answers=list(answers))
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", found.handle)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    found.url = f"http://{host}:{port}"
    try:
        yield found
    finally:
        await runner.cleanup()
