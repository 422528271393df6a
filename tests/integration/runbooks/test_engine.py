"""The engine on a real journal: what it does with steps, with people, with the lever, and with its own end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from runbooks.engine_rig import Rig, begin, eventually, failing, refuses, rig, runbook, until

from siaga.errors import BadInput, Refused, Unreachable
from siaga.runbooks import engine as engine_module
from siaga.runbooks.archive import Archive
from siaga.runbooks.journal import Journal
from siaga.runbooks.model import NOTHING_TO_UNDO, Approval, Clock, Context, Document, Manner, Step
from siaga.runbooks.run import Choice

pytestmark = pytest.mark.clause("SUM")


@pytest.fixture
def bench(tmp_path: Path) -> Rig:
    return rig(tmp_path)


async def test_steps_are_done_in_order_each_after_its_record(bench: Rig) -> None:
    async with bench.engine(runbook(bench.step("one"), bench.step("two"))) as engine:
        page = await until(engine, await begin(engine), "done")
    assert bench.did == ["one", "two"]
    assert page["results"] == {"one": {"by": "one"}, "two": {"by": "two"}}
    assert bench.evidence.kinds() == ["started", "step-begun", "step-done", "step-begun", "step-done", "ended"]
    assert {record.run for record in bench.evidence.records} == {page["id"]}


async def test_a_dry_run_asks_every_check_and_does_nothing(bench: Rig) -> None:
    async def there(_: Context) -> bool:
        return True

    async def cannot_say(_: Context) -> bool:
        raise OSError("no answer")

    steps = (
        bench.step("there", check=there),
        Approval("ask", 60.0),
        bench.step("unclear", check=cannot_say),
        bench.step("new"),
    )
    async with bench.engine(runbook(*steps)) as engine:
        page = await until(engine, await begin(engine, manner=Manner.DRY), "done")
    assert bench.did == []
    found = {step["name"]: (step["status"], step["why"]) for step in page["steps"]}
    assert found == {
        "there": ("done", "already done"),
        "ask": ("done", "would ask 1 person"),
        "unclear": ("unknown", "OSError: no answer"),
        "new": ("done", "would be done"),
    }


async def test_acts_run_on_the_callers_loop_also_after_a_restart(bench: Rig) -> None:
    loops = []

    async def act(_: Context) -> Document | None:
        loops.append(asyncio.get_running_loop())
        return None

    book = runbook(
        Step("one", act, NOTHING_TO_UNDO, 20.0), Approval("wait", 600.0), Step("two", act, NOTHING_TO_UNDO, 20.0)
    )
    async with bench.engine(book) as engine:
        run = await begin(engine)
        await until(engine, run, "waiting for approval")
    async with bench.engine(book) as engine:
        await until(engine, run, "waiting for approval")
        await engine.approve(run, "ana")
        await until(engine, run, "done")
    assert loops == [asyncio.get_running_loop()] * 2


async def test_a_failure_before_the_point_of_no_return_is_undone_in_reverse(bench: Rig) -> None:
    book = runbook(bench.step("one"), bench.step("two"), failing("three"), bench.step("last", point_of_no_return=True))
    async with bench.engine(book) as engine:
        page = await until(engine, await begin(engine), "undone")
    assert bench.did == ["one", "two", "undo two", "undo one"]
    assert "the test says no" in page["why"]


async def test_a_failure_after_the_point_of_no_return_waits_for_a_person(bench: Rig) -> None:
    book = runbook(bench.step("one", point_of_no_return=True), failing("two"), bench.step("three"))
    async with bench.engine(book) as engine:
        run = await begin(engine)
        page = await until(engine, run, "waiting for a person")
        assert page["question"]["choices"] == ["retry", "go-on", "undo", "give-up"]
        await engine.decide(run, "sari", Choice.RETRY, "look again")
        await until(engine, run, "waiting for a person", holds=lambda page: page["question"]["number"] == 2)
        await engine.decide(run, "sari", Choice.GO_ON, "done by hand")
        await until(engine, run, "done")
    assert bench.did == ["one", "three"]
    decided = [record for record in bench.evidence.records if record.kind == "runbooks.decide"]
    assert [(record.actor, record.figures["reason"]) for record in decided] == [
        ("sari", "look again"),
        ("sari", "done by hand"),
    ]


async def test_of_two_decisions_the_first_counts(bench: Rig) -> None:
    book = runbook(bench.step("one", point_of_no_return=True), failing("two"))
    async with bench.engine(book) as engine:
        run = await begin(engine)
        await until(engine, run, "waiting for a person")
        said = await asyncio.gather(
            engine.decide(run, "sari", Choice.GIVE_UP, "a"),
            engine.decide(run, "budi", Choice.UNDO, "b"),
            return_exceptions=True,
        )
        assert sum(isinstance(each, Refused) for each in said) == 1
        page = await until(engine, run, "given up", "undone")
    assert page["state"] == ("undone" if isinstance(said[0], Refused) else "given up")


async def test_a_failed_undo_waits_for_a_person(bench: Rig) -> None:
    book = runbook(bench.step("one"), Step("two", bench.does("two"), refuses, 20.0), failing("three"))
    async with bench.engine(book) as engine:
        run = await begin(engine)
        page = await until(engine, run, "waiting for a person")
        assert page["question"]["trouble"] == "an undo did not succeed"
        await engine.decide(run, "sari", Choice.GO_ON, "undone by hand")
        await until(engine, run, "undone")
    assert bench.did == ["one", "two", "undo one"]


async def test_two_people_approve_and_the_requester_is_none_of_them(bench: Rig) -> None:
    book = runbook(
        Approval("agree", 600.0, people=2, wants_ticket=True, ticket_pattern="CHG-[0-9]+"), bench.step("one")
    )
    async with bench.engine(book) as engine:
        run = await begin(engine, requester="rina")
        await until(engine, run, "waiting for approval")
        with pytest.raises(Refused, match="requested the run"):
            await engine.approve(run, "rina", "CHG-1")
        with pytest.raises(Refused, match="wants a change ticket"):
            await engine.approve(run, "ana")
        with pytest.raises(Refused, match="expected one like"):
            await engine.approve(run, "ana", "nonsense")
        assert (await engine.approve(run, "ana", "CHG-1"))["still_wanted"] == 1
        await until(engine, run, "waiting for approval", holds=lambda page: page["approval"]["approved_by"] == ["ana"])
        with pytest.raises(Refused, match="approved already"):
            await engine.approve(run, "ana", "CHG-1")
        assert bench.did == []
        await engine.approve(run, "budi", "CHG-2")
        page = await until(engine, run, "done")
    assert [yes["ticket"] for yes in page["steps"][0]["approved_by"]] == ["CHG-1", "CHG-2"]


async def test_an_approval_given_while_the_controller_was_dead_counts(bench: Rig) -> None:
    book = runbook(Approval("agree", 600.0), bench.step("one"))
    async with bench.engine(book) as engine:
        run = await begin(engine)
        await until(engine, run, "waiting for approval")
    journal = Journal(bench.place)
    archive = Archive(journal)
    assert archive.page(run, bench.now())["state"] == "waiting for approval"
    archive.approve(archive.standing(run), "ana", "", bench.now())
    with pytest.raises(Refused, match="said before"):
        archive.approve(archive.standing(run), "ana", "", bench.now())
    journal.close()
    async with bench.engine(book) as engine:
        await until(engine, run, "done")
    assert bench.did == ["one"]


async def test_an_approvals_time_goes_on_while_the_controller_is_dead(bench: Rig) -> None:
    book = runbook(bench.step("one"), Approval("agree", 600.0), bench.step("two"))
    async with bench.engine(book) as engine:
        run = await begin(engine)
        await until(engine, run, "waiting for approval")
    bench.ahead_s = 601.0
    journal = Journal(bench.place)
    archive = Archive(journal)
    with pytest.raises(Refused, match="they are over"):
        archive.approve(archive.standing(run), "ana", "", bench.now())
    journal.close()
    async with bench.engine(book) as engine:
        page = await until(engine, run, "undone")
    assert "not answered within 600 s" in page["why"]
    assert bench.did == ["one", "undo one"]


async def test_an_unanswered_approval_may_let_a_lossless_run_go_on(bench: Rig) -> None:
    async with bench.engine(runbook(Approval("agree", 0.2, proceeds_unanswered=True), bench.step("one"))) as engine:
        await until(engine, await begin(engine), "done")
    assert bench.did == ["one"]


async def test_cancel_undoes_before_the_point_of_no_return_and_is_refused_after(bench: Rig) -> None:
    book = runbook(
        bench.step("one"),
        Approval("first", 600.0),
        bench.step("last", point_of_no_return=True),
        Approval("second", 600.0),
    )
    async with bench.engine(book) as engine:
        early, late = await begin(engine), await begin(engine)
        await until(engine, early, "waiting for approval")
        await engine.cancel(early, "sari", "wrong day")
        page = await until(engine, early, "undone")
        assert page["why"] == "cancelled by sari: wrong day"
        await until(engine, late, "waiting for approval")
        await engine.approve(late, "ana")
        await until(engine, late, "waiting for approval", holds=lambda page: page["step"] == "second")
        with pytest.raises(Refused, match="past its point of no return, `last`"):
            await engine.cancel(late, "sari", "too late")


async def test_the_safety_lever_holds_a_run_at_its_next_step_also_across_a_restart(bench: Rig) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow(_: Context) -> Document | None:
        entered.set()
        await leave.wait()
        bench.did.append("one")
        return None

    book = runbook(Step("one", slow, NOTHING_TO_UNDO, 60.0), bench.step("two"))
    async with bench.engine(book) as engine:
        run = await begin(engine)
        await entered.wait()
        bench.halted = "sari: the graphs look strange"
        leave.set()
        page = await until(engine, run, "held")
        assert page["why"] == "held: sari: the graphs look strange"
        assert bench.did == ["one"], "never inside a step, and no further one"
    async with bench.engine(book) as engine:
        await until(engine, run, "held")
        bench.halted = ""
        await until(engine, run, "done")
    assert bench.did == ["one", "two"]


async def test_a_held_run_can_be_cancelled(bench: Rig) -> None:
    bench.halted = "stop"
    async with bench.engine(runbook(bench.step("one"))) as engine:
        run = await begin(engine)
        await until(engine, run, "held")
        await engine.cancel(run, "sari", "no need")
        await until(engine, run, "undone")
    assert bench.did == []


async def test_a_runbook_that_only_people_start_is_not_held(bench: Rig) -> None:
    bench.halted = "stop"
    async with bench.engine(runbook(bench.step("one"), automatic=False)) as engine:
        with pytest.raises(Refused, match="may start by itself"):
            await begin(engine, requester="controller")
        await until(engine, await begin(engine), "done")


async def test_who_does_not_lead_does_not_act(bench: Rig) -> None:
    bench.leads = False
    async with bench.engine(runbook(bench.step("one"))) as engine:
        run = await begin(engine)
        page = await until(engine, run, "held")
        assert "does not lead" in page["why"]
        assert bench.did == []
        bench.leads = True
        await until(engine, run, "done")


async def test_no_record_no_act_save_for_exempt_steps(bench: Rig) -> None:
    book = runbook(bench.step("fence", exempt=True), bench.step("careful"))
    async with bench.engine(book) as engine:
        run = await begin(engine)
        bench.evidence.broken = "the disk of the evidence is full"
        page = await until(engine, run, "held")
        assert page["why"] == "held: the disk of the evidence is full"
        assert "careful" not in bench.did
        bench.evidence.broken = ""
        await until(engine, run, "done")
    assert bench.did == ["fence", "careful"]


async def test_an_undo_does_not_wait_for_the_evidence(bench: Rig) -> None:
    async def breaks_the_evidence(_: Context) -> None:
        bench.evidence.broken = "full"
        raise Refused("no", hint="None.")

    async with bench.engine(
        runbook(bench.step("one"), Step("two", breaks_the_evidence, NOTHING_TO_UNDO, 9.0))
    ) as engine:
        await until(engine, await begin(engine), "undone")
    assert bench.did == ["one", "undo one"]
    assert [record.kind for record in bench.evidence.exempt][-1] == "runbooks.ended"


async def test_a_breach_is_recorded_and_told_once_and_aborts_nothing(bench: Rig) -> None:
    book = runbook(bench.step("one"), Approval("wait", 600.0), bench.step("two"), clocks=(Clock("P1", 60.0, "two"),))
    async with bench.engine(book) as engine:
        run = await begin(engine, onset=bench.now() - 59.9)
        await until(engine, run, "waiting for approval")
        await eventually(lambda: _true(bench.breaches), "the breach is told")
        # The run itself knows of it before the engine ends.
        await eventually(lambda: _heard_breach(bench, run), "the breach is in the journal")
    async with bench.engine(book) as engine:
        page = await until(engine, run, "waiting for approval")
        assert page["clocks"][0]["breached"]
        assert page["clocks"][0]["left_s"] < 0
        await engine.approve(run, "ana")
        await until(engine, run, "done")
    assert bench.breaches == ["P1"]
    assert bench.evidence.kinds().count("clock-breached") == 1


async def _true(value: object) -> bool:
    return bool(value)


async def _heard_breach(bench: Rig, run: str) -> bool:
    journal = Journal(bench.place)
    try:
        return bool(Archive(journal).standing(run).state.breached)
    finally:
        journal.close()


async def test_a_transient_failure_is_tried_again_with_the_same_key(bench: Rig) -> None:
    keys = []

    async def second_time(context: Context) -> Document:
        keys.append((context.key, context.epoch))
        if len(keys) == 1:
            raise ConnectionError("reset")
        return {}

    async with bench.engine(runbook(Step("one", second_time, NOTHING_TO_UNDO, 9.0))) as engine:
        run = await begin(engine)
        page = await until(engine, run, "done")
    assert keys == [(f"{run}:one", 7)] * 2
    assert page["steps"][0]["attempts"] == 2


async def test_a_second_run_of_what_runs_alone_is_refused_and_named(bench: Rig) -> None:
    book = runbook(Approval("wait", 600.0), alone="update")
    other = runbook(bench.step("one"), name="other", alone="update")
    async with bench.engine(book, other) as engine:
        first = await begin(engine)
        with pytest.raises(Refused, match=first):
            await begin(engine, "other")
        await until(engine, await begin(engine, "other", manner=Manner.DRY), "done")
        await engine.cancel(first, "sari", "make room")
        await until(engine, first, "undone")
        await until(engine, await begin(engine, "other"), "done")


async def test_a_run_of_the_same_id_is_started_once(bench: Rig) -> None:
    async with bench.engine(runbook(bench.step("one")), runbook(bench.step("two"), name="other")) as engine:
        starts = [await engine.start("tested", {}, requester="r", reason="x", run="tested/2026-11-25") for _ in "ab"]
        assert [start["first"] for start in starts] == [True, False]
        await until(engine, "tested/2026-11-25", "done")
        with pytest.raises(Refused, match="belongs to a run of `tested`"):
            await engine.start("other", {}, requester="r", reason="x", run="tested/2026-11-25")
    assert bench.did == ["one"]


async def test_parameters_are_prepared_before_the_run_and_kept_in_its_plan(bench: Rig) -> None:
    async def choose(parameters: Document) -> Document:
        return {"node": parameters.get("node", "sgp-1"), "chosen": True}

    book = runbook(bench.step("one"), fields={"node": "which"}, prepare=choose)
    async with bench.engine(book) as engine:
        assert (await engine.plan("tested", {}))["parameters"] == {"node": "sgp-1", "chosen": True}
        with pytest.raises(BadInput, match="`nod` is not known"):
            await engine.start("tested", {"nod": 1}, requester="r", reason="x")
        with pytest.raises(BadInput, match="runbook `teste` is not known"):
            await engine.plan("teste", {})
        assert (await engine.show(await begin(engine)))["parameters"] == {"node": "sgp-1", "chosen": True}


async def test_an_unknown_run_is_named_with_its_nearest(bench: Rig) -> None:
    async with bench.engine(runbook(bench.step("one"))) as engine:
        await begin(engine, run="tested/2026-11-25")
        with pytest.raises(BadInput) as raised:
            await engine.show("tested/2026-11-24")
    assert "tested/2026-11-25" in raised.value.hint


async def test_choices_that_are_never_made_keep_nobody_else_waiting(
    bench: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ponders(_: Document) -> Document:
        await asyncio.sleep(3600)
        return {}

    monkeypatch.setattr(engine_module, "PREPARE_S", 0.05)
    slow = runbook(bench.step("one"), name="slow", prepare=ponders)
    async with bench.engine(slow, runbook(bench.step("two"))) as engine:
        with pytest.raises(Unreachable, match="were not made within"):
            await begin(engine, "slow")
        await until(engine, await begin(engine), "done")
