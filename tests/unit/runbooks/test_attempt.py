"""One attempt: unknown is not failure, a check is asked before anything is repeated, nothing hangs for ever."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from siaga.errors import Refused, Unreachable
from siaga.runbooks import attempt
from siaga.runbooks.attempt import StepContext
from siaga.runbooks.model import NOTHING_TO_UNDO, Context, Document, Manner, Step

pytestmark = pytest.mark.clause("SUM")
CONTEXT = StepContext("run", "run:one", 3, Manner.REAL, {}, {}, lambda _: None)


async def leads() -> None:
    """We may act."""


class Work:
    """An act and its check, played from a list of answers; exceptions are raised."""

    def __init__(self, *answers: bool | Exception, act: Document | Exception | None = None) -> None:
        self._answers = list(answers)
        self._act = act
        self.calls: list[str] = []

    async def check(self, _: Context) -> bool:
        self.calls.append("check")
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def act(self, _: Context) -> Document | None:
        self.calls.append("act")
        if isinstance(self._act, Exception):
            raise self._act
        return self._act

    def step(self, **changes: Any) -> Step:
        return Step("one", self.act, NOTHING_TO_UNDO, 5.0, **{"check": self.check, **changes})


async def test_what_is_already_done_is_not_done_again() -> None:
    work = Work(True)
    assert (await attempt.carry_out(work.step(), CONTEXT, leads))["event"] == "done"
    assert work.calls == ["check"]


async def test_an_act_is_checked_before_and_after() -> None:
    work = Work(False, True, act={"rows": 3})
    assert await attempt.carry_out(work.step(), CONTEXT, leads) == {"event": "done", "result": {"rows": 3}, "why": ""}
    assert work.calls == ["check", "act", "check"]


async def test_an_act_whose_effect_the_check_does_not_find_has_failed() -> None:
    event = await attempt.carry_out(Work(False, False).step(), CONTEXT, leads)
    assert (event["event"], event.get("unknown")) == ("failed", None)


async def test_a_check_that_cannot_answer_stops_the_act() -> None:
    work = Work(OSError("blind"))
    event = await attempt.carry_out(work.step(), CONTEXT, leads)
    assert (event["unknown"], work.calls) == (True, ["check"])


async def test_a_failed_act_that_the_check_finds_done_is_done() -> None:
    event = await attempt.carry_out(Work(False, True, act=Unreachable("reset", hint="x")).step(), CONTEXT, leads)
    assert event == {"event": "done", "result": {}, "why": "found done after: reset"}


async def test_a_failed_act_that_the_check_cannot_judge_is_unknown() -> None:
    event = await attempt.carry_out(Work(False, OSError("blind"), act=ValueError("x")).step(), CONTEXT, leads)
    assert event["unknown"]


async def test_what_a_rule_refuses_is_not_tried_again() -> None:
    event = await attempt.carry_out(Work(False, False, act=Refused("no", hint="x")).step(), CONTEXT, leads)
    assert (event["event"], event["final"], event["why"]) == ("failed", True, "no")


async def hangs(_: Context) -> Document | None:
    await asyncio.sleep(3600)
    return None


async def test_a_timeout_is_unknown_where_nobody_can_look() -> None:
    event = await attempt.carry_out(Step("one", hangs, NOTHING_TO_UNDO, 0.02), CONTEXT, leads)
    assert event["unknown"]
    assert "no answer within 0.02 s" in event["why"]


async def test_a_timeout_is_what_the_check_says_where_one_can_look() -> None:
    found = []
    for after in (True, False):
        work = Work(False, after)
        step = Step("one", hangs, NOTHING_TO_UNDO, 0.02, check=work.check)
        found.append((await attempt.carry_out(step, CONTEXT, leads))["event"])
    assert found == ["done", "failed"]


async def test_a_failure_at_the_point_of_no_return_is_unknown_unless_a_check_or_a_rule_says_so() -> None:
    async def raises(_: Context) -> None:
        raise ConnectionError("reset")

    async def refuses(_: Context) -> None:
        raise Refused("no", hint="x")

    last = Step("one", raises, NOTHING_TO_UNDO, 5.0, point_of_no_return=True)
    assert (await attempt.carry_out(last, CONTEXT, leads))["unknown"]
    refused = Step("one", refuses, NOTHING_TO_UNDO, 5.0, point_of_no_return=True)
    assert "unknown" not in await attempt.carry_out(refused, CONTEXT, leads)


async def test_an_act_that_does_not_let_itself_be_stopped_calls_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "GRACE_S", 0.02)
    released = asyncio.Event()

    async def stubborn(_: Context) -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue

    event = await attempt.carry_out(Step("one", stubborn, NOTHING_TO_UNDO, 0.02), CONTEXT, leads)
    released.set()
    assert (event["unknown"], event["final"]) == (True, True)
    assert "nor when it was stopped" in event["why"]


async def test_who_may_not_act_does_not() -> None:
    async def leads_no_more() -> None:
        raise Refused("another one leads", hint="x")

    work = Work(False, act={})
    with pytest.raises(Refused):
        await attempt.carry_out(work.step(), CONTEXT, leads_no_more)
    assert work.calls == ["check"]


@pytest.mark.parametrize("result", [{"x": object()}, {"x": float("nan")}, {"x": "y" * 70_000}])
async def test_a_result_that_the_journal_cannot_keep_fails_the_step(result: dict[str, object]) -> None:
    async def act(_: Context) -> Document:
        return result

    event = await attempt.carry_out(Step("one", act, NOTHING_TO_UNDO, 5.0), CONTEXT, leads)
    assert (event["event"], "what the act returned" in event["why"]) == ("failed", True)


async def test_an_act_that_is_cancelled_from_within_has_failed() -> None:
    async def act(_: Context) -> None:
        raise asyncio.CancelledError

    event = await attempt.carry_out(Step("one", act, NOTHING_TO_UNDO, 5.0), CONTEXT, leads)
    assert event["event"] == "failed"


async def test_closing_stops_the_act_too() -> None:
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def act(_: Context) -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            stopped.set()

    task = asyncio.create_task(attempt.carry_out(Step("one", act, NOTHING_TO_UNDO, 60.0), CONTEXT, leads))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(stopped.wait(), 5)


def test_errors_are_told_in_one_bearable_line() -> None:
    assert attempt.in_words(ValueError("one\ntwo")) == "ValueError: one"
    assert attempt.in_words(ValueError()) == "ValueError: "
    assert len(attempt.in_words(ValueError("x" * 5_000))) == 500
    assert attempt.in_words(Refused("no", hint="x")) == "no"
