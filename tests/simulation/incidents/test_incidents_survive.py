"""Weeks of trouble in a virtual clock: facts that come, flap and go, routes and evidence that fail, kills anywhere.

Never two incidents for one cause, no escalation lost, no Level 3 silently lowered, everybody told in the end.
"""

import asyncio
import random
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from siaga.errors import SiagaError
from siaga.evidence.model import Record, Unrecorded
from siaga.incidents import decide
from siaga.incidents.files import FileStore
from siaga.incidents.model import CONTROLLER, Fact, FactKind, Incident, Level
from siaga.incidents.notify.message import Event, Message
from siaga.incidents.notify.routes import Outcome, Verdict
from siaga.incidents.notify.telling import Telling
from siaga.incidents.service import IncidentsService
from siaga.site.notifications import NotificationRoute, RouteKind

START = datetime(2026, 11, 1, tzinfo=UTC)
SOURCES: Mapping[str, FactKind] = {
    "outage": FactKind.OUTAGE,
    "burn:fast": FactKind.BURN,
    "redundancy:valkey-2": FactKind.REDUNDANCY,
    "redundancy:sgp-1": FactKind.REDUNDANCY,
    "degradation:fra": FactKind.DEGRADATION,
    "ledger:integrity": FactKind.INTEGRITY,
    "key:alpha": FactKind.KEY_COMPROMISED,
    **{f"alert:{number}": FactKind.ALERT for number in range(8)},
}
ROUTES = [
    NotificationRoute(name="on-call", kind=RouteKind.PAGERDUTY, secret="key", level_min=2),
    NotificationRoute(name="mail", kind=RouteKind.APPRISE, secret="mail", level_min=1),
    NotificationRoute(name="chief", kind=RouteKind.APPRISE, secret="chief", level_min=3, after_s=300),
]


class Evidence:
    """A log that is full now and then."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.full = False

    async def append(self, record: Record) -> int:
        if self.full:
            raise Unrecorded("the disk is full", hint="Make room.")
        self.records.append(record)
        return len(self.records)

    async def append_exempt(self, record: Record) -> None:
        self.records.append(record)


class Phone:
    """A route outside: what it has accepted stays accepted over every kill here."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.broken = False
        self.heard: list[Message] = []

    async def send(self, message: Message) -> Outcome:
        for _ in range(self._chance.randrange(4)):
            await asyncio.sleep(0)
        if self.broken:
            verdict = self._chance.choice([Verdict.FAILED, Verdict.REFUSED, Verdict.BUSY])
            return Outcome(verdict, "broken", self._chance.choice([None, 5.0, 1e6]))
        self.heard.append(message)
        await asyncio.sleep(0)
        return Outcome(Verdict.ACCEPTED)


class World:
    def __init__(self, directory: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.elapsed_s = 0.0
        self.clock_error_s = 0.0
        self.directory = directory
        self.evidence = Evidence()
        self.phones = {route.name: Phone(self.chance) for route in ROUTES}
        self.lasting: dict[str, Fact] = {}
        self.seen: dict[str, Incident] = {}
        self.disk = ThreadPoolExecutor(1)
        self.service = self._start()

    def now(self) -> datetime:
        return START + timedelta(seconds=self.elapsed_s + self.clock_error_s)

    def _start(self) -> IncidentsService:
        asyncio.get_running_loop().set_default_executor(self.disk)
        return IncidentsService(
            FileStore(self.directory),
            self.evidence,
            ROUTES,
            self.phones,
            site="sim",
            clock=self.now,
            monotonic=lambda: self.elapsed_s,
        )

    async def kill(self) -> None:
        """Nothing that was under way goes on; what the disk has begun to write it writes."""
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        self.disk.shutdown(wait=True)
        await asyncio.gather(*others, return_exceptions=True)
        self.disk = ThreadPoolExecutor(1)
        self.service = self._start()

    async def settle(self) -> None:
        """Let what is under way come to its end."""
        for _ in range(200):
            await asyncio.sleep(0)
            if len(asyncio.all_tasks()) == 1:
                return
            await asyncio.sleep(0.0005)

    async def step(self) -> None:
        self.elapsed_s += self.chance.choice([0.5, 1.0, 5.0, 60.0, 400.0])
        event = self.chance.random()
        if event < 0.35:
            self._turn(self.chance.choice(list(SOURCES)))
        elif event < 0.42:
            self.evidence.full = not self.evidence.full
        elif event < 0.52:
            phone = self.chance.choice(list(self.phones.values()))
            phone.broken = not phone.broken
        elif event < 0.56:
            self.clock_error_s = self.chance.choice([0.0, -7200.0, 3600.0])
        elif event < 0.70:
            await self._person()
        await self._look()
        if self.chance.random() < 0.1:
            await self.kill()
            await self._look()

    def _turn(self, key: str) -> None:
        if self.lasting.pop(key, None) is None:
            self.lasting[key] = Fact(key, SOURCES[key], self.now(), True, f"{key} is bad", clause="ZDT-1")

    async def _person(self) -> None:
        found = self.service.open
        try:
            if found:
                incident = self.chance.choice(found)
                await self.chance.choice(
                    [
                        lambda: self.service.acknowledge(incident.id, "ana"),
                        lambda: self.service.resolve(incident.id, "ana", "looks fine"),
                        lambda: self.service.downgrade(incident.id, Level.MINOR, "ana", "known"),
                    ]
                )()
        except SiagaError:
            # A refusal is an answer.
            pass

    async def _look(self) -> None:
        await self.service.observe(
            ["outage", "burn:", "redundancy:", "degradation:", "ledger:", "key:", "alert:"], self.lasting.values()
        )
        await self.service.run_pass()
        if self.chance.random() < 0.7:
            await self.settle()
        self.check()

    def check(self) -> None:
        lasting = [cause.fact.key for incident in self.service.open for cause in incident.lasting]
        assert len(lasting) == len(set(lasting)), "one cause in two incidents"
        # A budget that burns on is told with the outage that made it burn, and is over for whoever looked after that.
        told = {key for key in self.lasting if key.startswith("burn:") and key not in lasting}
        closed = {key for one in self.service._book.closed for key, cause in one.causes.items() if cause.lasts}
        assert told <= closed, "a burning budget was told to nobody"
        assert set(lasting) == set(self.lasting) - told, "an incident is not what lasts"
        for incident in self.service.open:
            if any(cause.fact.kind is FactKind.OUTAGE for cause in incident.lasting):
                assert incident.level is Level.CRITICAL, "an outage that is not Level 3"
            before = self.seen.get(incident.id)
            if before is not None:
                assert incident.levels[: len(before.levels)] == before.levels, "the past was rewritten"
            for earlier, later in zip(incident.levels, incident.levels[1:], strict=False):
                assert later.level > earlier.level or later.actor != CONTROLLER, "lowered by nobody"
                assert later.reason
            self.seen[incident.id] = incident

    async def calm(self) -> None:
        """Everything works again, and hours go by."""
        self.clock_error_s = 0.0
        self.lasting.clear()
        self.evidence.full = False
        for phone in self.phones.values():
            phone.broken = False
        for _ in range(40):
            self.elapsed_s += 400.0
            await self._look()
            await self.settle()
        for incident in self.service.open:
            await self.service.resolve(incident.id, "ana", "looked at")
        for _ in range(5):
            self.elapsed_s += 301.0
            await self._look()
            await self.settle()


@pytest.mark.clause("ZDT-1")
@pytest.mark.parametrize("seed", range(3))
async def test_weeks_of_trouble_and_kills_lose_nothing(tmp_path: Path, seed: int) -> None:
    await live(tmp_path, seed)


def _all_is_minor(_: Fact) -> tuple[Level, str]:
    return Level.MINOR, "planted"


PLANTED: Mapping[str, tuple[object, str, object]] = {
    "nothing is kept": (FileStore, "save", lambda self, kept: None),
    "nobody is told": (Telling, "plan", lambda self, incidents: False),
    "outages are minor": (decide, "level_of", _all_is_minor),
}


@pytest.mark.parametrize("fault", PLANTED)
async def test_a_planted_fault_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    owner, name, instead = PLANTED[fault]
    monkeypatch.setattr(owner, name, instead)
    with pytest.raises(AssertionError):
        await live(tmp_path, 0)


async def live(directory: Path, seed: int) -> None:
    """One world, judged while it lives and at its end."""
    world = World(directory, seed)
    for _ in range(120):
        await world.step()
    await world.calm()

    assert not world.service.open
    assert world.service.describe()["unrecorded"] == 0
    closed = {incident.id: incident for incident in await world.service.history(START, world.now())}
    assert set(world.seen) <= set(closed)
    assert closed, "nothing happened in this world"
    recorded = {(record.kind, record.figures["incident"]) for record in world.evidence.records}
    for id_, incident in closed.items():
        assert ("incident.opened", id_) in recorded
        assert ("incident.resolved", id_) in recorded
        worst = max(change.level for change in incident.levels)
        for route in ROUTES:
            heard = [message for message in world.phones[route.name].heard if message.incident == id_]
            if route.level_min <= worst and route.after_s == 0:
                assert max((message.level for message in heard), default=0) >= worst, (
                    f"{route.name} never heard of {id_}"
                )
            if heard:
                assert heard[-1].event is Event.RESOLVED, f"{route.name} never heard the end of {id_}"
                assert {message.dedup_key for message in heard} == {f"siaga/sim/{id_}"}
