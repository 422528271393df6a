"""The readers of a database server, on a real one."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

sys.path.insert(0, str(Path(__file__).parents[3]))

from benchmarks.ledger.server import BINARIES, SETTINGS, running  # noqa: E402
from benchmarks.ledger.server import Server as Database  # noqa: E402
from siaga.errors import Unreachable  # noqa: E402
from siaga.health import checksums, clock_spread, connections, packages, postgres_slots  # noqa: E402
from siaga.health.model import Observation, Reader  # noqa: E402
from siaga.health.postgres import Server  # noqa: E402
from siaga.hosts.local import LocalHost  # noqa: E402

NOW = datetime.now(UTC)
HOST = LocalHost()


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with running({**SETTINGS, "max_connections": "20", "max_slot_wal_keep_size": "64MB"}) as server:
        yield server


@pytest.fixture
def server(database: Database) -> Server:
    return Server("db-1", "local", lambda: f"{database.dsn('postgres')} connect_timeout=2")


def walk(database: Database) -> checksums.Walk:
    return checksums.Walk(
        pg_basebackup=str(BINARIES / "pg_basebackup"),
        address=f"127.0.0.1:{database.port}",
        role="postgres",
        password_file="/nonexistent",
        mb_per_s_max=200,
        deadline_s=60.0,
        checkpoint="fast",
    )


async def read(reader: Reader) -> list[Observation]:
    return list(await reader.read(NOW))


async def test_connections_are_counted_against_what_applications_may_have(database: Database, server: Server) -> None:
    open_ones = [database.connect() for _ in range(7)]
    [found] = await read(connections.reader(server))
    for each in open_ones:
        each.close()
    # Twenty, less three for superusers; and the question's own connection.
    assert found.why.endswith("of 17 taken")
    assert found.value is not None
    assert found.value >= 100 * 8 / 17


async def test_a_slot_that_nobody_reads_shows_what_it_keeps(database: Database, server: Server) -> None:
    assert await read(postgres_slots.reader(server)) == []
    with database.connect() as connection:
        connection.execute("select pg_create_physical_replication_slot('forgotten', true)")
        connection.execute("create table filler as select repeat('x', 500) as text from generate_series(1, 40000)")
        [found] = await read(postgres_slots.reader(server))
        connection.execute("select pg_drop_replication_slot('forgotten')")
    assert found.subject == "db-1/forgotten"
    assert found.value is not None
    # About 22 MB of 64 MB.
    assert 20 < found.value < 80
    assert "nobody reads it" in found.why


async def test_the_version_of_a_server_is_asked(server: Server) -> None:
    product, version = await packages.postgresql(server)()
    assert product == "postgresql"
    assert version.split(".")[0].isdigit()


@pytest.mark.clause("PMT")
async def test_a_flipped_byte_is_found_by_the_walk_and_counted_by_the_server(
    database: Database, server: Server
) -> None:
    with database.connect() as connection:
        connection.execute("create table paid as select n, repeat('y', 100) as text from generate_series(1, 5000) n")
        connection.execute("checkpoint")
        [(path,)] = connection.execute("select pg_relation_filepath('paid')").fetchall()
    whole = await read(checksums.scrub(HOST, server, walk(database)))
    assert [o.value for o in whole] == [0.0]
    assert [o.value for o in await read(checksums.reader(server))] == [0.0]

    database.stop()
    with (database.data / path).open("r+b") as file:
        file.seek(3 * 8192 + 4000)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    database.start()
    [found] = await read(checksums.scrub(HOST, server, walk(database)))
    assert found.value == 1
    assert path in found.why
    assert "block 3" in found.why
    with database.connect() as connection:
        with pytest.raises(psycopg.errors.DataCorrupted):
            connection.execute("select count(*) from paid")
        connection.execute("drop table paid")
    [counted] = await read(checksums.reader(server))
    assert counted.value is not None
    assert counted.value >= 1


async def test_a_server_that_hangs_or_is_gone_is_not_measured(database: Database, server: Server) -> None:
    os.kill(database.pid, signal.SIGSTOP)
    try:
        with pytest.raises(Unreachable, match="db-1: "):
            await read(connections.reader(server))
    finally:
        os.kill(database.pid, signal.SIGCONT)
    nowhere = Server("db-2", "local", lambda: "host=127.0.0.1 port=1 user=x password=do-not-tell connect_timeout=2")
    with pytest.raises(Unreachable) as refused:
        await read(connections.reader(nowhere))
    assert "do-not-tell" not in str(refused.value)


async def test_a_walk_that_may_not_log_in_is_not_measured(database: Database, server: Server) -> None:
    with database.connect() as connection:
        connection.execute("create role nobody_special login")
    wrong = checksums.Walk(**{**_fields(walk(database)), "role": "nobody_special"})
    with pytest.raises(Unreachable, match="ended early"):
        await read(checksums.scrub(HOST, server, wrong))


def _fields(of: checksums.Walk) -> dict[str, object]:
    return {name: getattr(of, name) for name in of.__slots__}


async def test_a_new_server_s_first_walk_is_not_due_yet(database: Database, server: Server) -> None:
    scrub = checksums.scrub(HOST, server, walk(database))
    assert scrub.unread is not None
    [found] = await scrub.unread(datetime.now(UTC))
    assert found.applicable is False
    assert found.why.startswith("not due before")
    [later] = await scrub.unread(datetime.now(UTC) + checksums.WALK_EVERY)
    assert later.applicable is True


@pytest.mark.clause("PMT")
async def test_the_distance_of_a_server_s_clock_is_measured_whichever_way_it_is(server: Server) -> None:
    [same] = await read(clock_spread.of_database(server))
    assert same.value is not None
    assert same.value < 50
    [behind] = await read(clock_spread.of_database(server, lambda: time.time() - 5))
    assert behind.value == pytest.approx(5000, abs=50)
    assert behind.why.startswith("ahead of")
    [ahead] = await read(clock_spread.of_database(server, lambda: time.time() + 5))
    assert ahead.value == pytest.approx(5000, abs=50)
    assert ahead.why.startswith("behind")


async def test_the_clock_of_a_server_that_is_gone_is_not_measured() -> None:
    gone = Server("db-1", "local", lambda: "host=127.0.0.1 port=1 connect_timeout=2")
    with pytest.raises(Unreachable, match="db-1"):
        await read(clock_spread.of_database(gone))
