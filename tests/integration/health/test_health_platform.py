"""Everything that is read of the embedded platform, read from one that runs."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from platform_under_test import Platform

from siaga.controller import health_wiring
from siaga.evidence.model import Record
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


@pytest.fixture
def health(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> HealthService:
    monkeypatch.setenv("SIAGA_HOME", str(platform.home))
    layout = lifecycle.required(account.home())
    pids = {name: pid for name, pid in platform.pids().items() if pid is not None}
    monkeypatch.setattr(health_wiring, "FILE_NAME", "health-of-a-test.db")
    return health_wiring.put_together(layout, LocalHost(), Unwritten(), lambda: pids)


@pytest.mark.clause("PMT")
async def test_every_part_of_a_running_platform_is_read(health: HealthService) -> None:
    readings = await health.check(datetime.now(UTC))
    kinds = {r.observation.kind for r in readings}
    assert kinds == set(Kind) - {Kind.SCRUB_FAILURES, Kind.CERTIFICATE}
    measured = {r.observation.kind for r in readings if r.verdict is not Verdict.NOT_MEASURED}
    # What an embedded platform may really not know: its clock, the kernel's log, its filesystem's own count.
    assert kinds - measured <= {Kind.CLOCK_OFFSET, Kind.KERNEL_ERRORS, Kind.FILESYSTEM_ERRORS}
    versions = {r.observation.subject: r for r in readings if r.observation.kind is Kind.SUPPORT}
    assert "postgresql 18" in versions["transactions-1"].why
    assert "envoy 1." in versions["front door"].why
    assert versions["pgbouncer"].verdict is Verdict.NOT_MEASURED
    slots = {r.observation.subject for r in readings if r.observation.kind is Kind.SLOT_WAL}
    assert any(slot.startswith("transactions-1/") for slot in slots)
    limited = (Kind.CONNECTIONS, Kind.POOLER_CLIENTS, Kind.SESSION_CLIENTS, Kind.FILE_DESCRIPTORS)
    assert [r.why for r in readings if r.observation.kind in limited and r.verdict is not Verdict.OK] == []
