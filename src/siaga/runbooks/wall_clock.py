"""Whether the wall clock can be believed: it is compared with the monotonic one at every look (pure).

A clock that was set, or a machine that was paused, is noticed; for a while after it nothing is judged by the wall
clock, so that time synchronisation can put it right before a window is opened or called missed by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

JUMP_S_MIN = 2.0
"""Less is the slewing of time synchronisation."""
GAP_S_MIN = 30.0
"""Nobody looked for longer than this: stopped, paused or starved."""
SETTLE_S = 20.0
"""Shorter than the 30 s in which a missed window has to be recorded."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Both clocks, read together."""

    wall: datetime
    monotonic_s: float


@dataclass(frozen=True, slots=True)
class Disturbance:
    """Something about time that people have to know."""

    kind: str
    """`jump` of the wall clock, or `gap` between two looks."""
    reason: str
    jump_s: float
    gap_s: float


@dataclass(frozen=True, slots=True)
class WallClock:
    """What is known of the wall clock after the last look."""

    last: Reading
    watching_since: datetime
    """Since when somebody has looked, on this clock, without a gap."""
    doubted_until_s: float = 0.0
    """On the monotonic clock."""

    def look(self, now: Reading) -> tuple[WallClock, Disturbance | None]:
        """Compare with the last look; what is told is told once."""
        gap_s = now.monotonic_s - self.last.monotonic_s
        jump_s = (now.wall - self.last.wall).total_seconds() - gap_s
        jumped, lapsed = abs(jump_s) >= JUMP_S_MIN, gap_s >= GAP_S_MIN
        after = WallClock(
            last=now,
            watching_since=now.wall if jumped or lapsed else self.watching_since,
            doubted_until_s=now.monotonic_s + SETTLE_S if jumped else self.doubted_until_s,
        )
        if jumped:
            way = "forward" if jump_s > 0 else "back"
            reason = (
                f"the wall clock went {way} by {abs(jump_s):.1f} s against the monotonic clock within {gap_s:.1f} s "
                f"(set by somebody, or the machine was paused); nothing is judged by it for {SETTLE_S:g} s"
            )
            return after, Disturbance("jump", reason, jump_s, gap_s)
        if lapsed:
            return after, Disturbance("gap", f"nobody looked for {gap_s:.0f} s", jump_s, gap_s)
        return after, None

    @property
    def doubted(self) -> bool:
        """Whether it jumped so recently that nothing should be judged by it."""
        return self.last.monotonic_s < self.doubted_until_s
