"""Plants the fault catalogue at random and asks the cross-check: 0 missed, 0 false.

`python -m benchmarks.ledger.faults --seeds 300` runs hundreds; the integration tests run some tens.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from benchmarks.ledger.plants import CATALOGUE, Bench, Fault, Planted, plant, possible
from benchmarks.ledger.server import Server, running
from benchmarks.ledger.shapes import SHAPES, Connection, Shape, prepared
from siaga.ledger import Options, catalog, check
from siaga.ledger.accumulators import Key, unscaled
from siaga.ledger.model import JournalFinding, JournalResult, Position, Report, Verdict
from siaga.ledger.reading import EngineName

ENGINES: tuple[EngineName, ...] = ("fingerprint", "duckdb", "postgres")


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a journal knows: the accumulators as they were before the harm, kept outside the database."""

    path: Path
    decimals: int

    def compare(self, accumulators: Path, position: Position) -> JournalResult:
        """Each account whose five numbers differ."""
        rows = duckdb.sql(
            "select coalesce(d.account, j.account), coalesce(d.currency, j.currency), "
            "coalesce(d.amount_sum, '0')::hugeint - coalesce(j.amount_sum, '0')::hugeint "
            f"from '{accumulators}' d full join '{self.path}' j "
            "on d.account is not distinct from j.account and d.currency is not distinct from j.currency "
            "where (d.count, d.amount_sum, d.sequence_sum, d.digest) is distinct from "
            "(j.count, j.amount_sum, j.sequence_sum, j.digest)"
        ).fetchall()
        known = duckdb.sql(f"select count(*) from '{self.path}'").fetchone()
        assert known is not None
        findings = tuple(JournalFinding(account, currency, unscaled(d, self.decimals)) for account, currency, d in rows)
        return JournalResult(True, "compared with the record", known[0], findings)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the check made of one plant."""

    planted: Planted
    missed: set[Key]
    false: set[Key]
    report: Report

    @property
    def exact(self) -> bool:
        """Nothing missed, nothing false."""
        return not self.missed and not self.false


def record(server: Server, shape: Shape, database: str, directory: Path) -> Recorded:
    """The record of a ledger that is still whole."""
    kept = _Keeping(directory / f"{shape.name}.parquet")
    report = check(server.dsn(database), shape.map, Options(journal=kept))
    assert report.verdict is Verdict.VERIFIED, report.why
    with server.connect(database) as connection:
        return Recorded(kept.path, catalog.ledger(connection, shape.map).decimals)


@dataclass(frozen=True, slots=True)
class _Keeping:
    """Keeps what a check compares, to be compared with later."""

    path: Path

    def compare(self, accumulators: Path, position: Position) -> JournalResult:
        shutil.copy(accumulators, self.path)
        return JournalResult(True, "nothing to compare with yet")


@contextmanager
def copied(server: Server, template: str, name: str) -> Iterator[str]:
    """A database for one plant."""
    with server.connect() as connection:
        connection.execute(f"create database {name} template {template} strategy file_copy")
    try:
        yield name
    finally:
        with server.connect() as connection:
            connection.execute(f"drop database {name} with (force)")


def attempt(server: Server, shape: Shape, template: str, fault: Fault, seed: int, options: Options) -> Outcome:
    """Plant one fault in a copy, check, compare."""
    with copied(server, template, f"plant_{shape.name}_{seed}") as database:
        with server.connect(database) as connection:
            planted = plant(connection, shape.map, fault, seed)
            parties = _parties(connection, shape, planted)
        report = check(server.dsn(database), shape.map, options)
    return judged(planted, parties, report, shows=fault.shows(shape.map) or options.journal is not None)


def judged(planted: Planted, parties: set[Key], report: Report, *, shows: bool) -> Outcome:
    """Each victim is a mismatch where the fault can show; nobody else is but the parties of a touched transaction."""
    mismatched = {(found.account, found.currency) for found in report.mismatched}
    tainted: set[Key] = {(found.account, found.currency) for found in report.tainted}
    expected = planted.victims if shows else set()
    return Outcome(planted, expected - mismatched, (mismatched - planted.victims) | (tainted - parties), report)


def _parties(connection: Connection, shape: Shape, planted: Planted) -> set[Key]:
    """Accounts in a transaction that was touched, as the tables now stand."""
    bench = Bench(connection, shape.map, 0)
    return {row.key for row in bench.rows if row.transaction in planted.transactions} | planted.victims


def main() -> int:
    """The campaign; 1 where anything was missed or false."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=300, help="plants of each shape")
    arguments = parser.parse_args()
    wrong, counted = 0, Counter[str]()
    with running() as server, tempfile.TemporaryDirectory() as directory:
        for shape in SHAPES:
            template = prepared(server, shape)
            recorded = record(server, shape, template, Path(directory))
            for seed in range(arguments.seeds):
                fault = CATALOGUE[seed % len(CATALOGUE)]
                if not possible(fault, shape.map):
                    continue
                turn = seed // len(CATALOGUE) % (len(ENGINES) + 1)
                with_journal = turn == len(ENGINES)
                engine = "duckdb" if with_journal else ENGINES[turn]
                options = Options(engine=engine, journal=recorded if with_journal else None)
                outcome = attempt(server, shape, template, fault, seed, options)
                counted[f"{shape.name}, {'journal' if with_journal else engine}"] += 1
                if not outcome.exact:
                    wrong += 1
                    print(f"{shape.name} seed {seed} {fault.name}: missed {outcome.missed}, false {outcome.false}")
    for name, count in counted.items():
        print(f"{count:6} plants  {name}")
    print(f"{wrong} of {counted.total()} with anything missed or false")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
