"""Threads that share one job, and do not outlive a person's patience."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable


class Team:
    """So many threads, each with its number.

    They are daemons: one that hangs in a library's blocking read keeps no process alive, which an executor's would.
    """

    def __init__(self, size: int, work: Callable[[int], None]) -> None:
        self._work = work
        self._under_way = size
        self._outcomes: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        for number in range(size):
            threading.Thread(target=self._run, args=(number,), name=f"ledger-{number}", daemon=True).start()

    def ended(self, within_s: float) -> bool:
        """Whether all have ended within that time; raises what one of them raised."""
        try:
            outcome = self._outcomes.get(timeout=within_s)
        except queue.Empty:
            return False
        self._under_way -= 1
        if outcome is not None:
            raise outcome
        return not self._under_way

    def gone(self, within_s: float) -> bool:
        """Whether all have ended within that time, however."""
        end = time.monotonic() + within_s
        while self._under_way:
            try:
                self._outcomes.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                return False
            self._under_way -= 1
        return True

    def _run(self, number: int) -> None:
        try:
            self._work(number)
        except BaseException as error:  # noqa: BLE001 (raised again by `ended`)
            self._outcomes.put(error)
        else:
            self._outcomes.put(None)
