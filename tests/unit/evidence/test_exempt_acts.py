"""Exempt acts: whatever they hold and wherever they can be noted, none is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from siaga.evidence.document import Exempt, Stamp
from siaga.evidence.exempt import BODY_BYTES_MAX, ExemptActs
from siaga.evidence.model import Record, Unrecorded
from siaga.evidence.spool import Spool

pytestmark = pytest.mark.clause("DRP")

NOW = Stamp("2026-11-23T04:00:00.000Z", 100.0, "boot")


class Log:
    """Takes records unless it is told not to; what is lost on the way back is in it all the same."""

    def __init__(self) -> None:
        self.records: list[tuple[Record, Exempt]] = []
        self.refuses = False
        self.keeps_in_secret = False
        self.searched = 0

    async def append(self, record: Record, exempt: Exempt) -> None:
        if self.keeps_in_secret:
            self.records.append((record, exempt))
        if self.refuses or self.keeps_in_secret:
            raise Unrecorded("away", hint="wait")
        self.records.append((record, exempt))

    async def recorded(self, since: int) -> set[str]:
        self.searched += 1
        return {exempt.id for _, exempt in self.records[since:]}


def acts(path: Path, log: Log) -> ExemptActs:
    return ExemptActs(path, append=log.append, recorded=log.recorded)


def an_act(reason: str = "fenced", **figures: object) -> Record:
    return Record("database.fence", "controller", "DRP-3.1", reason, figures)


async def drained(exempt: ExemptActs) -> None:
    async with asyncio.timeout(10):
        while exempt.waiting:
            await asyncio.sleep(0.01)


async def test_an_act_is_moved_into_the_log_with_when_it_was_done(tmp_path: Path) -> None:
    log = Log()
    exempt = acts(tmp_path / "spool", log)
    exempt.open()
    exempt.note(an_act(lag_bytes=7), NOW, 0)
    exempt.begin_to_drain()
    await drained(exempt)
    await exempt.close()
    [(record, found)] = log.records
    assert (record, found.at) == (an_act(lag_bytes=7), NOW)
    assert Spool(tmp_path / "spool").found == []


async def test_acts_of_an_earlier_process_come_first_and_once(tmp_path: Path) -> None:
    log = Log()
    first = acts(tmp_path / "spool", log)
    first.open()
    for n in range(3):
        first.note(an_act(f"act {n}"), NOW, 0)
    await first.close()
    # The process was killed after one of them had reached the log, and before that was noted.
    log.records.append((an_act("act 1"), Exempt(first._waiting[1].id, NOW)))
    second = acts(tmp_path / "spool", log)
    second.open()
    second.note(an_act("act 3"), NOW, 1)
    second.begin_to_drain()
    await drained(second)
    await second.close()
    assert [record.reason for record, _ in log.records] == ["act 1", "act 0", "act 2", "act 3"]


async def test_an_act_whose_write_had_an_unknown_end_is_looked_for_before_it_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("siaga.evidence.exempt.RETRY_S", 0.01)
    log = Log()
    exempt = acts(tmp_path / "spool", log)
    exempt.open()
    exempt.begin_to_drain()
    log.keeps_in_secret = True
    exempt.note(an_act(), NOW, 0)
    async with asyncio.timeout(10):
        while not log.records:
            await asyncio.sleep(0.001)
    log.keeps_in_secret = False
    await drained(exempt)
    await exempt.close()
    assert len(log.records) == 1
    assert log.searched


async def test_acts_that_can_not_be_put_into_json_are_noted_without_what_can_not(tmp_path: Path) -> None:
    log = Log()
    exempt = acts(tmp_path / "spool", log)
    exempt.open()
    exempt.note(an_act(server=object()), NOW, 0)
    exempt.note(an_act("half a pair \ud800"), NOW, 0)
    exempt.note(an_act(list_of=["x" * 100] * 2000), NOW, 0)
    exempt.begin_to_drain()
    await drained(exempt)
    await exempt.close()
    assert [record.kind for record, _ in log.records] == ["database.fence"] * 3
    assert "figures.server" in str(log.records[0][0].figures["not_recorded"])
    assert log.records[1][0].reason == "half a pair ?"
    assert f"at most {BODY_BYTES_MAX}" in str(log.records[2][0].figures["not_recorded"])


async def test_without_a_spool_acts_wait_in_memory_and_that_is_counted(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    log = Log()
    exempt = acts(tmp_path / "spool", log)
    exempt.open()
    exempt.note(an_act(), NOW, 0)
    assert (exempt.waiting, exempt.in_memory) == (1, 1)
    exempt.begin_to_drain()
    await drained(exempt)
    await exempt.close()
    assert len(log.records) == 1


async def test_more_acts_than_the_spool_has_room_for_wait_in_memory(tmp_path: Path) -> None:
    log = Log()
    exempt = acts(tmp_path / "spool", log)
    exempt.open()
    for n in range(1030):
        exempt.note(an_act(f"act {n}"), NOW, 0)
    assert (exempt.waiting, exempt.in_memory) == (1030, 6)
    exempt.begin_to_drain()
    await drained(exempt)
    await exempt.close()
    assert [record.reason for record, _ in log.records] == [f"act {n}" for n in range(1030)]
