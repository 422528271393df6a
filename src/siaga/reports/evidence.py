"""Reads a month out of the evidence, and what holds it fast; from files or PostgreSQL, the controller may be dead."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any

from siaga.errors import BadInput
from siaga.evidence.selection import BadLine
from siaga.evidence.signatures import Checkpoint, Key, parse_checkpoint
from siaga.evidence.verify_export import Report, Source, verify
from siaga.reports.model import Seal
from siaga.reports.period import demand_reportable
from siaga.reports.records import MonthRecords
from siaga.sop.month import Month


def read(
    source: Source,
    month: Month,
    now: datetime,
    *,
    log_keys: Sequence[Key],
    witness_keys: Sequence[Key],
    seen: Sequence[Checkpoint] = (),
    witness: str = "",
    progress: Callable[[int], None] = lambda size: None,
) -> tuple[MonthRecords, Seal]:
    """Verify all of it, then fold the month; `seen` and `witness` are what the witness itself says.

    BadInput for a month that can't be reported on; nothing behind a record that does not hold is taken in.
    """
    began_at = _first_time(source)
    if began_at is None:
        raise BadInput(
            f"`--month` is {month}, expected one with evidence; there is no record yet",
            hint="The first month is the one in which the controller first ran: `siaga up`.",
        )
    demand_reportable(month, began_at=began_at, removed=source.start.size, now=now)
    report = verify(source, log_keys, witness_keys, seen=seen, progress=progress)
    found = MonthRecords(month, began_at, report.witnessed_size)
    _fold(source, found, report)
    return found, _seal(source, found, report, log_keys, witness_keys, witness)


def _first_time(source: Source) -> datetime | None:
    first = next((lines[0] for lines in source.blocks() if lines), None)
    return None if first is None else _time(first)


def _fold(source: Source, found: MonthRecords, report: Report) -> None:
    """Up to where it holds. A writer may be at work: what was not verified is left for the next report."""
    until = report.size if report.broken_at is None else report.broken_at
    lines = islice(chain.from_iterable(source.blocks()), max(0, until - source.start.size))
    last = None
    for last in lines:
        if found.may_matter(last):
            found.take(_parsed(last))
    if report.broken_at is not None:
        found.known_until = found.began_at if last is None else _time(last)


def _seal(
    source: Source,
    found: MonthRecords,
    report: Report,
    log_keys: Sequence[Key],
    witness_keys: Sequence[Key],
    witness: str,
) -> Seal:
    last = -1 if found.last is None else found.last
    checkpoint = _holding(source, report.witnessed_size, last)
    size = checkpoint.size if checkpoint else 0
    intact = "proven" if last < size else "intact, not all of it witnessed"
    return Seal(
        origin=source.origin,
        records=found.count,
        first=found.first,
        last=found.last,
        verdict="does not hold" if report.faults else intact,
        faults=tuple(f"record {fault.record}: {fault.why}" for fault in report.faults),
        removed=report.first,
        size=size,
        root=_line(checkpoint, 2) if checkpoint else "",
        chain=checkpoint.chain.hex() if checkpoint else "",
        waiting_since=found.waiting_since,
        witnessed_at=_witnessed_at(checkpoint) if checkpoint else None,
        log_key=log_keys[-1].text,
        witness_key=witness_keys[-1].text,
        witness=witness,
    )


def _holding(source: Source, witnessed_size: int, last: int) -> Checkpoint | None:
    """The first witnessed checkpoint over the month's last record; without one, the last that there is.

    Those beyond `witnessed_size` were not found to be good.
    """
    found = None
    for line in source.checkpoints():
        try:
            checkpoint = parse_checkpoint(json.loads(line)["note"])
        except (ValueError, KeyError, TypeError):
            # It is among the faults already.
            continue
        if checkpoint.size > witnessed_size:
            break
        found = checkpoint
        if checkpoint.size > last:
            break
    return found


def _line(checkpoint: Checkpoint, number: int) -> str:
    """A line of the note as it was signed, so that whoever compares compares the same text."""
    return checkpoint.note.text.decode().split("\n")[number]


def _witnessed_at(checkpoint: Checkpoint) -> datetime | None:
    """When the witness saw it: a cosignature begins with its time."""
    for line in checkpoint.note.signatures:
        if line.name != checkpoint.origin and len(line.signature) > 8:
            return datetime.fromtimestamp(int.from_bytes(line.signature[:8], "big"), UTC)
    return None


def _time(line: bytes) -> datetime:
    return datetime.fromisoformat(_parsed(line)["time"])


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line[65:])
        found["time"], found["kind"], found["number"], found["clause"], found["figures"]  # noqa: B018
    except (ValueError, KeyError, TypeError) as error:
        raise BadLine("a record of the month can't be read") from error
    return dict(found)
