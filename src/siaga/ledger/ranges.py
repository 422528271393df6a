"""Ranges of pages of the two tables, so that work can be shared, paced, shown and taken up again. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from siaga.ledger.schema import Ledger
from siaga.ledger.statements import Pages

PAGE_RANGES_VERSION = 140_000
"""Before it PostgreSQL reads the whole table for a range of pages."""
ROWS_TO_SHARE = 200_000
"""Fewer are read by one connection before a second one has begun."""
GENTLE_ROWS = 100_000
"""Some 50 ms of reading, so that the pauses between them keep the load even."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of one of the two tables: a range of pages, or what a condition says."""

    table: str
    pages: Pages | None
    rows: int
    """Estimated."""
    only: str = ""
    """SQL."""


def chunks(ledger: Ledger, version: int, pieces: Callable[[int], int]) -> list[Chunk]:
    """Each table in as many pieces as `pieces` says for its rows; one where it has no pages, or the server is old.

    Accounts first: they are few, and a mistake in the map shows at once.
    """
    found = []
    for table, relation in (("accounts", ledger.accounts), ("entries", ledger.entries)):
        if not relation.pages or not relation.by_pages or version < PAGE_RANGES_VERSION:
            found.append(Chunk(table, None, relation.rows))
            continue
        step = -(-relation.pages // pieces(relation.rows))
        firsts = range(0, relation.pages, step)
        for first in firsts:
            last = first + step >= relation.pages
            found.append(Chunk(table, (first, None if last else first + step), relation.rows // len(firsts)))
    return found
