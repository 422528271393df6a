from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from siaga.errors import Unreachable
from siaga.evidence.model import Record, Unrecorded
from siaga.health.model import Kind, Observation, Reader, Verdict
from siaga.health.service import CHANGED, HealthService
from siaga.health.store import FILE_NAME, Store
from siaga.site.health import HealthLimits
from siaga.sop.adherence import Adherence, aged
from siaga.sop.clauses import ClauseId

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Book:
    """Evidence as a list, which may refuse."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.full = False

    async def append(self, record: Record) -> int:
        if self.full:
            raise Unrecorded("the disk is full", hint="")
        self.records.append(record)
        return len(self.records)

    async def append_exempt(self, record: Record) -> None:
        self.records.append(record)


class Gauge:
    """Something with a value that a test sets."""

    def __init__(self, kind: Kind = Kind.DISK_SPACE, *, scrub: bool = False, deadline_s: float = 5.0) -> None:
        self.value: float | None | Exception = 10.0
        self.looks = 0
        self.hangs = asyncio.Event()
        self.hangs.set()
        self.reader = Reader(f"gauge of {kind}", "local", (kind,), self._read, "it", deadline_s=deadline_s, scrub=scrub)
        self._kind = kind

    async def _read(self, now: datetime) -> Sequence[Observation]:
        self.looks += 1
        await self.hangs.wait()
        if isinstance(self.value, Exception):
            raise self.value
        return [Observation(self._kind, "local", "it", self.value)]


def service(tmp_path: Path, *gauges: Gauge, book: Book | None = None) -> HealthService:
    return HealthService([g.reader for g in gauges], Store(tmp_path / FILE_NAME), HealthLimits(), book or Book())


async def test_every_reader_is_judged(tmp_path: Path) -> None:
    disk, slots = Gauge(), Gauge(Kind.SLOT_WAL)
    slots.value = 55.0
    verdicts = {r.observation.kind: r.verdict for r in await service(tmp_path, disk, slots).check(NOW)}
    assert verdicts == {Kind.DISK_SPACE: Verdict.OK, Kind.SLOT_WAL: Verdict.ACT_SOON}


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (Unreachable("db: connection refused", hint=""), "db: connection refused"),
        (FileNotFoundError(2, "No such file or directory", "dmesg"), "[Errno 2] No such file or directory: 'dmesg'"),
        (ZeroDivisionError(), "the reader failed: ZeroDivisionError"),
    ],
)
async def test_a_reader_that_fails_is_not_measured_and_hides_no_other(
    tmp_path: Path, error: Exception, why: str
) -> None:
    broken, whole = Gauge(), Gauge(Kind.SLOT_WAL)
    broken.value = error
    found = {r.observation.kind: r for r in await service(tmp_path, broken, whole).check(NOW)}
    assert found[Kind.DISK_SPACE].verdict is Verdict.NOT_MEASURED
    assert found[Kind.DISK_SPACE].why == why
    assert found[Kind.SLOT_WAL].verdict is Verdict.OK


async def test_a_reader_that_hangs_is_not_measured_after_its_deadline(tmp_path: Path) -> None:
    hung, whole = Gauge(deadline_s=0.05), Gauge(Kind.SLOT_WAL)
    hung.hangs.clear()
    found = {r.observation.kind: r for r in await service(tmp_path, hung, whole).check(NOW)}
    assert found[Kind.DISK_SPACE].why == "no answer within 0.05 s"
    assert found[Kind.SLOT_WAL].verdict is Verdict.OK


@pytest.mark.clause("PMT")
async def test_a_verdict_that_changes_is_recorded_once(tmp_path: Path) -> None:
    disk, book = Gauge(), Book()
    health = service(tmp_path, disk, book=book)
    await health.check(NOW)
    assert book.records == []
    disk.value = 85.0
    await health.check(NOW + HOUR)
    await health.check(NOW + 2 * HOUR)
    [record] = book.records
    assert record.kind == CHANGED
    assert record.clause == ClauseId.PMT
    assert record.figures["before"] == "ok"
    assert record.figures["verdict"] == "act soon"


async def test_a_change_that_the_evidence_refused_is_recorded_when_it_can_be(tmp_path: Path) -> None:
    disk, book = Gauge(), Book()
    health = service(tmp_path, disk, book=book)
    book.full, disk.value = True, 95.0
    await health.check(NOW)
    assert book.records == []
    assert health.readings[0].verdict is Verdict.ACT_NOW
    book.full = False
    await health.check(NOW + HOUR)
    assert [r.figures["verdict"] for r in book.records] == ["act now"]


async def test_a_restart_forgets_nothing_and_reports_nothing_twice(tmp_path: Path) -> None:
    disk, book = Gauge(), Book()
    disk.value = 85.0
    await service(tmp_path, disk, book=book).check(NOW)
    again = service(tmp_path, disk, book=book)
    await again.run_pass(NOW + timedelta(minutes=10))
    assert [r.verdict for r in again.readings] == [Verdict.ACT_SOON]
    assert again.readings[0].at == NOW
    assert disk.looks == 1
    await again.run_pass(NOW + HOUR)
    assert disk.looks == 2
    assert len(book.records) == 1


async def test_it_looks_once_an_hour_and_not_while_the_platform_starts(tmp_path: Path) -> None:
    disk = Gauge()
    health = service(tmp_path, disk)
    looks = []
    for minute in range(130):
        await health.run_pass(NOW + timedelta(minutes=minute))
        looks.append(disk.looks)
    assert looks[0] == 0
    assert looks[1] == 1
    assert looks[60] == 1
    assert looks[61] == 2
    assert looks[-1] == 3


async def test_a_clock_that_is_set_back_does_not_stop_the_looking(tmp_path: Path) -> None:
    disk = Gauge()
    health = service(tmp_path, disk)
    await health.run_pass(NOW)
    await health.run_pass(NOW + HOUR)
    await health.run_pass(NOW - timedelta(days=3))
    assert disk.looks == 2


async def test_the_trend_lives_through_restarts(tmp_path: Path) -> None:
    disk = Gauge()
    for day in range(8):
        disk.value = 20.0 + 5 * day
        [reading] = await service(tmp_path, disk).check(NOW + timedelta(days=day))
    assert reading.verdict is Verdict.ACT_SOON
    assert reading.days_left == pytest.approx((92 - 55) / 5)


async def test_a_scrub_that_never_ran_is_not_measured_and_a_check_does_not_wait_for_one(tmp_path: Path) -> None:
    disk, scrub = Gauge(), Gauge(Kind.SCRUB_FAILURES, scrub=True)
    health = service(tmp_path, disk, scrub)
    await health.run_pass(NOW)
    assert [r.verdict for r in health.readings] == [Verdict.NOT_MEASURED]
    scrub.hangs.clear()
    scrub.value = 0.0
    under_way = asyncio.create_task(health.scrub(NOW))
    [read] = await health.check(NOW)
    assert read.observation.kind is Kind.DISK_SPACE
    scrub.hangs.set()
    [walked] = await under_way
    assert walked.verdict is Verdict.OK
    assert {r.verdict for r in health.readings} == {Verdict.OK}


async def test_a_first_scrub_that_is_not_due_is_asked_again_until_it_ran(tmp_path: Path) -> None:
    scrub, book = Gauge(Kind.SCRUB_FAILURES, scrub=True), Book()
    due = False

    async def unread(now: datetime) -> Sequence[Observation]:
        return [Observation(Kind.SCRUB_FAILURES, "local", "it", None, "asked", applicable=due)]

    readers = [replace(scrub.reader, unread=unread)]
    health = HealthService(readers, Store(tmp_path / FILE_NAME), HealthLimits(), book)
    assert [r.verdict for r in await health.check(NOW)] == [Verdict.NOT_APPLICABLE]
    assert book.records == []
    due = True
    again = HealthService(readers, Store(tmp_path / FILE_NAME), HealthLimits(), book)
    assert [r.verdict for r in await again.check(NOW)] == [Verdict.NOT_MEASURED]
    assert [r.figures["verdict"] for r in book.records] == ["not measured"]
    scrub.value = 0.0
    await again.scrub(NOW)
    assert await again.check(NOW) == ()
    assert [r.verdict for r in again.readings] == [Verdict.OK]


@pytest.mark.clause("PMT")
async def test_what_is_not_applicable_is_shown_and_never_counted_as_ok(tmp_path: Path) -> None:
    readers = [Gauge(kind).reader for kind in (Kind.CLOCK_OFFSET, Kind.DISK_SPACE, Kind.DISK_INODES)]

    async def nothing(now: datetime) -> Sequence[Observation]:
        return [Observation(Kind.DISK_INODES, "local", "it", None, "none", applicable=False)]

    async def no_clock(now: datetime) -> Sequence[Observation]:
        return [Observation(Kind.CLOCK_OFFSET, "local", "it", None, "none", applicable=False)]

    readers[0], readers[2] = replace(readers[0], read=no_clock), replace(readers[2], read=nothing)
    health = HealthService(readers, Store(tmp_path / FILE_NAME), HealthLimits(), Book())
    await health.check(NOW)
    [disks] = health.standing()
    assert disks.adherence is Adherence.HOLDS
    assert disks.figure == "1 of 1 readings ok, 1 not applicable"
    assert health.show()["verdict"] == "ok"
    assert health.show()["counts"]["not applicable"] == 2
    # A group of nothing else holds nothing.
    only = HealthService([readers[2]], Store(tmp_path / "other.db"), HealthLimits(), Book())
    await only.check(NOW)
    assert only.standing() == ()
    assert only.show()["verdict"] == "not measured"


async def test_a_damaged_file_is_set_aside_and_the_next_look_begins_a_new_one(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"this is no database at all, whatever its name says" * 100)
    disk = Gauge()
    health = service(tmp_path, disk)
    [reading] = await health.check(NOW)
    assert reading.verdict is Verdict.OK
    await health.check(NOW + HOUR)
    assert health.show()["trouble"] == ""
    assert (tmp_path / FILE_NAME).with_suffix(".damaged").exists()
    assert len(Store(tmp_path / FILE_NAME).history(NOW - HOUR)) == 1


async def test_a_file_that_can_t_be_written_costs_the_trend_alone(tmp_path: Path) -> None:
    disk = Gauge()
    health = HealthService([disk.reader], Store(tmp_path / "missing" / FILE_NAME), HealthLimits(), Book())
    [reading] = await health.check(NOW)
    assert reading.verdict is Verdict.OK
    assert "unable to open" in health.show()["trouble"]


@pytest.mark.clause("PMT")
async def test_the_clause_is_as_bad_as_its_worst_reading_and_ages_in_a_week(tmp_path: Path) -> None:
    disk, slots = Gauge(), Gauge(Kind.SLOT_WAL)
    health = service(tmp_path, disk, slots)
    [nothing] = health.standing()
    assert nothing.adherence is Adherence.NOT_MEASURED
    for value, adherence in ((10.0, Adherence.HOLDS), (85.0, Adherence.AT_RISK), (99.0, Adherence.BROKEN)):
        disk.value = value
        await health.check(NOW)
        parts = {part.part: part.adherence for part in health.standing()}
        assert parts == {"disks": adherence, "replication slots": Adherence.HOLDS}
    disk.value = None
    await health.check(NOW)
    [part] = [p for p in health.standing() if p.part == "disks"]
    assert part.adherence is Adherence.NOT_MEASURED
    [slot] = [p for p in health.standing() if p.part == "replication slots"]
    assert aged(slot, NOW + timedelta(days=7)).adherence is Adherence.HOLDS
    assert aged(slot, NOW + timedelta(days=8)).adherence is Adherence.NOT_MEASURED


# The file -----------------------------------------------------------------------------------------------------


def seen(value: float) -> list[Observation]:
    return [Observation(Kind.DISK_SPACE, "local", "/", value)]


def test_many_looks_within_an_hour_push_nothing_out(tmp_path: Path) -> None:
    store = Store(tmp_path / FILE_NAME)
    store.append("disks", seen(1), NOW)
    for second in range(100):
        store.append("disks", seen(2), NOW + HOUR + timedelta(seconds=second))
    assert [p.value for p in store.history(NOW)[Kind.DISK_SPACE, "local", "/"]] == [1, 2]


def test_the_newest_hours_are_kept_whatever_the_clock_does(tmp_path: Path) -> None:
    store = Store(tmp_path / FILE_NAME, hours_kept=10)
    for hour in range(15):
        store.append("disks", seen(hour), NOW + hour * HOUR)
    assert [p.value for p in store.history(NOW)[Kind.DISK_SPACE, "local", "/"]] == list(range(5, 15))
    store.append("disks", seen(0), NOW + timedelta(days=4000))
    assert len(store.history(NOW)[Kind.DISK_SPACE, "local", "/"]) == 10
    [remembered] = store.latest(NOW + 14 * HOUR).values()
    assert remembered.at == NOW + 14 * HOUR
    assert remembered.observations[0].value == 14


def test_a_kind_of_another_release_is_passed_over(tmp_path: Path) -> None:
    store = Store(tmp_path / FILE_NAME)
    store.append("disks", seen(1), NOW)
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("update observation set kind = 'disk_smell'")
    assert store.history(NOW - HOUR) == {}
    assert store.latest(NOW) == {}


def test_a_file_of_an_earlier_release_is_read_and_written_on(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute(
            "create table observation (hour integer not null, reader text not null, kind text not null, "
            "host text not null, subject text not null, at_s real not null, value real, why text not null, "
            "primary key (hour, reader, kind, host, subject)) without rowid"
        )
        at_s = NOW.timestamp()
        connection.execute(
            "insert into observation values (?, 'disks', 'disk_space_used_percent', 'local', '/', ?, 1, '')",
            (int(at_s // 3600), at_s),
        )
    store = Store(tmp_path / FILE_NAME)
    assert store.latest(NOW)["disks"].observations == tuple(seen(1))
    nothing = Observation(Kind.DISK_SPACE, "local", "/", None, "none", applicable=False)
    store.append("disks", [nothing], NOW + HOUR)
    assert store.latest(NOW + HOUR)["disks"].observations == (nothing,)
