"""The time that runs are judged by: the wall clock as it was when we started, plus the time that really passed since.

A clock that is set forward while an approval waits does not use up its time-out, and one that is set back does not
give it hours. The boot clock counts a suspended machine's sleep too. A restart believes the wall clock again.
"""

from __future__ import annotations

import time

import structlog

JUMP_S_MIN = 5.0
_log = structlog.get_logger()


class SteadyClock:
    """Seconds since 1970 that never jump within one process."""

    def __init__(self) -> None:
        self._wall = time.time()
        self._boot = time.clock_gettime(time.CLOCK_BOOTTIME)
        self._told_s = 0.0

    def __call__(self) -> float:
        """Now."""
        now = self._wall + time.clock_gettime(time.CLOCK_BOOTTIME) - self._boot
        jump_s = time.time() - now
        if abs(jump_s - self._told_s) > JUMP_S_MIN:
            self._told_s = jump_s
            _log.warning("the wall clock was set; runs go on by the time that really passed", jump_s=round(jump_s, 3))
        return now
