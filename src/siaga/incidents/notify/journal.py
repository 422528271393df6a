"""The journal of deliveries: every attempt and what came of it, only ever appended to."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from siaga.incidents.notify.message import Message
from siaga.incidents.notify.routes import Outcome

RECENT = 500


class DeliveryJournal:
    """One per controller that leads."""

    def __init__(self, recent: Iterable[dict[str, Any]], keep: Callable[[dict[str, Any]], None]) -> None:
        """`recent` attempts, oldest first; `keep` has one more kept, and blocks."""
        self._recent: deque[dict[str, Any]] = deque(recent, RECENT)
        self._keep = keep

    async def note(
        self, route: str, message: Message, attempt: int, outcome: Outcome, took_s: float, at: datetime
    ) -> None:
        """Keep one attempt; OSError or StoreFault where that can't be done."""
        line = {
            "at": at.isoformat(timespec="milliseconds"),
            "route": route,
            "incident": message.incident,
            "event": str(message.event),
            "level": int(message.level),
            "attempt": attempt,
            "verdict": str(outcome.verdict),
            "why": outcome.why,
            "took_s": round(took_s, 3),
        }
        self._recent.append(line)
        await asyncio.to_thread(self._keep, line)

    def of(self, incident: str) -> list[dict[str, Any]]:
        """The latest attempts for one incident, oldest first."""
        return [line for line in self._recent if line["incident"] == incident]
