"""The journal's place: where DBOS keeps its rows, and beside them the words that people say to runs.

A word is one row, written by the controller, or by the CLI while there is no controller. Its key makes it count once.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
import structlog

from siaga.errors import Unreachable
from siaga.runbooks import postgres, sqlite
from siaga.runbooks.words import Word

FILE_NAME = "runbooks.sqlite"
"""Within the controller's state directory."""
PROBE_INTERVAL_S = 0.5
_FILLER = "x" * 262_144
"""Less might find room where a turn finds none. SQLite keeps it as free pages: a reserve for a disk that fills up."""
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """The default: a file on the controller's own disk."""

    path: Path


@dataclass(frozen=True, slots=True)
class PostgresDatabase:
    """A database that the controllers share, in another failure domain than what they recover."""

    conninfo: str = field(repr=False)
    """In libpq's form; it may hold a password, which stays in memory."""
    application_name: str = "siaga runs"
    """A new leader ends the sessions of the old one by it."""


Place = SqliteFile | PostgresDatabase


class Stopped(SystemExit):
    """The engine closes: ends the thread it is raised in, without a word.

    No `Exception`, so that DBOS records nothing, and the run goes on at the next start.
    """


class Journal:
    """Connections to the journal's place, and the words in it."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.schema = postgres.SCHEMA if isinstance(place, PostgresDatabase) else None
        self.engine = _create_engine(place)
        """For reading and for short writes: errors are raised at once."""
        self._metadata = sa.MetaData(schema=self.schema)
        self._words = sa.Table(
            "siaga_words",
            self._metadata,
            sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
            sa.Column("run", sa.Text, nullable=False, index=True),
            sa.Column("key", sa.Text, nullable=False, unique=True),
            sa.Column("kind", sa.Text, nullable=False),
            sa.Column("actor", sa.Text, nullable=False),
            sa.Column("said_at", sa.Float(53), nullable=False),
            sa.Column("body", sa.Text, nullable=False),
        )
        self._probes = sa.Table(
            "siaga_probe",
            self._metadata,
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("filler", sa.Text, nullable=False),
        )
        self._closing = threading.Event()
        self._stoppable: set[int] = set()
        self.trouble = ""
        """What is wrong with the place now; empty when nothing is known to be."""

    def prepare(self) -> None:
        """Make our tables where they are missing."""
        with answering(), self.engine.begin() as connection:
            if self.schema is not None:
                connection.execute(sa.schema.CreateSchema(self.schema, if_not_exists=True))
            self._metadata.create_all(connection)
            if connection.execute(sa.select(self._probes.c.id)).first() is None:
                connection.execute(sa.insert(self._probes).values(id=1, filler=""))

    def close(self) -> None:
        """Let go of every connection; whoever waits for the place to come back is stopped."""
        self._closing.set()
        self.engine.dispose()

    # Words ----------------------------------------------------------------------------------------------

    def say(self, word: Word, key: str) -> bool:
        """Write a word down under the next number; False when one of that key was said before."""
        row = {
            "run": word.run,
            "key": key,
            "kind": word.kind,
            "actor": word.actor,
            "said_at": word.said_at,
            "body": json.dumps(dict(word.body)),
        }
        try:
            with answering(), self.engine.begin() as connection:
                if self.schema is not None:
                    # Numbers must appear in their order, or a run could overlook the smaller of two.
                    connection.execute(sa.text(f'LOCK TABLE "{self.schema}"."siaga_words" IN EXCLUSIVE MODE'))
                connection.execute(sa.insert(self._words).values(**row))
        except sa.exc.IntegrityError:
            return False
        return True

    def words(self, run: str, after: int) -> list[Word]:
        """What was said to a run after word number `after`, in order."""
        table = self._words
        query = sa.select(table).where(table.c.run == run, table.c.number > after).order_by(table.c.number)
        with answering(), self.engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
        return [Word(r["number"], r["run"], r["kind"], r["actor"], r["said_at"], json.loads(r["body"])) for r in rows]

    def last_word(self) -> int:
        """The number of the newest word of all; 0 before the first."""
        with answering(), self.engine.connect() as connection:
            return int(connection.execute(sa.select(sa.func.max(self._words.c.number))).scalar() or 0)

    # Trouble --------------------------------------------------------------------------------------------

    def probe(self) -> None:
        """A write as large as several turns, on disk; Unreachable when it does not go through."""
        for filler in (_FILLER, ""):
            with answering(), self.engine.begin() as connection:
                connection.execute(sa.update(self._probes).values(filler=filler))

    def patient_engine(self) -> sa.Engine:
        """Connections for DBOS: when the place goes away they wait until it is back, however long that takes.

        DBOS alone would give up a run on a full disk, and look for a lost server less and less often.
        """
        engine = _create_engine(self.place)
        driver = sqlite if isinstance(self.place, SqliteFile) else postgres

        @sa.event.listens_for(engine, "handle_error")
        def outlast(context: sa.engine.ExceptionContext) -> None:
            error = context.original_exception
            if not driver.passes(error):
                return
            if context.connection is not None:
                # Or we would wait for our own lock.
                with contextlib.suppress(Exception):
                    context.connection.connection.rollback()
            self._outlast(_first_line(error))
            if driver is sqlite and not self._closing.is_set():
                raise sqlite.retriable(error)

        return engine

    def stop_this_thread(self) -> None:
        """At the end, raise Stopped in the calling thread if it still waits for the place to come back."""
        self._stoppable.add(threading.get_ident())

    def _outlast(self, why: str) -> None:
        while not self._writable():
            if not self.trouble:
                _log.error("the journal of runs can't be written, runs stand still", why=why)
            self.trouble = why
            if self._closing.wait(PROBE_INTERVAL_S):
                if threading.get_ident() in self._stoppable:
                    raise Stopped
                return
        if self.trouble:
            _log.info("the journal of runs can be written again")
            self.trouble = ""

    def _writable(self) -> bool:
        try:
            self.probe()
        except Unreachable:
            return False
        return True


def _create_engine(place: Place) -> sa.Engine:
    if isinstance(place, SqliteFile):
        return sqlite.create_engine(place.path)
    return postgres.create_engine(place.conninfo, place.application_name)


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """Unreachable for whatever the database refuses."""
    try:
        yield
    except sa.exc.IntegrityError:
        raise
    except (sa.exc.DBAPIError, sa.exc.TimeoutError) as error:
        raise Unreachable(
            f"the journal of runs does not answer: {_first_line(getattr(error, 'orig', error))}",
            hint="Look at its disk, or at its PostgreSQL; runs go on by themselves when it is back.",
        ) from error


def _first_line(error: BaseException) -> str:
    said = str(error).strip()
    return said.splitlines()[0] if said else type(error).__name__
