"""How the journal stands, said every second in one small file for `siaga status` and for alarms."""

from __future__ import annotations

import json
import shutil
import time
from collections import deque
from pathlib import Path
from typing import Any

from siaga.hosts.local import write_and_rename
from siaga.journal.lsn import show
from siaga.journal.summary import Standing, gap_document
from siaga.journal.watch import Look

FORMAT = 1
SAMPLES = 120
STALE_S = 10.0
"""A status older than this says that nobody consumes."""


class Figures:
    """Lag and time left, from a look at the primary every second."""

    def __init__(self) -> None:
        self._written: deque[tuple[float, int]] = deque(maxlen=SAMPLES)
        self._kept: deque[tuple[float, int]] = deque(maxlen=SAMPLES)
        self._look: Look | None = None
        self.commit_lag_ms: deque[float] = deque(maxlen=SAMPLES)
        """From the commit, by the server's clock, to the disk: the last batches."""

    def note(self, look: Look | None, bytes_kept: int) -> None:
        """Once a second."""
        now = time.monotonic()
        self._look = look
        self._kept.append((now, bytes_kept))
        if look is not None:
            self._written.append((now, look.written))

    def document(self, position: int | None, free_bytes: int) -> dict[str, Any]:
        """The figures; null where they are not known."""
        look = self._look
        behind = max(0, look.written - position) if look is not None and position is not None else None
        return {
            "lag_bytes": behind,
            "lag_s": self._lag_s(position) if behind is not None else None,
            "commit_lag_ms": round(max(self.commit_lag_ms), 1) if self.commit_lag_ms else None,
            "slot_wal_status": look.wal_status if look is not None else None,
            "slot_wal_bytes_left": look.safe_wal_bytes if look is not None else None,
            "slot_time_left_s": _time_left(self._written, look.safe_wal_bytes if look is not None else None),
            "disk_bytes_free": free_bytes,
            "disk_time_left_s": _time_left(self._kept, free_bytes),
        }

    def _lag_s(self, position: int | None) -> float:
        """How long ago the primary had written what we have."""
        now = time.monotonic()
        unseen = [at for at, written in self._written if position is None or written > position]
        return round(now - unseen[0], 1) if unseen else 0.0


def _time_left(samples: deque[tuple[float, int]], left: int | None) -> float | None:
    """At the pace of the last two minutes; null where nothing grows or no limit is set."""
    if left is None or len(samples) < 2:
        return None
    (began, first), (ended, last) = samples[0], samples[-1]
    pace = (last - first) / (ended - began) if ended > began else 0.0
    return round(left / pace, 0) if pace > 0 else None


def document(
    state: str, why: str, hint: str, standing: Standing, figures: Figures, directory: Path, head: str
) -> dict[str, Any]:
    """What `siaga status --json` shows of the journal."""
    position = standing.position
    return {
        "format": FORMAT,
        "state": state,
        "why": why,
        "hint": hint,
        "time_s": time.time(),
        "position": (
            {"system": position.system, "timeline": position.timeline, "lsn": show(position.at)} if position else None
        ),
        "acknowledged": show(standing.acknowledged),
        "head": head,
        **figures.document(position.at if position else None, shutil.disk_usage(directory).free),
        "coverage": [
            {"system": s.system, "timeline": s.timeline, "begin": show(s.begin), "end": show(s.end)}
            for s in standing.spans
        ],
        "gaps": [gap_document(gap) for gap in standing.gaps],
        "changes_of_the_log": standing.changes,
    }


def write(path: Path, content: dict[str, Any]) -> None:
    """Readers see the old status or the new one."""
    write_and_rename(path, json.dumps(content, indent=1).encode())


def read(path: Path) -> dict[str, Any]:
    """The last status; `not measured` when there is none, or nobody renews it."""
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {"state": "not measured", "why": "the consumer has said nothing yet"}
    age_s = time.time() - found["time_s"]
    if age_s > STALE_S:
        found |= {"state": "not measured", "why": f"the consumer last said something {age_s:.0f} s ago"}
    return found
