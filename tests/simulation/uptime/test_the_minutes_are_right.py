"""The real service against a platform whose every outage is known, by a virtual clock."""

from __future__ import annotations

import asyncio
import heapq
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path

import pytest

from siaga.evidence.model import Record
from siaga.sop.limits import Limits
from siaga.sop.month import Month
from siaga.uptime.clocks import Reading, Timeline
from siaga.uptime.journeys import Attempt, Kind
from siaga.uptime.lanes import Lanes
from siaga.uptime.model import Blind, Change, Mark, Outcome, Slice, State, Step, Trip
from siaga.uptime.months import Verdict, budget_ms
from siaga.uptime.service import UptimeService
from siaga.uptime.sqlite import FILE_NAME, SqliteStore
from siaga.uptime.timeline import clipped
from siaga.uptime.wallet_journey import STEP_TIMEOUT_MS

pytestmark = pytest.mark.clause("ZDT-1")
REGIONS = ("sgp", "fra")
PASS_MS = 250
DECEMBER = Month(2026, 12)
LIMITS = Limits().uptime


@dataclass
class World:
    """The truth: when users were served, in real time, and what the machine's clocks say meanwhile."""

    random: random.Random
    real_ms: int
    outages: Sequence[tuple[int, int]] = ()
    """Begin and end, in real time."""
    wall_ahead_ms: int = 0
    paused_ms: int = 0
    """How long the machine was paused so far: its steady clock did not move."""
    news: list[Change] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    _waiting: list[tuple[int, int, asyncio.Future[None]]] = field(default_factory=list)
    _numbers: count[int] = field(default_factory=count)

    def reading(self) -> Reading:
        return Reading(self.real_ms + self.wall_ahead_ms, self.real_ms - self.paused_ms)

    def down(self) -> bool:
        return any(begin_ms <= self.real_ms < end_ms for begin_ms, end_ms in self.outages)

    async def after(self, wait_ms: int) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (self.real_ms + wait_ms, next(self._numbers), future))
        await future

    async def advance(self, to_ms: int) -> None:
        while self._waiting and self._waiting[0][0] <= to_ms:
            self.real_ms, _, future = heapq.heappop(self._waiting)
            if not future.done():
                future.set_result(None)
            for _ in range(4):
                await asyncio.sleep(0)
        self.real_ms = to_ms

    # What the service talks to.

    async def append(self, record: Record) -> int:
        self.records.append(record)
        return len(self.records)

    async def append_exempt(self, record: Record) -> None:
        raise AssertionError(record)

    async def on_change(self, change: Change) -> None:
        self.news.append(change)

    async def read(self) -> dict[str, tuple[int, int]]:
        return {}

    async def close(self) -> None:
        return None


class _Journey:
    """Fails at once or hangs, while the platform is down."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def travel(self, kind: Kind) -> Attempt:
        world = self._world
        if world.down() and world.random.random() < 0.3:
            await world.after(STEP_TIMEOUT_MS)
            return Attempt(Outcome.FAILED, Step.BALANCE, "balance: no answer within 1500 ms")
        await world.after(world.random.randint(5, 60))
        if world.down():
            return Attempt(Outcome.FAILED, Step.BALANCE, "balance: answered 503")
        return Attempt(Outcome.OK)

    async def close(self) -> None:
        return None


async def started(world: World, path: Path) -> UptimeService:
    journeys = {(region, region): _Journey(world) for region in REGIONS}
    lanes = Lanes(journeys, lambda: world.reading().steady_ms)
    service = UptimeService(
        REGIONS, lanes, world, SqliteStore(path), world, LIMITS, clock=world.reading, on_change=world.on_change
    )
    await service.open([])
    return service


async def live(world: World, service: UptimeService, until_ms: int) -> None:
    while world.real_ms < until_ms:
        await world.advance(min(world.real_ms + PASS_MS, until_ms))
        await service.run_pass()
        for _ in range(3):
            await asyncio.sleep(0)
        # A disk takes real time; in this world it takes none.
        await service.settle()


def good_until(path: Path, begin_ms: int, end_ms: int) -> None:
    """The rest of the month was good: nobody waits a month for a test."""
    store = SqliteStore(path)
    store.begin(begin_ms)
    store.record((Slice(begin_ms, end_ms, State.GOOD),))
    store.close()


@pytest.mark.parametrize(("minutes", "verdict"), [(4.0, Verdict.HOLDS), (4.5, Verdict.DOES_NOT_HOLD)])
async def test_four_minutes_fit_a_month_of_31_days_and_four_and_a_half_do_not(
    tmp_path: Path, minutes: float, verdict: Verdict
) -> None:
    path = tmp_path / FILE_NAME
    end_ms = DECEMBER.begin_ms + 20 * 86_400_000
    good_until(path, DECEMBER.begin_ms, end_ms)
    outage = (end_ms + 30_000, end_ms + 30_000 + round(minutes * 60_000))
    world = World(random.Random(7), end_ms, [outage])
    service = await started(world, path)
    await live(world, service, outage[1] + 20_000)
    found = await service.figures()
    await service.close()
    assert found.verdict is verdict
    assert found.bad_ms == pytest.approx(minutes * 60_000, abs=2_500)
    assert found.unknown_ms <= 2_500


async def test_an_outage_at_the_boundary_counts_in_the_months_of_jakarta_and_not_of_utc(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    boundary_ms = DECEMBER.begin_ms
    good_until(path, Month(2026, 11).begin_ms, boundary_ms - 60_000)
    world = World(random.Random(3), boundary_ms - 60_000, [(boundary_ms - 20_000, boundary_ms + 40_000)])
    service = await started(world, path)
    await live(world, service, boundary_ms + 60_000)
    november, december = await service.figures(Month(2026, 11)), await service.figures(DECEMBER)
    await service.close()
    assert november.bad_ms == pytest.approx(20_000, abs=1_100)
    assert december.bad_ms == pytest.approx(40_000, abs=1_600)
    assert (november.budget_ms, december.budget_ms) == (259_200, 262_800)
    assert december.running


async def test_a_monitor_that_is_down_for_an_hour_can_not_say_that_the_month_held(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    begin_ms = DECEMBER.begin_ms + 86_400_000
    good_until(path, DECEMBER.begin_ms, begin_ms)
    world = World(random.Random(5), begin_ms)
    service = await started(world, path)
    await live(world, service, begin_ms + 30_000)
    # Killed: nothing is closed, nothing is said.
    world.real_ms += 3_600_000
    service = await started(world, path)
    await live(world, service, world.real_ms + 30_000)
    found = await service.figures()
    await service.close()
    assert found.unknown_ms == pytest.approx(3_600_000, abs=6_000)
    assert (found.verdict, found.bad_ms) == (Verdict.NOT_DETERMINED, 0)


@pytest.mark.parametrize("seed", range(10))
async def test_whatever_happens_the_minutes_are_those_of_the_truth(tmp_path: Path, seed: int) -> None:
    await _live_through(tmp_path / FILE_NAME, seed)


def _always_good(trips: Sequence[Trip]) -> tuple[Mark, ...]:
    return tuple(Mark(one.begin_ms, other.begin_ms, State.GOOD) for one, other in pairwise(trips))


def _never_blind(line: Timeline, reading: Reading) -> tuple[Timeline, Blind | None, bool]:
    return Timeline.begin(reading), None, False


@pytest.mark.parametrize(
    ("where", "fault"),
    [
        ("siaga.uptime.decide._lane", _always_good),
        ("siaga.uptime.decide.STALE_MS", 60_000),
        ("siaga.uptime.clocks.Timeline.look", _never_blind),
    ],
)
async def test_a_planted_fault_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, fault: object
) -> None:
    monkeypatch.setattr(where, fault)
    noticed = []
    for seed in range(4):
        try:
            await _live_through(tmp_path / f"{seed}.sqlite", seed)
        except AssertionError as breach:
            noticed.append(breach)
    assert noticed


async def _live_through(path: Path, seed: int) -> None:
    """Four outages and three faults of the monitor in some minutes; AssertionError where an invariant breaks."""
    dice = random.Random(seed)
    begin_ms = DECEMBER.begin_ms + 3 * 3_600_000
    good_until(path, DECEMBER.begin_ms, begin_ms)
    outages = _outages(dice, begin_ms)
    world = World(dice, begin_ms, outages)
    service = await started(world, path)
    blind: list[tuple[int, int]] = []
    for fault_ms in sorted(dice.sample(range(begin_ms + 20_000, begin_ms + 170_000), 3)):
        await live(world, service, max(fault_ms, world.real_ms))
        away_ms = dice.choice((3_000, 20_000))
        lost_from_ms = world.real_ms
        match dice.choice(("killed", "stopped", "paused")):
            case "killed":
                world.real_ms += away_ms
                service = await started(world, path)
            case "stopped":
                world.real_ms += away_ms
            case "paused":
                world.real_ms += away_ms
                world.paused_ms += away_ms
        blind.append((lost_from_ms, world.real_ms))
    end_ms = max(begin_ms + 240_000, world.real_ms + 20_000)
    await live(world, service, end_ms)
    await service.close()
    store = SqliteStore(path, read_only=True)
    kept = store.slices(begin_ms, end_ms)
    store.close()
    _invariants(kept, world, blind, begin_ms)


async def test_a_clock_set_back_and_put_right_never_hides_an_outage(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    begin_ms = DECEMBER.begin_ms + 3_600_000
    good_until(path, DECEMBER.begin_ms, begin_ms)
    world = World(random.Random(1), begin_ms, [(begin_ms + 10_000, begin_ms + 20_000)])
    service = await started(world, path)
    await live(world, service, begin_ms + 40_000)
    world.wall_ahead_ms = -30_000
    await live(world, service, begin_ms + 70_000)
    world.wall_ahead_ms = 0
    await live(world, service, begin_ms + 100_000)
    found = await service.figures()
    await service.close()
    assert found.bad_ms == pytest.approx(10_000, abs=1_600)
    # What was measured by the wrong clock is missing where it belongs.
    assert found.unknown_ms == pytest.approx(30_000, abs=5_000)


def _outages(dice: random.Random, begin_ms: int) -> list[tuple[int, int]]:
    found, at_ms = [], begin_ms + 10_000
    for _ in range(4):
        at_ms += dice.randint(12_000, 40_000)
        lasting_ms = dice.choice((1_500, 3_000, 12_000))
        found.append((at_ms, at_ms + lasting_ms))
        at_ms += lasting_ms
    return found


def _invariants(kept: Sequence[Slice], world: World, blind: Sequence[tuple[int, int]], begin_ms: int) -> None:
    for one, other in pairwise(kept):
        assert one.end_ms <= other.begin_ms, "slices overlap"
    for from_ms, to_ms in blind:
        # Never up, and never down either, while nobody looked; a moment at its edges may belong to a neighbour.
        measured = [each for each in clipped(kept, from_ms + 500, to_ms - 500) if each.state is not State.UNKNOWN]
        assert not measured, f"measured while blind: {measured}"
    for from_ms, to_ms in world.outages:
        good = sum(each.length_ms for each in clipped(kept, from_ms, to_ms) if each.state is State.GOOD)
        assert good <= 1_100, f"{good} ms of an outage count as good"
    for each in kept:
        if each.state is State.BAD and each.begin_ms > begin_ms:
            over = each.length_ms - sum(
                part.length_ms
                for from_ms, to_ms in world.outages
                for part in clipped((each,), from_ms - 100, to_ms + STEP_TIMEOUT_MS + 100)
            )
            assert over <= 0, f"bad though users were served: {each}"


def test_the_budget_of_december_is_the_one_of_the_clause() -> None:
    assert budget_ms(DECEMBER, LIMITS) == 262_800


QUIET_HOURS = float(os.environ.get("SIAGA_SIM_QUIET_HOURS", "0.25"))
"""Ten in `make soak`."""
BLIP = 1 / 2_000
"""Of journeys: a busy machine loses one now and then."""
USERS_PER_S = 60
USERS_FAILED = 0.002


@dataclass
class Demo(World):
    """The demo's load: users served in both regions, a request lost here and there, none of it an outage."""

    _answered: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REGIONS, 0))
    _failed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REGIONS, 0))
    _read_ms: int = 0

    async def read(self) -> dict[str, tuple[int, int]]:
        new = (self.real_ms - (self._read_ms or self.real_ms)) * USERS_PER_S // 1000
        self._read_ms = self.real_ms
        for region in REGIONS:
            self._answered[region] += new
            self._failed[region] += sum(self.random.random() < USERS_FAILED for _ in range(new))
        return {region: (self._answered[region], self._failed[region]) for region in REGIONS}


class _Blips(_Journey):
    async def travel(self, kind: Kind) -> Attempt:
        attempt = await super().travel(kind)
        if self._world.random.random() < BLIP:
            await self._world.after(900)
            return Attempt(Outcome.FAILED, Step.TRANSFER, "transfer: answered 503")
        return attempt


async def test_hours_of_the_demos_load_ring_no_pager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "_Journey", _Blips)
    world = Demo(random.Random(1), DECEMBER.begin_ms)
    service = await started(world, tmp_path / FILE_NAME)
    await live(world, service, DECEMBER.begin_ms + int(QUIET_HOURS * 3_600_000))
    assert world.news == []
    found = await service.figures(DECEMBER)
    assert found.good_ms >= found.end_ms - found.begin_ms - 5_000
    await service.close()
