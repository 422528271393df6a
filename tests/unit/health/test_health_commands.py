"""`siaga health`, `/v1/health` and the run `health-check`, over readings that a test makes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, Request

from siaga.cli import ask, health
from siaga.controller.health_api import create_router
from siaga.controller.health_runbook import NAME, runbook
from siaga.errors import Exit, Unreachable
from siaga.evidence.model import Record
from siaga.health.model import Kind, Observation, Reader
from siaga.health.service import HealthService
from siaga.health.store import FILE_NAME, Store
from siaga.platform import lifecycle
from siaga.runbooks.model import Context, Document, Manner, Step
from siaga.site.health import HealthLimits
from siaga.sop.clauses import ClauseId


class Unheard:
    async def append(self, record: Record) -> int:
        return 0

    async def append_exempt(self, record: Record) -> None:
        return None


def reader(kind: Kind, value: float | None, *, scrub: bool = False) -> Reader:
    async def read(now: datetime) -> Sequence[Observation]:
        return [Observation(kind, "local", "it", value, "a test says so")]

    return Reader(f"reader of {kind}", "local", (kind,), read, "it", scrub=scrub)


def service(directory: Path, *readers: Reader) -> HealthService:
    return HealthService(readers, Store(directory / FILE_NAME), HealthLimits(), Unheard())


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A platform whose controller does not answer."""
    site = SimpleNamespace(health=SimpleNamespace(limits=HealthLimits()))
    layout = SimpleNamespace(site=site, directory=lambda part: tmp_path)
    monkeypatch.setattr(lifecycle, "required", lambda home: layout)

    def silent(path: str) -> object:
        raise Unreachable("the controller does not answer", hint="Start it.")

    monkeypatch.setattr(ask, "get", silent)
    return tmp_path


@pytest.mark.clause("PMT")
@pytest.mark.parametrize(
    ("value", "code", "verdict"),
    [
        (10.0, Exit.DONE, "ok"),
        (85.0, Exit.DOES_NOT_HOLD, "act soon"),
        (99.0, Exit.DOES_NOT_HOLD, "act now"),
        (None, Exit.UNDETERMINED, "not measured"),
    ],
)
async def test_the_last_readings_are_shown_with_the_controller_dead(
    state: Path, capsys: pytest.CaptureFixture[str], value: float | None, code: Exit, verdict: str
) -> None:
    await service(state, reader(Kind.DISK_SPACE, value)).check(datetime.now(UTC))
    capsys.readouterr()
    assert health.show(json=True) == code
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found["verdict"] == verdict
    assert found["readings"][0]["value"] == value
    assert "this is from health.db" in said.err


async def test_people_read_what_to_act_on_first(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    readers = (reader(Kind.DISK_SPACE, 10.0), reader(Kind.SUPPORT, -2.0), reader(Kind.CLOCK_OFFSET, None))
    await service(state, *readers).check(datetime.now(UTC))
    capsys.readouterr()
    health.show()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[1:4]] == ["act now", "not measured", "ok"]
    assert lines[-1] == "1 act now, 1 not measured, 1 ok"


def test_without_controller_and_readings_there_is_no_answer(state: Path) -> None:
    with pytest.raises(Unreachable, match="the controller does not answer"):
        health.show()
    assert not (state / FILE_NAME).exists()


def ann(request: Request) -> str:
    return "ann"


async def test_the_api_shows_what_was_read_and_reads_when_asked(tmp_path: Path) -> None:
    api = FastAPI()
    api.include_router(create_router(service(tmp_path, reader(Kind.DISK_SPACE, 85.0)), ann))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=api), base_url="http://siaga") as client:
        assert (await client.get("/v1/health")).json()["readings"] == []
        assert (await client.post("/v1/health/check")).json()["verdict"] == "act soon"
        assert len((await client.get("/v1/health")).json()["readings"]) == 1


@dataclass
class Run:
    """What a step is told."""

    run: str = "health-check/2026-11-30"
    key: str = "1"
    epoch: int = 1
    manner: Manner = Manner.REAL
    parameters: Document = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def say(self, progress: str) -> None:
        self.said.append(progress)


@pytest.mark.clause("PMT")
async def test_the_weekly_run_keeps_every_value_and_what_to_act_on(tmp_path: Path) -> None:
    readers = (reader(Kind.DISK_SPACE, 10.0), reader(Kind.SLOT_WAL, 60.0), reader(Kind.SCRUB_FAILURES, 0, scrub=True))
    procedure = runbook(service(tmp_path, *readers))
    assert (procedure.name, procedure.clause) == (NAME, ClauseId.PMT)
    steps = [step for step in procedure.steps if isinstance(step, Step)]
    context: Context = Run()
    check, scrub = [await step.act(context) for step in steps]
    assert check is not None
    assert scrub is not None
    assert check["verdict"] == "act soon"
    assert check["values"] == {"disk_space_used_percent it": 10.0, "slot_wal_percent it": 60.0}
    assert [one["kind"] for one in check["to_act_on"]] == ["slot_wal_percent"]
    assert scrub["values"] == {"scrub_failures it": 0}
    json.dumps([check, scrub])
    assert [await step.check(context) for step in steps] == [False, False]


def test_the_run_gives_each_server_s_walk_its_time(tmp_path: Path) -> None:
    walks = [reader(Kind.SCRUB_FAILURES, 0, scrub=True), reader(Kind.CHECKSUM_FAILURES, 0, scrub=True)]
    last = runbook(service(tmp_path, *walks)).steps[-1]
    assert isinstance(last, Step)
    assert last.deadline_s > sum(walk.deadline_s for walk in walks)
