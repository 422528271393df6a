"""Leadership by a file lock: one controller a state directory, for state in SQLite.

The kernel frees the lock when the process is dead and never before, so a stopped leader needs no lease:
nobody else can lead until it is gone.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from siaga.controller.leadership import not_leading
from siaga.errors import BadInput, Refused
from siaga.hosts.local import write_and_rename

LOCK = "lock"
"""Held by whoever uses the controllers' directory: one controller or a restore alone, or, shared, controllers
whose state is in PostgreSQL."""


def hold(directory: Path, name: str, *, shared: bool) -> int:
    """Take a lock in the controllers' directory and return the descriptor to close; Refused when another has it."""
    directory.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(directory / name, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Refused(
            f"another controller or a restore holds {directory}",
            hint="`siaga status` shows the controller; `siaga down` stops it.",
        ) from None
    return descriptor


EPOCH = "epoch"
"""The last epoch that was led, in the controllers' directory."""


def read_epoch(path: Path) -> int:
    """The last epoch that was led; 0 before the first."""
    try:
        text = path.read_text().strip()
    except FileNotFoundError:
        return 0
    if not text.isdecimal():
        raise BadInput(
            f"{path} holds {text[:20]!r}, expected a whole number",
            hint="Write a number larger than any epoch in the evidence (`siaga evidence show`) into it.",
        )
    return int(text)


class FileLeadership:
    """Leads as soon as the lock is free, which it is unless another controller runs."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._name = name
        self._lock: int | None = None
        self._epoch = 0
        self._since = ""

    @property
    def epoch(self) -> int:
        """The epoch we lead under; 0 before `lead` returned."""
        return self._epoch

    async def lead(self) -> int:
        """Take the lock and a new epoch; Refused when another controller holds the directory."""
        self._lock = hold(self._directory, LOCK, shared=False)
        path = self._directory / EPOCH
        epoch = read_epoch(path) + 1
        write_and_rename(path, f"{epoch}\n".encode())
        self._epoch = epoch
        self._since = datetime.now(UTC).isoformat(timespec="milliseconds")
        return epoch

    def valid(self) -> bool:
        """Whether we hold the lock."""
        return self._lock is not None

    async def may_act(self) -> None:
        """Return while we hold the lock."""
        if not self.valid():
            raise not_leading(self._epoch)

    async def give_up(self) -> None:
        """Let go of the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def describe(self) -> Mapping[str, Any]:
        """We lead, or nobody does."""
        leader = {
            "name": self._name,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "epoch": self._epoch,
            "since": self._since,
        }
        return {
            "name": self._name,
            "state": "sqlite",
            "leads": self.valid(),
            "leader": leader if self.valid() else None,
            "state_reachable": True,
            "why": "" if self.valid() else "this controller does not lead yet",
        }
