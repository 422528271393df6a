"""What may open after a recovery, and what stays closed with the entries named (DRP-3.2b, decision 18; pure).

A verdict opens an account only where it is bound to it: of this very ledger and server, seen by a snapshot that holds
every movement from before the fence was raised, and with no entry written since.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from siaga.errors import BadInput, Refused
from siaga.ledger.model import Grade, Scope, Verdict
from siaga.ledger.proof import Fault, Proof, Source, counted

CLAUSE = "DRP-3.2b"
Condition = tuple[bool, str, str]
"""Whether it holds; what was found where it does not; what to do then."""


class SystemPolicy(StrEnum):
    """What holds for the platform's own accounts, since one of them closed stops everybody."""

    STRICT = "strict"
    """As for any account."""
    TAINTED_MAY_SERVE = "tainted-may-serve"
    """One whose own log and balance agree serves, though it shares a transaction with a bad entry."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The gate's row."""

    generation: int
    is_open: bool
    """Whether an account without an exception may move."""
    closed_count: int
    """Closed exceptions, where the default is open."""
    scope_wanted: Scope
    reason: str
    raised_by: str
    raised_at: datetime
    settled_system: str | None
    """System identifier of the server on which every movement from before this generation was seen to have ended."""
    verdict_lsn: str | None
    verdict_digest: str | None


@dataclass(frozen=True, slots=True)
class Facts:
    """What the database says about a report, read while nobody else may change the gate."""

    standing: Standing
    source: Source
    map_digest: str | None
    """Of the map that the gate was installed with; None: with none."""
    sees_settled: bool
    """Whether the report's snapshot saw every movement from before this generation."""
    written_after: frozenset[str] | None
    """Closed accounts with entries that the report's snapshot did not see; None: cannot be told."""
    is_superseded: bool = False
    """Whether a newer report has opened this generation."""
    newer: frozenset[str] = frozenset()
    """Accounts closed by a verdict that is newer than the report."""
    overridden: frozenset[str] = frozenset()
    """Accounts opened by a person without a verdict."""
    system_accounts: frozenset[str] = frozenset()
    """Of those at fault, the platform's own."""


@dataclass(frozen=True, slots=True)
class Release:
    """A decision to open."""

    opens_default: bool
    """Every account that is not named below, new ones too."""
    opened: tuple[str, ...]
    """Named accounts that open."""
    closed: Mapping[str, Fault]
    """Accounts that stay closed, or close now."""
    reason: str
    override: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)
    clause: str = CLAUSE


def release(facts: Facts, proof: Proof, policy: SystemPolicy = SystemPolicy.STRICT) -> Release:
    """Open every account that the report verifies; Refused where it proves nothing about this generation.

    Accounts that are open already and at fault in the report close.
    """
    check_binding(facts, proof)
    faults = _faults(facts, proof, policy)
    closed = {account: fault for account, fault in faults.items() if account not in facts.overridden}
    standing = facts.standing
    reason = (
        f"generation {standing.generation}: {proof.verified} of {proof.accounts} accounts verified at"
        f" {proof.lsn} against the {_COMPARED[proof.scope]}, {len(closed)} stay closed"
    )
    figures = {
        "accounts": proof.accounts,
        "closed": len(closed),
        "written_after": len(facts.written_after or ()),
        "kept_by_newer_verdict": len(facts.newer),
        "kept_open_by_override": sorted(facts.overridden & faults.keys()),
        "digest": proof.digest,
    }
    return Release(opens_default=True, opened=(), closed=closed, reason=reason, figures=figures)


def release_accounts(
    facts: Facts, proof: Proof, accounts: Sequence[str], policy: SystemPolicy = SystemPolicy.STRICT
) -> Release:
    """Open these accounts and no other; Refused, with the entries named, when any of them is not verified."""
    check_binding(facts, proof)
    faults = _faults(facts, proof, policy)
    for account in accounts:
        if account in facts.newer:
            raise not_verified(account, Fault("a newer verdict closed it"), facts.standing.generation)
        if account in faults:
            raise not_verified(account, faults[account], facts.standing.generation)
    reason = f"generation {facts.standing.generation}: {counted(accounts, 'account')} verified at {proof.lsn}"
    return Release(opens_default=False, opened=tuple(accounts), closed={}, reason=reason)


def release_by_override(standing: Standing, accounts: Sequence[str], by: str, reason: str) -> Release:
    """Open accounts that nothing verified, because a person says so; the reason is kept for ever."""
    if not reason.strip():
        raise BadInput("override: found no reason, expected one", hint="Say why, and who agreed.")
    said = (
        f"generation {standing.generation}: {counted(accounts, 'account')} opened WITHOUT A VERDICT by {by}: {reason}"
    )
    return Release(opens_default=False, opened=tuple(accounts), closed={}, reason=said, override=reason)


def check_binding(facts: Facts, proof: Proof) -> None:
    """Refused unless the report speaks about this generation, on this server, as it stands."""
    for holds, found, hint in (*_whole(proof), *_of_this_ledger(facts, proof), *_of_this_generation(facts, proof)):
        if not holds:
            raise Refused(found, hint=hint)


def _whole(proof: Proof) -> tuple[Condition, ...]:
    return (
        (
            proof.verdict is not Verdict.INCOMPLETE,
            "the check is incomplete, and what was not read is not verified",
            "Let `siaga ledger check` finish; the report names what is missing.",
        ),
        (
            proof.is_listed,
            "the report does not name every account that is not verified",
            "Check again with room for all of them in the report.",
        ),
    )


def _of_this_ledger(facts: Facts, proof: Proof) -> tuple[Condition, ...]:
    found, here = proof.source, facts.source
    again = "Check this database's ledger, or that of a copy of it."
    return (
        (
            (found.system_id, found.database) == (here.system_id, here.database),
            f"the report is of database {found.database} on system {found.system_id}, expected {here.database}"
            f" on {here.system_id}",
            again,
        ),
        (
            found.timeline == here.timeline,
            f"the report is of timeline {found.timeline}, expected {here.timeline}: the server was recovered since",
            again,
        ),
        (
            proof.map_digest == facts.map_digest,
            "the report was made with another map than the gate",
            "Check with the map that the gate was installed with, or install the gate with this one.",
        ),
    )


def _of_this_generation(facts: Facts, proof: Proof) -> tuple[Condition, ...]:
    standing = facts.standing
    this = f"generation {standing.generation}"
    return (
        (
            standing.settled_system == facts.source.system_id,
            f"{this} is not settled on this server: movements from before it may still commit",
            "`siaga ledger fence --settle` waits for them and names them; check the ledger after it.",
        ),
        (
            not facts.is_superseded,
            f"a newer report, at {standing.verdict_lsn}, has opened {this} already",
            "Check the ledger again.",
        ),
        (
            facts.sees_settled,
            f"the report is older than {this}, raised by {standing.raised_by}: {standing.reason}",
            "Check the ledger again.",
        ),
        (
            proof.scope is Scope.JOURNAL or standing.scope_wanted is Scope.INTERNAL,
            f"the check compared the ledger with itself, {this} asks for the journal: after a roll-back a database"
            " agrees with itself whatever is missing",
            "Check with the journal, or raise the fence with `--scope internal` where nothing was rolled back.",
        ),
        (
            proof.grade in _GRADES[standing.scope_wanted],
            f"the check is of grade `{proof.grade}`, {this} asks for {' or '.join(_GRADES[standing.scope_wanted])}",
            "Check the whole ledger.",
        ),
        (
            facts.written_after is not None,
            "cannot tell whether entries were written after the verdict: the gate knows no table of entries",
            "Install the gate before the table of entries.",
        ),
    )


_GRADES = {
    # What a seal covers was proven then; after a crash it still lies there, after a roll-back it may not.
    Scope.INTERNAL: (Grade.FULL, Grade.PREFIX, Grade.TAIL),
    Scope.JOURNAL: (Grade.FULL, Grade.PREFIX),
}
_COMPARED = {Scope.INTERNAL: "ledger itself", Scope.JOURNAL: "journal"}


def _faults(facts: Facts, proof: Proof, policy: SystemPolicy) -> dict[str, Fault]:
    serving = facts.system_accounts if policy is SystemPolicy.TAINTED_MAY_SERVE else frozenset()
    faults = {account: fault for account, fault in proof.faults.items() if not (fault.is_taint and account in serving)}
    for account in facts.written_after or ():
        faults[account] = Fault(f"entries written after the verdict at {proof.lsn}: check again")
    return faults


def not_verified(account: str, fault: Fault, generation: int) -> Refused:
    """Why this one does not open, with the entries at fault."""
    entries = f"; entries {_listed(fault.entries)}" if fault.entries else ""
    return Refused(
        f"account {account} is not verified in generation {generation}: {fault.why}{entries}",
        hint=f"`siaga ledger accounts {account}` shows it; `--override REASON` opens it without a verdict, on record.",
    )


def _listed(entries: Sequence[Any]) -> str:
    shown = [json.dumps(entry, sort_keys=True) if isinstance(entry, dict) else str(entry) for entry in entries[:5]]
    return ", ".join(shown) + (f" and {len(entries) - 5} more" if len(entries) > 5 else "")
