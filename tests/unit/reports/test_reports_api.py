"""`/v1/reports`: the record of a report, asked for over HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, Request

from siaga.controller.reports_api import create_router
from siaga.evidence.model import Record

pytestmark = pytest.mark.clause("SUM")
WRITTEN = {
    "month": "2026-11",
    "stage": "final",
    "verdict": "at risk",
    "checkpoint_size": 1100,
    "files": [{"name": "siaga-report-payments-2026-11.html", "sha256": "ab" * 32}],
}


class Log:
    """Keeps what is recorded."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    async def append(self, record: Record) -> int:
        self.records.append(record)
        return len(self.records) - 1

    async def history(self, domain: str) -> Sequence[Mapping[str, Any]]:
        return [
            {"number": number, "time": "2026-12-01T03:00:00.000Z", "actor": record.actor, "figures": record.figures}
            for number, record in enumerate(self.records)
            if record.kind.startswith(f"{domain}.")
        ]


def ayu(request: Request) -> str:
    return "ayu"


def client(log: Log) -> httpx2.AsyncClient:
    api = FastAPI()
    api.include_router(create_router(log, ayu))
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=api), base_url="http://controller")


async def test_a_report_is_recorded_with_its_digest_and_by_whom_and_then_listed() -> None:
    log = Log()
    async with client(log) as controller:
        assert (await controller.post("/v1/reports", json=WRITTEN)).json() == {"record": 0}
        listed = (await controller.get("/v1/reports")).json()["reports"]
    assert (log.records[0].kind, log.records[0].actor, log.records[0].clause) == ("report.written", "ayu", "SUM")
    assert listed == [{**WRITTEN, "record": 0, "at": "2026-12-01T03:00:00.000Z", "by": "ayu"}]


@pytest.mark.parametrize(
    "wrong",
    [
        {"month": "2026-13"},
        {"verdict": "splendid"},
        {"files": []},
        {"files": [{"name": "x", "sha256": "ab"}]},
        {"x": 1},
    ],
)
async def test_what_is_no_report_is_refused_and_nothing_recorded(wrong: dict[str, Any]) -> None:
    log = Log()
    async with client(log) as controller:
        assert (await controller.post("/v1/reports", json={**WRITTEN, **wrong})).status_code == 422
    assert log.records == []
