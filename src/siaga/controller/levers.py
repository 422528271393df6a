"""The levers in people's hands: halt, modes, freezes by hand, and the score of the advice that was given.

What makes the platform more careful takes effect at once, whatever the disk says. What lets it do more is recorded
and saved first, and only then in force.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog

from siaga.controller import levers_file
from siaga.controller.levers_state import Halt, State, halted, to_document
from siaga.errors import BadInput, PlatformFault, Refused
from siaga.evidence.model import Evidence, Record
from siaga.runbooks.freezes import Freeze
from siaga.sop.advice import Advice, Answered, Deed, Score, counted, settle
from siaga.sop.clauses import ClauseId
from siaga.sop.modes import Mode, ModeChange, change_mode, demand_person, demand_reason

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ModeRules:
    """Where every clause begins, and how far it may go on this site."""

    default: Mode
    highest: Mapping[ClauseId, Mode] = field(default_factory=dict)


class Levers:
    """One per controller; `halted` and `mode` are asked before every automatic act."""

    def __init__(self, path: Path, evidence: Evidence, rules: ModeRules, now: Callable[[], datetime]) -> None:
        self._path = path
        self._evidence = evidence
        self._rules = rules
        self._now = now
        self._state = levers_file.load(path, now())
        self._unsaved = self._state.halt is not None and not self._state.halt.recorded
        self._turn = asyncio.Lock()
        self.trouble = ""
        """Why the file could not be written; what is in force is only in memory then."""

    # What is asked -------------------------------------------------------------------------------------

    @property
    def halted(self) -> str:
        """Why every automatic act is held; empty when none is."""
        return str(self._state.halt) if self._state.halt is not None else ""

    def mode(self, clause: ClauseId) -> Mode:
        """How far the clause may go by itself."""
        mode = self._state.modes.get(clause, self._rules.default)
        highest = self._highest(clause)
        return highest if mode.is_above(highest) else mode

    @property
    def freezes(self) -> tuple[Freeze, ...]:
        """Those set by hand."""
        return tuple(self._state.freezes.values())

    def score(self, clause: ClauseId) -> Score:
        """How often people did what the clause advised."""
        return self._state.scores.get(clause, Score())

    def show(self) -> dict[str, Any]:
        """For the API."""
        kept = to_document(self._state)
        return {
            "halted": self.halted,
            "modes": {str(clause): str(self.mode(clause)) for clause in ClauseId},
            "modes_max": {str(clause): str(mode) for clause, mode in self._rules.highest.items()},
            "freezes": kept["freezes"],
            "advice_open": kept["advice"],
            "advice_scores": {
                str(clause): {**kept["scores"][clause], "share_agreed": score.share_agreed}
                for clause, score in self._state.scores.items()
            },
            "trouble": self.trouble,
        }

    # What makes it more careful: at once ---------------------------------------------------------------

    async def halt(self, actor: str, reason: str) -> None:
        """Hold every automatic act at its next step. In force before anything else is tried, and never fails."""
        reason = demand_reason(reason, "halt")
        await self._tighten(
            lambda state: halted(state, reason, actor, self._now(), recorded=True),
            Record("lever.halt", actor, "", reason),
        )

    async def freeze(self, freeze: Freeze) -> str:
        """Allow no change for a while; its id, to lift it by."""
        if freeze.end <= self._now():
            raise BadInput(
                f"the freeze ends {freeze.end.isoformat()}, expected a time to come", hint="Correct its end."
            )
        name = f"freeze-{self._state.freezes_made + 1}"
        await self._tighten(
            lambda state: replace(state, freezes={**state.freezes, name: freeze}, freezes_made=state.freezes_made + 1),
            Record("lever.freeze", freeze.source, "PMT", f"{name}: {freeze}", {"freeze": freeze.key}),
        )
        return name

    async def set_mode(self, clause: ClauseId, mode: Mode, *, actor: str, reason: str) -> ModeChange:
        """Move a clause: down at once; up by a person, recorded first."""
        change = change_mode(
            clause, self.mode(clause), mode, actor=actor, reason=reason, at=self._now(), highest=self._highest(clause)
        )
        words = f"{clause} from {change.before} to {change.after}: {change.reason}"
        record = Record("lever.mode", actor, clause, words, {"from": str(change.before), "to": str(change.after)})

        was = self._state.modes.get(clause)

        def moved(state: State) -> State:
            if change.is_up and state.modes.get(clause) is not was:
                raise Refused(f"{clause} was moved meanwhile", hint="`siaga sop` shows where it is; decide again.")
            return replace(state, modes={**state.modes, clause: mode})

        await (self._loosen(moved, record) if change.is_up else self._tighten(moved, record))
        return change

    # What lets it do more: recorded and saved first ----------------------------------------------------

    async def resume(self, actor: str, reason: str) -> None:
        """Let automatic acts go on; Refused for anybody who is no person, or when nothing is halted."""
        reason = demand_reason(reason, "resume")
        demand_person(actor, "resume")
        was = self._state.halt
        if was is None:
            raise Refused("nothing is halted", hint="`siaga status` shows what is held, and why.")

        def lifted(state: State) -> State:
            if state.halt is not was:
                raise Refused(f"halted again meanwhile: {state.halt}", hint="Read the new reason, then decide again.")
            return replace(state, halt=None)

        await self._loosen(lifted, Record("lever.resume", actor, "", f"{reason}; it was halted: {was}"))

    async def lift(self, name: str, *, actor: str, reason: str) -> None:
        """End a freeze set by hand."""
        reason = demand_reason(reason, "lift a freeze")
        demand_person(actor, "lift a freeze")
        if name not in self._state.freezes:
            known = ", ".join(self._state.freezes) or "none"
            raise BadInput(f"freeze `{name}` is not known, expected one of {known}", hint="Those of files end there.")
        await self._loosen(
            lambda state: replace(state, freezes={k: v for k, v in state.freezes.items() if k != name}),
            Record("lever.lift", actor, "PMT", f"{name} lifted: {reason}"),
        )

    # Advice --------------------------------------------------------------------------------------------

    async def advise(self, advice: Advice) -> None:
        """Keep an advice open until people answer it; one that is open already is not given twice."""
        same = (advice.clause, advice.decision, advice.target)
        if any((a.clause, a.decision, a.target) == same for a in self._state.advice):
            return
        await self._tighten(
            lambda state: replace(state, advice=(*state.advice, advice)),
            Record("advice.given", "controller", advice.clause, advice.reason, _of(advice)),
        )

    async def did(self, deed: Deed) -> None:
        """Take notice of what a person did: it may answer an advice."""
        await self._answer((deed,))

    async def keep(self) -> None:
        """Once a pass: what is left without an answer counts, and what could not be saved is tried again."""
        await self._answer(())
        halt = self._state.halt
        if halt is not None and not halt.recorded:
            await self._evidence.append_exempt(Record("lever.halt", halt.actor, "", halt.reason))
            self._state = _recorded(self._state, halt)
            self._unsaved = True
        if self._unsaved:
            async with self._turn:
                await self._save()

    async def _answer(self, deeds: tuple[Deed, ...]) -> None:
        if not self._state.advice:
            return
        _, answered = settle(self._state.advice, deeds, self._now())
        for one in answered:
            words = f"advice to {one.advice.decision} {one.advice.target}: {one.answer}"
            record = Record("advice.answered", one.actor or "nobody", one.advice.clause, words, _of(one.advice))

            def closed(state: State, one: Answered = one) -> State:
                left = tuple(a for a in state.advice if a.id != one.advice.id)
                return replace(state, advice=left, scores=counted(state.scores, (one,)))

            await self._tighten(closed, record)

    # How -----------------------------------------------------------------------------------------------

    def _highest(self, clause: ClauseId) -> Mode:
        return self._rules.highest.get(clause, Mode.ACT)

    async def _tighten(self, change: Callable[[State], State], record: Record) -> None:
        self._state = change(self._state)
        self._unsaved = True
        _log.info(record.reason, kind=record.kind, actor=record.actor)
        await self._evidence.append_exempt(record)
        async with self._turn:
            await self._save()

    async def _loosen(self, change: Callable[[State], State], record: Record) -> None:
        async with self._turn:
            wanted = change(self._state)
            await self._evidence.append(record)
            try:
                await asyncio.to_thread(levers_file.save, self._path, wanted)
            except OSError as error:
                words = f"not in force, since it could not be saved ({error.strerror}): {record.reason}"
                await self._evidence.append_exempt(replace(record, kind=f"{record.kind}_failed", reason=words))
                raise PlatformFault(
                    f"{self._path.name} could not be written ({error.strerror}); nothing was changed",
                    hint="Make room on the disk, then try again.",
                ) from error
            # Somebody may have pulled a lever while the disk was busy: what they wanted stays.
            self._unsaved = True
            try:
                self._state = change(self._state)
            finally:
                await self._save()
            _log.info(record.reason, kind=record.kind, actor=record.actor)

    async def _save(self) -> None:
        state = self._state
        try:
            await asyncio.to_thread(levers_file.save, self._path, state)
        except OSError as error:
            self.trouble = f"{self._path.name} could not be written ({error.strerror}): in force in memory only"
            _log.error(self.trouble)
        else:
            self.trouble = ""
            self._unsaved = state is not self._state


def _recorded(state: State, halt: Halt) -> State:
    # Pulled again meanwhile: that one has its own record.
    return replace(state, halt=replace(halt, recorded=True)) if state.halt is halt else state


def _of(advice: Advice) -> dict[str, Any]:
    return {"advice": advice.id, "decision": advice.decision, "target": advice.target}
