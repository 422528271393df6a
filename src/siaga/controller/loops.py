"""A loop a domain: each on its own, with a deadline a pass, so that none can hold up another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

_log = structlog.get_logger()


@dataclass
class Loop:
    """Observe, decide, act, record, again and again."""

    name: str
    interval_s: float
    deadline_s: float
    run_pass: Callable[[], Awaitable[None]]
    passes: int = 0
    errors: int = 0
    last_pass: str = ""
    last_pass_s: float = 0.0
    last_error: str = ""
    finished_at: float = 0.0

    async def run(self) -> None:
        """Until cancelled. A failed pass is counted, told once per change, and followed by the next."""
        while True:
            started = time.monotonic()
            try:
                async with asyncio.timeout(self.deadline_s):
                    await self.run_pass()
            except TimeoutError:
                self._failed(f"the pass did not end within {self.deadline_s:g} s")
            except Exception as error:  # noqa: BLE001 (a domain's fault must not end the controller)
                self._failed(f"{type(error).__name__}: {error}")
            else:
                self.last_error = ""
            self.passes += 1
            self.finished_at = time.monotonic()
            self.last_pass_s = self.finished_at - started
            self.last_pass = datetime.now(UTC).isoformat(timespec="milliseconds")
            await asyncio.sleep(max(0.0, started + self.interval_s - time.monotonic()))

    def _failed(self, why: str) -> None:
        self.errors += 1
        if why != self.last_error:
            _log.error("pass failed", loop=self.name, why=why)
        self.last_error = why

    @property
    def late(self) -> bool:
        """Whether the loop has been silent for longer than a pass may take."""
        return time.monotonic() - self.finished_at > self.deadline_s + self.interval_s

    def describe(self) -> dict[str, Any]:
        """For `siaga status`."""
        return {
            "name": self.name,
            "interval_s": self.interval_s,
            "passes": self.passes,
            "errors": self.errors,
            "last_pass": self.last_pass,
            "last_pass_s": round(self.last_pass_s, 4),
            "last_error": self.last_error,
            "late": self.late,
        }
