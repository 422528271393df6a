"""The ledger map: which table and columns hold balances and movements, for any schema.

Every optional column that is named switches more checks on. Names are as the catalogue has them, without folding;
a name with a dot or a capital inside may be quoted as in SQL (`"My Schema"."Entries"`).
"""

from __future__ import annotations

import hashlib
import json
import re
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, field_validator, model_validator
from pydantic_core import PydanticCustomError

DECIMALS_MAX = 18
"""Decimals of an amount; a map that needs more is a slip of the finger."""

_PART = r'(?:"(?:[^"\0]|"")+"|[^".\0\s][^".\0]*)'
_TABLE = re.compile(rf"({_PART})(?:\.({_PART}))?")

Name = Annotated[StrictStr, Field(min_length=1, max_length=63)]
"""A column; PostgreSQL's names have at most 63 bytes."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Table(_Part):
    table: Annotated[StrictStr, Field(min_length=1, max_length=260)]
    """`table` or `schema.table`; partitioned tables and views too. Without a schema the search path decides."""
    where: Annotated[StrictStr, Field(min_length=1)] | None = None
    """SQL condition over the table's columns: rows for which it is not true do not belong to this ledger."""

    @field_validator("table")
    @classmethod
    def _is_a_table_name(cls, value: str) -> str:
        if not _TABLE.fullmatch(value):
            raise PydanticCustomError("table_name", "`table` or `schema.table`, quoted as in SQL where needed")
        return value

    @property
    def qualified(self) -> tuple[str | None, str]:
        """Schema (None: by search path) and table, unquoted."""
        found = _TABLE.fullmatch(self.table)
        assert found is not None, "validated above"
        first, second = found.groups()
        return (None, _plain(first)) if second is None else (_plain(first), _plain(second))


class Accounts(_Table):
    """One row a balance."""

    id: Name
    """Of any type."""
    balance: Name
    """Integer minor units or numeric; floating point is refused."""
    opening: Name | StrictInt = 0
    """Balance before the first entry: a column, or one whole number for all accounts in the unit of `balance`."""
    version: Name | None = None
    """Sequence of the last entry, which is their number where sequences begin at 1."""
    currency: Name | None = None
    """With a currency in the entries too, a balance is one account in one currency."""
    decimals: Annotated[StrictInt, Field(ge=0, le=DECIMALS_MAX)] | None = None
    """Decimals of all money; needed where a numeric column declares none, else the catalogue says it."""


class Entries(_Table):
    """One row a movement: the transaction log."""

    account: Name
    amount: Name | None = None
    """Signed; or `debit` and `credit`, which are never negative."""
    debit: Name | None = None
    credit: Name | None = None
    """A balance rises by `credit - debit`, or by the opposite with `increases = "debit"`."""
    increases: Annotated[StrictStr, Field(pattern="^(credit|debit)$")] = "credit"
    id: Name | None = None
    """Unique for each entry."""
    transaction: Name | None = None
    """What the entries of one movement share."""
    zero_sum: StrictBool | None = None
    """Whether the entries of one transaction sum to zero; true where `transaction` is mapped, unless said otherwise."""
    sequence: Name | None = None
    """Number of the entry within its account, without a gap."""
    first_sequence: StrictInt = 1
    balance_before: Name | None = None
    balance_after: Name | None = None
    time: Name | None = None
    """Shown with entries at fault; never judged."""
    currency: Name | None = None

    @model_validator(mode="after")
    def _has_one_kind_of_amount(self) -> Entries:
        pair = (self.debit is not None, self.credit is not None)
        if (self.amount is not None and any(pair)) or (self.amount is None and not all(pair)):
            raise PydanticCustomError("amount", "expected `amount`, or both `debit` and `credit`")
        if self.zero_sum and self.transaction is None:
            raise PydanticCustomError("zero_sum", "`zero_sum = true` needs the column `transaction`")
        return self

    @property
    def sums_to_zero(self) -> bool:
        """Whether the zero-sum checks apply."""
        return self.transaction is not None and self.zero_sum is not False


class SystemAccounts(_Part):
    """Accounts of the platform itself (fees, float, settlement): verified first; one of them closed stops everybody."""

    ids: tuple[StrictStr | StrictInt, ...] = ()
    where: Annotated[StrictStr, Field(min_length=1)] | None = None
    """SQL condition over the columns of the accounts' table."""


class ReplayClass(StrEnum):
    """What may happen to a lost transaction of some type (decision 17)."""

    LEDGER_ONLY = "ledger-only"
    """It moved balances and nothing else: it may be replayed."""
    WITH_EFFECTS = "with-effects"
    """Something left the platform (money, goods, a message): a person decides."""
    MANUAL = "manual"
    """Nobody said what it does: a person decides."""


class Transactions(_Table):
    """Where a transaction has a row of its own: its type, and the key under which it was asked for."""

    id: Name
    """What the entries' `transaction` refers to."""
    type: Name | None = None
    key: Name | None = None
    """The application's idempotency key."""
    columns: tuple[Name, ...] = ()
    """What the application needs to be asked for it again."""
    classes: dict[str, ReplayClass] = Field(default_factory=dict)
    """Replay class by type; a type that is not named is `manual`."""

    def replay_class(self, kind: str | None) -> ReplayClass:
        """The class of a transaction of type `kind`."""
        return self.classes.get(kind or "", ReplayClass.MANUAL)


class LedgerMap(_Part):
    """A whole map."""

    accounts: Accounts
    entries: Entries
    system_accounts: SystemAccounts = SystemAccounts()
    transactions: Transactions | None = None

    @property
    def keyed_by_currency(self) -> bool:
        """Whether a balance is one account in one currency."""
        return self.accounts.currency is not None and self.entries.currency is not None

    def digest(self) -> str:
        """SHA-256 of what decides the checks: a seal or a verdict made with another map is not compared."""
        decisive = self.model_dump(mode="json", include={"accounts", "entries"})
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _plain(part: str) -> str:
    return part[1:-1].replace('""', '"') if part.startswith('"') else part
