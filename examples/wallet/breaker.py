"""Remembers an outage, so that users are told at once and a struggling server is left alone. Pure."""

from __future__ import annotations

MISSES_TO_OPEN = 3
"""One slow commit is no outage."""
TRIAL_INTERVAL_S_MIN = 0.2
TRIAL_INTERVAL_S_MAX = 1.0
"""A write that waits for a lost quorum leaves its backend waiting too, so trials are rare."""


class Breaker:
    """Opens after consecutive misses; while open it admits one trial an interval, which doubles to its maximum."""

    def __init__(self) -> None:
        self._misses = 0
        self._interval_s = TRIAL_INTERVAL_S_MIN
        self._trial_at_s = 0.0

    @property
    def is_open(self) -> bool:
        """Whether most requests are refused now."""
        return self._misses >= MISSES_TO_OPEN

    def admits(self, now_s: float) -> bool:
        """Whether this request may try; an admitted one must report `hit` or `miss`."""
        if not self.is_open:
            return True
        if now_s < self._trial_at_s:
            return False
        self._trial_at_s = now_s + self._interval_s
        self._interval_s = min(2 * self._interval_s, TRIAL_INTERVAL_S_MAX)
        return True

    def hit(self) -> None:
        """An answer came."""
        self._misses = 0
        self._interval_s = TRIAL_INTERVAL_S_MIN

    def miss(self, now_s: float) -> None:
        """No answer came."""
        self._misses += 1
        if self._misses == MISSES_TO_OPEN:
            self._trial_at_s = now_s + self._interval_s
