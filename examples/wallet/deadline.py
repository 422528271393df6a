"""A deadline on somebody else's answer that does not blame them for our own delay."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LATE_S = 0.005
LOOK_S = 0.002
OWN_DELAY_S_MAX = 0.1
"""A node without a processor for longer is slow, and the edge goes to its neighbour."""


class Deadline:
    """Calls `expire` unless cancelled before.

    An event loop runs its timers before it reads its sockets: a process that had no processor for a while would
    declare everybody silent although the answers are there. So the loop gets one more look at its sockets first, and
    as long as the timer itself comes late, another one.
    """

    def __init__(self, due_s: float, expire: Callable[[], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._expire = expire
        self._due_s = due_s
        self._patience_end_s = due_s + OWN_DELAY_S_MAX
        self._looked = False
        self._timer = self._loop.call_at(due_s, self._fire)

    def cancel(self) -> None:
        """The answer is here."""
        self._timer.cancel()

    def _fire(self) -> None:
        now_s = self._loop.time()
        is_late = now_s - self._due_s > LATE_S
        if not self._looked or (is_late and now_s < self._patience_end_s):
            self._looked = True
            self._due_s = now_s + LOOK_S
            self._timer = self._loop.call_at(self._due_s, self._fire)
            return
        self._expire()
