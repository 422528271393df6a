"""Orders, plans, words and clocks of runs, without an engine."""

from __future__ import annotations

import functools
import json
import time
from types import SimpleNamespace
from typing import Any

import pytest

from siaga.errors import BadInput, PlatformFault
from siaga.runbooks import clock, dbos, decide, describe, sqlite, words
from siaga.runbooks.decide import Begin, Call, Carry, End, Hold
from siaga.runbooks.model import NOTHING_TO_UNDO, Approval, Clock, Context, Document, Manner, Runbook, Step
from siaga.runbooks.order import Order, from_document, judge_parameters, judge_request, known, to_document
from siaga.runbooks.plan import plan, shadow
from siaga.runbooks.run import Event, Outcome, RunState, Trouble, fold
from siaga.runbooks.words import Word
from siaga.sop.clauses import ClauseId

pytestmark = pytest.mark.clause("SUM")


async def act(_: Context) -> Document | None:
    return None


def step(name: str, **changes: Any) -> Step:
    return Step(name, act, act, 10.0, **changes)


def book(*steps: Step | Approval, **changes: Any) -> Runbook:
    return Runbook("tested", ClauseId.DRP_3_1, "is tested", steps, **changes)


def order(runbook: Runbook, **changes: Any) -> Order:
    given: dict[str, Any] = {"manner": Manner.REAL, "requester": "rina", "onset": 1000.0, **changes}
    return Order("run", "tested", {}, plan=plan(runbook, {}), reason="a test", requested_at=1000.0, **given)


def state(runbook: Runbook, *events: Event) -> RunState:
    names = tuple(each.name for each in runbook.steps)
    return functools.reduce(fold, [{"at": 1001.0, **event} for event in events], RunState(steps=names))


def move(
    runbook: Runbook, found: RunState, *, now: float = 1002.0, halted: str = "", fresh: bool = True
) -> decide.Move:
    return decide.next_move(order(runbook), runbook, found, now=now, halted=halted, fresh=fresh)


OPENED = {"event": "opened"}


def begun(name: str, **changes: Any) -> Event:
    return {"event": "begun", "step": name, **changes}


def done(name: str) -> Event:
    return {"event": "done", "step": name, "result": {}}


def failed(name: str, **changes: Any) -> Event:
    return {"event": "failed", "step": name, "why": "x", **changes}


def test_what_was_begun_is_carried_out_by_who_began_it_and_begun_again_by_who_did_not() -> None:
    one = book(step("one"))
    found = state(one, OPENED, begun("one"))
    assert move(one, found, fresh=True) == Carry(one.steps[0])  # type: ignore[arg-type]
    assert move(one, found, fresh=False) == Begin(one.steps[0], again=True)  # type: ignore[arg-type]


def test_an_act_the_controller_dies_in_again_and_again_calls_a_person() -> None:
    one = book(step("one"))
    again = [begun("one", again=True)] * decide.INTERRUPTIONS_MAX
    found = move(one, state(one, OPENED, begun("one"), *again), fresh=False)
    assert isinstance(found, Call)
    assert found.trouble is Trouble.UNKNOWN
    assert "died 10 times" in found.why
    retried = state(
        one,
        OPENED,
        begun("one"),
        *again,
        {"event": "called", "trouble": found.trouble, "step": "one", "why": found.why, "choices": found.choices},
        {"event": "heard", "word": 1, "kind": "decide", "taken": True, "choice": "retry", "why": "x", "steps": []},
    )
    assert isinstance(move(one, retried), Begin)


def test_attempts_are_paused_longer_each_time_and_end() -> None:
    one = book(step("one", attempts_max=3))
    events: list[Event] = [OPENED]
    pauses = []
    for _ in range(3):
        events += [begun("one"), failed("one")]
        found = move(one, state(one, *events), now=1001.0)
        pauses.append(found.until if isinstance(found, Hold) else found)
    assert pauses[:2] == [1002.0, 1003.0]
    assert isinstance(pauses[2], decide.TurnBack)


def test_unknown_is_no_reason_to_undo() -> None:
    one = book(step("one", attempts_max=1))
    found = move(one, state(one, OPENED, begun("one"), failed("one", unknown=True)))
    assert isinstance(found, Call)
    assert found.trouble is Trouble.UNKNOWN


def test_a_half_done_step_is_undone_too_and_what_never_began_is_not() -> None:
    three = book(step("one"), step("two"), step("three"))
    events = [OPENED, begun("one"), done("one"), begun("two"), failed("two"), {"event": "turned back", "why": "x"}]
    found = move(three, state(three, *events))
    assert isinstance(found, Begin)
    assert (found.step.name, found.undo) == ("two", True)


def test_an_unanswered_approval_after_the_point_of_no_return_cannot_be_waved_through() -> None:
    asked = book(step("one", point_of_no_return=True), Approval("agree", 60.0, people=2))
    events = [OPENED, begun("one"), done("one"), {"event": "asked", "step": "agree"}]
    assert isinstance(move(asked, state(asked, *events), now=1060.0), Hold)
    found = move(asked, state(asked, *events), now=1061.0)
    assert isinstance(found, Call)
    assert "go-on" not in found.choices
    assert "retry" in found.choices


def test_an_event_of_a_later_version_changes_nothing() -> None:
    one = book(step("one"))
    assert state(one, OPENED, {"event": "from the future"}) == state(one, OPENED)


def test_giving_up_ends_the_run_whatever_is_open() -> None:
    one = book(step("one", attempts_max=1))
    called = {"event": "called", "trouble": Trouble.UNKNOWN, "step": "one", "why": "x", "choices": ["give-up"]}
    heard = {"event": "heard", "word": 1, "kind": "decide", "taken": True, "choice": "give-up", "why": "by sari"}
    found = state(one, OPENED, begun("one"), failed("one", unknown=True), called, heard)
    assert move(one, found) == End(Outcome.GIVEN_UP, "by sari")


def test_clocks_run_from_the_onset_and_stop_with_their_step() -> None:
    timed = book(step("one"), step("two"), clocks=(Clock("P1", 30.0, "one"), Clock("P2", 60.0, "two")))
    wanted = order(timed, onset=960.0)
    found = state(timed, OPENED, begun("one"), done("one"))
    assert [c.name for c in decide.breaches(wanted, timed, found, 1019.0)] == ["P1"]
    assert [c.name for c in decide.breaches(wanted, timed, found, 1021.0)] == ["P1", "P2"]
    page = describe.show(wanted, timed, found, 1019.0, "", "")
    assert [(c["elapsed_s"], c["left_s"], c["stopped"], c["breached"]) for c in page["clocks"]] == [
        (41.0, -11.0, True, True),
        (59.0, 1.0, False, False),
    ]


def test_a_plan_holds_every_rule_of_its_runbook() -> None:
    whole = book(
        step("one", attempts_max=2, exempt=True),
        Approval("agree", 60.0, 2, proceeds_unanswered=True, wants_ticket=True, ticket_pattern="CHG-.*"),
        Step("two", act, NOTHING_TO_UNDO, 7.0, point_of_no_return=True),
        clocks=(Clock("P1", 1800.0, "two"),),
        automatic=False,
        fields={"node": "which"},
        alone="update",
    )
    kept = json.loads(json.dumps(plan(whole, {"node": "sgp-1"})))
    assert plan(shadow(kept), {"node": "sgp-1"}) == kept
    assert from_document(json.loads(json.dumps(to_document(order(whole))))) == order(whole)


def test_bad_requests_name_what_was_found_and_what_was_wanted() -> None:
    one = book(step("one"), fields={"node": "which"})
    with pytest.raises(BadInput, match="`nodes` is not known.*expected node"):
        judge_parameters(one, {"nodes": 1})
    with pytest.raises(BadInput) as unknown:
        known({"tested": one}, "teste")
    assert unknown.value.hint == "Did you mean `tested`?"
    for bad in ("", "-run", "a b", "../x" * 40):
        with pytest.raises(BadInput, match="expected up to 120"):
            judge_request(one, bad, "rina", 1.0, 1.0)
    with pytest.raises(BadInput, match="in the future"):
        judge_request(one, "run", "rina", 2.0, 1.0)


def test_a_decision_on_a_question_that_is_over_does_not_count() -> None:
    one = book(step("one", attempts_max=1))
    called = {"event": "called", "trouble": Trouble.UNKNOWN, "step": "one", "why": "x", "choices": ["retry"]}
    found = state(one, OPENED, begun("one"), failed("one", unknown=True), called)
    word = Word(1, "run", words.DECIDE, "sari", 1002.0, {"choice": "retry", "question": 1})
    assert words.objection(order(one), one, found, word) == ""
    again = Word(2, "run", words.DECIDE, "budi", 1002.0, {"choice": "retry", "question": 0})
    assert words.objection(order(one), one, found, again) == "the question was decided already"
    late = fold(found, words.heard(order(one), one, found, word, 1002.0))
    assert words.heard(order(one), one, late, again, 1002.0)["taken"] is False


def test_an_sqlite_that_is_too_old_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"old": (3, 40, 1), "new": (3, 51, 1)}

    def load(name: str) -> SimpleNamespace:
        if name not in versions:
            raise ImportError(name)
        text = ".".join(str(part) for part in versions[name])
        return SimpleNamespace(sqlite_version_info=versions[name], sqlite_version=text)

    monkeypatch.setattr(sqlite.importlib, "import_module", load)
    assert sqlite.module(["old", "new"]).sqlite_version == "3.51.1"
    assert sqlite.module(["missing", "new"]).sqlite_version == "3.51.1"
    with pytest.raises(PlatformFault, match=r"needs SQLite 3\.42 or later; old has 3\.40\.1") as fault:
        sqlite.module(["old", "missing"])
    assert "pysqlite3-binary" in fault.value.hint


def test_the_journal_is_plain_json() -> None:
    serializer = dbos.JsonSerializer()
    assert serializer.deserialize(serializer.serialize([{"event": "done", "why": "ü"}])) == [
        {"event": "done", "why": "ü"}
    ]
    assert str(serializer.deserialize(serializer.serialize(ValueError("x")))) == "ValueError: x"
    with pytest.raises(dbos.Unreadable):
        serializer.deserialize("gASVBQ==")
    with pytest.raises(ValueError, match="JSON"):
        serializer.serialize(float("nan"))


def test_a_set_clock_neither_shortens_nor_lengthens_a_runs_time(monkeypatch: pytest.MonkeyPatch) -> None:
    wall, boot = [5000.0], [70.0]
    monkeypatch.setattr(time, "time", lambda: wall[0])
    monkeypatch.setattr(time, "clock_gettime", lambda _: boot[0])
    now = clock.SteadyClock()
    wall[0], boot[0] = 5000.0 + 86_400, 80.0
    assert now() == 5010.0, "set forward by a day, ten seconds passed"
    wall[0], boot[0] = 5000.0 - 86_400, 90.0
    assert now() == 5020.0, "set back by two"
