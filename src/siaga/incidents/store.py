"""What incidents ask of the place that keeps them: files here, PostgreSQL where two controllers share it.

Kept are the open ones with all that is still to be told and recorded, the closed ones, and what came of every attempt
to tell somebody. The record is the evidence; this is how the controller goes on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import structlog

from siaga.evidence.model import Record
from siaga.incidents.documents import from_document, to_document
from siaga.incidents.model import CLOSED_KEPT, Book, Incident
from siaga.incidents.notify.documents import thread_document, thread_from
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
    """Closed ones that may not be among the closed that are kept yet."""


class IncidentStore(Protocol):
    """One per controller that leads. Its calls block; OSError or StoreFault where they can't be carried out."""

    def load(self) -> Kept:
        """What was kept; what is damaged is set aside and told in the log, for lasting facts open incidents again."""

    def save(self, kept: Kept) -> None:
        """Keep it: a kill at any moment leaves the state before or after, never between."""

    def archive(self) -> list[Incident]:
        """Every closed incident ever, oldest first."""

    def deliveries(self, count: int) -> list[dict[str, Any]]:
        """The latest attempts to tell somebody, oldest first."""

    def note_delivery(self, attempt: dict[str, Any]) -> None:
        """Keep one attempt; of some hundred thousand the oldest may go."""


def to_text(kept: Kept) -> str:
    """All but the closed ones that are kept already, as JSON."""
    return json.dumps(
        {
            "format": FORMAT,
            "open": [to_document(incident) for incident in kept.book.open.values()],
            "threads": [thread_document(thread) for thread in kept.threads],
            "unrecorded": [asdict(record) for record in kept.unrecorded],
            "unarchived": [to_document(incident) for incident in kept.unarchived],
        }
    )


def from_text(text: str | bytes) -> Kept | None:
    """Read back what `to_text` gave; None, and a line in the log, where it is something else."""
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']}, this version reads format {FORMAT}")
        incidents = [from_document(one) for one in document["open"]]
        return Kept(
            book=Book(open={incident.id: incident for incident in incidents}),
            threads=tuple(thread_from(one) for one in document["threads"]),
            unrecorded=tuple(Record(**one) for one in document["unrecorded"]),
            unarchived=tuple(from_document(one) for one in document["unarchived"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        _log.error("the open incidents are damaged and set aside", why=f"{type(error).__name__}: {error}")
        return None


def with_closed(kept: Kept, documents: Iterable[Mapping[str, Any]]) -> Kept:
    """Beside the open ones the last closed, of `documents` and of those that may not be among them yet."""
    closed = {one["id"]: one for one in documents}
    for incident in kept.unarchived:
        closed.pop(incident.id, None)
        closed[incident.id] = to_document(incident)
    book = Book(open=kept.book.open, closed=tuple(readable(list(closed.values())[-CLOSED_KEPT:])))
    return Kept(book, kept.threads, kept.unrecorded, kept.unarchived)


def readable(documents: Iterable[Mapping[str, Any]]) -> list[Incident]:
    """The incidents; one that can't be read costs itself alone."""
    found = []
    for document in documents:
        try:
            found.append(from_document(document))
        except (ValueError, KeyError, TypeError):
            _log.error("a closed incident can't be read", id=document.get("id"))
    return found
