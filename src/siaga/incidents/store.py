"""Keeps incidents over restarts: the open ones with all that is still to be told and recorded, and the closed ones.

One small file that is written beside and renamed over holds what may still change, so that a kill at any moment
leaves the state before or after a change, never between. What is closed goes to a file that is only appended to.
The record is the evidence; these files are how the controller goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import structlog

from siaga.evidence.model import Record
from siaga.hosts.local import write_and_rename
from siaga.incidents.documents import from_document, to_document
from siaga.incidents.model import CLOSED_KEPT, Book, Incident
from siaga.incidents.notify.documents import thread_document, thread_from
from siaga.incidents.notify.journal import append_line, read_lines
from siaga.incidents.notify.routes import Thread

_log = structlog.get_logger()
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Kept:
    """What is carried over a restart."""

    book: Book = field(default_factory=Book)
    threads: tuple[Thread, ...] = ()
    unrecorded: tuple[Record, ...] = ()
    """Changes that the evidence has not taken yet."""
    unarchived: tuple[Incident, ...] = ()
    """Closed ones that may not be in the file of the closed yet."""


class IncidentStore:
    """One per controller that leads. Its calls block; OSError where the disk refuses."""

    def __init__(self, directory: Path) -> None:
        self._open = directory / "incidents.json"
        self._closed = directory / "incidents.jsonl"
        self.deliveries = directory / "deliveries.jsonl"

    def load(self) -> Kept:
        """What was kept; a damaged file is set aside and told in the log, for lasting facts open incidents again."""
        closed = self._archived()
        try:
            document = json.loads(self._open.read_bytes())
            kept = _from_document(document)
        except FileNotFoundError:
            kept = Kept()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._open.replace(self._open.with_suffix(".damaged"))
            _log.error("the open incidents are damaged and set aside", why=f"{type(error).__name__}: {error}")
            kept = Kept()
        for incident in kept.unarchived:
            closed.pop(incident.id, None)
            closed[incident.id] = to_document(incident)
        newest = list(closed.values())[-CLOSED_KEPT:]
        book = Book(open=kept.book.open, closed=tuple(one for found in newest for one in _readable(found)))
        return Kept(book, kept.threads, kept.unrecorded, kept.unarchived)

    def save(self, kept: Kept) -> None:
        """Keep it: first all of it in one stroke, then the closed ones for good."""
        write_and_rename(self._open, json.dumps(_to_document(kept)).encode())
        for incident in kept.unarchived:
            append_line(self._closed, to_document(incident))

    def archive(self) -> list[Incident]:
        """Every closed incident ever, oldest first."""
        return [one for found in self._archived().values() for one in _readable(found)]

    def _archived(self) -> dict[str, dict[str, Any]]:
        # Of one that was written twice the last line counts.
        return {one["id"]: one for one in read_lines(self._closed) if isinstance(one.get("id"), str)}


def _to_document(kept: Kept) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "open": [to_document(incident) for incident in kept.book.open.values()],
        "threads": [thread_document(thread) for thread in kept.threads],
        "unrecorded": [asdict(record) for record in kept.unrecorded],
        "unarchived": [to_document(incident) for incident in kept.unarchived],
    }


def _from_document(document: Mapping[str, Any]) -> Kept:
    if document["format"] != FORMAT:
        raise ValueError(f"format {document['format']}, this version reads format {FORMAT}")
    incidents = [from_document(one) for one in document["open"]]
    return Kept(
        book=Book(open={incident.id: incident for incident in incidents}),
        threads=tuple(thread_from(one) for one in document["threads"]),
        unrecorded=tuple(Record(**one) for one in document["unrecorded"]),
        unarchived=tuple(from_document(one) for one in document["unarchived"]),
    )


def _readable(document: Mapping[str, Any]) -> list[Incident]:
    try:
        return [from_document(document)]
    except (ValueError, KeyError, TypeError):
        _log.error("a closed incident can't be read", id=document.get("id"))
        return []
