"""Brings the plain records of the release before into the evidence, each exactly once (format 0 to 1).

`records.jsonl` becomes `records.importing.jsonl`, is appended line by line, and ends as `records.imported.jsonl`
(`records.imported-2.jsonl` and so on: who goes back to the old release gets a new `records.jsonl`, and the next
upgrade imports that one too). After a kill at any point the evidence itself says which lines it holds.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from siaga.errors import BadInput
from siaga.evidence.model import Evidence, Record
from siaga.hosts.local import sync_directory
from siaga.sop.clauses import ClauseId

RECORDS = "records.jsonl"
_IMPORTING = "records.importing.jsonl"
FROM = "imported_from"
"""The figure that says where a record came from: digest of the file, line, and both clocks of then."""
DAMAGED = "state.import_damaged"
IMPORTED = "state.imported"
_AT_ONCE = 64

Lines = Callable[[], Iterable[bytes]]
"""Every line that the evidence log holds, in any order."""


async def import_records(directory: Path, evidence: Evidence, lines: Lines) -> int:
    """Import whatever there is; how many records were appended. Unrecorded or OSError leave the rest for next time."""
    appended = 0
    source, importing = directory / RECORDS, directory / _IMPORTING
    while importing.exists() or source.exists():
        if not importing.exists():
            source.rename(importing)
            sync_directory(directory)
        appended += await _import(importing, evidence, lines)
        importing.rename(_free_name(directory))
        sync_directory(directory)
    return appended


async def _import(path: Path, evidence: Evidence, lines: Lines) -> int:
    content = await asyncio.to_thread(path.read_bytes)
    digest = hashlib.sha256(content).hexdigest()
    there = await asyncio.to_thread(imported_lines, lines(), digest)
    records = old_records(content, digest)
    missing = [record for line, record in records.items() if line not in there]
    for begin in range(0, len(missing), _AT_ONCE):
        await asyncio.gather(*(_append(evidence, record) for record in missing[begin : begin + _AT_ONCE]))
    return len(missing)


async def _append(evidence: Evidence, record: Record) -> None:
    try:
        await evidence.append(record)
    except BadInput as error:
        # The evidence takes less than the old file did; one strange line must not keep the controller from starting.
        await evidence.append(_damaged(record.figures[FROM], error.message))


def old_records(content: bytes, digest: str) -> dict[int, Record]:
    """By line what becomes of each, and a summary at the end; a torn last line was never acknowledged and is left out.

    A line in the middle that can't be read is recorded as damaged, with its digest.
    """
    *whole, _ = content.split(b"\n")
    found = {number: _record(line, number, digest) for number, line in enumerate(whole, start=1)}
    damaged = sum(record.kind == DAMAGED for record in found.values())
    end = len(whole) + 1
    if not whole:
        return found
    reason = f"{len(whole)} records of the release before were imported, {damaged} of them damaged"
    figures = {"records": len(whole), "damaged": damaged, FROM: {"sha256": digest, "line": end}}
    return {**found, end: Record(IMPORTED, "controller", ClauseId.SUM, reason, figures)}


def _record(line: bytes, number: int, digest: str) -> Record:
    origin: dict[str, Any] = {"sha256": digest, "line": number}
    try:
        old = json.loads(line)
        origin |= {"time": str(old["time"]), "monotonic_s": old["monotonic_s"]}
        kind, actor, clause, reason = words = [old[name] for name in ("kind", "actor", "clause", "reason")]
        figures = old["figures"]
        if not all(isinstance(word, str) for word in words) or not isinstance(figures, Mapping):
            raise TypeError("fields of the wrong type")
        return Record(kind, actor, clause, reason, {**figures, FROM: origin})
    except (ValueError, KeyError, TypeError):
        origin |= {"bytes": len(line), "line_sha256": hashlib.sha256(line).hexdigest()}
        return _damaged(origin, "it can't be read")


def _damaged(origin: Mapping[str, Any], why: str) -> Record:
    reason = f"line {origin['line']} of the records of the release before was not imported: {why}"
    return Record(DAMAGED, "controller", ClauseId.SUM, reason, {FROM: origin})


def imported_lines(lines: Iterable[bytes], digest: str) -> frozenset[int]:
    """Which lines of the file with this digest the log holds already; each of its lines is `CHAIN JSON`."""
    mark = digest.encode()
    found = set()
    for line in lines:
        if mark in line:
            origin = json.loads(line.partition(b" ")[2])["figures"].get(FROM, {})
            if origin.get("sha256") == digest:
                found.add(int(origin["line"]))
    return frozenset(found)


def _free_name(directory: Path) -> Path:
    path = directory / "records.imported.jsonl"
    count = 1
    while path.exists():
        count += 1
        path = directory / f"records.imported-{count}.jsonl"
    return path
