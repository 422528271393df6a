"""Plays the platform in a process of its own: a wallet that answers, and fails when it is told to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from aiohttp import web


def serve(pipe: Connection, regions: Sequence[str]) -> None:
    """Say the address, fail after the word `fail`, end after `end`."""
    asyncio.run(_serve(pipe, regions))


async def _serve(pipe: Connection, regions: Sequence[str]) -> None:
    numbers: dict[str, int] = {}
    failing = asyncio.Event()
    answered = 0

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal answered
        answered += 1
        if request.path == "/stats":
            # As long as Envoy's own page for three regions.
            lines = [f"http.front-{region}.downstream_rq_{n}xx: {answered}" for region in regions for n in (2, 3, 4)]
            return web.Response(text="\n".join(lines))
        if failing.is_set():
            return web.json_response({"error": "outage"}, status=503)
        content: dict[str, Any] = json.loads(await request.read() or b"{}")
        if request.path in ("/login", "/register"):
            number = numbers.setdefault(content["name"], len(numbers) + 1)
            welcome = web.json_response({"account": number})
            welcome.set_cookie("session", str(number))
            return welcome
        if request.path == "/transfer":
            return web.json_response({"state": "done", "amount": content["amount"]})
        account = int(request.cookies.get("session", "0"))
        return web.json_response({"account": account, "balance": 1000, "stale": False})

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    pipe.send(f"{host}:{port}")
    while await asyncio.to_thread(pipe.recv) != "end":
        failing.set()
    await runner.cleanup()
