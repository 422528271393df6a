"""Checks against a seal: the tail alone, or everything with the sealed part compared entry for entry."""

# ruff: noqa: S608 (names and literals are quoted by psycopg, see `statements.quoted` and `literal`)

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from siaga.ledger import statements, tail, verdicts
from siaga.ledger.accumulators import unscaled
from siaga.ledger.duckdb import DuckDbEngine, remote
from siaga.ledger.engine import CurrencyTotals, OnProgress, Pace, Source, Want, Work
from siaga.ledger.model import JournalFinding
from siaga.ledger.schema import Ledger
from siaga.ledger.seal import Seal

SEALED = (
    "account", "currency", "account_currency", "balance", "opening", "version", "system",
    "count", "amount_sum", "sequence_sum", "digest", "digest_keyed", "currency_low",
)  # fmt: skip
"""Columns of a seal's file: texts, which have no limit."""

_TOUCHED = "select account, key_currency from entry_sums union select account, key_currency from account_rows"
_NONE_WRONG = ("lane", "arithmetic", "unreadable")
"""Sums that were 0 when the ledger was sealed."""
_SAME = "cast(t.account as varchar) = s.account and t.key_currency is not distinct from s.currency"


class SealingEngine(DuckDbEngine):
    """A full pass that can be sealed, or compared with a seal."""

    def save_seal(self, path: Path) -> int:
        """One row an account; how many."""
        return self._copy(self._sealed_rows(), path, "parquet")

    def differing(self, seal: Seal) -> list[JournalFinding]:
        """Accounts whose entries of before the seal are not those that were sealed."""
        since = tail.since(seal, self._source.position)
        fields = statements.fields_read(self._ledger, with_ids=True)
        rows = remote("source0", statements.entries(self._ledger, fields, bounded=True, only=since))
        self._in_snapshot(f"create or replace table tail_sums as {self._folded(rows)}")
        sums = "sum(entries) as entries, sum(amount_sum) as amount_sum, sum(digest_keyed) as digest_keyed"
        both = (
            "select account, key_currency, entries, amount_sum, digest_keyed from entry_sums union all "
            "select account, key_currency, -entries, -amount_sum, -digest_keyed from tail_sums"
        )
        now = (
            f"select account, key_currency, {sums} from ({both}) group by all "
            "having sum(entries) <> 0 or sum(digest_keyed) <> 0"
        )
        then = f"select * from {_file(seal.path)} where count <> '0'"
        found = self._database.execute(
            f"select coalesce(cast(t.account as varchar), s.account), coalesce(t.key_currency, s.currency), "
            f"coalesce(t.amount_sum, 0) - coalesce(s.amount_sum::hugeint, 0) "
            f"from ({now}) t full join ({then}) s on {_SAME} "
            f"where t.entries is distinct from s.count::hugeint or "
            f"{self._dialect.remainder('t.digest_keyed')} is distinct from s.digest_keyed::hugeint order by 1, 2"
        ).fetchall()
        decimals = self._ledger.decimals
        return [
            JournalFinding(account, currency, unscaled(int(difference), decimals))
            for account, currency, difference in found
        ]

    def _sealed_rows(self) -> str:
        texts = [
            "account", "key_currency as currency", "account_currency", "balance", "opening", "version", "system",
            "entries as count", "amount_sum", "sequence_sum", f"{self._dialect.remainder('digest')} as digest",
            f"{self._dialect.remainder('digest_keyed')} as digest_keyed", "currency_low",
        ]  # fmt: skip
        inner = f"select {', '.join(texts)} from ({self._judged()}) j"
        return f"select {', '.join(f'{name}::varchar as {name}' for name in SEALED)} from ({inner})"


class TailEngine(SealingEngine):
    """Reads what came after a seal, and judges the accounts that it touches, from their sealed state on."""

    def __init__(self, ledger: Ledger, source: Source, want: Want, pace: Pace, work: Work, seal: Seal) -> None:
        super().__init__(ledger, source, want, pace, work, only=tail.since(seal, source.position))
        self._seal = seal
        self._totals: Sequence[CurrencyTotals] | None = None

    def read(self, on_progress: OnProgress) -> None:
        """The tail, and then the sealed state of the accounts in it."""
        super().read(on_progress)
        touched = f"({_TOUCHED}) t join {_file(self._seal.path)} s on {_SAME}"
        unit = self._dialect.unit_type
        state = (
            f"select t.account, t.key_currency, s.account_currency, s.balance::{unit} as balance, "
            f"s.opening::{unit} as opening, s.version::bigint as version, s.system::integer as system, "
            "s.count::bigint as entries, s.amount_sum::hugeint as amount_sum, "
            "s.sequence_sum::hugeint as sequence_sum, s.digest::hugeint as digest, "
            f"s.digest_keyed::hugeint as digest_keyed, s.currency_low from {touched}"
        )
        self._database.execute(f"create or replace table sealed as {state}")
        sums = statements.made(self._ledger, key=self._want.key, digests=self._want.digests)
        start = {"chain": verdicts.chain_of(self._ledger, self._dialect), **dict.fromkeys(_NONE_WRONG, "0")}
        columns = ["account", "key_currency", *(f"{start.get(name, name)} as {name}" for name in sums)]
        if self._ledger.map.entries.currency and not self._ledger.shape.by_currency:
            columns += ["currency_low", "currency_low as currency_high"]
        self._database.execute(f"insert into entry_sums by name select {', '.join(columns)} from sealed")
        version = "version" if self._ledger.map.accounts.version else "null"
        self._database.execute(
            "insert into account_rows by name select account, key_currency, account_currency, balance, opening, "
            f"{version} as version, system from sealed s where not exists (select 1 from account_rows a "
            "where a.account = s.account and a.key_currency is not distinct from s.key_currency)"
        )

    def totals(self) -> Sequence[CurrencyTotals]:
        """Of the accounts touched; all amounts together are zero where the transactions of the tail are."""
        if self._totals is None:
            found = super().totals()
            self._totals = [replace(total, amount_sum=total.lane and total.amount_sum) for total in found]
        return self._totals

    def disagrees(self) -> bool:
        """Whether anything is wrong with the accounts or transactions of the tail."""
        return any(total.wrong or total.lane for total in self.totals())

    def untouched(self) -> tuple[int, int, int]:
        """Accounts, entries and the platform's own accounts that the seal alone speaks for."""
        row = self._database.execute(
            "select count(*), coalesce(sum(entries), 0), (select count(*) from "
            f"{_file(self._seal.path)} where system = '1') - count(*) filter (where system = 1) from sealed"
        ).fetchone()
        assert row is not None, "an aggregate has one row"
        return self._seal.accounts - int(row[0]), self._seal.entries - int(row[1]), int(row[2])

    def save_seal(self, path: Path) -> int:
        """The state that the tail led to, and the sealed state of all others."""
        others = (
            f"select {', '.join(SEALED)} from {_file(self._seal.path)} s "
            f"where not exists (select 1 from ({_TOUCHED}) t where {_SAME})"
        )
        return self._copy(f"{self._sealed_rows()} union all {others}", path, "parquet")


def _file(path: Path) -> str:
    return f"read_parquet({statements.literal(str(path))})"
