"""The journal is full, failing or locked in the midst of a run: the run stands still, and goes on by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from runbooks.engine_rig import Rig, begin, eventually, rig, runbook, until

from siaga.errors import BadInput, Unreachable
from siaga.runbooks import sqlite
from siaga.runbooks.engine import Engine
from siaga.runbooks.journal import FILE_NAME
from siaga.runbooks.model import NOTHING_TO_UNDO, Context, Document, Step

pytestmark = pytest.mark.clause("SUM")


@pytest.fixture
def bench(tmp_path: Path) -> Rig:
    return rig(tmp_path)


# Always the engine's own SQLite: two libraries in one process don't see each other's locks.


class Disk:
    """SQLite's own limit on a file's size, which answers as a full disk does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._full = False

    def fill(self) -> None:
        """No page is free from now on, inside the file or after it."""
        connection = sqlite.module().connect(self._path, timeout=30, isolation_level=None)
        connection.execute("vacuum")
        connection.close()
        self._full = True

    def make_room(self) -> None:
        self._full = False

    def obey(self, connection: sa.Connection) -> None:
        pages = 1 if self._full else 2**30
        connection.connection.dbapi_connection.execute(f"PRAGMA max_page_count={pages}")  # type: ignore[union-attr]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    found = Disk(tmp_path / FILE_NAME)
    sa.event.listen(sa.Engine, "begin", found.obey)
    yield found
    sa.event.remove(sa.Engine, "begin", found.obey)


async def test_a_full_disk_holds_the_run_until_there_is_room(bench: Rig, disk: Disk) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow(_: Context) -> Document:
        entered.set()
        await leave.wait()
        bench.did.append("slow")
        return {"text": "x" * 40_000}

    book = runbook(Step("slow", slow, NOTHING_TO_UNDO, 60.0), bench.step("two"))
    async with bench.engine(book) as engine:
        run = await begin(engine)
        await entered.wait()
        disk.fill()
        leave.set()
        await eventually(lambda: _trouble(engine), "the engine says that the disk is full")
        assert "full" in engine.trouble
        with pytest.raises(Unreachable, match="full"):
            await begin(engine, run="not-begun")
        assert bench.did == ["slow"]
        disk.make_room()
        await until(engine, run, "done")
        assert engine.trouble == ""
        with pytest.raises(BadInput):
            await engine.show("not-begun")
    assert bench.did == ["slow", "two"]


async def _trouble(engine: Engine) -> bool:
    return bool(engine.trouble)


async def test_an_engine_can_be_closed_while_the_disk_is_full_and_goes_on_later(bench: Rig, disk: Disk) -> None:
    async def fills(_: Context) -> Document:
        bench.did.append("fills")
        if len(bench.did) == 1:
            await asyncio.to_thread(disk.fill)
        return {"text": "x" * 40_000}

    book = runbook(Step("fills", fills, NOTHING_TO_UNDO, 60.0), bench.step("two"))
    async with bench.engine(book) as engine:
        run = await begin(engine)
        await eventually(lambda: _trouble(engine), "the disk is full")
    disk.make_room()
    async with bench.engine(book) as engine:
        await until(engine, run, "done")
    assert bench.did == ["fills", "fills", "two"], "what could not be journaled is done again, with its key"


async def test_a_locked_journal_delays_a_run_and_no_more(bench: Rig, tmp_path: Path) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow(_: Context) -> Document | None:
        entered.set()
        await leave.wait()
        return None

    async with bench.engine(runbook(Step("slow", slow, NOTHING_TO_UNDO, 60.0), bench.step("two"))) as engine:
        run = await begin(engine)
        await entered.wait()
        intruder: Any = sqlite.module().connect(tmp_path / FILE_NAME, isolation_level=None)
        intruder.execute("begin immediate")
        leave.set()
        for _ in range(20):
            await asyncio.sleep(0.05)
        assert bench.did == []
        intruder.execute("rollback")
        intruder.close()
        await until(engine, run, "done")
    assert bench.did == ["two"]
