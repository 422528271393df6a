"""What others have to be told, in order: kept until they took it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import structlog

_log = structlog.get_logger()
DEADLINE_S = 10.0
RETRY_S = 1.0

Item = TypeVar("Item")


class Outbox(Generic[Item]):
    """Delivers one after the other; what fails is tried again, and what comes meanwhile waits."""

    def __init__(self, deliver: Callable[[Item], Awaitable[object]], what: str) -> None:
        """`what` names the items in the log."""
        self._deliver = deliver
        self._what = what
        self._waiting: list[Item] = []
        self.trouble = ""
        """Why the first one was not taken; empty while all is well."""

    def put(self, item: Item) -> None:
        """Have it delivered."""
        self._waiting.append(item)

    def __bool__(self) -> bool:
        return bool(self._waiting)

    async def run(self) -> None:
        """Until everything was taken."""
        while self._waiting:
            try:
                async with asyncio.timeout(DEADLINE_S):
                    await self._deliver(self._waiting[0])
            except Exception as error:  # noqa: BLE001 (whoever listens must not end the measuring)
                self._complain(f"{type(error).__name__}: {error}")
                await asyncio.sleep(RETRY_S)
            else:
                self.trouble = ""
                del self._waiting[0]

    def _complain(self, why: str) -> None:
        if why != self.trouble:
            _log.error("not taken, trying again", what=self._what, why=why)
        self.trouble = why
