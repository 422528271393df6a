"""How commands reach the controller of the platform here."""

from __future__ import annotations

import asyncio
from typing import Any

from siaga.controller.client import ControllerClient
from siaga.platform import account, lifecycle


def get(path: str) -> Any:
    """Read from the controller."""
    return asyncio.run(_client().get(path))


def post(path: str, content: object = None) -> Any:
    """Ask the controller for an act."""
    return asyncio.run(_client().post(path, content))


def _client() -> ControllerClient:
    return ControllerClient(lifecycle.required(account.home()).controller_sockets)
