"""What `up`, `down` and drills say while they work: one line a step, on stderr, with its time."""

from __future__ import annotations

import sys
import time


class Progress:
    """Prints each step with the seconds since the start."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started

    def say(self, text: str) -> None:
        """One line."""
        if not self._quiet:
            print(f"{self.seconds:6.1f} s  {text}", file=sys.stderr, flush=True)
