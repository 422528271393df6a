"""The log in a real PostgreSQL: fenced by the leader's epoch, whole after every fault of server and connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from contest import StateDatabase
from signed_evidence import ORIGIN, a_record, key, witness_key

from siaga.errors import Refused
from siaga.evidence import tail
from siaga.evidence.chain import Position
from siaga.evidence.export import export
from siaga.evidence.log import EvidenceLog
from siaga.evidence.model import Unrecorded
from siaga.evidence.postgres import PostgresStore
from siaga.evidence.segments import Segments
from siaga.evidence.verify_export import verify
from siaga.hosts.local import LocalHost

pytestmark = pytest.mark.clause("SUM")

OpenLog = Callable[..., Awaitable[EvidenceLog]]
APPLICATION = "siaga leader of the evidence tests"


@pytest.fixture
def store(database: StateDatabase, tmp_path: Path) -> Callable[..., PostgresStore]:
    """Makes stores of an empty log."""

    def make(kind: type[PostgresStore] = PostgresStore, *, epoch: int = 1, origin: str = ORIGIN) -> PostgresStore:
        return kind(
            lambda: psycopg.connect(database.conninfo, application_name=APPLICATION),
            origin=origin,
            epoch=epoch,
            directory=tmp_path,
        )

    return make


@pytest.fixture(autouse=True)
def _retried_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "RETRY_S", 0.05)


async def appended(log: EvidenceLog, count: int) -> list[int]:
    return await asyncio.gather(*(log.append(a_record(n=n)) for n in range(count)))


async def recording_again(log: EvidenceLog) -> int:
    async with asyncio.timeout(20):
        while True:
            try:
                return await log.append(a_record("test.again"))
            except Unrecorded:
                await asyncio.sleep(0.02)


def numbers(database: StateDatabase) -> list[int]:
    return [number for (number,) in database.query("select number from siaga_evidence.log order by number")]


async def test_records_go_on_after_opening_again_and_are_json_to_the_database(
    open_log: OpenLog, store: Callable[..., PostgresStore], database: StateDatabase
) -> None:
    log = await open_log(store())
    assert await appended(log, 200) == list(range(200))
    root = log.root(200)
    await log.close()
    log = await open_log(store())
    assert log.root(200) == root
    assert await log.append(a_record("test.umlaut", "ümläut \u2028 \U0001f600 \x01")) == 200
    assert (await log.latest(1))[0]["reason"] == "ümläut \u2028 \U0001f600 \x01"
    assert database.query("select body::jsonb ->> 'kind' from siaga_evidence.log where number = 200") == [
        ("test.umlaut",)
    ]


async def test_what_is_exported_from_it_is_verified_like_files(
    open_log: OpenLog, store: Callable[..., PostgresStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "SEGMENT_BYTES", 2000)
    log = await open_log(store())
    for _ in range(3):
        await appended(log, 10)
    done = export(store(), tmp_path, tmp_path / "export", unwitnessed=True)
    assert done.size == 30
    report = verify(Segments(tmp_path / "export"), [key(1).public], [witness_key().public])
    assert (report.faults, report.size) == ([], 30)
    assert len(store().segment_starts()) == 3


async def test_an_epoch_that_is_over_can_add_nothing(
    open_log: OpenLog, store: Callable[..., PostgresStore], database: StateDatabase, tmp_path: Path
) -> None:
    old = await open_log(store(), epoch=1)
    await appended(old, 3)
    database.query("update siaga_state.leader set epoch = 2")
    with pytest.raises(Unrecorded, match="another controller leads, epoch 1 is over"):
        await old.append(a_record())
    new = EvidenceLog(store(epoch=2), spool=tmp_path / "spool-of-the-new-one", epoch=2)
    await new.open()
    assert await new.append(a_record()) == 3
    await asyncio.sleep(0.1)
    with pytest.raises(Unrecorded):
        await old.append(a_record())
    assert (await new.latest(1))[0]["epoch"] == 2
    await new.close()
    assert numbers(database) == [0, 1, 2, 3]


async def test_a_new_leader_waits_for_an_append_that_is_being_committed(
    store: Callable[..., PostgresStore], database: StateDatabase
) -> None:
    made = store()
    made.open()
    with psycopg.connect(database.conninfo) as taking_over:
        taking_over.execute("update siaga_state.leader set epoch = 2")
        appending = asyncio.create_task(asyncio.to_thread(made.append, [b"0" * 64 + b" {}\n"], made.start, fresh=False))
        done, _ = await asyncio.wait([appending], timeout=0.5)
        assert not done
    with pytest.raises(Exception, match="epoch 1 is over"):
        await appending
    made.close()
    assert numbers(database) == []


async def test_a_connection_that_was_cut_loses_nothing_that_was_acknowledged(
    open_log: OpenLog, store: Callable[..., PostgresStore], database: StateDatabase
) -> None:
    log = await open_log(store())
    acknowledged: list[int] = []

    async def record() -> None:
        for _ in range(150):
            try:
                acknowledged.append(await log.append(a_record()))
            except Unrecorded:
                await asyncio.sleep(0.02)

    async def cut() -> None:
        for _ in range(4):
            await asyncio.sleep(0.1)
            await asyncio.to_thread(
                database.query,
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = %s",
                APPLICATION,
            )

    await asyncio.gather(*(record() for _ in range(8)), cut())
    await recording_again(log)
    found = numbers(database)
    assert found == list(range(len(found)))
    assert len(set(acknowledged)) == len(acknowledged)
    assert set(acknowledged) <= set(found)
    kinds = [record["kind"] for record in await log.latest(len(found))]
    assert "evidence.resumed" in kinds


class Forgetful(PostgresStore):
    """Commits, and is told nothing of it: the connection breaks on the way back."""

    forgets = False

    def append(self, lines: Sequence[bytes], at: Position, *, fresh: bool) -> None:
        super().append(lines, at, fresh=fresh)
        if self.forgets:
            self.forgets = False
            assert self._connection is not None
            self._connection.close()
            super().append(lines, at, fresh=fresh)


async def test_a_commit_of_unknown_end_is_found_and_exempt_acts_are_in_the_log_once(
    open_log: OpenLog, store: Callable[..., PostgresStore], database: StateDatabase
) -> None:
    made = store(Forgetful)
    assert isinstance(made, Forgetful)
    log = await open_log(made)
    await appended(log, 3)
    made.forgets = True
    with pytest.raises(Unrecorded, match="connection"):
        await log.append(a_record("test.unknown"))
    assert await recording_again(log) == 4
    made.forgets = True
    await log.append_exempt(a_record("test.acted"))
    async with asyncio.timeout(20):
        while log.describe()["exempt_waiting"]:
            await asyncio.sleep(0.02)
    await log.append(a_record())
    kinds = [record["kind"] for record in await log.latest(50)]
    assert kinds.count("test.acted") == 1
    assert kinds.count("test.unknown") == 1
    # That it records again is recorded a moment later.
    found = numbers(database)
    assert found == list(range(len(found)))


async def test_a_server_that_restarts_is_told_and_then_recorded_in_again(
    open_log: OpenLog, store: Callable[..., PostgresStore], database: StateDatabase
) -> None:
    log = await open_log(store())
    await appended(log, 5)
    database.server.stop()
    with pytest.raises(Unrecorded):
        await log.append(a_record())
    await log.append_exempt(a_record("test.acted"))
    await asyncio.to_thread(database.server.start)
    await recording_again(log)
    async with asyncio.timeout(20):
        while log.describe()["exempt_waiting"]:
            await asyncio.sleep(0.02)
    found = numbers(database)
    assert found == list(range(len(found)))


async def test_a_server_that_hangs_is_told_within_the_deadline(
    open_log: OpenLog, store: Callable[..., PostgresStore], database: StateDatabase
) -> None:
    log = await open_log(store(), deadline_s=0.5)
    await appended(log, 5)
    with database.server.hung():
        with pytest.raises(Unrecorded, match=r"not written within 0\.5 s"):
            await log.append(a_record())
        with pytest.raises(Unrecorded, match="has not ended"):
            await log.append(a_record())
        await log.append_exempt(a_record("test.acted"))
    await recording_again(log)
    async with asyncio.timeout(20):
        while log.describe()["exempt_waiting"]:
            await asyncio.sleep(0.02)
    found = numbers(database)
    assert found == list(range(len(found)))
    assert [record["kind"] for record in await log.latest(20)].count("test.acted") == 1


async def test_an_altered_row_refuses_to_open_and_names_the_record(
    open_log: OpenLog, store: Callable[..., PostgresStore], database: StateDatabase
) -> None:
    log = await open_log(store())
    await appended(log, 5)
    await log.close()
    database.query("update siaga_evidence.log set body = replace(body, 'somebody', 'somebodi') where number = 3")
    with pytest.raises(Refused, match="record 3: its content or its chain value was altered"):
        await open_log(store())


async def test_a_deleted_row_refuses_to_open_and_names_the_record(
    open_log: OpenLog, store: Callable[..., PostgresStore], database: StateDatabase
) -> None:
    log = await open_log(store())
    await appended(log, 5)
    await log.close()
    database.query("delete from siaga_evidence.log where number = 2")
    with pytest.raises(Refused, match="records 2 to 2 are missing, the next line is record 3"):
        await open_log(store())


async def test_retention_removes_whole_segments(
    open_log: OpenLog, store: Callable[..., PostgresStore], database: StateDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "SEGMENT_BYTES", 2000)
    log = await open_log(store())
    for _ in range(40):
        await log.append(a_record())
    root = log.root(40)
    removed = await log.prune(datetime.now(UTC) + timedelta(days=1), witnessed_size=20, actor="auditor")
    assert removed is not None
    assert 0 < removed.size <= 20
    assert numbers(database) == list(range(removed.size, 41))
    await log.close()
    log = await open_log(store())
    assert log.root(40) == root


async def test_a_server_that_is_away_is_told_when_opening(tmp_path: Path) -> None:
    (port,) = await LocalHost().free_ports(1)
    away = PostgresStore(
        lambda: psycopg.connect(f"host=127.0.0.1 port={port} user=siaga_state password=hidden connect_timeout=2"),
        origin=ORIGIN,
        epoch=1,
        directory=tmp_path,
    )
    log = EvidenceLog(away, spool=tmp_path / "spool")
    with pytest.raises(Unrecorded, match="can't be opened: connection") as told:
        await log.open()
    assert "hidden" not in str(told.value)
    await log.append_exempt(a_record("test.acted"))
    assert log.describe()["exempt_waiting"] == 1
    await log.close()
