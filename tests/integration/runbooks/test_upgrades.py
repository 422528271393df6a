"""Runs survive an upgrade of siaga and the way back; what they can't survive is named and waits for a person."""

from __future__ import annotations

import base64
import pickle
from pathlib import Path
from typing import Any

import pytest
from runbooks.engine_rig import Rig, begin, rig, runbook, until

from siaga.errors import Refused
from siaga.runbooks import dbos, sqlite
from siaga.runbooks.archive import Archive
from siaga.runbooks.journal import FILE_NAME, Journal, SqliteFile
from siaga.runbooks.model import NOTHING_TO_UNDO, Approval, Runbook, Step
from siaga.runbooks.order import Order
from siaga.runbooks.run import Choice, RunState

pytestmark = pytest.mark.clause("SUM")


@pytest.fixture
def bench(tmp_path: Path) -> Rig:
    return rig(tmp_path)


def version(bench: Rig, release: str) -> Runbook:
    """The same step names, other code behind them."""
    steps = (
        Step("one", bench.does(f"one of {release}"), bench.does(f"undo one of {release}"), 20.0),
        Approval("first", 600.0),
        Step("two", bench.does(f"two of {release}"), NOTHING_TO_UNDO, 20.0),
        Approval("second", 600.0),
        Step("three", bench.does(f"three of {release}"), NOTHING_TO_UNDO, 20.0),
    )
    return runbook(*steps)


async def test_a_waiting_run_survives_an_upgrade_and_the_way_back(bench: Rig) -> None:
    async with bench.engine(version(bench, "2026.11")) as engine:
        run = await begin(engine)
        await until(engine, run, "waiting for approval")
    async with bench.engine(version(bench, "2026.12")) as engine:
        await until(engine, run, "waiting for approval")
        await engine.approve(run, "ana")
        await until(engine, run, "waiting for approval", holds=lambda page: page["step"] == "second")
    async with bench.engine(version(bench, "2026.11")) as engine:
        await until(engine, run, "waiting for approval", holds=lambda page: page["step"] == "second")
        await engine.approve(run, "ana")
        await until(engine, run, "done")
    assert bench.did == ["one of 2026.11", "two of 2026.12", "three of 2026.11"]


async def test_changed_step_names_call_a_person_and_other_runs_go_on(bench: Rig) -> None:
    before = runbook(bench.step("one"), Approval("wait", 600.0), bench.step("two"))
    after = runbook(bench.step("one"), bench.step("check more"), Approval("wait", 600.0), bench.step("two, renamed"))
    other = runbook(Approval("wait", 600.0), bench.step("other"), name="other")
    async with bench.engine(before, other) as engine:
        run, second = await begin(engine), await begin(engine, "other")
        await until(engine, run, "waiting for approval")
        await until(engine, second, "waiting for approval")
    async with bench.engine(after, other) as engine:
        page = await until(engine, run, "waiting for a person")
        assert page["question"]["choices"] == ["go-on", "undo", "give-up"]
        assert "without `two`" in page["why"]
        assert "`check more`, `two, renamed`" in page["why"]
        await engine.approve(second, "ana")
        await until(engine, second, "done")
    async with bench.engine(before, other) as engine:
        await until(engine, run, "waiting for approval")
    async with bench.engine(after, other) as engine:
        await until(engine, run, "waiting for a person")
        await engine.decide(run, "sari", Choice.GO_ON, "the new steps are fine")
        await until(engine, run, "waiting for approval")
        await engine.approve(run, "ana")
        await until(engine, run, "done")
    assert bench.did == ["one", "other", "check more", "two, renamed"]


async def test_a_runbook_that_is_gone_can_only_be_given_up(bench: Rig) -> None:
    async with bench.engine(runbook(bench.step("one"), Approval("wait", 600.0))) as engine:
        run = await begin(engine)
        await until(engine, run, "waiting for approval")
    async with bench.engine() as engine:
        page = await until(engine, run, "waiting for a person")
        assert page["question"]["choices"] == ["give-up"]
        await engine.decide(run, "sari", Choice.GIVE_UP, "undone by hand")
        await until(engine, run, "given up")
    assert bench.did == ["one"]


async def test_open_runs_of_another_journal_version_are_named_and_have_a_way_out(
    bench: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = runbook(Approval("wait", 600.0), bench.step("one"))
    async with bench.engine(book) as engine:
        run = await begin(engine)
        await until(engine, run, "waiting for approval")
    for module in (dbos, __import__("siaga.runbooks.archive", fromlist=["archive"])):
        monkeypatch.setattr(module, "JOURNAL_VERSION", "2")
    with pytest.raises(Refused, match=rf"{run} \(journal version 1\)") as raised:
        async with bench.engine(book):
            raise AssertionError("launched")
    assert "siaga runs decide ID give-up" in raised.value.hint
    journal = Journal(bench.place)
    archive = Archive(journal)
    assert archive.page(run, bench.now())["state"] == "failed"
    archive.decide(archive.standing(run), "sari", "give-up", "undone by hand", bench.now())
    assert archive.page(run, bench.now())["state"] == "given up"
    journal.close()
    for _ in range(2):
        async with bench.engine(book) as engine:
            assert (await engine.show(run))["state"] == "given up"
    ended = [record for record in bench.evidence.records if record.kind == "runbooks.ended"]
    assert [(record.actor, record.run) for record in ended] == [("sari", run)], "recorded once, by the next engine"
    assert bench.did == []


class _Bomb:
    """Runs code where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self._path,)


async def test_a_pickled_row_is_refused_and_shown_as_failed(bench: Rig, tmp_path: Path) -> None:
    book = runbook(Approval("wait", 600.0), bench.step("one"))
    async with bench.engine(book) as engine:
        run = await begin(engine)
        await until(engine, run, "waiting for approval")
    assert isinstance(bench.place, SqliteFile)
    planted = tmp_path / "planted"
    bomb = base64.b64encode(pickle.dumps(_Bomb(planted))).decode()
    journal = sqlite.module().connect(tmp_path / FILE_NAME)
    journal.execute("update workflow_status set inputs = ?, serialization = 'py_pickle'", (bomb,))
    journal.commit()
    journal.close()
    async with bench.engine(book) as engine:
        listed = await engine.runs()
        assert [(line["id"], line["state"]) for line in listed] == [(run, "failed")]
        with pytest.raises(Refused, match="not readable"):
            await engine.show(run)
        # The engine works on.
        fresh = await begin(engine)
        await until(engine, fresh, "waiting for approval")
        await engine.approve(fresh, "ana")
        await until(engine, fresh, "done")
    assert not planted.exists()
    assert pickle.loads(base64.b64decode(bomb)) is None, "the bomb works"
    assert planted.exists()


async def test_a_second_engine_on_one_journal_is_refused(bench: Rig) -> None:
    book = runbook(bench.step("one"))
    async with bench.engine(book) as engine:
        with pytest.raises(Refused, match="another engine works with the journal"):
            async with bench.engine(book):
                raise AssertionError("launched")
        await until(engine, await begin(engine), "done")


async def test_a_fault_of_the_engine_calls_a_person_and_ends_nothing(
    bench: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from siaga.runbooks import turns

    real = turns.next_move

    def stumbles(order: Order, book: Runbook | None, state: RunState, **others: Any) -> object:
        # Not at a look before the approval is heard: it would be refused, for then a person is asked already.
        if any(asked.given for asked in state.approvals.values()):
            raise ZeroDivisionError("a fault")
        return real(order, book, state, **others)

    async with bench.engine(runbook(Approval("wait", 600.0), bench.step("one"))) as engine:
        run = await begin(engine)
        await until(engine, run, "waiting for approval")
        monkeypatch.setattr(turns, "next_move", stumbles)
        await engine.approve(run, "ana")
        page = await until(engine, run, "waiting for a person")
        assert page["question"]["choices"] == ["retry", "give-up"]
        assert "ZeroDivisionError" in page["why"]
        monkeypatch.setattr(turns, "next_move", real)
        await engine.decide(run, "sari", Choice.RETRY, "mended")
        await until(engine, run, "done")


async def test_a_run_that_the_engine_cannot_fold_is_listed_and_tried_again(
    bench: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from siaga.runbooks import runner

    real = runner.fold

    def stumbles(*_: object) -> object:
        raise ZeroDivisionError("a fault")

    book = runbook(bench.step("one"))
    monkeypatch.setattr(runner, "fold", stumbles)
    async with bench.engine(book) as engine:
        run = await begin(engine)
        page = await until(engine, run, "failed")
        assert "tries again when it is started" in page["why"]
        assert [line["state"] for line in await engine.runs()] == ["failed"]
        other = await begin(engine)
        await until(engine, other, "failed")
        await engine.decide(other, "sari", Choice.GIVE_UP, "no use")
        await until(engine, other, "given up")
        assert {line["state"] for line in await engine.runs()} == {"failed", "given up"}
    monkeypatch.setattr(runner, "fold", real)
    async with bench.engine(book) as engine:
        await until(engine, run, "done")
    assert bench.did == ["one"]
