"""The journal of deliveries: every attempt and what came of it, a line each, only ever appended."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import threading
from collections import deque
from datetime import datetime
from pathlib import Path
from typing import Any

from siaga.incidents.notify.message import Message
from siaga.incidents.notify.routes import Outcome

BYTES_MAX = 16 << 20
"""Then it is set aside as `.1`, and the one before that goes: some hundred thousand attempts are kept."""
RECENT = 500


class DeliveryJournal:
    """One per controller that leads."""

    def __init__(self, path: Path) -> None:
        """A last line that a crash has torn is left alone: the next one begins on its own."""
        self._path = path
        self._recent: deque[dict[str, Any]] = deque(read_lines(path), RECENT)
        self._turn = threading.Lock()

    async def note(
        self, route: str, message: Message, attempt: int, outcome: Outcome, took_s: float, at: datetime
    ) -> None:
        """Keep one attempt; OSError where there is no room for it."""
        line = {
            "at": at.isoformat(timespec="milliseconds"),
            "route": route,
            "incident": message.incident,
            "event": str(message.event),
            "level": int(message.level),
            "attempt": attempt,
            "verdict": str(outcome.verdict),
            "why": outcome.why,
            "took_s": round(took_s, 3),
        }
        self._recent.append(line)
        await asyncio.to_thread(self._write, line)

    def _write(self, line: dict[str, Any]) -> None:
        with self._turn:
            if self._path.exists() and self._path.stat().st_size > BYTES_MAX:
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
            append_line(self._path, line)

    def of(self, incident: str) -> list[dict[str, Any]]:
        """The latest attempts for one incident, oldest first."""
        return [line for line in self._recent if line["incident"] == incident]


def append_line(path: Path, document: dict[str, Any]) -> None:
    """One JSON document a line, on disk when this returns."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        line = (b"\n" if torn else b"") + json.dumps(document).encode() + b"\n"
        if os.write(descriptor, line) != len(line):
            raise OSError(errno.ENOSPC, "the disk took only a part of the line", str(path))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Every whole line; what a crash has torn is left out."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            document = json.loads(line)
        except ValueError:
            continue
        if isinstance(document, dict):
            found.append(document)
    return found
