"""One attempt of one act: is it done, do it within its deadline, is it done now. Unknown is not failure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from siaga.errors import BadInput, Refused, SiagaError
from siaga.runbooks.model import Act, Document, Manner, Step, never_done
from siaga.runbooks.order import judge_document
from siaga.runbooks.run import Event

GRACE_S = 5.0
"""For an act to clean up after its deadline."""
_WORDS_MAX = 500
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StepContext:
    """What a step may know and say (`model.Context`)."""

    run: str
    key: str
    epoch: int
    manner: Manner
    parameters: Document
    results: Mapping[str, Document]
    say: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a check said; `done` is None when it could not."""

    done: bool | None
    why: str = ""


class Endless(Exception):
    """An act went on after its deadline and its grace: another attempt would run beside it."""


async def carry_out(step: Step, context: StepContext, may_act: Callable[[], Awaitable[None]]) -> Event:
    """Check, act, check again; whatever the step raises becomes an event. `may_act` may raise, and nothing was done."""
    before = await ask(step, context)
    if before.done:
        return {"event": "done", "result": {}, "why": "already done"}
    if before.done is None:
        return _unknown(f"nothing was done, since the check could not answer: {before.why}")
    await may_act()
    failure = await _act(step.act, step.deadline_s, context)
    if isinstance(failure, Endless):
        return _unknown(str(failure), final=True)
    after = await ask(step, context) if step.check is not never_done else None
    return _judge(step, failure, after)


def _judge(step: Step, outcome: Document | Exception, after: Answer | None) -> Event:
    if not isinstance(outcome, Exception):
        if after is None or after.done:
            return {"event": "done", "result": dict(outcome), "why": ""}
        if after.done is None:
            return _unknown(f"the act returned, but the check could not answer: {after.why}")
        return {"event": "failed", "why": "the act returned, but the check does not find it done"}
    why = in_words(outcome)
    if after is not None and after.done:
        return {"event": "done", "result": {}, "why": f"found done after: {why}"}
    if after is not None and after.done is None:
        return _unknown(f"{why}; the check could not answer: {after.why}")
    final = isinstance(outcome, (Refused, BadInput))
    nobody_knows = isinstance(outcome, TimeoutError) or step.point_of_no_return
    if after is None and nobody_knows and not final:
        return _unknown(why)
    return {"event": "failed", "why": why, "final": final}


async def carry_back(step: Step, context: StepContext, may_act: Callable[[], Awaitable[None]]) -> Event:
    """One attempt to undo."""
    await may_act()
    outcome = await _act(step.undo, step.deadline_s, context)
    if isinstance(outcome, Exception):
        final = isinstance(outcome, (Refused, BadInput, Endless))
        return {"event": "failed", "why": in_words(outcome), "final": final}
    return {"event": "done", "result": dict(outcome), "why": ""}


async def ask(step: Step, context: StepContext) -> Answer:
    """Ask the check, within the step's deadline."""
    try:
        return Answer(bool(await _within(step.check(context), step.deadline_s, "the check")))
    except Exception as error:  # noqa: BLE001 (a check that breaks is a check that does not know)
        return Answer(None, in_words(error))


async def _act(act: Act, deadline_s: float, context: StepContext) -> dict[str, Any] | Exception:
    try:
        return judge_document(await _within(act(context), deadline_s, "the act"), "what the act returned")
    except Exception as error:  # noqa: BLE001 (whatever an act raises is its outcome)
        return error


async def _within(work: Awaitable[T], deadline_s: float, what: str) -> T:
    """The result; TimeoutError after the deadline, Endless when it does not let itself be stopped."""
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=deadline_s)
        if not done:
            task.cancel()
            ended, _ = await asyncio.wait({task}, timeout=GRACE_S)
            if not ended:
                raise Endless(f"{what} did not end within {deadline_s:g} s, nor when it was stopped")
            if task.cancelled() or task.exception() is not None:
                raise TimeoutError(f"{what} gave no answer within {deadline_s:g} s")
        if task.cancelled():
            raise RuntimeError(f"{what} was cancelled from within")
        return task.result()
    except asyncio.CancelledError:
        # The engine closes: the act must not outlive it.
        task.cancel()
        raise


def in_words(error: BaseException) -> str:
    """One line, of a bearable length."""
    said = error.message if isinstance(error, SiagaError) else str(error)
    first = said.strip().splitlines()[0] if said.strip() else ""
    if isinstance(error, (SiagaError, TimeoutError, Endless)) and first:
        return first[:_WORDS_MAX]
    return f"{type(error).__name__}: {first}"[:_WORDS_MAX]


def _unknown(why: str, *, final: bool = False) -> Event:
    return {"event": "failed", "unknown": True, "why": why, "final": final}
