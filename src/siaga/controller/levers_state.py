"""What people set by hand: the safety lever, modes, freezes, and the advice that waits for an answer (pure).

As JSON and back. Whatever is not understood is no state at all: it reads as halted, with every clause observing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from siaga.errors import BadInput
from siaga.runbooks.freezes import Freeze
from siaga.sop.advice import Advice, Score
from siaga.sop.clauses import ClauseId
from siaga.sop.modes import Mode

VERSION = 1


@dataclass(frozen=True, slots=True)
class Halt:
    """The safety lever, pulled."""

    reason: str
    actor: str
    at: datetime
    recorded: bool = True
    """False: pulled while the controller was dead, and not yet in the evidence."""

    def __str__(self) -> str:
        """For everybody who is held by it."""
        return f"{self.reason} ({self.actor}, {self.at.isoformat(timespec='seconds')})"


@dataclass(frozen=True, slots=True)
class State:
    """Everything that outlives the controller."""

    halt: Halt | None = None
    modes: Mapping[ClauseId, Mode] = field(default_factory=dict)
    freezes: Mapping[str, Freeze] = field(default_factory=dict)
    """By id."""
    freezes_made: int = 0
    advice: tuple[Advice, ...] = ()
    scores: Mapping[ClauseId, Score] = field(default_factory=dict)


def failed_safe(why: str, now: datetime) -> State:
    """The state when the file can't be believed: nothing acts by itself until a person has looked."""
    halt = Halt(f"what was set by hand is lost: {why}", "controller", now, recorded=False)
    return State(halt=halt, modes=dict.fromkeys(ClauseId, Mode.OBSERVE))


def halted(state: State, reason: str, actor: str, now: datetime, *, recorded: bool) -> State:
    """The state with the lever pulled; of two who pull it the reasons of both stay."""
    before = f"; before: {state.halt}" if state.halt is not None else ""
    return replace(state, halt=Halt(reason + before, actor, now, recorded))


def to_document(state: State) -> dict[str, Any]:
    """As plain JSON."""
    halt = state.halt
    return {
        "version": VERSION,
        "halt": {"reason": halt.reason, "actor": halt.actor, "at": halt.at.isoformat(), "recorded": halt.recorded}
        if halt
        else None,
        "modes": {str(clause): str(mode) for clause, mode in state.modes.items()},
        "freezes": {name: _freeze_document(freeze) for name, freeze in state.freezes.items()},
        "freezes_made": state.freezes_made,
        "advice": [_advice_document(advice) for advice in state.advice],
        "scores": {
            str(clause): {"agreed": s.agreed, "otherwise": s.otherwise, "nothing": s.nothing}
            for clause, s in state.scores.items()
        },
    }


def from_document(document: object) -> State:
    """What `to_document` gave; BadInput where it is anything else, also what a newer version wrote."""
    try:
        if not isinstance(document, Mapping) or document["version"] != VERSION:
            found = document.get("version") if isinstance(document, Mapping) else None
            raise ValueError(f"found version {found!r}, expected {VERSION}")
        halt = document["halt"]
        return State(
            halt=_halt(halt) if halt is not None else None,
            modes={ClauseId(clause): Mode(mode) for clause, mode in document["modes"].items()},
            freezes={str(name): _freeze(entry) for name, entry in document["freezes"].items()},
            freezes_made=int(document["freezes_made"]),
            advice=tuple(_advice(entry) for entry in document["advice"]),
            scores={ClauseId(clause): Score(**counts) for clause, counts in document["scores"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError, BadInput) as error:
        raise BadInput(
            f"levers are not readable: {error!r}, expected what this version wrote",
            hint="Look at the file, set everything again, then `siaga resume --reason ...`.",
        ) from error


def _halt(entry: Mapping[str, Any]) -> Halt:
    return Halt(str(entry["reason"]), str(entry["actor"]), _moment(entry["at"]), bool(entry["recorded"]))


def _freeze_document(freeze: Freeze) -> dict[str, Any]:
    return {
        "begin": freeze.begin.isoformat(),
        "end": freeze.end.isoformat(),
        "reason": freeze.reason,
        "source": freeze.source,
        "runbooks": sorted(freeze.runbooks),
        "clauses": sorted(freeze.clauses),
    }


def _freeze(entry: Mapping[str, Any]) -> Freeze:
    return Freeze(
        begin=_moment(entry["begin"]),
        end=_moment(entry["end"]),
        reason=str(entry["reason"]),
        source=str(entry["source"]),
        runbooks=frozenset(entry["runbooks"]),
        clauses=frozenset(ClauseId(clause) for clause in entry["clauses"]),
    )


def _advice_document(advice: Advice) -> dict[str, Any]:
    return {
        "id": advice.id,
        "clause": str(advice.clause),
        "decision": advice.decision,
        "target": advice.target,
        "at": advice.at.isoformat(),
        "reason": advice.reason,
        "time_limit_s": advice.time_limit.total_seconds(),
    }


def _advice(entry: Mapping[str, Any]) -> Advice:
    return Advice(
        id=str(entry["id"]),
        clause=ClauseId(entry["clause"]),
        decision=str(entry["decision"]),
        target=str(entry["target"]),
        at=_moment(entry["at"]),
        reason=str(entry["reason"]),
        time_limit=timedelta(seconds=float(entry["time_limit_s"])),
    )


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"found {text!r}, expected a time with its offset")
    return moment
