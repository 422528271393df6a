"""What was decided and done, one JSON line each, appended and on disk before the call returns.

The plain beginning of the evidence (SUM): who, when by both clocks, which clause, why, with figures.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Record:
    """One decision, act or observation worth keeping."""

    kind: str
    actor: str
    clause: str
    reason: str
    figures: Mapping[str, Any] = field(default_factory=dict)


class Records:
    """Appends to one file; several writers of one process take turns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turn = asyncio.Lock()

    async def append(self, record: Record) -> None:
        """Write and fsync; OSError when the disk is full or gone."""
        line = json.dumps(
            {
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "monotonic_s": round(time.monotonic(), 3),
                "kind": record.kind,
                "actor": record.actor,
                "clause": record.clause,
                "reason": record.reason,
                "figures": dict(record.figures),
            },
            sort_keys=True,
        )
        async with self._turn:
            await asyncio.to_thread(_append, self._path, line.encode() + b"\n")

    def latest(self, count: int) -> list[dict[str, Any]]:
        """The last `count` records, oldest first; a torn last line (crash while writing) is left out."""
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - 4096 * count))
                lines = file.read().splitlines()
        except FileNotFoundError:
            return []
        found = []
        for line in lines[-count:]:
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found


def _append(path: Path, line: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
