"""Serves one node: uvicorn on uvloop; SIGTERM finishes what is in flight within two seconds."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from wallet.app import create_app
from wallet.errors import BadConfiguration
from wallet.settings import Settings, load_settings

STOP_DEADLINE_S = 2
KEEP_ALIVE_S = 75
"""Longer than the edge keeps an idle connection, so that the edge never writes into one we are closing."""
EXIT_USAGE = 2


def serve(settings: Settings, app: ASGIApp | None = None) -> None:
    """Serve until SIGTERM or SIGINT; `app` may be `create_app(settings)` with middleware around it."""
    host, _, port = settings.listen.rpartition(":")
    config = uvicorn.Config(
        app if app is not None else create_app(settings),
        host=host,
        port=int(port),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_DEADLINE_S,
    )
    _Server(config).run()


def main(arguments: list[str]) -> int:
    """`python -m wallet CONFIG.json`."""
    if len(arguments) != 1:
        print("usage: python -m wallet CONFIG.json", file=sys.stderr)
        return EXIT_USAGE
    try:
        serve(load_settings(Path(arguments[0])))
    except BadConfiguration as error:
        print(f"error: {error}\nhint: {error.hint}", file=sys.stderr)
        return EXIT_USAGE
    return 0


class _Server(uvicorn.Server):
    """Ends with exit code 0 when it was asked to: uvicorn itself would die of the signal a second time."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self.handle_exit, signum, None)
        yield
