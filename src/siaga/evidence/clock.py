"""The two clocks of every record, and whether the one that can be set was set."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from siaga.evidence.document import Stamp, iso

JUMP_S_MIN = 1.0
"""Smaller differences are the clock being steered, as time services do all day."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Clock:
    """This machine's clocks."""

    def __init__(self) -> None:
        """The boot id tells which start of the machine the monotonic clock counts from."""
        self._boot = _BOOT.read_text().strip() if _BOOT.exists() else ""
        self._offset_s: float | None = None
        self._jump_s = 0.0

    def stamp(self) -> Stamp:
        """Now, by both clocks."""
        wall_s, monotonic_s = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
        offset_s = wall_s - monotonic_s
        if self._offset_s is not None and abs(offset_s - self._offset_s) > JUMP_S_MIN:
            self._jump_s += offset_s - self._offset_s
        self._offset_s = offset_s
        return Stamp(iso(datetime.fromtimestamp(wall_s, UTC)), round(monotonic_s, 3), self._boot)

    def take_jump_s(self) -> float:
        """By how much the wall clock was set since this was asked last; forwards is positive, 0 is not at all."""
        jump_s, self._jump_s = self._jump_s, 0.0
        return round(jump_s, 3)
