"""A journal's directory, as the cross-check sees it; nothing of the platform is needed."""

from __future__ import annotations

from pathlib import Path

from siaga.errors import SiagaError
from siaga.journal import compare, tail
from siaga.journal.compare import Comparison, Point
from siaga.journal.horizon import snapshot
from siaga.journal.lsn import parse
from siaga.ledger.accumulators import unscaled
from siaga.ledger.map import LedgerMap
from siaga.ledger.model import JournalFinding, JournalResult, JournalTail, Ordered, Position

JOURNAL_DEADLINE_S = 30.0


class KeptJournal:
    """One journal, of one ledger."""

    def __init__(self, directory: Path, ledger_map: LedgerMap, deadline_s: float = JOURNAL_DEADLINE_S) -> None:
        self._directory, self._map, self._deadline_s = directory, ledger_map, deadline_s

    def compare(self, accumulators: Path, position: Position) -> JournalResult:
        """By snapshot on a live server, by position on one that stands still (decision 17)."""
        if position.in_recovery and not position.paused:
            return JournalResult(False, "the server replays on: pause it (pg_wal_replay_pause) to compare by position")
        try:
            point = _point(position)
            found = self._compared(accumulators, point, complete=False)
            if not found.matches:
                found = self._compared(accumulators, point, complete=True)
        except SiagaError as error:
            return JournalResult(False, error.message)
        return JournalResult(True, "account by account, at this snapshot", found.accounts, _findings(found))

    def tail(self, then: Position, now: Position, by: Ordered, *, complete: bool) -> JournalTail:
        """By their transactions' ids, which a replica's snapshot does not tell."""
        if then.in_recovery or now.in_recovery:
            return JournalTail(False, "a replica's snapshot does not say which transactions it sees")
        try:
            return tail.read(
                self._directory,
                self._map.digest(),
                snapshot(then.snapshot),
                _point(now),
                by,
                deadline_s=self._deadline_s,
                complete=complete,
            )
        except SiagaError as error:
            return JournalTail(False, error.message)

    def _compared(self, accumulators: Path, point: Point, *, complete: bool) -> Comparison:
        return compare.read_at(
            self._directory,
            point,
            self._deadline_s,
            lambda contents: compare.differences(contents, self._map, accumulators, point),
            complete=complete,
        )


def _point(position: Position) -> Point:
    return Point(
        system=position.system_id,
        timeline=position.timeline,
        lsn=parse(position.lsn),
        snapshot=None if position.in_recovery else snapshot(position.snapshot),
        text=position.snapshot,
    )


def _findings(found: compare.Comparison) -> tuple[JournalFinding, ...]:
    """An entry without an account is at fault by itself; the journal has nothing to add."""
    return tuple(
        JournalFinding(difference.account, difference.currency, unscaled(_sum(difference), 0))
        for difference in found.differences
        if difference.account is not None
    )


def _sum(difference: compare.Difference) -> int:
    database, journal_ = difference.database, difference.journal
    return (database.amount_sum if database else 0) - (journal_.amount_sum if journal_ else 0)
