"""When each region is looked at: a light journey a second, a full one every ten, four a second while one fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from siaga.uptime.journeys import Attempt, Journey, Kind
from siaga.uptime.model import Outcome, Trip

LIGHT_MS = 1_000
FULL_MS = 10_000
FAILING_MS = 250


@dataclass(slots=True)
class _Lane:
    region: str
    vantage: str
    journey: Journey
    due_ms: int
    full_due_ms: int
    failing: bool = False
    begin_ms: int = 0
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class Lanes:
    """One journey at a time for each region and vantage point; a hung one delays nobody else."""

    def __init__(self, journeys: Mapping[tuple[str, str], Journey], clock_ms: Callable[[], int]) -> None:
        """`journeys` by region and vantage point; `clock_ms` is the steady clock."""
        self._clock_ms = clock_ms
        now_ms = clock_ms()
        # Spread over the second: together they see a total outage sooner, and never all ask at once.
        self._lanes = [
            _Lane(region, vantage, journey, now_ms + LIGHT_MS * n // len(journeys), now_ms)
            for n, ((region, vantage), journey) in enumerate(journeys.items())
        ]
        self._ended: list[Trip] = []

    def start_due(self) -> None:
        """Start the journeys whose time has come."""
        now_ms = self._clock_ms()
        for lane in self._lanes:
            if lane.task is None and now_ms >= lane.due_ms:
                lane.begin_ms = now_ms
                # Never to catch up: a machine that stood still would answer with a burst.
                on_time_ms = lane.due_ms + LIGHT_MS
                lane.due_ms = on_time_ms if on_time_ms > now_ms else now_ms + LIGHT_MS
                lane.task = asyncio.get_running_loop().create_task(self._go(lane, self._kind(lane, now_ms)))

    def collect(self) -> tuple[Trip, ...]:
        """What ended since the last call; its moments are those of the steady clock."""
        ended, self._ended = self._ended, []
        return tuple(ended)

    def under_way_since_ms(self) -> int | None:
        """When the oldest journey under way began."""
        return min((lane.begin_ms for lane in self._lanes if lane.task is not None), default=None)

    async def close(self) -> None:
        """End every journey."""
        tasks = [lane.task for lane in self._lanes if lane.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for lane in self._lanes:
            await lane.journey.close()

    def _kind(self, lane: _Lane, now_ms: int) -> Kind:
        if lane.failing:
            return Kind.AGAIN
        if now_ms < lane.full_due_ms:
            return Kind.LIGHT
        lane.full_due_ms = now_ms + FULL_MS
        return Kind.FULL

    async def _go(self, lane: _Lane, kind: Kind) -> None:
        try:
            attempt = await lane.journey.travel(kind)
        except Exception as error:  # noqa: BLE001 (a fault of ours says nothing about the platform)
            attempt = Attempt(Outcome.INCONCLUSIVE, None, f"the journey itself failed: {type(error).__name__}")
        end_ms = self._clock_ms()
        self._ended.append(
            Trip(lane.region, lane.vantage, lane.begin_ms, end_ms, attempt.outcome, attempt.step, attempt.why)
        )
        if attempt.outcome is not Outcome.INCONCLUSIVE:
            lane.failing = attempt.outcome is Outcome.FAILED
        if attempt.outcome is Outcome.FAILED:
            lane.due_ms = max(end_ms, lane.begin_ms + FAILING_MS)
        lane.task = None
