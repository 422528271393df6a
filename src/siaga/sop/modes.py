"""How far a clause may act by itself, what the safety lever stops, and why blind means still (decisions 3 and 4)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from siaga.errors import BadInput, Refused
from siaga.sop.clauses import ClauseId

AUTOMATIC = frozenset({"", "controller", "keeper"})
"""Actors that are no people."""
WITNESS_AGE_S_MAX = 10.0
"""What a witness saw longer ago says nothing about now."""


def demand_reason(reason: str, what: str) -> str:
    """The reason, without the space around it; BadInput when there is none."""
    if not reason.strip():
        raise BadInput(f"{what}: no reason given, expected one", hint="Say why; it goes into the evidence.")
    return reason.strip()


def demand_person(actor: str, what: str) -> None:
    """Refused for whoever is no person: what lets the platform do more by itself is nothing it may decide."""
    if actor in AUTOMATIC:
        raise Refused(f"{what}: asked by `{actor or 'nobody'}`, expected a person", hint="A person has to do it.")


class Mode(StrEnum):
    """How far a clause may go by itself."""

    OBSERVE = "observe"
    """Watch and say."""
    ADVISE = "advise"
    """Show what it would do, and keep the score of how often people agreed."""
    APPROVE = "approve"
    """Act after a person says yes."""
    ACT = "act"

    def is_above(self, other: Mode) -> bool:
        """Whether it lets a clause do more by itself."""
        return _UPWARDS.index(self) > _UPWARDS.index(other)


_UPWARDS = tuple(Mode)


class Kind(StrEnum):
    """What sort of thing a decision leads to."""

    PROBE = "probe"
    """Only looks: never stopped, in no mode."""
    ACT = "act"


class Permission(StrEnum):
    """What to do with a decision."""

    SAY = "say"
    ADVISE = "advise"
    ASK = "ask"
    ACT = "act"
    HELD = "held"
    """The safety lever is pulled."""


_BY_MODE = {
    Mode.OBSERVE: Permission.SAY,
    Mode.ADVISE: Permission.ADVISE,
    Mode.APPROVE: Permission.ASK,
    Mode.ACT: Permission.ACT,
}


def permits(mode: Mode, halted: str, kind: Kind) -> Permission:
    """What may be done with a decision of the controller; `halted` is the safety lever's reason, empty when it is up.

    A mode that would only have said or advised goes on doing so under the lever: words change nothing.
    """
    if kind is Kind.PROBE:
        return Permission.ACT
    permission = _BY_MODE[mode]
    return Permission.HELD if halted and permission in (Permission.ASK, Permission.ACT) else permission


def default_mode(embedded: bool) -> Mode:
    """The embedded platform acts; on a platform of somebody's own everything begins by watching."""
    return Mode.ACT if embedded else Mode.OBSERVE


@dataclass(frozen=True, slots=True)
class ModeChange:
    """One clause moved to another mode."""

    clause: ClauseId
    before: Mode
    after: Mode
    actor: str
    reason: str
    at: datetime

    @property
    def is_up(self) -> bool:
        """Whether the clause may do more by itself than before: recorded first, and in force only then."""
        return self.after.is_above(self.before)


def change_mode(
    clause: ClauseId, before: Mode, after: Mode, *, actor: str, reason: str, at: datetime, highest: Mode = Mode.ACT
) -> ModeChange:
    """A change that may be made: down always and at once, up only by a person, and never above the site's highest."""
    if not reason.strip():
        raise BadInput(
            f"{clause} to {after}: no reason given, expected one", hint="Say why; it goes into the evidence."
        )
    change = ModeChange(clause, before, after, actor, reason.strip(), at)
    if change.is_up and actor in AUTOMATIC:
        raise Refused(
            f"{clause} from {before} up to {after}: asked by `{actor or 'nobody'}`, expected a person",
            hint="A person approves it with `siaga sop mode`.",
        )
    if change.is_up and after.is_above(highest):
        raise Refused(
            f"{clause} up to {after}: this site allows at most {highest}",
            hint="The site file's `modes_max` sets it.",
        )
    return change


@dataclass(frozen=True, slots=True)
class Vantage:
    """From where something was seen: two that share either fail, and err, together."""

    path: str
    """The network path, such as `controller` or `front-sgp`."""
    process: str


@dataclass(frozen=True, slots=True)
class Witness:
    """What one witness says about a verdict."""

    name: str
    vantage: Vantage
    agrees: bool | None
    """None: it can't tell."""
    age_s: float
    """How long ago it saw that."""


@dataclass(frozen=True, slots=True)
class Testimony:
    """Whether a destructive verdict may be acted upon."""

    confirmed: bool
    reason: str


def second_witness(verdict: str, judged_from: Vantage, witnesses: Iterable[Witness]) -> Testimony:
    """Blind means still: fence, promote, recover, rotate or drain a region only if somebody else sees it too.

    Somebody else shares neither the network path nor the process. Of several, more must confirm than contradict.
    """
    heard: dict[Vantage, Witness] = {}
    for witness in witnesses:
        apart = witness.vantage.path != judged_from.path and witness.vantage.process != judged_from.process
        # Not a number, or from the future: its age is unknown.
        if apart and witness.agrees is not None and 0 <= witness.age_s <= WITNESS_AGE_S_MAX:
            heard.setdefault(witness.vantage, witness)
    agree = sorted(w.name for w in heard.values() if w.agrees)
    deny = sorted(w.name for w in heard.values() if not w.agrees)
    if not heard:
        return Testimony(False, f"{verdict}: no second witness, so an alarm and no act")
    if len(agree) > len(deny):
        against = f", against {', '.join(deny)}" if deny else ""
        return Testimony(True, f"{verdict}: confirmed by {', '.join(agree)}{against}")
    return Testimony(False, f"{verdict}: contradicted by {', '.join(deny)}, so an alarm and no act")
