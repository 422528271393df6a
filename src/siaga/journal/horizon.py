"""What of the journal a database holds: by snapshot on a live server, by position on one that stands. Pure.

Logical decoding shows a commit while it still waits for its quorum, and a snapshot taken meanwhile does not see it: on
a live server no position tells the two apart, only the transaction's id does (decision 17).
"""

from __future__ import annotations

from dataclasses import dataclass

from siaga.errors import BadInput


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`pg_current_snapshot()`: which transactions are seen."""

    xmin: int
    """Every transaction below is over."""
    xmax: int
    """None from here on is seen."""
    running: frozenset[int]

    def sees(self, xid: int) -> bool:
        """Whether a transaction that committed is part of what the snapshot shows."""
        return xid < self.xmax and xid not in self.running


def snapshot(text: str) -> Snapshot:
    """From `xmin:xmax:xid,xid,...`."""
    try:
        xmin, xmax, running = text.split(":")
        return Snapshot(int(xmin), int(xmax), frozenset(int(xid) for xid in running.split(",") if xid))
    except ValueError as error:
        raise BadInput(
            f"snapshot `{text}`: expected xmin:xmax:xids", hint="It is what pg_current_snapshot() says."
        ) from error
