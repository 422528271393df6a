"""The gate's own history becomes evidence, whoever closed or opened accounts, and whether we were there (DRP-3.2b).

Closing may not wait for a record (decision 21) and works while the controller is dead. So the gate writes its history
in the transaction that changes it, and it is taken over from there, each line once by its id.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from siaga.evidence.model import Evidence, Record
from siaga.ledger.fence import CLAUSE
from siaga.ledger.gate_changes import Change

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_OVERLAP = timedelta(hours=1)
"""A database that was brought back, or another server's clock, may write an earlier time than the last one seen."""


def record_of(change: Change, pseudonym: Callable[[str], str]) -> Record:
    """The record of one change; accounts, which its figures hold as lists, stand in it under their pseudonyms."""
    reason, figures = change.reason, dict(change.figures)
    for name, value in change.figures.items():
        if isinstance(value, list):
            figures[name] = [pseudonym(account) for account in value]
            # A single account is named in the words too.
            for account, hidden in zip(value, figures[name], strict=True):
                reason = reason.replace(f"account {account}", f"account {hidden}")
    known = {"change": str(change.id), "changed_at": change.changed_at.isoformat(), "generation": change.generation}
    kind = f"fence.{change.act.replace(' ', '_')}"
    return Record(kind, change.changed_by, CLAUSE, f"{change.act}: {reason}", {**known, **figures})


class FenceWatch:
    """Takes over what is new, a pass at a time."""

    def __init__(
        self,
        read: Callable[[datetime], Awaitable[Sequence[Change]]],
        evidence: Evidence,
        recorded: Callable[[], Awaitable[Sequence[Mapping[str, Any]]]],
        pseudonym: Callable[[str], str],
    ) -> None:
        """`read` gives the gate's history from a time on; `recorded` what the evidence has of it already."""
        self._read = read
        self._evidence = evidence
        self._recorded = recorded
        self._pseudonym = pseudonym
        self._known: set[str] | None = None
        self._since = _BEGINNING

    async def run_pass(self) -> None:
        """Record what was changed since the last pass."""
        if self._known is None:
            self._known = {record["figures"]["change"] for record in await self._recorded()}
        for change in await self._read(self._since):
            if str(change.id) not in self._known:
                await self._evidence.append(record_of(change, self._pseudonym))
                self._known.add(str(change.id))
            self._since = max(self._since, change.changed_at - _OVERLAP)
