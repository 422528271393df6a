"""A plain third-party API for the embedded platform: a key, an answer time, nothing more.

Run as `python -m siaga.platform.vendor_simulator CONFIG.json`.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import random
import sys
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


@dataclass(frozen=True)
class Config:
    """One vendor."""

    name: str
    listen: str
    key_file: str
    response_ms: float


def create_app(config: Config) -> Starlette:
    """The vendor's API: `/health` is open, `/v1/ping` wants the key as a bearer token."""
    key = Path(config.key_file).read_text().strip()
    spread = random.Random(config.name)  # noqa: S311 (answer times, not a secret)

    async def health(_: Request) -> JSONResponse:
        return JSONResponse({"vendor": config.name, "status": "up"})

    async def ping(request: Request) -> JSONResponse:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), key.encode()):
            return JSONResponse({"error": "unknown key"}, status_code=401)
        await asyncio.sleep(config.response_ms * spread.uniform(0.8, 1.2) / 1000)
        return JSONResponse({"vendor": config.name, "pong": True})

    return Starlette(routes=[Route("/health", health), Route("/v1/ping", ping)])


def main(path: str) -> None:
    """Serve one vendor until a signal ends us."""
    config = Config(**json.loads(Path(path).read_text()))
    host, _, port = config.listen.rpartition(":")
    uvicorn.run(create_app(config), host=host, port=int(port), log_level="warning", access_log=False)


if __name__ == "__main__":
    main(sys.argv[1])
