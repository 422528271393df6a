"""What a report of the check proves, as the gate reads it (DRP-3.2b; pure)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError

from siaga.errors import BadInput
from siaga.ledger.model import Grade, Scope, Verdict


@dataclass(frozen=True, slots=True)
class Source:
    """Which database, on which branch of its history."""

    system_id: str
    timeline: int
    database: str


@dataclass(frozen=True, slots=True)
class Fault:
    """Why one account stays closed."""

    why: str
    entries: Sequence[Any] = ()
    """Those at fault, as the check named them."""
    is_taint: bool = False
    """Its own log and balance agree; it shares a transaction with a bad entry."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What the gate needs of a report of `siaga ledger check`."""

    verdict: Verdict
    scope: Scope
    grade: Grade
    accounts: int
    verified: int
    is_listed: bool
    """Whether every account that is not verified is named."""
    lsn: str
    snapshot: str
    source: Source
    map_digest: str
    digest: str
    """SHA-256 of the whole report, so that what opened an account can be shown again."""
    faults: Mapping[str, Fault]
    """By account, as PostgreSQL writes its id: mismatched and tainted ones."""


class _Loose(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Mismatched(_Loose):
    account: StrictStr | None
    """None: entries that name no account; the accounts of their transactions are tainted."""
    difference: StrictStr | None = None
    failed_checks: tuple[StrictStr, ...]
    entries: tuple[Any, ...]


class _Tainted(_Loose):
    account: StrictStr
    transactions: tuple[StrictStr, ...]


class _Source(_Loose):
    system_id: StrictStr
    timeline: StrictInt
    database: StrictStr


class _Document(_Loose):
    verdict: Verdict
    scope: Scope
    grade: Grade
    accounts: Annotated[StrictInt, Field(ge=0)]
    verified: Annotated[StrictInt, Field(ge=0)]
    listed: StrictBool
    lsn: Annotated[StrictStr, Field(pattern="^[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}$")]
    snapshot: Annotated[StrictStr, Field(pattern=r"^\d+:\d+:[\d,]*$")]
    source: _Source
    map_digest: StrictStr
    mismatched: tuple[_Mismatched, ...]
    tainted: tuple[_Tainted, ...]


def proof(document: Any) -> Proof:
    """Read the document of `siaga ledger check --json`; BadInput names every field that is wrong."""
    try:
        found = _Document.model_validate(document)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, e['loc'])) or 'report'}: {e['msg'].lower()}" for e in error.errors()]
        raise BadInput(
            f"no report of `siaga ledger check --json`: {'; '.join(wrong)}", hint="Keep its output whole in a file."
        ) from None
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return Proof(
        verdict=found.verdict,
        scope=found.scope,
        grade=found.grade,
        accounts=found.accounts,
        verified=found.verified,
        is_listed=found.listed,
        lsn=found.lsn,
        snapshot=found.snapshot,
        source=Source(found.source.system_id, found.source.timeline, found.source.database),
        map_digest=found.map_digest,
        digest=hashlib.sha256(canonical.encode()).hexdigest(),
        faults=_named(found),
    )


def _named(found: _Document) -> dict[str, Fault]:
    """One fault an account; of one that has balances in several currencies the first at fault says why."""
    faults: dict[str, Fault] = {}
    for bad in found.mismatched:
        if bad.account is not None and bad.account not in faults:
            difference = f", off by {bad.difference}" if bad.difference else ""
            faults[bad.account] = Fault(f"mismatch: {', '.join(bad.failed_checks)}{difference}", bad.entries)
    for tainted in found.tainted:
        why = f"tainted: shares {counted(tainted.transactions, 'transaction')} with a bad entry"
        faults.setdefault(tainted.account, Fault(why, tainted.transactions, is_taint=True))
    return faults


def counted(things: Sequence[object], noun: str) -> str:
    """The one by its name, or how many."""
    return f"{noun} {things[0]}" if len(things) == 1 else f"{len(things)} {noun}s"
