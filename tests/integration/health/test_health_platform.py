"""Everything that is read of the embedded platform, read from one that runs."""

from __future__ import annotations

import functools
from datetime import UTC, datetime

import pytest
from platform_under_test import Platform, eventually

from siaga.controller import health_wiring
from siaga.evidence.model import Record
from siaga.health import checksums
from siaga.health.model import Kind, Verdict
from siaga.health.service import HealthService
from siaga.hosts.local import LocalHost
from siaga.platform import account, lifecycle


class Unwritten:
    """The controller's own evidence is not this process's to write."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    async def append(self, record: Record) -> int:
        self.records.append(record)
        return len(self.records)

    async def append_exempt(self, record: Record) -> None:
        self.records.append(record)


WALK = checksums.Walk


@pytest.fixture
def health(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> HealthService:
    monkeypatch.setenv("SIAGA_HOME", str(platform.home))
    layout = lifecycle.required(account.home())
    pids = {name: pid for name, pid in platform.pids().items() if pid is not None}
    monkeypatch.setattr(health_wiring, "FILE_NAME", "health-of-a-test.db")
    # Waiting for the next ordinary checkpoint takes minutes, and nobody is disturbed here.
    monkeypatch.setattr(checksums, "Walk", functools.partial(WALK, checkpoint="fast"))
    return health_wiring.put_together(layout, LocalHost(), Unwritten(), lambda: pids)


@pytest.mark.clause("PMT")
async def test_every_part_of_a_running_platform_is_read(health: HealthService) -> None:
    readings = await health.check(datetime.now(UTC))
    kinds = {r.observation.kind for r in readings}
    assert kinds == set(Kind) - {Kind.CERTIFICATE}
    measured = {r.observation.kind for r in readings if r.verdict is not Verdict.NOT_MEASURED}
    # What a machine may keep to itself: the kernel's log, its filesystem's own count.
    assert kinds - measured <= {Kind.KERNEL_ERRORS, Kind.FILESYSTEM_ERRORS}
    versions = {r.observation.subject: r for r in readings if r.observation.kind is Kind.SUPPORT}
    assert "postgresql 18" in versions["transactions-1"].why
    assert "envoy 1." in versions["front door"].why
    assert [versions[f"sessions-{n}"].verdict for n in range(1, 7)] == [Verdict.OK] * 6
    # Where it comes from its distribution, that mends it; elsewhere nobody says until when.
    assert "mended by" in versions["pgbouncer"].why or versions["pgbouncer"].verdict is Verdict.NOT_MEASURED
    [clock] = [r for r in readings if r.observation.kind is Kind.CLOCK_OFFSET]
    assert clock.verdict is not Verdict.NOT_MEASURED
    apart = {r.observation.subject: r for r in readings if r.observation.kind is Kind.CLOCK_SPREAD}
    assert set(apart) == {"transactions-1", "transactions-2", "history-1", *(f"sessions-{n}" for n in range(1, 7))}
    assert [r.why for r in apart.values() if r.verdict is not Verdict.OK] == []
    walks = [r for r in readings if r.observation.kind is Kind.SCRUB_FAILURES]
    assert {r.verdict for r in walks} == {Verdict.NOT_APPLICABLE}
    slots = {r.observation.subject for r in readings if r.observation.kind is Kind.SLOT_WAL}
    assert any(slot.startswith("transactions-1/") for slot in slots)
    limited = (Kind.CONNECTIONS, Kind.POOLER_CLIENTS, Kind.SESSION_CLIENTS, Kind.FILE_DESCRIPTORS)
    assert [r.why for r in readings if r.observation.kind in limited and r.verdict is not Verdict.OK] == []


@pytest.mark.clause("PMT")
async def test_the_data_of_every_database_server_is_walked_through(health: HealthService) -> None:
    readings = await health.scrub(datetime.now(UTC))
    assert {r.observation.subject for r in readings} == {"transactions-1", "transactions-2", "history-1"}
    assert [r.why for r in readings if r.verdict is not Verdict.OK] == []


@pytest.mark.clause("PMT")
def test_the_controller_reads_when_asked_and_the_clause_says_what_was_read(platform: Platform) -> None:
    checked = platform.siaga("health", "check", "--json")
    assert checked.code in (0, 1, 3), checked.stderr
    assert checked.document["counts"]["ok"] > 20
    shown = platform.siaga("health", "--json").document["readings"]
    read = checked.document["readings"]
    assert {(one["kind"], one["subject"]) for one in shown} == {(one["kind"], one["subject"]) for one in read}

    def disks() -> object:
        clauses = platform.siaga("sop", "--json").document["clauses"]
        [clause] = [each for each in clauses if each["clause"] == "PMT"]
        return [part for part in clause["parts"] if part["part"] == "disks" and part["figure"]]

    eventually(disks, "`siaga sop` shows the disks")
