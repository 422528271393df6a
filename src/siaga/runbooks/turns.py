"""One turn of a run: hear what people said, or make the next move, and write both into the evidence."""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from siaga.errors import SiagaError, Unreachable
from siaga.evidence.model import Evidence, Record, Unrecorded
from siaga.runbooks import attempt, words
from siaga.runbooks.decide import (
    Ask,
    Begin,
    Call,
    Carry,
    End,
    Hold,
    Look,
    Move,
    Open,
    PassOver,
    Return,
    Settle,
    TurnBack,
    breaches,
    elapsed_s,
    next_move,
)
from siaga.runbooks.journal import Journal
from siaga.runbooks.model import Clock, Runbook, Step
from siaga.runbooks.order import CONTROLLER, Order
from siaga.runbooks.run import Choice, Event, Outcome, RunState, Status, Trouble, fold

LOOK_S = 0.25
"""Between two looks at the safety lever; what people say wakes a run at once."""
RETRY_S = 1.0
"""Until a run tries again what could not be recorded, or what only a leader may do."""
FAULT_S = 30.0
_log = structlog.get_logger()


@dataclass(slots=True)
class Live:
    """A run that is under way in this process."""

    order: Order
    runbook: Runbook | None
    state: RunState
    fresh: bool = False
    """The last event was written by this process."""
    held: str = ""
    progress: str = ""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    caught_up: bool = False
    """Every turn that was in the journal has been read."""
    told: set[str] = field(default_factory=set)
    """Clocks whose breach was told."""


@dataclass(frozen=True, slots=True)
class Turns:
    """Takes turns, on the controller's own loop."""

    journal: Journal
    evidence: Evidence
    now: Callable[[], float]
    halted: Callable[[], str]
    epoch: Callable[[], int]
    may_act: Callable[[], Awaitable[None]]
    on_breach: Callable[[Order, Clock, float], Awaitable[None]]

    async def take(self, live: Live) -> list[Event]:
        """One turn: at least one event. Waits as long as there is nothing to do; raises for nobody's fault."""
        live.caught_up = True
        while True:
            live.wake.clear()
            try:
                events = await self._hear(live) or await self._move(live)
            except SiagaError as error:
                # No journal, no evidence, or another one leads: nothing was done, and it may pass.
                await self._hold(live, Hold(f"held: {error.message}", self.now() + RETRY_S))
                continue
            except Exception as error:  # noqa: BLE001 (a run must not end because we stumble)
                _log.error("a fault in the engine of runs", run=live.order.run, trace=traceback.format_exc())
                events = await self._stumbled(live, error)
            if events:
                live.held = live.progress = ""
                return events

    async def _stumbled(self, live: Live, error: Exception) -> list[Event]:
        wait = live.state.wait
        if wait is not None and wait.trouble is Trouble.FAULT:
            # It is known; writing it down at every look would fill the journal.
            await self._hold(live, Hold(f"a person decides: {wait.why}", self.now() + FAULT_S))
            return []
        why = f"the engine stumbled: {attempt.in_words(error)}"
        return [self._called(Call(Trouble.FAULT, "", why, (Choice.RETRY, Choice.GIVE_UP)))]

    async def _hold(self, live: Live, hold: Hold) -> None:
        """Until somebody says something, the safety lever moves, or the time has come."""
        live.held = hold.why
        halted = self.halted()
        while self.halted() == halted:
            left_s = LOOK_S if hold.until is None else min(LOOK_S, hold.until - self.now())
            if left_s <= 0:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await live.wake.wait()
                    return

    # Words ----------------------------------------------------------------------------------------------

    async def _hear(self, live: Live) -> list[Event]:
        events = []
        state = live.state
        for word in await asyncio.to_thread(self.journal.words, live.order.run, state.heard):
            event = words.heard(live.order, live.runbook, state, word, self.now())
            if word.kind != words.BREACH:
                figures = {"word": word.number, "said_at": word.said_at, **word.body}
                await self._note(
                    live,
                    word.kind if event["taken"] else f"{word.kind}-refused",
                    event["why"],
                    figures,
                    actor=word.actor,
                )
            state = fold(state, event)
            events.append(event)
        return events

    # Moves ----------------------------------------------------------------------------------------------

    async def _move(self, live: Live) -> list[Event]:
        move = next_move(live.order, live.runbook, live.state, now=self.now(), halted=self.halted(), fresh=live.fresh)
        if isinstance(move, Hold):
            await self._hold(live, move)
            return []
        event = await self._make(live, move)
        return [{**event, "at": self.now()}]

    async def _make(self, live: Live, move: Move) -> Event:
        match move:
            case Open():
                await self._record(live, "started", f"requested by {live.order.requester}: {live.order.reason}", {})
                return {"event": "opened"}
            case Begin():
                return await self._begin(live, move)
            case Carry():
                return await self._carry(live, move)
            case Look(step):
                return await self._look(live, step)
            case PassOver(step, why):
                return {"event": "done", "step": step.name, "undo": live.state.undoing, "why": why, "result": {}}
            case Ask(approval):
                figures = {"step": approval.name, "people": approval.people, "timeout_s": approval.timeout_s}
                await self._note(live, "approval-asked", f"asks for `{approval.name}`", figures)
                return {"event": "asked", "step": approval.name}
            case Settle(approval, why):
                await self._note(live, "approval-settled", why, {"step": approval.name})
                return {"event": "settled", "step": approval.name, "why": why}
            case TurnBack(why):
                await self._note(live, "turned-back", f"is undone: {why}", {})
                return {"event": "turned back", "why": why}
            case Call():
                await self._note(live, "waits", f"waits for a person: {move.why}", {"choices": list(move.choices)})
                return self._called(move)
            case Return(why):
                await self._note(live, "goes-on", why, {})
                return {"event": "settled by itself", "why": why}
            case End(outcome, why):
                return await self._end(live, outcome, why)
            case Hold():
                raise AssertionError("held before")

    def _called(self, call: Call) -> Event:
        choices = [str(choice) for choice in call.choices]
        trouble = str(call.trouble)
        return {
            "event": "called",
            "at": self.now(),
            "trouble": trouble,
            "step": call.step,
            "why": call.why,
            "choices": choices,
        }

    async def _begin(self, live: Live, begin: Begin) -> Event:
        step, undo = begin.step, begin.undo
        before = live.state.undo(step.name) if undo else live.state.act(step.name)
        number = before.attempts + (0 if begin.again else 1)
        what = f"{'undo of ' if undo else ''}step `{step.name}`"
        why = f"{what} begun again: the controller ended in it" if begin.again else f"{what} begun (attempt {number})"
        figures = {"step": step.name, "attempt": number, "key": _key(live, step, undo)}
        if undo or step.exempt:
            await self.evidence.append_exempt(
                self._as_record(live, "undo-begun" if undo else "step-begun", why, figures)
            )
        else:
            await self._record(live, "step-begun", why, figures)
        return {"event": "begun", "step": step.name, "undo": undo, "again": begin.again}

    async def _carry(self, live: Live, carry: Carry) -> Event:
        step, undo = carry.step, carry.undo
        begun_at = self.now()
        work = attempt.carry_back if undo else attempt.carry_out
        event = await work(step, self._context(live, step, undo), self.may_act)
        seconds = round(self.now() - begun_at, 3)
        what = f"{'undo of ' if undo else ''}step `{step.name}`"
        result = "done" if event["event"] == "done" else "unknown" if event.get("unknown") else "failed"
        kind = f"{'undo' if undo else 'step'}-{result}"
        figures = {"step": step.name, "seconds": seconds, "result": event.get("result", {})}
        await self._note(live, kind, f"{what} {result}" + (f": {event['why']}" if event["why"] else ""), figures)
        return {**event, "step": step.name, "undo": undo}

    async def _look(self, live: Live, step: Step) -> Event:
        answer = await attempt.ask(step, self._context(live, step, undo=False))
        if answer.done is None:
            return {"event": "failed", "step": step.name, "unknown": True, "why": answer.why}
        why = "already done" if answer.done else "would be done"
        return {"event": "done", "step": step.name, "result": {"already_done": answer.done}, "why": why}

    async def _end(self, live: Live, outcome: Outcome, why: str) -> Event:
        await self.tell_breaches(live)
        clocks = live.runbook.clocks if live.runbook is not None else ()
        figures = {c.name: round(elapsed_s(c, live.order, live.state, self.now()), 3) for c in clocks}
        await self._note(live, "ended", f"{outcome}: {why}", {"outcome": str(outcome), "clocks_s": figures})
        return {"event": "ended", "outcome": str(outcome), "why": why}

    def _context(self, live: Live, step: Step, undo: bool) -> attempt.StepContext:
        def say(progress: str) -> None:
            live.progress = progress

        acts = live.state.acts
        return attempt.StepContext(
            run=live.order.run,
            key=_key(live, step, undo),
            epoch=self.epoch(),
            manner=live.order.manner,
            parameters=live.order.parameters,
            results={name: act.result for name, act in acts.items() if act.status is Status.DONE},
            say=say,
        )

    # Clocks ---------------------------------------------------------------------------------------------

    async def tell_breaches(self, live: Live) -> None:
        """Record each clock that ran out, once, and call whoever listens; the run goes on."""
        if live.runbook is None or not live.caught_up:
            return
        for clock in breaches(live.order, live.runbook, live.state, self.now()):
            if clock.name in live.told:
                continue
            live.told.add(clock.name)
            elapsed = elapsed_s(clock, live.order, live.state, self.now())
            why = f"clock `{clock.name}` is over its limit: {elapsed:.1f} s of {clock.limit_s:g} s since the onset"
            figures = {"clock": clock.name, "limit_s": clock.limit_s, "elapsed_s": round(elapsed, 3)}
            await self._note(live, "clock-breached", why, figures)
            try:
                await self.on_breach(live.order, clock, elapsed)
            except Exception:  # noqa: BLE001 (the run goes on, whoever can't be told)
                _log.error("nobody could be told of a breach", run=live.order.run, trace=traceback.format_exc())
            word = words.Word(
                0, live.order.run, words.BREACH, CONTROLLER, self.now(), {"clock": clock.name, "why": why}
            )
            with contextlib.suppress(Unreachable):
                await asyncio.to_thread(self.journal.say, word, words.key(live.order, live.state, word))
            live.wake.set()

    # Evidence -------------------------------------------------------------------------------------------

    async def _record(self, live: Live, kind: str, why: str, figures: Mapping[str, Any]) -> None:
        """Before an act: no record, no act (decision 21)."""
        await self.evidence.append(self._as_record(live, kind, why, figures))

    async def _note(self, live: Live, kind: str, why: str, figures: Mapping[str, Any], actor: str = CONTROLLER) -> None:
        """What has happened already: if it can't be recorded now, it is later."""
        record = self._as_record(live, kind, why, figures, actor)
        try:
            await self.evidence.append(record)
        except Unrecorded:
            await self.evidence.append_exempt(record)

    def _as_record(
        self, live: Live, kind: str, why: str, figures: Mapping[str, Any], actor: str = CONTROLLER
    ) -> Record:
        order = live.order
        return Record(
            kind=f"runbooks.{kind}",
            actor=actor,
            clause=str(live.runbook.clause) if live.runbook is not None else "",
            reason=f"{order.runbook}: {why}",
            figures={"runbook": order.runbook, "manner": str(order.manner), **figures},
            run=order.run,
        )


def _key(live: Live, step: Step, undo: bool) -> str:
    return f"{live.order.run}:{step.name}" + (":undo" if undo else "")
