"""How many requests users sent in each hour, as the data plane counted them: when traffic is at its low (PMT-2.1)."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from datetime import datetime, timedelta
from pathlib import Path

from siaga.hosts.local import write_and_rename
from siaga.runbooks.low_traffic import HourCount

KEPT = timedelta(weeks=5)
GAP_MAX = timedelta(seconds=30)
"""After a longer silence the hour was not measured from beginning to end."""
RECENT = timedelta(minutes=5)


class HourlyRequests:
    """Counts, and keeps whole hours over restarts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hours = _load(path)
        self._since: datetime | None = None
        """Of the present stretch without a gap."""
        self._last: datetime | None = None
        self._count = 0
        """Of the present hour."""
        self._recent: deque[tuple[datetime, int]] = deque()

    async def note(self, requests: int, now: datetime) -> None:
        """Take in what was counted since the last call; `now` is UTC."""
        hour = _hour(now)
        if self._last is None or not timedelta(0) <= now - self._last <= GAP_MAX:
            self._since, self._count = now, 0
            self._recent.clear()
        elif _hour(self._last) != hour:
            await self._finish(_hour(self._last), now)
            self._count = 0
        self._last = now
        self._count += requests
        self._recent.append((now, requests))
        while now - self._recent[0][0] > RECENT:
            self._recent.popleft()

    async def _finish(self, hour: datetime, now: datetime) -> None:
        if self._since is None or self._since > hour + GAP_MAX:
            return
        kept = [h for h in self._hours if now - h.begin < KEPT and h.begin != hour]
        self._hours = [*kept, HourCount(hour, self._count)]
        document = [[h.begin.isoformat(), h.requests] for h in self._hours]
        await asyncio.to_thread(write_and_rename, self._path, json.dumps(document).encode())

    @property
    def hours(self) -> tuple[HourCount, ...]:
        """Every hour that was measured from beginning to end."""
        return tuple(self._hours)

    def per_hour(self, now: datetime) -> float | None:
        """The rate of the last minutes; None when they were not measured."""
        if self._since is None or self._last is None or now - self._last > GAP_MAX or now - self._since < RECENT:
            return None
        return sum(count for _, count in self._recent) * (timedelta(hours=1) / RECENT)


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _load(path: Path) -> list[HourCount]:
    try:
        return [HourCount(datetime.fromisoformat(begin), int(count)) for begin, count in json.loads(path.read_bytes())]
    except (OSError, ValueError, TypeError):
        # Without it traffic is unknown for some weeks, and a person has to allow what needs its low.
        return []
