"""Runs in a box: random procedures, fates, crashes, levers and people on a virtual clock; rules that hold in all."""

from __future__ import annotations

import functools
import os
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from siaga.runbooks import decide, words
from siaga.runbooks.model import NOTHING_TO_UNDO, Approval, Context, Document, Manner, Runbook, Step
from siaga.runbooks.order import Order
from siaga.runbooks.plan import plan
from siaga.runbooks.run import Choice, Event, Outcome, Phase, RunState, fold
from siaga.runbooks.words import Word
from siaga.sop.clauses import ClauseId

MOVES_MAX = 600


async def _act(_: Context) -> Document | None:
    return None


def some_runbook(chance: random.Random) -> Runbook:
    """Up to five steps, at most one of them the point of no return."""
    count = chance.randint(1, 5)
    last = chance.randint(0, 2 * count)
    steps: list[Step | Approval] = []
    for number in range(count):
        if chance.randint(0, 3) == 0:
            people, goes_on = chance.randint(1, 2), chance.random() < 0.5
            steps.append(Approval(f"approval {number}", 100.0, people, proceeds_unanswered=goes_on))
        else:
            undo = chance.choice([_act, NOTHING_TO_UNDO])
            attempts = chance.randint(1, 3)
            steps.append(
                Step(f"step {number}", _act, undo, 10.0, attempts_max=attempts, point_of_no_return=number == last)
            )
    return Runbook("boxed", ClauseId.SUM, "in a box", tuple(steps))


@dataclass
class Box:
    """One run, its journal, and whatever happens to it."""

    chance: random.Random
    runbook: Runbook
    now: float = 1000.0
    journal: list[Event] = field(default_factory=list)
    said: list[Word] = field(default_factory=list)
    acts: list[tuple[str, bool]] = field(default_factory=list)
    fresh: bool = False
    halted: str = ""
    person_undid: bool = False

    @property
    def order(self) -> Order:
        return Order("run", "boxed", {}, Manner.REAL, plan(self.runbook, {}), "rina", "a test", 1000.0, 1000.0)

    @property
    def start(self) -> RunState:
        return RunState(steps=tuple(step.name for step in self.runbook.steps))

    def run(self) -> RunState:
        """To its end."""
        state, known = self.start, 0
        for _ in range(MOVES_MAX):
            state = functools.reduce(fold, self.journal[known:], state)
            known = len(self.journal)
            if state.phase is Phase.ENDED:
                return state
            self._disturb(state)
            self._turn(state)
        raise AssertionError(f"no end after {MOVES_MAX} moves: {self.journal[-5:]}")

    def _disturb(self, state: RunState) -> None:
        number = self.chance.randint(0, 19)
        if number == 0:
            self.fresh = False
        elif number == 1:
            self.halted = "" if self.halted else "a person said stop"
        elif number == 2:
            self._say(words.CANCEL, {"reason": "x"})
        elif number == 3:
            self.now += self.chance.choice([0.0, 5.0, 150.0])

    def _say(self, kind: str, body: dict[str, Any], actor: str = "sari") -> None:
        self.said.append(Word(len(self.said) + 1, "run", kind, actor, self.now, body))

    def _turn(self, state: RunState) -> None:
        unheard = [word for word in self.said if word.number > state.heard]
        if unheard:
            event = words.heard(self.order, self.runbook, state, unheard[0], self.now)
            self.person_undid |= bool(event["taken"]) and event.get("choice") == Choice.UNDO
            self.journal.append(event)
            self.fresh = True
            return
        move = decide.next_move(self.order, self.runbook, state, now=self.now, halted=self.halted, fresh=self.fresh)
        event = self._make(move, state)
        if event is None:
            return
        if self.chance.randint(0, 14) == 0:
            # Died between doing it and writing it down.
            self.fresh = False
            return
        self.journal.append({"at": self.now, **event})
        self.fresh = True

    def _make(self, move: decide.Move, state: RunState) -> Event | None:
        match move:
            case decide.Hold():
                self._wait(move, state)
                return None
            case decide.Open():
                return {"event": "opened"}
            case decide.Begin(step, undo, again):
                assert not self.halted, "held at the next step"
                return {"event": "begun", "step": step.name, "undo": undo, "again": again}
            case decide.Carry(step, undo):
                return self._carry(step, undo, state)
            case decide.PassOver(step, why):
                return {"event": "done", "step": step.name, "undo": state.undoing, "why": why}
            case decide.Ask(approval):
                return {"event": "asked", "step": approval.name}
            case decide.Settle(approval, why):
                return {"event": "settled", "step": approval.name, "why": why}
            case decide.TurnBack(why):
                assert not self._past(state), "never turned back by itself past the point of no return"
                return {"event": "turned back", "why": why}
            case decide.Call():
                return {
                    "event": "called",
                    "trouble": move.trouble,
                    "step": move.step,
                    "why": move.why,
                    "choices": [str(choice) for choice in move.choices],
                }
            case decide.End(outcome, why):
                return {"event": "ended", "outcome": outcome, "why": why}
        raise AssertionError(move)

    def _past(self, state: RunState) -> str:
        return decide.point_passed(self.runbook, state)

    def _carry(self, step: Step, undo: bool, state: RunState) -> Event:
        progress = state.undo(step.name) if undo else state.act(step.name)
        assert progress.attempts <= step.attempts_max
        self.acts.append((step.name, undo))
        self.now += 1.0
        fate = self.chance.choice(["done"] * 6 + ["failed", "final", "unknown"])
        if fate == "done":
            return {"event": "done", "step": step.name, "undo": undo, "result": {}}
        unknown = fate == "unknown" and not undo
        return {
            "event": "failed",
            "step": step.name,
            "undo": undo,
            "why": fate,
            "unknown": unknown,
            "final": fate == "final",
        }

    def _wait(self, hold: decide.Hold, state: RunState) -> None:
        """Somebody does something, or time passes."""
        if state.wait is not None:
            choice = self.chance.choice(list(state.wait.choices))
            self._say(words.DECIDE, {"choice": str(choice), "question": state.wait.number, "reason": "x"})
        elif self.halted:
            self.halted = ""
        elif hold.until is not None and self.chance.random() < 0.5:
            self.now = hold.until
        else:
            approval = words.open_approval(self.runbook, state)
            if approval is not None:
                actor = self.chance.choice(["rina", "ana", "budi"])
                self._say(words.APPROVE, {"step": approval.name}, actor)
            self.now += 1.0


SEEDS = int(os.environ.get("SIAGA_SIM_RUNS", "2000"))


@pytest.mark.clause("SUM")
def test_every_run_ends_and_keeps_the_rules() -> None:
    ended = set()
    for seed in range(SEEDS):
        chance = random.Random(seed)
        box = Box(chance, some_runbook(chance))
        try:
            state = box.run()
            _judge(box, state)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}") from error
        ended.add(state.outcome)
    assert ended == set(Outcome), "every end was reached"


def _judge(box: Box, state: RunState) -> None:
    runbook = box.runbook
    names = [step.name for step in runbook.steps if isinstance(step, Step)]
    first_acts = list(dict.fromkeys(name for name, undo in box.acts if not undo))
    assert first_acts == names[: len(first_acts)], "in order, none skipped"
    _judge_undos(box, state, first_acts)
    if state.outcome is Outcome.DONE:
        assert all(decide.settled(step, state) for step in runbook.steps)
        assert not any(undo for _, undo in box.acts), "nothing undone in a run that is done"
    for approval in (step for step in runbook.steps if isinstance(step, Approval) and step.people == 2):
        asked = state.approvals.get(approval.name)
        if asked is not None:
            actors = [yes.actor for yes in asked.given]
            assert "rina" not in actors
            assert len(set(actors)) == len(actors)


def _judge_undos(box: Box, state: RunState, first_acts: list[str]) -> None:
    undone = list(dict.fromkeys(name for name, undo in box.acts if undo))
    undoable = [s.name for s in box.runbook.steps if isinstance(s, Step) and s.undo is not NOTHING_TO_UNDO]
    begun = list(state.acts)
    assert undone == [name for name in reversed(begun) if name in undone], "in reverse"
    assert set(undone) <= set(undoable)
    if undone:
        forward_after = [name for name, undo in box.acts[box.acts.index((undone[0], True)) :] if not undo]
        assert forward_after == [], "no act after the first undo"
        assert box.person_undid or not any(
            step.name in first_acts and step.point_of_no_return and state.act(step.name).status == "done"
            for step in box.runbook.steps
            if isinstance(step, Step)
        ), "past the point of no return only a person undoes"


@pytest.mark.clause("SUM")
@pytest.mark.parametrize("seed", range(50))
def test_a_run_that_was_killed_at_any_length_of_its_journal_goes_on_to_an_end(seed: int) -> None:
    """Whatever is in the journal, the next engine finds an end that keeps the rules."""
    chance = random.Random(seed)
    whole = Box(chance, some_runbook(chance))
    whole.run()
    for length in range(len(whole.journal)):
        rest = Box(random.Random(seed + length), whole.runbook, now=whole.now, journal=whole.journal[:length])
        assert rest.run().outcome in Outcome
