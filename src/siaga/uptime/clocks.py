"""Whose time the minutes are counted in: the wall clock, as long as it agrees with the one that can't be set (pure).

Between two looks both must have moved by the same. Where they did not, the clock was set or the machine was paused: the
wall clock is followed, and what it skipped was not measured.
"""

from __future__ import annotations

from dataclasses import dataclass

from siaga.uptime.model import Blind

JUMP_MS_MIN = 2_000
"""Less is time synchronisation."""
STALL_MS_MIN = 1_500
"""Nobody looked for longer than this: stopped, paused or starved; journeys of that time tell about us."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Both clocks, read together, in ms."""

    wall_ms: int
    steady_ms: int
    """Since the machine started, its sleep included."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """How moments of the steady clock become moments of the calendar."""

    offset_ms: int
    last: Reading

    @staticmethod
    def begin(reading: Reading) -> Timeline:
        """Believe the wall clock."""
        return Timeline(reading.wall_ms - reading.steady_ms, reading)

    def at(self, steady_ms: int) -> int:
        """That moment in the calendar."""
        return self.offset_ms + steady_ms

    def look(self, reading: Reading) -> tuple[Timeline, Blind | None, bool]:
        """The time line from now on, what nobody measured since the last look, and whether the clock jumped."""
        last_ms, now_ms = self.at(self.last.steady_ms), self.at(reading.steady_ms)
        jump_ms = reading.wall_ms - now_ms
        if abs(jump_ms) >= JUMP_MS_MIN:
            after = Timeline.begin(reading)
            way = "forward" if jump_ms > 0 else "back"
            why = f"the clock was set {way} by {abs(jump_ms) / 1000:.1f} s, or the machine was paused"
            blind = Blind(last_ms, reading.wall_ms, why) if reading.wall_ms > last_ms else None
            return after, blind, True
        after = Timeline(self.offset_ms, reading)
        if now_ms - last_ms >= STALL_MS_MIN:
            return (
                after,
                Blind(last_ms, now_ms, f"the monitor stood still for {(now_ms - last_ms) / 1000:.1f} s"),
                False,
            )
        return after, None, False
