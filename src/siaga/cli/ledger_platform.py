"""Which ledger is checked where nobody names one: the platform's here, and the journal that goes with it."""

from __future__ import annotations

from pathlib import Path

from psycopg import conninfo

from siaga.errors import SiagaError
from siaga.journal import compare, segments
from siaga.journal.horizon import snapshot
from siaga.journal.lsn import parse
from siaga.ledger.accumulators import unscaled
from siaga.ledger.map import LedgerMap
from siaga.ledger.model import JournalFinding, JournalResult, Position
from siaga.platform import account, gate, journal, lifecycle, secrets

AUDITOR = "wallet_auditor"
"""May read, and nothing else."""
JOURNAL_DEADLINE_S = 30.0


def here() -> tuple[str, LedgerMap, Path | None]:
    """The embedded platform's ledger, and its journal where it has one."""
    layout = lifecycle.required(account.home())
    database = layout.site.transactions
    dsn = conninfo.make_conninfo(
        host="127.0.0.1",
        port=layout.ports[database.servers[0].name],
        dbname=database.database,
        user=AUDITOR,
        password=secrets.read(layout.secret("wallet-auditor")),
    )
    directory = layout.directory(journal.NAME)
    return dsn, gate.wallet_map(), directory if directory.exists() else None


class KeptJournal:
    """A journal's directory, as the cross-check sees it."""

    def __init__(self, directory: Path, ledger_map: LedgerMap, deadline_s: float = JOURNAL_DEADLINE_S) -> None:
        self._directory, self._map, self._deadline_s = directory, ledger_map, deadline_s

    def compare(self, accumulators: Path, position: Position) -> JournalResult:
        """By snapshot on a live server, by position on one that stands still (decision 17)."""
        if position.in_recovery and not position.paused:
            return JournalResult(False, "the server replays on: pause it (pg_wal_replay_pause) to compare by position")
        point = compare.Point(
            system=position.system_id,
            timeline=position.timeline,
            lsn=parse(position.lsn),
            snapshot=None if position.in_recovery else snapshot(position.snapshot),
            text=position.snapshot,
        )
        try:
            compare.await_position(self._directory, point, self._deadline_s)
            found = segments.read_settled(
                self._directory, lambda contents: compare.differences(contents, self._map, accumulators, point)
            )
        except SiagaError as error:
            return JournalResult(False, error.message)
        return JournalResult(True, "account by account, at this snapshot", found.accounts, _findings(found))


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
