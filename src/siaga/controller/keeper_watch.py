"""Knows what the keeper keeps, and starts it again when it is gone."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from siaga.errors import Unreachable
from siaga.hosts.keeper_client import KeeperClient
from siaga.platform.layout import Layout
from siaga.platform.up import start_keeper

_log = structlog.get_logger()


class KeeperWatch:
    """Knows what the keeper keeps, and starts it again when it is gone; on real hosts systemd does that."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._client = KeeperClient(layout.place.keeper_socket)
        self.pids: dict[str, int] = {}
        self.parts: Sequence[Mapping[str, Any]] = ()

    async def run_pass(self) -> None:
        """Look at the keeper once."""
        try:
            self.parts = await self._client.parts()
        except Unreachable:
            _log.warning("the keeper is gone, starting it again")
            start_keeper(self._layout.place, (sys.executable,), python_environment())
            await asyncio.sleep(1.0)
            self.parts = await self._client.parts()
        self.pids = {part["name"]: part["pid"] for part in self.parts if part["pid"] is not None}


def python_environment() -> dict[str, str]:
    """What a Python started by us needs of our own environment."""
    names = ("PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH", "PYTHONNOUSERSITE", "PYTHONDONTWRITEBYTECODE")
    return {name: os.environ[name] for name in names if name in os.environ}
