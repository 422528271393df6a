"""Incidents in files of the controller's directory.

One small file that is written beside and renamed over holds what may still change. What is closed, and what came of
telling, goes to files that are only appended to.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from pathlib import Path
from typing import Any

from siaga.hosts.local import write_and_rename
from siaga.incidents.documents import to_document
from siaga.incidents.model import Incident
from siaga.incidents.store import Kept, from_text, readable, to_text, with_closed

BYTES_MAX = 16 << 20
"""Of the deliveries; then they are set aside as `.1`, and the ones before them go."""


class FileStore:
    """An IncidentStore in a directory."""

    def __init__(self, directory: Path) -> None:
        self._open = directory / "incidents.json"
        self._closed = directory / "incidents.jsonl"
        self._deliveries = directory / "deliveries.jsonl"
        self._turn = threading.Lock()

    def load(self) -> Kept:
        """What was kept; a damaged file is set aside."""
        kept: Kept | None = Kept()
        if self._open.exists():
            kept = from_text(self._open.read_bytes())
            if kept is None:
                self._open.replace(self._open.with_suffix(".damaged"))
        return with_closed(kept or Kept(), self._archived())

    def save(self, kept: Kept) -> None:
        """Keep it: first all of it in one stroke, then the closed ones for good."""
        write_and_rename(self._open, to_text(kept).encode())
        for incident in kept.unarchived:
            append_line(self._closed, to_document(incident))

    def archive(self) -> list[Incident]:
        """Every closed incident ever, oldest first."""
        return readable(self._archived())

    def deliveries(self, count: int) -> list[dict[str, Any]]:
        """The latest attempts, oldest first; a last line that a crash has torn is left alone."""
        return read_lines(self._deliveries)[-count:]

    def note_delivery(self, attempt: dict[str, Any]) -> None:
        """Keep one attempt."""
        with self._turn:
            if self._deliveries.exists() and self._deliveries.stat().st_size > BYTES_MAX:
                self._deliveries.replace(self._deliveries.with_name(f"{self._deliveries.name}.1"))
            append_line(self._deliveries, attempt)

    def _archived(self) -> list[dict[str, Any]]:
        # Of one that was written twice the last line counts.
        found = {one["id"]: one for one in read_lines(self._closed) if isinstance(one.get("id"), str)}
        return list(found.values())


def append_line(path: Path, document: dict[str, Any]) -> None:
    """One JSON document a line, on disk when this returns; OSError where there is no room for it."""
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
