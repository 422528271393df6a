"""What an auditor needs to redo a check without Siaga: the report, every verdict, and the same checks as plain SQL."""

# ruff: noqa: S608 (names and literals are quoted by psycopg, see `statements.quoted` and `literal`)

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from siaga.hosts.local import write_and_rename
from siaga.ledger import fingerprint, statements, verdicts
from siaga.ledger.dialects import Postgres
from siaga.ledger.engine import Engine
from siaga.ledger.model import Report
from siaga.ledger.schema import Ledger
from siaga.ledger.tail_engine import SealingEngine, TailEngine


def write(directory: Path, engine: Engine, ledger: Ledger, report: Report) -> None:
    """`report.json`, `check.sql`, `digest.sql`, `verdicts.csv` where this side has them all, and `SHA256SUMS`."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_and_rename(directory / "check.sql", plain_sql(ledger).encode())
    write_and_rename(directory / "digest.sql", digest_sql(ledger).encode())
    if isinstance(engine, SealingEngine) and not isinstance(engine, TailEngine):
        exceptions = [(each.account, each.currency, "mismatch") for each in report.mismatched]
        exceptions += [(each.account, each.currency, "tainted") for each in report.tainted]
        scratch = directory / ".verdicts.csv"
        try:
            engine.save_verdicts(scratch, exceptions, "verified" if report.verified else "unverified")
            scratch.chmod(0o600)
            scratch.replace(directory / "verdicts.csv")
        finally:
            scratch.unlink(missing_ok=True)
    # Last: where it stands, the others stand too.
    write_and_rename(directory / "report.json", json.dumps(report.document(), indent=2, default=str).encode())
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}"
        for path in sorted(directory.iterdir())
        if path.suffix in (".json", ".sql", ".csv")
    ]
    write_and_rename(directory / "SHA256SUMS", ("\n".join(sums) + "\n").encode())


def plain_sql(ledger: Ledger) -> str:
    """Every check as a statement of its own, none of which uses a formula of ours: psql runs it."""
    dialect = Postgres(ledger, wide=True)
    shape, mapped = ledger.shape, ledger.map
    rows = statements.entries(ledger, shape.fields, bounded=False)
    accounts = verdicts.account_sums(ledger, dialect, statements.accounts(ledger, bounded=False))
    unit = {f: dialect.unit(f, ledger.decimals) for f in ("amount", "balance_before", "balance_after")}
    columns = ", ".join(f"{unit[f]} as {f}" if f in unit else f for f in shape.fields)
    key = "account, key_currency" if shape.by_currency else "account"
    entry_key = "account, currency" if shape.by_currency else "account"
    on = "e.account = a.account" + (" and e.currency = a.key_currency" if shape.by_currency else "")
    version = (
        f"or a.version <> {mapped.entries.first_sequence - 1} + coalesce(e.entries, 0) "
        if mapped.accounts.version
        else ""
    )
    parts = [
        "-- The ledger cross-check as plain SQL: each statement must return no row, all within one transaction.",
        f"-- Money is a whole number of 10^-{ledger.decimals}.",
        "begin isolation level repeatable read, read only;",
        "select pg_current_snapshot();",
        f"-- Balance, count, orphans, accounts without entries.\n"
        f"with entry as (select {columns} from ({rows}) r),\n"
        f"     account as (select * from ({accounts}) r),\n"
        f"     summed as (select {entry_key}, count(*) as entries, sum(amount) as total\n"
        f"                from entry group by {entry_key})\n"
        f"select a.account as in_accounts, e.account as in_entries, a.balance,\n"
        f"       a.opening + coalesce(e.total, 0) as expected\n"
        f"from account a full join summed e on {on}\n"
        f"where a.account is null or a.balance is distinct from a.opening + coalesce(e.total, 0){version};",
        f"-- An account that is there twice.\n"
        f"with account as (select * from ({accounts}) r)\n"
        f"select {key}, count(*) from account group by {key} having count(*) > 1;",
    ]
    parts += _chain(ledger, columns, rows, entry_key)
    if mapped.entries.sums_to_zero:
        parts.append(
            "-- Transactions that do not sum to zero.\n"
            + verdicts.unbalanced(ledger, dialect, rows, accounts, 10_000)
            + ";"
        )
    if mapped.entries.id:
        parts.append("-- Ids that two entries share.\n" + verdicts.duplicates(rows, 10_000) + ";")
    return "\n\n".join([*parts, "commit;", ""])


def digest_sql(ledger: Ledger) -> str:
    """`verdicts_digest` of a ledger in which every account is verified, for psql."""
    return (
        "-- verdicts_digest where all accounts are verified; the report has its remainder modulo 2^64, in hex.\n"
        f"{fingerprint.verdicts(ledger, exceptions=False)};\n"
    )


def _chain(ledger: Ledger, columns: str, rows: str, entry_key: str) -> list[str]:
    """Sequence and running balance with a window function; needs a sequence to order by."""
    entries = ledger.map.entries
    if not entries.sequence:
        return []
    conditions = [f"sequence is distinct from coalesce(previous, {entries.first_sequence - 1}) + 1"]
    if entries.balance_after:
        conditions.append("previous is not null and balance_after is distinct from previous_after + amount")
    if entries.balance_before and entries.balance_after:
        conditions.append("balance_after is distinct from balance_before + amount")
    after = "lag(balance_after) over w" if entries.balance_after else "null"
    return [
        f"-- Sequence without a gap, and each running balance from the one before it.\n"
        f"with entry as (select {columns} from ({rows}) r),\n"
        f"     linked as (select e.*, lag(sequence) over w as previous, {after} as previous_after from entry e\n"
        f"                window w as (partition by {entry_key} order by sequence))\n"
        f"select * from linked where {' or '.join(conditions)};"
    ]
