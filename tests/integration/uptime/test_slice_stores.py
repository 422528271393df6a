"""What holds of every store of slices: a file, and a real PostgreSQL that is fenced by the leader's epoch."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from contest import StateDatabase
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from incident_service import Log

from siaga.errors import StoreFault, Unreachable
from siaga.sop.limits import Limits
from siaga.sop.month import Month
from siaga.uptime.book import Book
from siaga.uptime.model import Reclassification, Slice, Source, State, Step
from siaga.uptime.postgres import PostgresStore
from siaga.uptime.sqlite import FILE_NAME, SqliteStore
from siaga.uptime.store import SliceStore
from siaga.uptime.timeline import joined, overlay

pytestmark = pytest.mark.clause("ZDT-1")
GOOD, BAD, UNKNOWN = State.GOOD, State.BAD, State.UNKNOWN
OUTAGE = Slice(20, 30, BAD, 400_000, True, ("sgp",), (Step.LOG_IN,), (Source.TRAFFIC,), "log in: answered 503")
WORD = Reclassification(20, 25, GOOD, "ana", "a drill", 17)


@dataclass
class Stores:
    """Opens the same store again and again."""

    make: Callable[[bool], SliceStore]
    clear: Callable[[], object]
    opened: list[SliceStore] = field(default_factory=list)

    def writer(self) -> SliceStore:
        return self._keep(self.make(False))

    def reader(self) -> SliceStore:
        return self._keep(self.make(True))

    def _keep(self, store: SliceStore) -> SliceStore:
        self.opened.append(store)
        return store


@pytest.fixture(params=["sqlite", "postgresql"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stores]:
    if request.param == "sqlite":
        directory = tmp_path / "kept"

        def clear() -> None:
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()

        clear()
        made = Stores(lambda read_only: SqliteStore(directory / FILE_NAME, read_only=read_only), clear)
    else:
        database = request.getfixturevalue("database")
        made = Stores(
            lambda read_only: postgres(database, epoch=0 if read_only else 1),
            lambda: database.query("drop schema if exists siaga_uptime cascade"),
        )
    yield made
    for store in made.opened:
        store.close()


def postgres(database: StateDatabase, *, epoch: int = 1) -> PostgresStore:
    return PostgresStore(lambda: psycopg.connect(database.conninfo, application_name="siaga uptime"), epoch=epoch)


@st.composite
def rows(draw: st.DrawFn) -> tuple[Slice, ...]:
    found, reached = [], 0
    for gap, length, state in draw(
        st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4), st.sampled_from(State)), max_size=5)
    ):
        found.append(Slice(reached + gap, reached + gap + length, state))
        reached = found[-1].end_ms
    return joined(found)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(rows(), max_size=6))
def test_it_holds_what_was_laid_over_each_other(stores: Stores, batches: list[tuple[Slice, ...]]) -> None:
    stores.clear()
    store = stores.make(False)
    expected: tuple[Slice, ...] = ()
    store.begin(0)
    for batch in batches:
        store.record(batch)
        expected = overlay(expected, batch)
    assert store.slices(0, 1000) == expected
    assert store.slices(5, 9) == tuple(each for each in expected if each.begin_ms < 9 and each.end_ms > 5)
    store.close()


def test_a_month_that_stays_good_is_one_row(stores: Stores) -> None:
    store = stores.writer()
    for second in range(200):
        store.record((Slice(second * 1000, (second + 1) * 1000, GOOD),))
    assert store.slices(0, 10**9) == (Slice(0, 200_000, GOOD),)


def test_everything_about_an_outage_survives_a_restart(stores: Stores) -> None:
    store = stores.writer()
    store.record((Slice(0, 20, GOOD), OUTAGE))
    store.reclassify(WORD)
    store.reclassify(WORD)
    store.begin(5)
    store.begin(9)
    store.close()
    again = stores.writer()
    assert again.slices(0, 100) == (Slice(0, 20, GOOD), OUTAGE)
    assert again.reclassifications() == (WORD,)
    assert again.began_ms() == 5


def test_a_reader_sees_what_a_writer_that_was_killed_had_kept_and_writes_nothing(stores: Stores) -> None:
    writer = stores.writer()
    writer.record((Slice(0, 20, GOOD), OUTAGE))
    # Not closed: a killed process leaves everything behind as it is.
    reader = stores.reader()
    assert reader.slices(0, 100)[-1] == OUTAGE
    with pytest.raises(StoreFault):
        reader.record((Slice(30, 40, GOOD),))
    writer.record((Slice(30, 40, GOOD),))
    assert reader.slices(30, 40) == (Slice(30, 40, GOOD),)


def test_nothing_measured_yet_is_said_and_nothing_is_made(stores: Stores) -> None:
    for _ in range(2):
        with pytest.raises(Unreachable, match="nothing was measured") as told:
            stores.reader().slices(0, 100)
        assert told.value.hint


# PostgreSQL alone -------------------------------------------------------------------------------------------


def test_an_epoch_that_is_over_can_write_nothing(database: StateDatabase) -> None:
    old, new = postgres(database), postgres(database, epoch=2)
    old.record((Slice(0, 20, GOOD),))
    database.query("update siaga_state.leader set epoch = 2")
    writes: list[Callable[[], None]] = [
        lambda: old.record((Slice(20, 40, GOOD),)),
        lambda: old.begin(1),
        lambda: old.reclassify(WORD),
    ]
    for write in writes:
        with pytest.raises(StoreFault, match="another controller leads, epoch 1 is over"):
            write()
    new.record((Slice(25, 30, BAD),))
    assert new.slices(0, 100) == (Slice(0, 20, GOOD), Slice(25, 30, BAD))
    assert (new.began_ms(), new.reclassifications()) == (None, ())
    old.close()
    new.close()


async def test_a_new_leader_waits_for_what_is_being_committed(database: StateDatabase) -> None:
    old = postgres(database)
    old.begin(1)
    with psycopg.connect(database.conninfo) as taking_over:
        taking_over.execute("update siaga_state.leader set epoch = 2")
        recording = asyncio.create_task(asyncio.to_thread(old.record, (OUTAGE,)))
        done, _ = await asyncio.wait([recording], timeout=0.5)
        assert not done
    with pytest.raises(StoreFault, match="epoch 1 is over"):
        await recording
    assert old.slices(0, 100) == ()
    old.close()


def test_a_store_that_may_make_nothing_says_so_without_its_password(database: StateDatabase) -> None:
    database.query("drop role if exists stranger")
    database.query("create role stranger login")
    conninfo = database.conninfo.replace("user=siaga_state", "user=stranger password=hunter2")
    store = PostgresStore(lambda: psycopg.connect(conninfo), epoch=1)
    for _ in range(2):
        with pytest.raises(StoreFault, match="permission denied") as told:
            store.begin(1)
        assert "hunter2" not in str(told.value)


# The book over it -------------------------------------------------------------------------------------------


async def test_while_the_database_is_away_measuring_goes_on_and_all_is_kept_when_it_is_back(
    database: StateDatabase,
) -> None:
    book = Book(postgres(database), Log(), Limits().uptime)
    await book.open((), 1000)
    book.begin(1000)
    book.keep((Slice(1000, 20_000, GOOD),), 20_000)
    await book.save()
    await asyncio.to_thread(database.server.stop)
    try:
        book.keep((Slice(20_000, 30_000, BAD, why="database away"),), 30_000)
        await book.save()
        book.keep((Slice(30_000, 40_000, GOOD),), 40_000)
        await book.save()
        assert "can't be kept" in book.trouble
        with pytest.raises(Unreachable, match="can't be read") as told:
            await book.figures(Month.holding_ms(1000))
        assert "control-db" in told.value.hint
    finally:
        await asyncio.to_thread(database.server.start)
    await book.save()
    assert book.trouble == ""
    assert (await book.figures(Month.holding_ms(1000))).bad_ms == 10_000
    await book.close()
    assert [each.state for each in postgres(database, epoch=0).slices(0, 50_000)] == [GOOD, BAD, GOOD]


async def test_what_an_overtaken_leader_could_not_keep_is_unknown_and_never_up(database: StateDatabase) -> None:
    old = Book(postgres(database), Log(), Limits().uptime)
    await old.open((), 1000)
    old.begin(1000)
    old.keep((Slice(1000, 20_000, GOOD),), 20_000)
    await old.save()
    database.query("update siaga_state.leader set epoch = 2")
    old.keep((Slice(20_000, 50_000, GOOD),), 50_000)
    await old.close()
    assert "epoch 1 is over" in old.trouble
    new = Book(postgres(database, epoch=2), Log(), Limits().uptime)
    await new.open((), 60_000)
    assert new.began_ms == 1000
    new.keep((Slice(60_000, 70_000, GOOD),), 70_000)
    figures = await new.figures(Month.holding_ms(1000))
    assert (figures.good_ms, figures.unknown_ms) == (29_000, 40_000)
    await new.close()


async def test_a_book_whose_database_was_away_when_it_opened_takes_in_the_evidence_later(
    database: StateDatabase,
) -> None:
    history = [
        {"kind": "uptime.began", "figures": {"began_ms": 1000}},
        {
            "kind": "uptime.reclassified",
            "figures": {"begin_ms": 1000, "end_ms": 2000, "as": "bad"},
            "actor": "ana",
            "reason": "INC-7",
            "number": 3,
        },
    ]
    await asyncio.to_thread(database.server.stop)
    book = Book(postgres(database), Log(), Limits().uptime)
    try:
        assert await book.open(history, 5000) == ()
        assert (book.began_ms, bool(book.trouble)) == (1000, True)
    finally:
        await asyncio.to_thread(database.server.start)
    await book.save()
    await book.close()
    kept = postgres(database, epoch=0)
    assert (kept.began_ms(), [word.record for word in kept.reclassifications()]) == (1000, [3])
