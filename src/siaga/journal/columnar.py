"""Columnar files through DuckDB: a closed log's transactions, and the accumulators of all accounts, as Parquet.

Values stay the texts that PostgreSQL wrote, so that nothing is rounded or overflows; who needs numbers casts.
"""

# ruff: noqa: S608 (the names and paths in these statements are our own; what anybody else wrote stays in the files)
from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from siaga.hosts.local import sync_directory
from siaga.journal.records import FLAT_FIELDS
from siaga.ledger.accumulators import Accumulator, Key

MEMORY_LIMIT = "512MB"
_NUMBERS = {"lsn": "UBIGINT", "xid": "UBIGINT", "committed_us": "BIGINT"}
ACCUMULATOR_FIELDS = ("account", "currency", "count", "amount_sum", "sequence_sum", "digest")
"""All texts: sums have no limit, and equal texts are equal numbers."""

ROW_BYTES_MAX = 1 << 23
"""DuckDB's buffer is 16 times this. A log with a longer row stays a log: just as durable, only slower to read."""

_NULL = "\\N"


@contextmanager
def database(directory: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB in memory that spills beside the journal and never takes the machine's other core."""
    settings: dict[str, str | bool | int | float | list[str]] = {
        "threads": 1,
        "memory_limit": MEMORY_LIMIT,
        "temp_directory": str(directory / "spill"),
    }
    connection = duckdb.connect(config=settings)
    try:
        yield connection
    finally:
        connection.close()


def write_rows(path: Path, rows: Iterable[Sequence[object]]) -> int:
    """Rows as a text file that `rows_from` reads back; how many there were."""
    count = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        for row in rows:
            # A null and an empty text are two things; a text that begins like our null gets one more backslash.
            writer.writerow(
                _NULL if v is None else "\\" + v if isinstance(v, str) and v.startswith("\\") else v for v in row
            )
            count += 1
    return count


def rows_from(path: Path, fields: Mapping[str, str]) -> str:
    """SQL that reads what `write_rows` wrote, with a type for each column."""
    columns = ", ".join(f"'{name}': 'VARCHAR'" for name in fields)
    values = ", ".join(
        f"(case when starts_with({quoted(name)}, '\\') then substr({quoted(name)}, 2) else {quoted(name)} end)"
        f"::{kind} as {quoted(name)}"
        for name, kind in fields.items()
    )
    return (
        f"(select {values} from read_csv({literal(path)}, header = false, auto_detect = false, delim = ',', "
        f"quote = '\"', escape = '\"', new_line = '\\n', nullstr = '{_NULL}', parallel = false, "
        f"max_line_size = {ROW_BYTES_MAX}, columns = {{{columns}}}))"
    )


def write_parquet(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> str:
    """Write the query's rows durably under that name, or not at all; the file's SHA-256."""
    scratch = path.with_name(path.name + ".new")
    connection.execute(f"copy ({query}) to {literal(scratch)} (format parquet, compression zstd)")
    return publish(scratch, path)


def publish(scratch: Path, path: Path) -> str:
    """Give a finished file its name, durably; its SHA-256."""
    descriptor = os.open(scratch, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    digest = sha256(scratch)
    scratch.replace(path)
    sync_directory(path.parent)
    return digest


def sha256(path: Path) -> str:
    """Of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_transactions(directory: Path, path: Path, rows: Iterable[Sequence[object]]) -> str:
    """Rows of FLAT_FIELDS as Parquet; the file's SHA-256."""
    text = path.with_suffix(".rows")
    fields = {name: _NUMBERS.get(name, "VARCHAR") for name in FLAT_FIELDS}
    try:
        write_rows(text, rows)
        with database(directory) as connection:
            return write_parquet(connection, f"from {rows_from(text, fields)}", path)
    finally:
        text.unlink(missing_ok=True)


def read_transactions(
    directory: Path, path: Path, condition: str, fields: Sequence[str] = FLAT_FIELDS
) -> Iterator[tuple[Any, ...]]:
    """Rows of `fields` from a closed segment, in the order they were written, where the SQL condition holds."""
    columns = ", ".join(quoted(name) for name in fields)
    with database(directory) as connection:
        cursor = connection.execute(f"select {columns} from read_parquet({literal(path)}) where {condition}")
        while rows := cursor.fetchmany(10_000):
            yield from rows


# Accumulators ---------------------------------------------------------------------------------------------


def accumulator_rows(found: Mapping[Key, Accumulator]) -> Iterator[tuple[object, ...]]:
    """Rows of ACCUMULATOR_FIELDS."""
    for (account, currency), sums in found.items():
        yield account, currency, sums.count, sums.amount_sum, sums.sequence_sum, sums.digest


def load_accumulators(
    connection: duckdb.DuckDBPyConnection, directory: Path, kept: Path, later: Mapping[Key, Accumulator], table: str
) -> None:
    """A table of the accumulators in `kept` with `later` added: only the accounts that moved pass through Python."""
    text = directory / f"{table}.rows"
    types = dict.fromkeys(ACCUMULATOR_FIELDS, "VARCHAR")
    try:
        write_rows(text, accumulator_rows(later))
        connection.execute(f"create temp table moved as select * from {rows_from(text, types)}")
        touched = connection.execute(
            f"select k.* from read_parquet({literal(kept)}) k semi join moved m on {same_account('k', 'm')}"
        ).fetchall()
        merged = {
            key: Accumulator(sums.count, sums.amount_sum, sums.sequence_sum, sums.digest) for key, sums in later.items()
        }
        for account, currency, *numbers in touched:
            merged[account, currency].merge(Accumulator(*map(int, numbers)))
        write_rows(text, accumulator_rows(merged))
        connection.execute(
            f"create temp table {table} as "
            f"select k.* from read_parquet({literal(kept)}) k anti join moved m on {same_account('k', 'm')} "
            f"union all select * from {rows_from(text, types)} where (count, amount_sum, digest) <> ('0', '0', '0')"
        )
        connection.execute("drop table moved")
    finally:
        text.unlink(missing_ok=True)


def count_rows(connection: duckdb.DuckDBPyConnection, path: Path) -> int:
    """How many accounts a file holds."""
    row = connection.execute(f"select count(*) from read_parquet({literal(path)})").fetchone()
    assert row is not None, "count(*) is one row"
    return int(row[0])


def same_account(one: str, other: str) -> str:
    """SQL: both rows are of one account, nulls included."""
    return (
        f"{one}.account is not distinct from {other}.account and {one}.currency is not distinct from {other}.currency"
    )


def literal(value: object) -> str:
    """An SQL text."""
    return "'" + str(value).replace("'", "''") + "'"


def quoted(name: str) -> str:
    """An SQL name: several of ours are words of SQL."""
    return f'"{name}"'


def unequal(connection: duckdb.DuckDBPyConnection, kept: Path, table: str, limit: int) -> list[tuple[Any, ...]]:
    """Accounts whose sums in the file and in the table differ: account, currency, then both sides' sums."""
    sums = ACCUMULATOR_FIELDS[2:]
    columns = ", ".join([*(f"d.{quoted(name)}" for name in sums), *(f"j.{quoted(name)}" for name in sums)])
    same = " and ".join(f"d.{quoted(name)} is not distinct from j.{quoted(name)}" for name in sums)
    return connection.execute(
        f"select coalesce(d.account, j.account), coalesce(d.currency, j.currency), {columns} "
        f"from read_parquet({literal(kept)}) d full join {table} j on {same_account('d', 'j')} "
        f"where not ({same}) order by 1, 2 limit {limit}"
    ).fetchall()
