"""Preventive health (PMT): looks at everything, judges it, remembers it, and tells what changed."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from siaga.errors import SiagaError
from siaga.evidence.model import Evidence, Record, Unrecorded
from siaga.health import adherence
from siaga.health.decide import judge
from siaga.health.model import ASKS_NOTHING, NOT_YET, Observation, Point, Reader, Reading, Verdict
from siaga.health.store import Key, Remembered, Store
from siaga.health.trend import DAYS
from siaga.site.health import HealthLimits
from siaga.sop.adherence import Standing
from siaga.sop.clauses import ClauseId

_log = structlog.get_logger()

CHANGED = "health.changed"
EVERY = timedelta(hours=1)
SETTLING = timedelta(minutes=1)
"""After a start of the controller; whoever starts a platform starts it last."""
UNREAD_DEADLINE_S = 20.0
AT_ONCE_MAX = 4
"""Readers that look at the same time: the platform under them serves users."""


class HealthService:
    """Everything about the readings of one site."""

    def __init__(self, readers: Sequence[Reader], store: Store, limits: HealthLimits, evidence: Evidence) -> None:
        names = [reader.name for reader in readers]
        assert len(set(names)) == len(names), "what a reader saw is kept under its name"
        self._readers = tuple(readers)
        self._store = store
        self._limits = limits
        self._evidence = evidence
        self._latest: dict[str, tuple[Reading, ...]] = {}
        self._scrubbed: set[str] = set()
        self._unrecorded: list[Record] = []
        self._store_trouble = ""
        self._recalled = False
        self._first_pass_at: datetime | None = None
        self._checked_at: datetime | None = None
        # A scrub takes hours, and must not keep the hourly look waiting.
        self._checking, self._scrubbing, self._recording = asyncio.Lock(), asyncio.Lock(), asyncio.Lock()

    async def run_pass(self, now: datetime) -> None:
        """Look once an hour, not while the platform is still starting; called as often as anybody likes."""
        await self._recall(now)
        self._first_pass_at = self._first_pass_at or now
        begin, wait = (self._first_pass_at, SETTLING) if self._checked_at is None else (self._checked_at, EVERY)
        # A clock that was set back must not stop the looking.
        if not timedelta(0) <= now - begin < wait:
            await self.check(now)

    async def check(self, now: datetime) -> tuple[Reading, ...]:
        """Look at everything but the data itself; seconds. A second call waits for the first."""
        async with self._checking:
            await self._recall(now)
            self._checked_at = now
            looked = await self._look([reader for reader in self._readers if not reader.scrub], now)
            return looked + await self._ask_for_unread(now)

    async def scrub(self, now: datetime) -> tuple[Reading, ...]:
        """Have all data read and its checksums compared, gently; hours on a large site. One server after another."""
        found: list[Reading] = []
        async with self._scrubbing:
            await self._recall(now)
            for reader in self._readers:
                if reader.scrub:
                    found += await self._look([reader], now)
                    self._scrubbed.add(reader.name)
        return tuple(found)

    @property
    def scrub_deadline_s(self) -> float:
        """How long a scrub may take at most."""
        return sum(reader.deadline_s for reader in self._readers if reader.scrub)

    @property
    def readings(self) -> tuple[Reading, ...]:
        """What every reader saw when it last looked."""
        return tuple(reading for reader in self._readers for reading in self._latest.get(reader.name, ()))

    def standing(self) -> tuple[Standing, ...]:
        """The parts of PMT that are measured here."""
        return adherence.standing(self.readings)

    def show(self) -> dict[str, Any]:
        """Every reading as a plain document."""
        return document(self.readings, self._store_trouble)

    async def _recall(self, now: datetime) -> None:
        """Once after a start: what stood before it, so that nothing seems new that is not."""
        if self._recalled:
            return
        self._recalled = True
        try:
            remembered = await asyncio.to_thread(self._store.latest, now)
            history = await self._history(now)
        except (sqlite3.Error, OSError) as error:
            self._note_trouble(error)
            remembered, history = {}, {}
        self._scrubbed |= remembered.keys()
        self._latest = recalled(self._readers, remembered, history, self._limits, now) | self._latest
        looked = [remembered[r.name].at for r in self._readers if not r.scrub and r.name in remembered]
        self._checked_at = max(looked, default=None)

    async def _look(self, readers: Sequence[Reader], now: datetime) -> tuple[Reading, ...]:
        history = await self._history(now)
        few = asyncio.Semaphore(AT_ONCE_MAX)
        seen = await asyncio.gather(*(_observe(reader, now, few) for reader in readers))
        for reader, observations in zip(readers, seen, strict=True):
            found = tuple(_judged(observations, history, self._limits, now))
            self._unrecorded += _changes(self._latest.get(reader.name, ()), found)
            self._latest[reader.name] = found
            await self._keep(reader.name, observations, now)
        await self._record()
        return tuple(reading for reader in readers for reading in self._latest[reader.name])

    async def _ask_for_unread(self, now: datetime) -> tuple[Reading, ...]:
        """Whether a first scrub is due. The answer is not kept: no scrub may seem done that was not."""
        found: list[Reading] = []
        for reader in self._readers:
            if reader.unread is None or reader.name in self._scrubbed:
                continue
            asked = replace(reader, read=reader.unread, deadline_s=UNREAD_DEADLINE_S)
            readings = tuple(_judged(await _observe(asked, now, asyncio.Semaphore()), {}, self._limits, now))
            if reader.name not in self._scrubbed:
                self._unrecorded += _changes(self._latest.get(reader.name, ()), readings)
                self._latest[reader.name] = readings
                found += readings
        await self._record()
        return tuple(found)

    async def _history(self, now: datetime) -> Mapping[Key, list[Point]]:
        try:
            return await asyncio.to_thread(self._store.history, now - timedelta(days=DAYS))
        except (sqlite3.Error, OSError) as error:
            # Without the past there is no trend; each value still has its limit.
            self._note_trouble(error)
            return {}

    async def _keep(self, reader: str, observations: Sequence[Observation], now: datetime) -> None:
        try:
            await asyncio.to_thread(self._store.append, reader, observations, now)
        except (sqlite3.Error, OSError) as error:
            self._note_trouble(error)
        else:
            self._store_trouble = ""

    def _note_trouble(self, error: Exception) -> None:
        if str(error) != self._store_trouble:
            _log.error("past readings can't be kept or read, trends are missing", why=str(error))
        self._store_trouble = str(error)

    async def _record(self) -> None:
        async with self._recording:
            while self._unrecorded:
                record = self._unrecorded[0]
                try:
                    await self._evidence.append(record)
                except Unrecorded as refused:
                    _log.warning("a change of health waits for the evidence", why=refused.message)
                    return
                # Only what is written is forgotten.
                del self._unrecorded[0]
                _log.info(record.reason, kind=record.kind, clause=record.clause)


async def _observe(reader: Reader, now: datetime, few: asyncio.Semaphore) -> tuple[Observation, ...]:
    async with few:
        try:
            async with asyncio.timeout(reader.deadline_s):
                return tuple(await reader.read(now))
        except TimeoutError:
            return reader.blind(f"no answer within {reader.deadline_s:g} s")
        except SiagaError as error:
            return reader.blind(f"{error.message}; hint: {error.hint}" if error.hint else error.message)
        except OSError as error:
            return reader.blind(str(error))
        except Exception as error:  # noqa: BLE001 (one reader's fault must not hide what the others see)
            _log.error("a reader of health has failed", reader=reader.name, why=repr(error))
            return reader.blind(f"the reader failed: {type(error).__name__}")


def recalled(
    readers: Sequence[Reader],
    remembered: Mapping[str, Remembered],
    history: Mapping[Key, list[Point]],
    limits: HealthLimits,
    now: datetime,
) -> dict[str, tuple[Reading, ...]]:
    """What stood when it was last looked at, judged as of then; a scrub that never ran is not measured."""
    found: dict[str, tuple[Reading, ...]] = {}
    for reader in readers:
        if reader.name in remembered:
            found[reader.name] = as_of_then(remembered[reader.name], history, limits)
        elif reader.scrub and reader.unread is None:
            found[reader.name] = tuple(_judged(reader.blind(NOT_YET), history, limits, now))
    return found


def as_of_then(remembered: Remembered, history: Mapping[Key, list[Point]], limits: HealthLimits) -> tuple[Reading, ...]:
    """Judge what one reader saw, by the clock of then."""
    return tuple(_judged(remembered.observations, history, limits, remembered.at))


def _judged(
    observations: Iterable[Observation], history: Mapping[Key, list[Point]], limits: HealthLimits, at: datetime
) -> Iterable[Reading]:
    for seen in observations:
        yield judge(seen, history.get((seen.kind, seen.host, seen.subject), ()), limits, at)


def _changes(before: Sequence[Reading], after: Sequence[Reading]) -> list[Record]:
    """One record a verdict that changed; what asks for nothing when it is seen for the first time is no change."""
    known = {_key(reading): reading.verdict for reading in before}
    return [
        Record(
            CHANGED,
            "controller",
            ClauseId.PMT,
            f"{reading.observation.kind} of {reading.observation.subject}: {reading.verdict}: {reading.why}",
            {**line(reading), "before": str(known.get(_key(reading), ""))},
        )
        for reading in after
        if reading.verdict is not known.get(_key(reading))
        and (_key(reading) in known or reading.verdict not in ASKS_NOTHING)
    ]


def _key(reading: Reading) -> Key:
    return reading.observation.kind, reading.observation.host, reading.observation.subject


def document(readings: Sequence[Reading], store_trouble: str = "") -> dict[str, Any]:
    """Readings as a plain document, worst first."""
    order = (Verdict.ACT_NOW, Verdict.ACT_SOON, Verdict.NOT_MEASURED, Verdict.NOT_APPLICABLE, Verdict.OK)
    ordered = sorted(readings, key=lambda r: (order.index(r.verdict), r.observation.kind, r.observation.subject))
    return {
        "verdict": str(adherence.worst(readings)),
        "counts": {str(verdict): sum(r.verdict is verdict for r in readings) for verdict in order},
        "readings": [line(reading) for reading in ordered],
        "trouble": store_trouble,
    }


def line(reading: Reading) -> dict[str, Any]:
    """One reading as plain JSON values."""
    seen = reading.observation
    return {
        "kind": seen.kind.value,
        "host": seen.host,
        "subject": seen.subject,
        "value": seen.value,
        "unit": seen.kind.unit,
        "verdict": str(reading.verdict),
        "soon": reading.limit.soon,
        "now": reading.limit.now,
        "trend_per_day": reading.trend_per_day,
        "days_left": reading.days_left,
        "at": reading.at.isoformat(),
        "why": reading.why,
    }
