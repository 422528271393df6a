"""Lost transactions: what the journal holds and the database does not, and what may be done about each. Pure.

Acknowledged ones were told to somebody; those in doubt may never have been. Only an acknowledged transaction that moved
balances and nothing else is given back by itself (decision 17); every other one is a person's to name.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Any

from siaga.journal.records import FLAT_FIELDS, Kind
from siaga.ledger.map import ReplayClass, Transactions

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class LostEntry:
    """One movement of a lost transaction, as PostgreSQL wrote it."""

    account: str | None
    amount: str | None
    currency: str | None
    sequence: str | None


@dataclass(frozen=True, slots=True)
class Lost:
    """One lost transaction of the ledger."""

    id: str | None
    """By the map's transactions table, or what its entries refer to."""
    key: str | None
    kind: str | None
    replay: ReplayClass
    acknowledged: bool
    lsn: int
    xid: int
    committed_us: int
    entries: tuple[LostEntry, ...]
    request: Mapping[str, str | None]
    """The mapped columns of its row, for asking again."""


class Step(StrEnum):
    """What is done with a lost transaction."""

    REPLAY = "replay"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class Planned:
    """A lost transaction, what is done, and why."""

    lost: Lost
    step: Step
    why: str


def lost(rows: Iterable[tuple[bool, Row]], mapped: Transactions | None) -> Iterator[Lost]:
    """From flat rows in commit order, each with whether it was acknowledged; one for each transaction of the ledger."""
    for (acknowledged, lsn, xid), group in groupby(rows, key=lambda row: (row[0], row[1][_LSN], row[1][_XID])):
        yield from _of_one_commit([row for _, row in group], mapped, acknowledged, lsn, xid)


def _of_one_commit(
    rows: list[Row], mapped: Transactions | None, acknowledged: bool, lsn: int, xid: int
) -> Iterator[Lost]:
    """A commit may hold several transactions of the ledger: a batch."""
    requests: dict[str | None, dict[str, str | None]] = {}
    entries: dict[str | None, list[LostEntry]] = {}
    for row in rows:
        if row[0] == Kind.ROW and mapped is not None:
            values = json.loads(row[_DETAIL])
            requests[values.get(mapped.id)] = requests.get(values.get(mapped.id), {}) | values
        elif row[0] == Kind.ENTRY:
            entries.setdefault(row[_TRANSACTION], []).append(
                LostEntry(row[_ACCOUNT], row[_AMOUNT] or _difference(row), row[_CURRENCY], row[_SEQUENCE])
            )
    for id_ in dict.fromkeys((*requests, *entries)):
        request = requests.get(id_, {})
        kind = request.get(mapped.type) if mapped is not None and mapped.type is not None else None
        yield Lost(
            id=id_,
            key=request.get(mapped.key) if mapped is not None and mapped.key is not None else None,
            kind=kind,
            replay=mapped.replay_class(kind) if mapped is not None else ReplayClass.MANUAL,
            acknowledged=acknowledged,
            lsn=lsn,
            xid=xid,
            committed_us=rows[0][_TIME],
            entries=tuple(entries.get(id_, ())),
            request=request,
        )


def plan(found: Iterable[Lost], *, named: Collection[str], given_back: Collection[str]) -> Iterator[Planned]:
    """What to do with each: `named` keys were named by a person, `given_back` ones are in the database again."""
    for each in found:
        if not each.entries:
            yield Planned(each, Step.LEAVE, "it moved nothing")
        elif each.key is None:
            yield Planned(each, Step.LEAVE, "no idempotency key is known of it, so it can't be asked for again safely")
        elif each.key in given_back:
            yield Planned(each, Step.LEAVE, "it is in the database again")
        elif each.key in named:
            yield Planned(each, Step.REPLAY, "named by a person")
        elif not each.acknowledged:
            yield Planned(each, Step.LEAVE, "in doubt: nobody may have been told of it; name its key to replay it")
        elif each.replay is not ReplayClass.LEDGER_ONLY:
            yield Planned(each, Step.LEAVE, f"{each.replay}: a person decides; name its key to replay it")
        else:
            yield Planned(each, Step.REPLAY, "acknowledged, and it moved balances and nothing else")


def _difference(row: Row) -> str | None:
    credit, debit = row[_CREDIT], row[_DEBIT]
    return None if credit is None and debit is None else f"{credit or 0} - {debit or 0}"


_LSN, _XID, _TIME = (FLAT_FIELDS.index(name) for name in ("lsn", "xid", "committed_us"))
_ACCOUNT, _AMOUNT, _CURRENCY = (FLAT_FIELDS.index(name) for name in ("account", "amount", "currency"))
_SEQUENCE, _TRANSACTION = FLAT_FIELDS.index("sequence"), FLAT_FIELDS.index("transaction")
_CREDIT, _DEBIT, _DETAIL = FLAT_FIELDS.index("credit"), FLAT_FIELDS.index("debit"), FLAT_FIELDS.index("detail")
