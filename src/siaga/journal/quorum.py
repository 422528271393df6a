"""Which commits had their quorum, judged from what the primary says of its synchronous standbys. Pure.

Logical decoding shows a commit while it still waits (decision 17): until its quorum is known it is in doubt.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_NAMES = re.compile(r"\s*(?:(FIRST|ANY)\s+)?(\d+)\s*\((.*)\)\s*", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Standby:
    """One row of `pg_stat_replication`."""

    state: str
    """`sync`, `potential`, `quorum` or `async`."""
    flushed: int | None
    """None where we may not see it."""


def acknowledged(names: str, standbys: Sequence[Standby], written: int) -> int | None:
    """Everything that committed before it had its quorum; None when nothing is known.

    `names` is `synchronous_standby_names`; with none the server acknowledges what it has `written` itself.
    """
    if not names.strip():
        return written
    found = _NAMES.fullmatch(names)
    # A plain list of names is FIRST 1 (names).
    method, count = (found[1] or "FIRST", int(found[2])) if found is not None else ("FIRST", 1)
    wanted = "quorum" if method.upper() == "ANY" else "sync"
    flushed = sorted((s.flushed for s in standbys if s.state == wanted and s.flushed is not None), reverse=True)
    return flushed[count - 1] if len(flushed) >= count else None
