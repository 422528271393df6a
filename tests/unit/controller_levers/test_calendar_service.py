"""The calendar's loop at chosen moments, and what people ask of it over the API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from siaga.controller.calendar_ports import Senses
from siaga.controller.calendar_service import CalendarService
from siaga.controller.freeze_watch import ChangeCalendarFile, FreezeWatch
from siaga.controller.levers import Levers, ModeRules
from siaga.controller.levers_api import create_router
from siaga.errors import BadInput, Refused, SiagaError, Unreachable
from siaga.evidence.model import Record, Unrecorded
from siaga.hosts.local import LocalHost
from siaga.runbooks.appointments import Appointment
from siaga.runbooks.freezes import Freeze
from siaga.runbooks.low_traffic import Level, Traffic
from siaga.runbooks.wall_clock import SETTLE_S, Reading
from siaga.runbooks.windows import Opening
from siaga.simulation.calendar.scenario import AUDIT, UPDATE
from siaga.simulation.calendar.stores import EvidenceBox, Fate, JournalBox
from siaga.sop.modes import Mode

ID = "update-database/2026-11-25"
TUESDAY = datetime.fromisoformat("2026-11-24T12:00+07:00")


@dataclass
class Scene:
    """One controller after another, and a clock that is moved by hand."""

    directory: Path
    mode: Mode = Mode.ACT
    level: Level = Level.LOW
    other: str = ""
    appointments: tuple[Appointment, ...] = (UPDATE,)
    written: tuple[Freeze, ...] = ()
    file: Path | None = None
    now: datetime = TUESDAY
    monotonic_s: float = 0.0
    fate: Fate = field(default_factory=Fate)

    def __post_init__(self) -> None:
        self.evidence = EvidenceBox(self.fate, Random(5), lambda: self.now.timestamp())
        self.journal = JournalBox(self.fate, Random(1), lambda: (self.now.timestamp(), self.now))
        self.journal.minutes = (10, 10)
        self.restart()

    def restart(self) -> None:
        rules = ModeRules(self.mode)
        self.levers = Levers(self.directory / "levers.json", self.evidence, rules, lambda: self.now)
        calendar = ChangeCalendarFile(LocalHost(), str(self.file), "Asia/Jakarta", ()) if self.file else None
        self.calendar = CalendarService(
            self.appointments,
            evidence=self.evidence,
            runs=self.journal,
            levers=self.levers,
            freezes=FreezeWatch(self.written, lambda: self.levers.freezes, calendar),
            senses=Senses(
                clocks=lambda: Reading(self.now.astimezone(UTC), self.monotonic_s),
                history=self.evidence.history,
                traffic=self.traffic,
                other=self.speaks_against,
            ),
        )

    async def traffic(self, opening: Opening, zone: str, now: datetime) -> Traffic:
        return Traffic(self.level, "as measured", {})

    async def speaks_against(self, appointment: Appointment) -> str:
        if self.other == "unreachable":
            raise Unreachable("nobody knows the incidents", hint="Wait.")
        return self.other

    async def at(self, *clocks: str, day: int = 25) -> None:
        """A pass at each of these times in Jakarta; both clocks run."""
        for clock in clocks:
            then = datetime.fromisoformat(f"2026-11-{day}T{clock}+07:00")
            self.monotonic_s += (then - self.now).total_seconds()
            self.now = then
            await self.calendar.run_pass()

    @property
    def kinds(self) -> list[str]:
        told = (d["kind"] for d in self.evidence.documents)
        return [k for k in told if k not in ("calendar.appointed", "calendar.clock", "calendar.freeze")]

    def last(self) -> dict[str, Any]:
        """The last record that is not about clocks."""
        return [d for d in self.evidence.documents if d["kind"] != "calendar.clock"][-1]


@pytest.fixture
async def scene(tmp_path: Path) -> Scene:
    found = Scene(tmp_path)
    await found.calendar.run_pass()
    return found


@pytest.mark.clause("PMT-2.1")
async def test_a_window_has_its_start_its_run_and_its_ending(scene: Scene) -> None:
    await scene.at("02:59:59", "03:00:00", "03:00:01", "03:09:00", "03:11:00", "03:12:00", "04:05:00")
    assert scene.kinds == ["calendar.start", "calendar.done"]
    assert [began.run.id for began in scene.journal.began] == [ID]


@pytest.mark.parametrize(
    ("clock", "kinds"),
    [
        ("03:20", ["calendar.start"]),
        ("03:50", ["calendar.too_late"]),
        ("04:10", ["calendar.missed"]),
    ],
)
async def test_a_controller_that_comes_back_late_starts_refuses_or_records_a_miss(
    scene: Scene, clock: str, kinds: list[str]
) -> None:
    scene.restart()
    await scene.at(clock, clock)
    assert scene.kinds == kinds


async def test_a_refusal_to_start_late_is_followed_by_one_miss(scene: Scene) -> None:
    scene.restart()
    await scene.at("03:50", "03:51", "04:00", "04:01", "05:00")
    assert scene.kinds == ["calendar.too_late", "calendar.missed"]
    assert scene.last()["figures"]["compensating"] == "2026-12-02"


async def test_a_first_start_in_the_middle_of_a_window_owes_nothing_for_it(tmp_path: Path) -> None:
    fresh = Scene(tmp_path)
    await fresh.at("03:20", "04:10")
    assert fresh.kinds == []


async def test_without_evidence_nothing_is_started_and_the_miss_is_recorded_when_it_can_be(scene: Scene) -> None:
    scene.fate.evidence_fails = True
    for clock in ("03:00", "03:30", "04:00:10"):
        with pytest.raises(Unrecorded):
            await scene.at(clock)
    assert scene.journal.began == []
    scene.fate.evidence_fails = False
    await scene.at("04:00:20")
    assert scene.kinds == ["calendar.missed"]


async def test_a_record_that_got_there_though_nobody_was_told_is_not_written_twice(scene: Scene) -> None:
    """The disk hung until the pass was cancelled, and took the record after all."""
    durable = scene.evidence.append

    async def hangs(record: Record) -> int:
        await durable(record)
        scene.evidence.append = durable  # type: ignore[method-assign]
        raise asyncio.CancelledError

    scene.evidence.append = hangs  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await scene.at("04:10")
    await scene.at("04:11", "04:12")
    assert scene.kinds == ["calendar.missed"]


async def test_while_the_journal_is_away_nobody_claims_that_nothing_ran(scene: Scene) -> None:
    await scene.at("03:00")
    scene.fate.journal_fails = True
    scene.restart()
    with pytest.raises(Unreachable):
        await scene.at("04:10")
    assert scene.kinds == ["calendar.start"]
    scene.fate.journal_fails = False
    await scene.at("04:11")
    assert scene.kinds == ["calendar.start", "calendar.done"]


async def test_a_start_that_fails_is_tried_again_in_the_window_and_named_in_the_miss(scene: Scene) -> None:
    async def refuses(*_: object, **__: object) -> None:
        raise SiagaError("no such runbook", hint="Register it.")

    scene.journal.start = refuses  # type: ignore[method-assign]
    await scene.at("03:00", "03:00:06", "03:39", "04:00")
    assert scene.kinds == ["calendar.start", "calendar.missed"]
    assert "could not be started: no such runbook" in scene.last()["reason"]


async def test_a_run_that_outlives_its_window_is_told_to_go_back_once(scene: Scene) -> None:
    scene.journal.minutes = (70, 70)
    await scene.at("03:00", "03:54:59", "03:55:00", "03:55:01", "03:58", "04:10")
    assert scene.kinds[:2] == ["calendar.start", "calendar.hard_stop"]
    assert scene.kinds.count("calendar.hard_stop") == 1


async def test_a_clock_set_into_the_window_starts_nothing_until_it_has_settled(scene: Scene) -> None:
    await scene.at("02:00", "02:00:01")
    scene.now = datetime.fromisoformat("2026-11-25T03:10:00+07:00")
    await scene.calendar.run_pass()
    assert scene.journal.began == []
    assert scene.evidence.documents[-1]["kind"] == "calendar.clock"
    assert "went forward by 4199" in scene.evidence.documents[-1]["reason"]
    assert "wall clock" in scene.calendar.doubts
    await scene.at("03:10:19")
    assert scene.journal.began == []
    await scene.at(f"03:10:{int(SETTLE_S) + 1}")
    assert len(scene.journal.began) == 1


async def test_a_clock_that_was_never_set_makes_no_half_century_of_misses(tmp_path: Path) -> None:
    fresh = Scene(tmp_path, now=datetime(1970, 1, 7, tzinfo=UTC))
    await fresh.calendar.run_pass()
    assert fresh.evidence.documents == []
    assert "never" in fresh.calendar.doubts


async def test_halted_over_the_window_it_is_skipped_with_the_levers_reason(scene: Scene) -> None:
    await scene.levers.halt("ani", "figures look wrong")
    await scene.at("03:00", "03:20", "03:41", "04:10")
    assert scene.kinds == ["lever.halt", "calendar.held", "calendar.skipped"]
    assert "figures look wrong" in scene.last()["reason"]


async def test_what_is_let_go_in_time_runs(scene: Scene) -> None:
    scene.level = Level.NOT_LOW
    await scene.at("03:00", "03:10")
    scene.level = Level.LOW
    await scene.at("03:20")
    assert scene.kinds == ["calendar.held", "calendar.released", "calendar.start"]


async def test_a_hold_is_remembered_over_a_crash_and_no_false_miss_is_made_of_it(scene: Scene) -> None:
    scene.other = "a Level 2 is open"
    await scene.at("03:00")
    scene.restart()
    await scene.at("04:10")
    assert scene.kinds == ["calendar.held", "calendar.skipped"]
    assert "a Level 2 is open" in scene.last()["reason"]


async def test_conditions_that_nobody_can_determine_hold(scene: Scene) -> None:
    scene.other = "unreachable"
    await scene.at("03:00")
    assert "nobody knows the incidents" in scene.last()["reason"]


async def test_unknown_traffic_waits_for_a_person_and_a_persons_word_outlives_a_restart(scene: Scene) -> None:
    scene.level = Level.UNKNOWN
    await scene.at("03:00")
    assert scene.journal.began == []
    await scene.calendar.allow(ID, actor="ani", reason="looked at the graphs")
    scene.restart()
    await scene.at("03:01")
    assert [began.run.id for began in scene.journal.began] == [ID]


async def test_a_yes_comes_from_a_person_in_time_and_for_something_that_is_expected(scene: Scene) -> None:
    with pytest.raises(BadInput, match=f"did you mean `{ID}`"):
        await scene.calendar.allow("update-database/2026-11-26", actor="ani", reason="r")
    with pytest.raises(Refused, match="expected a person"):
        await scene.calendar.allow(ID, actor="controller", reason="r")
    with pytest.raises(BadInput, match="no reason"):
        await scene.calendar.allow(ID, actor="ani", reason="")
    scene.level = Level.UNKNOWN
    await scene.at("03:41")
    with pytest.raises(Refused, match="last start is over"):
        await scene.calendar.allow(ID, actor="ani", reason="r")


async def test_advice_to_start_is_answered_by_the_person_who_starts_it(tmp_path: Path) -> None:
    scene = Scene(tmp_path, mode=Mode.ADVISE)
    await scene.calendar.run_pass()
    await scene.at("03:00", "03:05")
    scene.journal.begin("by-hand", "update-database")
    await scene.at("03:20")
    assert scene.kinds == ["calendar.held", "advice.given", "calendar.done", "advice.answered"]
    assert scene.levers.score(UPDATE.clause).agreed == 1
    assert scene.evidence.documents[-2]["run"] == "by-hand"


# Freezes ------------------------------------------------------------------------------------------------


def freeze(first: str, last: str) -> Freeze:
    begin, end = (datetime.fromisoformat(f"{text}T00:00+07:00") for text in (first, last))
    return Freeze(begin, end, "stock-taking", "the site file")


async def test_a_freeze_skips_the_window_and_names_the_next_free_one(tmp_path: Path) -> None:
    scene = Scene(tmp_path, written=(freeze("2026-11-20", "2026-12-04"),))
    await scene.calendar.run_pass()
    await scene.at("03:00", "03:20", "04:10")
    assert scene.kinds == ["calendar.skipped"]
    assert scene.last()["figures"]["compensating"] == "2026-12-09"


async def test_a_freeze_written_after_the_window_excuses_nothing(scene: Scene) -> None:
    scene.restart()
    scene.written = (freeze("2026-11-20", "2026-12-04"),)
    scene.restart()
    await scene.at("04:10")
    assert scene.kinds == ["calendar.missed"]


CHANGES = b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART;VALUE=DATE:20261125\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"


async def test_a_change_calendar_is_read_again_and_one_that_breaks_holds_without_forgetting(tmp_path: Path) -> None:
    file = tmp_path / "changes.ics"
    file.write_bytes(CHANGES.replace(b"20261125", b"20261126"))
    scene = Scene(tmp_path, file=file, appointments=(UPDATE, AUDIT))
    await scene.calendar.run_pass()
    assert scene.calendar.doubts == ""
    for broken in (CHANGES[:40], b""):
        file.write_bytes(broken)
        await scene.at("03:00", "03:02")
        assert "can't be read" in scene.calendar.doubts
    file.unlink()
    await scene.at("03:05")
    assert "No such file" in scene.calendar.doubts
    assert scene.kinds == ["calendar.held"]
    file.write_bytes(CHANGES.replace(b"20261125", b"20261126"))
    await scene.at("03:30")
    assert scene.kinds == ["calendar.held", "calendar.released", "calendar.start"]


async def test_a_window_that_the_site_moves_or_gives_up_is_recorded_and_the_past_stays(scene: Scene) -> None:
    scene.appointments = (AUDIT,)
    scene.restart()
    await scene.at("02:00")
    assert [d["kind"] for d in scene.evidence.documents][1:] == ["calendar.appointed", "calendar.dismissed"]
    await scene.at("03:10", "04:10")
    assert scene.kinds[-1] == "calendar.dismissed"


async def test_a_record_of_a_later_version_stops_the_calendar_and_is_named(scene: Scene) -> None:
    scene.evidence.documents[0]["figures"] = {"appointment": {"name": "x"}}
    scene.restart()
    with pytest.raises(SiagaError, match="evidence record 0 .calendar.appointed. is not understood"):
        await scene.at("03:00")


# The API ------------------------------------------------------------------------------------------------


@pytest.fixture
async def client(scene: Scene) -> AsyncIterator[httpx2.AsyncClient]:
    api = FastAPI()

    def actor(request: Request) -> str:
        return request.headers.get("x-actor", "ani")

    @api.exception_handler(SiagaError)
    async def complaint(_: Request, error: SiagaError) -> JSONResponse:
        return JSONResponse({"message": error.message, "exit_code": int(error.exit_code)}, 409)

    api.include_router(create_router(scene.levers, scene.calendar, actor, ["update-database"]))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=api), base_url="http://siaga") as found:
        yield found


async def test_the_calendar_is_shown_with_what_was_and_what_comes(scene: Scene, client: httpx2.AsyncClient) -> None:
    await scene.at("03:00", "03:11")
    found = (await client.get("/v1/calendar?weeks=1")).json()
    assert [(o["id"], o["state"]) for o in found["occurrences"]] == [
        (ID, "done"),
        ("update-database/2026-12-02", "expected"),
    ]
    assert found["occurrences"][0]["window"] == "Wednesday 03:00-04:00 Asia/Jakarta"
    assert (await client.get("/v1/calendar?weeks=0")).status_code == 422


async def test_the_levers_are_pulled_over_the_api_by_whoever_asks(scene: Scene, client: httpx2.AsyncClient) -> None:
    assert (await client.post("/v1/halt", json={"reason": "wrong figures"})).json()["halted"].startswith("wrong")
    refused = await client.post("/v1/resume", json={"reason": "x"}, headers={"x-actor": "controller"})
    assert refused.json()["exit_code"] == 4
    assert (await client.post("/v1/resume", json={"reason": "fine"})).json()["halted"] == ""
    mode = {"mode": "observe", "reason": "blind"}
    assert (await client.post("/v1/sop/PMT-2.1/mode", json=mode)).json()["to"] == "observe"
    assert (await client.post("/v1/sop/PMT-9/mode", json=mode)).status_code == 422
    assert (await client.get("/v1/levers")).json()["modes"]["PMT-2.1"] == "observe"
    assert (await client.post("/v1/halt", json={})).status_code == 422


async def test_a_freeze_and_a_yes_over_the_api(scene: Scene, client: httpx2.AsyncClient) -> None:
    span = {"begin": scene.now.isoformat(), "end": (scene.now + timedelta(days=3)).isoformat()}
    made = (await client.post("/v1/freezes", json={**span, "reason": "audit", "clauses": ["PMT"]})).json()
    assert made["freeze"] == "freeze-1"
    assert (await client.post("/v1/freezes/freeze-1/lift", json={"reason": "done"})).json()["lifted"]
    unknown = await client.post("/v1/freezes", json={**span, "reason": "audit", "runbooks": ["update-databse"]})
    assert "did you mean `update-database`?" in unknown.json()["message"]
    naive = {"begin": "2026-12-01T00:00:00", "end": "2026-12-02T00:00:00", "reason": "audit"}
    assert (await client.post("/v1/freezes", json=naive)).status_code == 422
    yes = {"occurrence": ID, "reason": "board"}
    assert (await client.post("/v1/calendar/allow", json=yes)).json() == {"occurrence": ID, "allowed_by": "ani"}
