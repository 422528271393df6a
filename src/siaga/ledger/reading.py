"""Which engine reads what: all of it, sums alone, or the tail after a seal; and what is kept of it afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import duckdb as duckdb_driver
import psycopg

from siaga.errors import BadInput
from siaga.ledger import drill, duckdb, fingerprint, keys, seal, tail
from siaga.ledger.engine import Engine, OnProgress, Pace, Source, Want, Work
from siaga.ledger.fingerprint import Sums
from siaga.ledger.model import Grade, Journal, JournalResult, Report, Verdict
from siaga.ledger.postgres import PostgresEngine
from siaga.ledger.postgres_fingerprint import AskJournal, FingerprintEngine
from siaga.ledger.schema import Ledger
from siaga.ledger.seal import Seal
from siaga.ledger.tail_engine import SealingEngine, TailEngine

GENTLE = Pace(workers=1, share=0.03, memory_mb=400)
"""For a live primary: 3 % of one connection's time, and of the reader's beside it (docs/ledger.md)."""

EngineName = Literal["auto", "fingerprint", "duckdb", "postgres"]


@dataclass(frozen=True, slots=True)
class Options:
    """How to check."""

    engine: EngineName = "auto"
    pace: Pace = Pace()
    deep: bool = False
    """Structure first, and nothing that an index says is believed."""
    sums_only: bool = False
    """Sums and counts alone: fast over a covering index; the verdict is `incomplete` at best."""
    work: Path | None = None
    """Where a stopped pass may be taken up again, if its source stood still."""
    journal: Journal | None = None
    """A full pass is compared with it; one after a seal asks it for what is new."""
    secret: bytes | None = None
    """Of seals and keyed digests (`keys.py`); they need it."""
    seal: Path | None = None
    """Directory for a new seal, once the ledger is verified."""
    since: Path | None = None
    """Directory of a seal: read what came after it."""
    reread: bool = False
    """With `since`: read everything, and compare the part that is sealed."""
    export: Path | None = None
    """Directory for what an auditor needs."""


@dataclass(frozen=True, slots=True)
class Untouched:
    """What a seal alone speaks for."""

    accounts: int = 0
    entries: int = 0
    system: int = 0


def choose(ledger: Ledger, name: EngineName) -> tuple[str, str]:
    """The engine that keeps sums per account, and why; BadInput where the one asked for cannot read this ledger."""
    obstacle = duckdb.missing() or duckdb.unsupported(ledger)
    if name == "duckdb" and obstacle:
        raise BadInput(f"--engine duckdb: {obstacle}", hint="leave the engine to Siaga, or use `--engine postgres`")
    if name == "postgres" or obstacle:
        return "postgres", obstacle
    return "duckdb", ""


class Reading:
    """One pass over one ledger."""

    engine: Engine

    def __init__(self, ledger: Ledger, source: Source, options: Options, work: Work, *, ids: bool) -> None:
        self.notes: list[str] = []
        self._ledger = sums_alone(ledger) if options.sums_only else ledger
        self._source, self._options, self._work = source, options, work
        self._since = self._loaded()
        key = keys.entry_key(options.secret) if options.secret is not None else None
        self.compares_journal = options.journal is not None and (self._since is None or options.reread)
        """Account by account; a tail only asks it for what is new."""
        self._want = Want(digests=self.compares_journal, key=key, unique_entries=ids)
        self.engine = self._chosen()

    @property
    def grade(self) -> Grade:
        """How much of the log was read."""
        if self._options.sums_only:
            return Grade.SUMS
        if self._reads_tail:
            return Grade.TAIL
        return Grade.PREFIX if self._since is not None and isinstance(self.engine, SealingEngine) else Grade.FULL

    @property
    def reads_ids(self) -> bool:
        """Whether it can tell that no two entries share an id; a tail knows only its own."""
        return self._want.unique_entries and not self._reads_tail

    @property
    def _reads_tail(self) -> bool:
        engine = self.engine
        return isinstance(engine, TailEngine) or (isinstance(engine, FingerprintEngine) and engine.since is not None)

    def read(self, on_progress: OnProgress) -> None:
        """Once; and once more where a tail disagrees, or where a number is too large for the way it was read."""
        try:
            self._read(on_progress)
        except duckdb_driver.Error as error:
            if not _too_large(error):
                raise
            self._want = replace(self._want, wide=True)
            self.engine.close()
            self.engine = self._chosen()
            self._read_wide(on_progress)

    def _read(self, on_progress: OnProgress) -> None:
        if isinstance(self.engine, FingerprintEngine) and not self._agrees(self.engine, on_progress):
            self.engine.close()
            self.engine = self._by_account()
        if not isinstance(self.engine, FingerprintEngine):
            self.engine.read(on_progress)
        if isinstance(self.engine, TailEngine) and self.engine.disagrees():
            # Rewritten rows are new, and would be counted twice: only a full pass names what is wrong, if anything.
            self._leave_seal("what came after the seal disagrees, or rows were rewritten since: everything was read")
            self._replace(self._full)
            self.engine.read(on_progress)

    def _agrees(self, engine: FingerprintEngine, on_progress: OnProgress) -> bool:
        try:
            engine.read(on_progress)
        except psycopg.errors.NumericValueOutOfRange:
            # A seal's fingerprint is of 64 bits; another engine has more.
            return False
        if self._asks_journal() is not None and not engine.tail.known:
            self.notes.append(f"the journal cannot say what came after the seal: {engine.tail.why}")
        differs = engine.differs_from_journal
        if differs:
            self._leave_seal(f"{differs}: everything was read, and compared with the journal")
            return False
        if engine.disagrees():
            self.notes.append("the fingerprint disagrees: account by account was looked for what is wrong")
            return False
        return True

    def _leave_seal(self, why: str) -> None:
        """From here on everything is read, and compared with the journal that there is."""
        self.notes.append(why)
        self._since = None
        self.compares_journal = self._options.journal is not None
        self._want = replace(self._want, digests=self.compares_journal)

    def _read_wide(self, on_progress: OnProgress) -> None:
        try:
            self._read(on_progress)
        except duckdb_driver.Error as error:
            if not _too_large(error) or self._options.engine == "duckdb":
                raise
            self.notes.append("read by the database itself: a number is too large for DuckDB")
            self._replace(self._in_database)
            self.engine.read(on_progress)

    def _replace(self, engine: Callable[[], Engine]) -> None:
        self.engine.close()
        self._since = None
        self.engine = engine()

    def untouched(self) -> Untouched:
        """Accounts that a tail does not touch."""
        return Untouched(*self.engine.untouched()) if isinstance(self.engine, TailEngine) else Untouched()

    def compared(self) -> JournalResult | None:
        """With the seal, where there is one."""
        if self._since is None:
            return None
        if self._reads_tail:
            why = f"what it covers (up to {self._since.position.lsn}) was proven then and not read now"
            if isinstance(self.engine, FingerprintEngine) and self.engine.tail.known:
                found = self.engine.tail
                why += f"; the journal has the same {found.entries} entries after it"
                why += f", {found.behind_bytes} bytes of the server's log behind it" if found.behind_bytes else ""
            return JournalResult(True, why, self._since.accounts)
        if not isinstance(self.engine, SealingEngine):
            return None
        findings = tuple(self.engine.differing(self._since))
        return JournalResult(True, "entry for entry, through keyed digests", self._since.accounts, findings)

    def seal(self, directory: Path, report: Report) -> None:
        """Of a ledger that was verified as a whole."""
        assert report.verdict is Verdict.VERIFIED, "a seal says that everything before it was proven"
        assert isinstance(self.engine, SealingEngine) and self._options.secret is not None, "asked before"
        seen = [
            int(row[0])
            for statement in tail.seen(self._ledger, self._source.position)
            for row in self._source.connection.execute(statement).fetchall()
        ]
        said = seal.contents(
            self._source.position,
            self._ledger.map.digest(),
            report.accounts,
            report.entries,
            sorted(set(seen)),
            self._fingerprint(),
        )
        with seal.written(directory, said, self._options.secret) as path:
            self.engine.save_seal(path)

    def _fingerprint(self) -> Sums | None:
        """Of the accounts; None where it says nothing of this ledger, or needs more than 64 bits."""
        if fingerprint.obstacle(self._ledger, self._source.position.version):
            return None
        try:
            with self._source.connection.transaction():
                row = self._source.connection.execute(fingerprint.accounts(self._ledger)).fetchone()
        except psycopg.errors.NumericValueOutOfRange:
            return None
        assert row is not None, "an aggregate has one row"
        return fingerprint.of_row(row)

    def statements(self) -> list[str]:
        """Every statement that the database may be sent, in order; `%s` stands for what was found by then."""
        found = [*self.engine.statements()]
        if isinstance(self.engine, FingerprintEngine):
            by_account = self._by_account()
            found += by_account.statements()
            by_account.close()
        exceptions = fingerprint.verdicts(self._ledger, exceptions=True)
        return [*found, *drill.statements_of(self._ledger), exceptions]

    def close(self) -> None:
        """Give everything back."""
        self.engine.close()

    def _loaded(self) -> Seal | None:
        options = self._options
        needs = [name for name, value in (("--seal", options.seal), ("--since", options.since)) if value is not None]
        if needs and options.secret is None:
            raise BadInput(
                f"{needs[0]}: no key, expected one with --key FILE", hint="a new key file is made with --seal"
            )
        if needs and (options.sums_only or options.engine == "postgres"):
            raise BadInput(f"{needs[0]}: needs every check of the duckdb engine", hint="leave the other option out")
        if options.since is None or options.secret is None:
            return None
        found = seal.load(options.since, options.secret)
        obstacle = tail.obstacle(found, self._ledger, self._source.position)
        if obstacle:
            self.notes.append(f"the seal cannot be used, everything was read: {obstacle}")
            return None
        return found

    def _chosen(self) -> Engine:
        obstacle = self._fingerprint_obstacle()
        if not obstacle and not self._want.wide:
            return FingerprintEngine(
                self._ledger,
                self._source,
                self._options.pace,
                ids=self._want.unique_entries,
                sums_only=self._options.sums_only,
                since=self._since,
                journal=self._asks_journal(),
            )
        if self._options.engine == "fingerprint" and obstacle:
            raise BadInput(f"--engine fingerprint: {obstacle}", hint="leave the engine to Siaga")
        return self._by_account()

    def _asks_journal(self) -> AskJournal | None:
        """Where it can say between which values what is new lies."""
        journal, since, by = self._options.journal, self._since, tail.ordered(self._ledger)
        if journal is None or since is None or by is None:
            return None
        return lambda complete: journal.tail(since.position, self._source.position, by, complete=complete)

    def _fingerprint_obstacle(self) -> str:
        """Why sums per account are wanted; empty where one look at the whole ledger is enough."""
        options = self._options
        if options.engine not in ("auto", "fingerprint"):
            return "another engine was asked for"
        since = self._since.fingerprint if self._since is not None and not options.reread else None
        if since is not None and self._since is not None:
            majors = {position.version // 10_000 for position in (self._since.position, self._source.position)}
            if len(majors) > 1:
                return "the seal was made with another PostgreSQL, whose hashes may be others"
        wanted = {
            "--journal": self.compares_journal,
            "--seal": options.seal is not None,
            "--key": options.secret is not None and since is None,
            "--export": options.export is not None,
            "--work": options.work is not None,
            "--deep": options.deep,
        }
        for name, given in wanted.items():
            if given:
                return f"{name} wants every account's own sums"
        if self._want.unique_entries and options.engine == "auto":
            return "no unique index keeps two entries from sharing an id, and another engine finds them faster"
        if options.pace.share < 1 and (
            fingerprint.orphans(self._ledger) or not fingerprint.unique_accounts(self._ledger)
        ):
            return (
                "orphans or accounts that are there twice take one large statement here, and the pass is a gentle one"
            )
        return fingerprint.obstacle(self._ledger, self._source.position.version)

    def _by_account(self) -> Engine:
        name, why = choose(self._ledger, self._options.engine)
        if name == "postgres":
            if why:
                self.notes.append(f"read by the database itself: {why}")
            return self._in_database()
        if self._since is not None and not self._options.reread:
            return TailEngine(self._ledger, self._source, self._want, self._options.pace, self._work, seal=self._since)
        return self._full()

    def _full(self) -> SealingEngine:
        engine = SealingEngine(self._ledger, self._source, self._want, self._options.pace, self._work)
        if engine.resumed:
            self.notes.append("took up a pass that was stopped: the source has not changed since")
        elif self._options.work is not None:
            self.notes.append("started from the beginning: the work directory holds nothing of this snapshot")
        return engine

    def _in_database(self) -> PostgresEngine:
        return PostgresEngine(
            self._ledger, self._source, self._want, self._options.pace, parallel=self._options.sums_only
        )


def sums_alone(ledger: Ledger) -> Ledger:
    """The ledger as if its map named nothing but accounts and amounts, so that an index can hold all that is read."""
    entries = ledger.map.entries.model_copy(
        update=dict.fromkeys(("id", "transaction", "zero_sum", "sequence", "balance_before", "balance_after", "time"))
    )
    return replace(ledger, map=ledger.map.model_copy(update={"entries": entries}))


def _too_large(error: duckdb_driver.Error) -> bool:
    """Whether a number does not fit: DuckDB's own complaint, or numeric(38) on PostgreSQL's side."""
    beyond = isinstance(error, duckdb_driver.OutOfRangeException | duckdb_driver.ConversionException)
    return beyond or "numeric field overflow" in str(error)
