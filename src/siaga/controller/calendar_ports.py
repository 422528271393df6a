"""What the calendar needs from others: the engine that carries runs out, and the senses that tell it facts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from siaga.runbooks.appointments import Appointment
from siaga.runbooks.calendar import RunSeen
from siaga.runbooks.low_traffic import Traffic
from siaga.runbooks.wall_clock import Reading
from siaga.runbooks.windows import Opening


class Runs(Protocol):
    """The engine, as far as the calendar needs it."""

    async def seen(self, ids: Collection[str], since: datetime) -> tuple[RunSeen, ...]:
        """The real runs of these ids, whenever they were, and every other one that began since then.

        Unreachable when the journal can't be read: that nothing ran must be known, not supposed.
        """
        ...

    async def start(self, runbook: str, parameters: Mapping[str, Any], *, key: str, reason: str) -> None:
        """Begin the run whose id is `key`; nothing if it exists already."""
        ...

    async def cancel(self, run: str, *, reason: str) -> None:
        """Turn a run back; Refused when it can't go back any more."""
        ...


@dataclass(frozen=True, slots=True)
class Senses:
    """Where the calendar's facts come from."""

    clocks: Callable[[], Reading]
    """Wall and boot clock together."""
    history: Callable[[], Awaitable[Iterable[Mapping[str, Any]]]]
    """Every `calendar.` record in the evidence, oldest first."""
    traffic: Callable[[Opening, str, datetime], Awaitable[Traffic]]
    """Measured for an opening in a zone."""
    other: Callable[[Appointment], Awaitable[str]]
    """What else speaks against a start now; empty when nothing does."""
