"""The journal in PostgreSQL, for controllers that share their state: the same runs, also when the server restarts."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from contest import StateServer
from runbooks.engine_rig import Rig, begin, eventually, runbook, until
from wallet_servers import free_ports

from siaga.errors import BadInput, Unreachable
from siaga.runbooks.archive import Archive
from siaga.runbooks.engine import Engine
from siaga.runbooks.journal import Journal, PostgresDatabase
from siaga.runbooks.model import NOTHING_TO_UNDO, Approval, Context, Document, Step

pytestmark = pytest.mark.clause("SUM")


@pytest.fixture(scope="module")
def server() -> Iterator[StateServer]:
    with tempfile.TemporaryDirectory(prefix="siaga-runs-", dir="/tmp") as directory:
        Path(directory).chmod(0o755)
        found = StateServer(Path(directory), free_ports(1)[0])
        found.start()
        yield found
        found.stop()


@pytest.fixture
def bench(server: StateServer) -> Rig:
    return Rig(PostgresDatabase(conninfo(server), application_name="siaga leader 7"))


def conninfo(server: StateServer) -> str:
    return f"host=127.0.0.1 port={server.port} user=siaga_state dbname=postgres"


async def test_a_run_goes_through_people_and_restarts(bench: Rig, server: StateServer) -> None:
    book = runbook(bench.step("one"), Approval("agree", 600.0, people=2), bench.step("two"))
    async with bench.engine(book) as engine:
        run = await begin(engine)
        await until(engine, run, "waiting for approval")
        await engine.approve(run, "ana")
        with psycopg.connect(conninfo(server)) as connection:
            names = connection.execute("select application_name from pg_stat_activity where usename is not null")
            assert ("siaga leader 7",) in names.fetchall(), "a new leader ends its sessions by this name"
    journal = Journal(bench.place)
    archive = Archive(journal)
    archive.approve(archive.standing(run), "budi", "", bench.now())
    journal.close()
    async with bench.engine(book) as engine:
        await until(engine, run, "done")
    assert bench.did == ["one", "two"]


async def test_a_run_goes_on_when_its_server_comes_back(bench: Rig, server: StateServer) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow(_: Context) -> Document | None:
        entered.set()
        await leave.wait()
        return None

    book = runbook(Step("slow", slow, NOTHING_TO_UNDO, 60.0), bench.step("two"))
    async with bench.engine(book) as engine:
        run = await begin(engine)
        await entered.wait()
        await asyncio.to_thread(server.stop)
        leave.set()
        await eventually(lambda: _trouble(engine), "the engine says that its journal is away")
        with pytest.raises(Unreachable):
            await begin(engine, run="not-begun")
        assert bench.did == []
        await asyncio.to_thread(server.start)
        await until(engine, run, "done")
        assert engine.trouble == ""
    assert bench.did == ["two"]


async def _trouble(engine: Engine) -> bool:
    return bool(engine.trouble)


async def test_a_password_is_never_said(capfd: pytest.CaptureFixture[str]) -> None:
    place = PostgresDatabase(f"host=127.0.0.1 port={free_ports(1)[0]} user=siaga dbname=siaga password=s3cr3t-word")
    assert "s3cr3t-word" not in repr(place)
    with pytest.raises(Unreachable) as unreachable:
        async with Rig(place).engine():
            raise AssertionError("launched")
    with pytest.raises(BadInput) as unreadable:
        async with Rig(PostgresDatabase("password=s3cr3t-word port")).engine():
            raise AssertionError("launched")
    out, err = capfd.readouterr()
    assert "s3cr3t-word" not in f"{unreachable.value} {unreadable.value} {out} {err}"
