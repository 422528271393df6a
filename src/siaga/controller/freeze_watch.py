"""Knows every freeze: those of the site file, those set by hand, and those of a change calendar that it reads again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from siaga.errors import SiagaError
from siaga.hosts.model import Host
from siaga.runbooks.change_calendar import Horizon, freezes_in
from siaga.runbooks.freezes import Freeze

READ_AGAIN_S = 60.0
READ_DEADLINE_S = 10.0
BACK = timedelta(weeks=5)
AHEAD = timedelta(weeks=30)
"""Past every compensating date that is looked for."""
UNCHANGED_GOOD_FOR = timedelta(days=1)


class ChangeCalendarFile:
    """An iCalendar file on a host."""

    def __init__(self, host: Host, path: str, zone: str, runbooks: Collection[str]) -> None:
        self._host = host
        self._path = path
        self._zone = zone
        self._runbooks = runbooks
        self._known: tuple[bytes, datetime, tuple[Freeze, ...]] | None = None

    async def read(self, now: datetime) -> tuple[Freeze, ...]:
        """Its freezes; SiagaError when it can't be read or is not understood."""
        try:
            async with asyncio.timeout(READ_DEADLINE_S):
                content = await self._host.read(self._path)
                horizon = Horizon(now - BACK, now + AHEAD, self._zone)
                # In a thread: a calendar of many years takes a while.
                return await asyncio.to_thread(freezes_in, content, horizon, source=self._path, runbooks=self._runbooks)
        except TimeoutError:
            why = f"not read within {READ_DEADLINE_S:g} s"
        except OSError as error:
            why = error.strerror or type(error).__name__
        raise SiagaError(f"{self._path}: {why}", hint="Put the file back; until then nothing is changed by itself.")

    async def _understood(self, content: bytes, now: datetime) -> tuple[Freeze, ...]:
        if self._known is not None:
            before, at, freezes = self._known
            if before == content and abs(now - at) < UNCHANGED_GOOD_FOR:
                return freezes
        horizon = Horizon(now - BACK, now + AHEAD, self._zone)
        # In a thread: repetitions over many years take a while to count.
        found = await asyncio.to_thread(freezes_in, content, horizon, source=self._path, runbooks=self._runbooks)
        self._known = content, now, found
        return found


class FreezeWatch:
    """All freezes together."""

    def __init__(
        self,
        written: tuple[Freeze, ...],
        by_hand: Callable[[], tuple[Freeze, ...]],
        file: ChangeCalendarFile | None = None,
    ) -> None:
        self._written = written
        self._by_hand = by_hand
        self._file = file
        self._read: tuple[Freeze, ...] = ()
        self._due_s = float("-inf")
        self.unreadable = "not read yet" if file is not None else ""
        """Why the change calendar can't be read; what it said before stays in force beside it."""

    @property
    def freezes(self) -> tuple[Freeze, ...]:
        """Everything that is known."""
        return (*self._written, *self._by_hand(), *self._read)

    async def look(self, now: datetime, monotonic_s: float) -> None:
        """Read the change calendar again when it is time."""
        if self._file is None or monotonic_s < self._due_s:
            return
        self._due_s = monotonic_s + READ_AGAIN_S
        try:
            self._read = await self._file.read(now)
        except SiagaError as error:
            self.unreadable = error.message
        else:
            self.unreadable = ""
