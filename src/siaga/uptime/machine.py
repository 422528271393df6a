"""The clocks of this machine."""

from __future__ import annotations

import time

from siaga.uptime.clocks import Reading


def read_clocks() -> Reading:
    """Both, together; the steady one counts the machine's sleep too."""
    return Reading(time.time_ns() // 1_000_000, steady_ms())


def steady_ms() -> int:
    """Since the machine started."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
