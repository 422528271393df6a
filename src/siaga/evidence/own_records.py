"""What the log records of itself: gaps, cuts, clocks and retention, so that nothing about it goes unsaid (pure)."""

from __future__ import annotations

from siaga.evidence.chain import Position
from siaga.evidence.model import Record

ACTOR = "controller"
CLAUSE = "SUM"


def tail_cut(number: int, length_bytes: int, sha256: str) -> Record:
    """A half-written line was found at the end."""
    reason = f"record {number} was half written when Siaga or the machine stopped; nobody had been told it was kept"
    return Record(
        "evidence.tail_cut", ACTOR, CLAUSE, reason, {"record": number, "length_bytes": length_bytes, "sha256": sha256}
    )


def resumed(lasted_s: float, refused: int, why: str) -> Record:
    """Records are taken again."""
    reason = f"nothing could be recorded for {lasted_s:.1f} s ({why}); {refused} records were refused"
    figures = {"lasted_s": round(lasted_s, 3), "refused": refused, "why": why}
    return Record("evidence.resumed", ACTOR, CLAUSE, reason, figures)


def clock_set(jump_s: float) -> Record:
    """The wall clock moved against the monotonic one."""
    reason = f"the clock was set {'forward' if jump_s > 0 else 'back'} by {abs(jump_s):.1f} s"
    return Record("evidence.clock_set", ACTOR, CLAUSE, reason, {"jump_s": jump_s})


def pruned(actor: str, first: int, to: Position, before: str) -> Record:
    """Old segments are about to be removed."""
    reason = f"records {first} to {to.size - 1}, all older than {before}, are removed; the tree over them is kept"
    figures = {"first": first, "last": to.size - 1, "root": to.root.hex(), "chain": to.chain.hex(), "before": before}
    return Record("evidence.pruned", actor, CLAUSE, reason, figures)
