"""The service with journeys and counters that do as they are told; the store and the loop are the real ones."""

# No postponed annotations here: FastAPI could not resolve the request of `ana`.
import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, Request

from siaga.controller.uptime_api import create_router
from siaga.errors import BadInput, Unreachable
from siaga.evidence.model import Record, Unrecorded
from siaga.sop.adherence import Adherence
from siaga.sop.limits import Limits
from siaga.sop.month import Month
from siaga.uptime.clocks import Reading
from siaga.uptime.journeys import Attempt, Kind
from siaga.uptime.lanes import Lanes
from siaga.uptime.model import BurnAlert, Change, Outage, Outcome, State, Step
from siaga.uptime.service import UptimeService
from siaga.uptime.sqlite import FILE_NAME, SqliteStore

pytestmark = pytest.mark.clause("ZDT-1")
START_MS = Month(2026, 11).begin_ms + 86_400_000
PASS_MS = 100


@dataclass
class World:
    """A clock that is moved by hand, and a platform that is up or down."""

    path: Path
    wall_ms: int = START_MS
    steady_ms: int = 50_000
    up: dict[str, bool] = field(default_factory=lambda: {"sgp": True, "fra": True})
    failing_once: bool = False
    ours: bool = False
    """Journeys say nothing."""
    answered: int = 0
    failed: int = 0
    users_per_pass: int = 0
    failing_per_pass: int = 0
    admin_up: bool = True
    news: list[Change] = field(default_factory=list)
    told_at_ms: list[int] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    evidence_up: bool = True
    kinds: list[Kind] = field(default_factory=list)

    def reading(self) -> Reading:
        return Reading(self.wall_ms, self.steady_ms)

    async def append(self, record: Record) -> int:
        if not self.evidence_up:
            raise Unrecorded("the disk is full", hint="")
        self.records.append(record)
        return len(self.records)

    async def append_exempt(self, record: Record) -> None:
        raise AssertionError(record)

    async def on_change(self, change: Change) -> None:
        self.news.append(change)
        self.told_at_ms.append(self.wall_ms)

    async def read(self) -> dict[str, tuple[int, int]]:
        if not self.admin_up:
            raise Unreachable("no answer", hint="")
        return dict.fromkeys(self.up, (self.answered, self.failed))

    async def close(self) -> None:
        return None

    def service(self) -> UptimeService:
        journeys = {(region, region): _Told(self, region) for region in self.up}
        lanes = Lanes(journeys, lambda: self.steady_ms)
        store = SqliteStore(self.path)
        regions = tuple(self.up)
        return UptimeService(
            regions, lanes, self, store, self, Limits().uptime, clock=self.reading, on_change=self.on_change
        )

    @property
    def outages(self) -> list[Outage]:
        return [each for each in self.news if isinstance(each, Outage)]


@dataclass
class _Told:
    world: World
    region: str

    async def travel(self, kind: Kind) -> Attempt:
        self.world.kinds.append(kind)
        if self.world.ours:
            return Attempt(Outcome.INCONCLUSIVE, None, "ours")
        if self.world.up[self.region] and not self.world.failing_once:
            return Attempt(Outcome.OK)
        self.world.failing_once = False
        return Attempt(Outcome.FAILED, Step.BALANCE, "balance: answered 503")

    async def close(self) -> None:
        return None


async def live(world: World, service: UptimeService, seconds: float) -> None:
    for _ in range(round(seconds * 1000 / PASS_MS)):
        world.wall_ms += PASS_MS
        world.steady_ms += PASS_MS
        world.answered += world.users_per_pass
        world.failed += world.failing_per_pass
        await service.run_pass()
        # The journeys answer at once; their tasks need a turn of the loop.
        for _ in range(3):
            await asyncio.sleep(0)
        # A disk takes real time; by this clock it takes none.
        await service.settle()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / FILE_NAME)


@pytest.fixture
async def service(world: World) -> AsyncIterator[UptimeService]:
    found = world.service()
    await found.open(())
    yield found
    await found.close()


async def test_a_quiet_minute_is_good_and_the_clause_holds(world: World, service: UptimeService) -> None:
    await live(world, service, 60)
    found = await service.figures()
    assert (found.bad_ms, found.unknown_ms) == (0, 0)
    assert 55_000 < found.good_ms <= 60_000
    assert service.standing().adherence is Adherence.HOLDS
    assert [record.kind for record in world.records] == ["uptime.began"]


async def test_a_light_journey_a_second_and_a_full_one_every_ten(world: World, service: UptimeService) -> None:
    await live(world, service, 60)
    per_region = {kind: world.kinds.count(kind) / 2 for kind in Kind}
    assert per_region == {Kind.LIGHT: pytest.approx(54, abs=2), Kind.FULL: pytest.approx(6, abs=1), Kind.AGAIN: 0}


@pytest.mark.parametrize("lasting_s", [1, 3, 30])
async def test_an_outage_counts_what_it_lasted_and_is_told_from_begin_to_end(
    world: World, service: UptimeService, lasting_s: int
) -> None:
    await live(world, service, 20)
    began_ms = world.wall_ms
    world.up = {"sgp": False, "fra": False}
    await live(world, service, lasting_s)
    world.up = {"sgp": True, "fra": True}
    await live(world, service, 20)
    found = await service.figures()
    assert found.bad_ms == pytest.approx(lasting_s * 1000, abs=900)
    first, last = world.outages[0], world.outages[-1]
    assert first.onset_ms == pytest.approx(began_ms, abs=600)
    assert (first.ended_ms, last.ended_ms is not None, last.hard_down) == (None, True, lasting_s >= 3)
    assert last.regions == ("sgp", "fra") or last.regions == ("fra", "sgp")
    assert last.share_ppm == 1_000_000
    assert [record.kind for record in world.records] == ["uptime.began", "uptime.outage"]
    assert service.outage is None


async def test_hard_down_is_told_within_three_seconds_of_the_first_failure_and_once(
    world: World, service: UptimeService
) -> None:
    await live(world, service, 20)
    world.up["fra"] = False
    await live(world, service, 30)
    told = [(at, each) for at, each in zip(world.told_at_ms, world.news, strict=True) if isinstance(each, Outage)]
    hard = [(at, each) for at, each in told if each.hard_down]
    assert len(hard) == 1
    assert hard[0][0] - hard[0][1].onset_ms <= 2_600
    assert hard[0][1].regions == ("fra",)
    assert hard[0][1].share_ppm == 500_000
    # Told when it was confirmed, and when it was hard down: nothing else changed.
    assert len(told) == 2


async def test_one_failed_journey_counts_in_the_minutes_and_wakes_nobody(world: World, service: UptimeService) -> None:
    await live(world, service, 20)
    world.failing_once = True
    await live(world, service, 20)
    assert 0 < (await service.figures()).bad_ms <= 1_200
    assert world.news == []
    assert len((await service.figures()).outages) == 1


async def test_while_it_fails_it_is_asked_four_times_a_second(world: World, service: UptimeService) -> None:
    await live(world, service, 20)
    world.kinds.clear()
    world.up = {"sgp": False, "fra": False}
    await live(world, service, 10)
    assert 55 <= world.kinds.count(Kind.AGAIN) <= 80


async def test_burning_is_told_when_it_begins_and_when_it_ends(world: World, service: UptimeService) -> None:
    await live(world, service, 20)
    world.up = {"sgp": False, "fra": False}
    await live(world, service, 15)
    world.up = {"sgp": True, "fra": True}
    await live(world, service, 310)
    alerts = [each for each in world.news if isinstance(each, BurnAlert) and each.rate == 14.4]
    assert [each.ended_ms is None for each in alerts] == [True, False]
    assert "14.4" not in str((await service.show())["burning"])


async def test_a_monitor_that_was_stopped_for_an_hour_leaves_an_hour_unknown(
    world: World, service: UptimeService
) -> None:
    await live(world, service, 20)
    world.wall_ms += 3_600_000
    world.steady_ms += 3_600_000
    await live(world, service, 20)
    found = await service.figures()
    assert found.unknown_ms == pytest.approx(3_600_000, abs=2_000)
    assert found.bad_ms == 0
    assert world.outages == []


async def test_a_machine_that_was_paused_over_three_oclock_leaves_the_pause_unknown(
    world: World, service: UptimeService
) -> None:
    await live(world, service, 20)
    world.wall_ms += 600_000
    await live(world, service, 20)
    found = await service.figures()
    assert found.unknown_ms == pytest.approx(600_000, abs=3_000)
    assert (found.bad_ms, world.outages) == (0, [])


async def test_a_clock_set_back_loses_no_bad_time_and_invents_none(world: World, service: UptimeService) -> None:
    await live(world, service, 20)
    world.up = {"sgp": False, "fra": False}
    await live(world, service, 10)
    world.up = {"sgp": True, "fra": True}
    await live(world, service, 30)
    before = await service.figures()
    world.wall_ms -= 60_000
    await live(world, service, 90)
    after = await service.figures()
    assert after.bad_ms == before.bad_ms == pytest.approx(10_000, abs=900)
    assert after.unknown_ms <= 3_000


async def test_a_clock_set_ahead_and_put_right_again_leaves_what_was_measured(
    world: World, service: UptimeService
) -> None:
    await live(world, service, 20)
    world.wall_ms += 3_600_000
    await live(world, service, 10)
    world.wall_ms -= 3_600_000
    await live(world, service, 60)
    found = await service.figures()
    assert found.good_ms >= 73_000
    assert found.bad_ms == 0


async def test_journeys_that_say_nothing_are_unknown_and_the_users_own_requests_still_measure(
    world: World, service: UptimeService
) -> None:
    await live(world, service, 20)
    world.ours = True
    await live(world, service, 30)
    dark = await service.figures()
    assert dark.unknown_ms == pytest.approx(25_000, abs=2_500)
    world.users_per_pass = 5
    await live(world, service, 30)
    assert (await service.figures()).unknown_ms - dark.unknown_ms <= 3_000


async def test_a_restarted_proxy_is_no_outage(world: World, service: UptimeService) -> None:
    world.users_per_pass, world.failed = 20, 40
    await live(world, service, 20)
    world.answered = world.failed = 0
    await live(world, service, 20)
    assert (await service.figures()).bad_ms == 0


async def test_failing_requests_of_users_are_an_outage_though_journeys_succeed(
    world: World, service: UptimeService
) -> None:
    world.users_per_pass = 20
    await live(world, service, 20)
    world.failing_per_pass = 10
    await live(world, service, 4)
    world.failing_per_pass = 0
    await live(world, service, 20)
    assert (await service.figures()).bad_ms == pytest.approx(4_000, abs=1_100)
    assert world.outages[-1].hard_down


async def test_an_outage_goes_on_over_a_restart(world: World, service: UptimeService) -> None:
    await live(world, service, 20)
    world.up = {"sgp": False, "fra": False}
    await live(world, service, 10)
    onset_ms = world.outages[0].onset_ms
    world.news.clear()
    world.wall_ms += 2_000
    world.steady_ms = 1_000
    again = world.service()
    await again.open(())
    await live(world, again, 3)
    world.up = {"sgp": True, "fra": True}
    await live(world, again, 20)
    await again.close()
    assert world.outages[0].onset_ms == world.outages[-1].onset_ms == onset_ms
    assert world.outages[-1].ended_ms is not None


async def test_an_outage_that_had_ended_is_not_told_again_after_a_restart(world: World, service: UptimeService) -> None:
    await live(world, service, 20)
    world.up = {"sgp": False, "fra": False}
    await live(world, service, 5)
    world.up = {"sgp": True, "fra": True}
    await live(world, service, 15)
    world.news.clear()
    again = world.service()
    await again.open(())
    await live(world, again, 15)
    await again.close()
    assert world.outages == []


async def test_a_lost_store_makes_the_time_before_it_unknown_and_never_up(world: World, service: UptimeService) -> None:
    await live(world, service, 60)
    history = _history(world)
    world.path = world.path.with_name("another.sqlite")
    again = world.service()
    await again.open(history)
    await live(world, again, 20)
    found = await again.figures()
    await again.close()
    assert found.unknown_ms == pytest.approx(60_000, abs=3_000)


async def test_a_stretch_is_reclassified_with_a_reason_in_the_evidence(world: World, service: UptimeService) -> None:
    await live(world, service, 60)
    wanted = (_at(world, -40), _at(world, -30), State.BAD, "INC-7: reported by users", "ana")
    done = await service.reclassify(*wanted)
    record = world.records[-1]
    assert (record.kind, record.actor, record.clause, record.reason) == (
        "uptime.reclassified",
        "ana",
        "ZDT-1",
        "INC-7: reported by users",
    )
    assert (done["month"]["bad_ms"], done["month"]["measured_bad_ms"]) == (10_000, 0)
    # A crash between evidence and store: the next start takes the word from the evidence.
    world.path = world.path.with_name("another.sqlite")
    again = world.service()
    await again.open(_history(world))
    assert (await again.figures()).bad_ms == 10_000
    await again.close()


@pytest.mark.parametrize(("begin_s", "end_s", "field"), [(-10, -20, "from"), (-20, 60, "to"), (-7200, -20, "from")])
async def test_a_stretch_that_can_not_be_reclassified_is_refused_by_name(
    world: World, service: UptimeService, begin_s: int, end_s: int, field: str
) -> None:
    await live(world, service, 60)
    with pytest.raises(BadInput, match=f"^{field}: found"):
        await service.reclassify(_at(world, begin_s), _at(world, end_s), State.GOOD, "because", "ana")
    assert [record.kind for record in world.records] == ["uptime.began"]


async def test_without_evidence_nothing_is_reclassified(world: World, service: UptimeService) -> None:
    await live(world, service, 60)
    world.evidence_up = False
    with pytest.raises(Unrecorded):
        await service.reclassify(_at(world, -40), _at(world, -30), State.BAD, "because", "ana")
    assert (await service.figures()).bad_ms == 0


async def test_a_month_to_come_is_refused(world: World, service: UptimeService) -> None:
    await live(world, service, 5)
    with pytest.raises(BadInput, match="expected at most the running one"):
        await service.figures(Month(2026, 12))


async def test_whoever_refuses_the_news_is_told_again_and_the_measuring_goes_on(
    world: World, service: UptimeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = iter([True, True])
    taken: list[Change] = []

    async def unwilling(change: Change) -> None:
        if next(refusals, False):
            raise ConnectionError("the route is down")
        taken.append(change)

    monkeypatch.setattr("siaga.uptime.outbox.RETRY_S", 0.0)
    monkeypatch.setattr(service._news, "_deliver", unwilling)
    await live(world, service, 20)
    world.up["sgp"] = False
    await live(world, service, 10)
    assert [each.hard_down for each in taken if isinstance(each, Outage)] == [False, True]


async def test_a_full_disk_is_told_and_what_was_measured_meanwhile_is_not_lost(
    world: World, service: UptimeService
) -> None:
    await live(world, service, 20)
    store = service._book._store
    world.up["sgp"] = False
    blocked = _blocking(service)
    await live(world, service, 10)
    assert service.standing().adherence in (Adherence.AT_RISK, Adherence.BROKEN)
    bad_ms = (await service.figures()).bad_ms
    assert bad_ms == pytest.approx(8_500, abs=1_500)
    blocked()
    world.up["sgp"] = True
    await live(world, service, 10)
    kept = sum(each.length_ms for each in store.slices(0, 1 << 60) if each.state is State.BAD)
    assert kept >= bad_ms


async def test_the_api_shows_the_month_and_takes_a_persons_word_under_their_name(
    world: World, service: UptimeService
) -> None:
    def ana(request: Request) -> str:
        return "ana"

    api = FastAPI()
    api.include_router(create_router(service, ana))
    await live(world, service, 60)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=api), base_url="http://controller") as client:
        found = (await client.get("/v1/uptime?month=2026-11")).json()
        wanted = {"from": _at(world, -40).isoformat(), "to": _at(world, -30).isoformat(), "as": "bad"}
        refused = await client.post("/v1/uptime/reclassify", json={**wanted, "reason": ""})
        done = await client.post("/v1/uptime/reclassify", json={**wanted, "reason": "INC-7"})
    assert (found["verdict"], found["month"], found["outage"]) == ("holds", "2026-11", None)
    assert (refused.status_code, done.status_code) == (422, 200)
    assert done.json()["month"]["bad_ms"] == 10_000
    assert world.records[-1].actor == "ana"


def _blocking(service: UptimeService) -> Callable[[], object]:
    """Have a trigger refuse every row, as a full disk would; the returned call lets go."""
    connection = service._book._store._connection
    connection.execute(
        "CREATE TEMP TRIGGER full BEFORE INSERT ON main.slices "
        "BEGIN SELECT raise(ABORT, 'database or disk is full'); END"
    )
    return lambda: connection.execute("DROP TRIGGER full")


def _at(world: World, offset_s: int) -> datetime:
    return datetime.fromtimestamp(world.wall_ms / 1000 + offset_s, UTC)


def _history(world: World) -> list[dict[str, Any]]:
    """The records as the evidence gives them back."""
    return [
        {"kind": r.kind, "actor": r.actor, "reason": r.reason, "figures": dict(r.figures), "number": number}
        for number, r in enumerate(world.records, start=1)
    ]
