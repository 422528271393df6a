"""The wallet's questions to its ledger; each is one statement and one round trip."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import psycopg

from wallet.errors import BeingVerified
from wallet.postgres import Lane, Postgres

CLOSED_MEANWHILE = "SG001"
"""An account closed after `wallet.move` had asked the gate: the table of entries refused, and everything was undone."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A user and the account opened for them."""

    user: int
    account: int


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a log-in is checked against."""

    user: int
    account: int
    password_hash: str


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account holds, and whether it may move."""

    amount: int
    is_open: bool
    """False while the account is being verified after a recovery (DRP-3.2b)."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The stored decision about one idempotency key."""

    outcome: str
    """done, refused, or conflict (the key belongs to another request)."""
    transfer: int
    reason: str | None
    balance: int
    created_at: datetime
    replayed: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One movement of one account."""

    sequence: int
    amount: int
    balance_after: int
    kind: str
    transfer: int
    created_at: datetime


class Ledger:
    """Reads accounts and moves money."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def register(self, name: str, password_hash: str) -> Registered | None:
        """A new user with an account; None when the name is taken."""
        rows = await self._postgres.fetch(
            "select user_id, account from wallet.register(%s, %s)", (name, password_hash), Lane.WRITE, repeatable=False
        )
        return Registered(*rows[0]) if rows else None

    async def credentials(self, name: str) -> Credentials | None:
        """The user of that exact name."""
        rows = await self._postgres.fetch(
            "select user_id, account, password_hash from wallet.credentials(%s)", (name,), Lane.READ
        )
        return Credentials(*rows[0]) if rows else None

    async def balance(self, account: int) -> Balance:
        """The account's balance in minor units."""
        rows = await self._postgres.fetch(
            "select a.balance, g.is_open from wallet.accounts a, siaga.account_gate(a.id::text) g where a.id = %s",
            (account,),
            Lane.READ,
        )
        return Balance(*rows[0])

    async def statement(self, account: int, limit: int) -> tuple[Entry, ...]:
        """The account's latest entries, newest first."""
        rows = await self._postgres.fetch(
            "select e.sequence, e.amount, e.balance_after, t.kind, e.transfer, e.created_at from wallet.entries e"
            " join wallet.transfers t on t.id = e.transfer where e.account = %s order by e.sequence desc limit %s",
            (account, limit),
            Lane.READ,
        )
        return tuple(Entry(*row) for row in rows)

    async def move(self, key: str, kind: str, account: int, counterparty: int | None, amount: int) -> Receipt:
        """Deposit, withdraw or transfer, once per key; a repeated key answers what was decided the first time.

        BeingVerified when one of the accounts is closed: nothing was done, and nothing stored under the key.
        """
        try:
            rows = await self._postgres.fetch(
                "select outcome, transfer, reason, balance, created_at, replayed from wallet.move(%s, %s, %s, %s, %s)",
                (key, kind, account, counterparty, amount),
                Lane.WRITE,
            )
        except psycopg.Error as error:
            if error.sqlstate != CLOSED_MEANWHILE:
                raise
            raise BeingVerified from None
        if rows[0][0] == "closed":
            raise BeingVerified
        return Receipt(*rows[0])

    async def check(self) -> None:
        """Outage unless the database answers a read."""
        await self._postgres.fetch("select 1", (), Lane.READ)
