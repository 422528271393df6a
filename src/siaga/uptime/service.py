"""Uptime at work: journeys and counters in; slices into the book, changes to whoever acts on them (ZDT-1).

A pass never waits for a disk or for anybody: what takes time goes on beside it, so that an outage is seen within a
tenth of a second of the fact that shows it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import structlog

from siaga.errors import Unreachable
from siaga.evidence.model import Evidence, Record
from siaga.sop.adherence import Standing
from siaga.sop.clauses import ClauseId
from siaga.sop.limits import UptimeLimits
from siaga.sop.month import Month
from siaga.uptime import adherence, burn, traffic
from siaga.uptime.book import Book
from siaga.uptime.clocks import Reading, Timeline
from siaga.uptime.counters import Counters
from siaga.uptime.lanes import Lanes
from siaga.uptime.model import BurnAlert, Change, Count, Outage, Slice, State, Trip
from siaga.uptime.months import MonthFigures
from siaga.uptime.observations import Observations
from siaga.uptime.outages import listed, track
from siaga.uptime.outbox import Outbox
from siaga.uptime.store import SliceStore

_log = structlog.get_logger()

JUDGE_MS = 1_000
COUNT_MS = 1_000
COUNT_FAILING_MS = 250
"""While users are not served: so exactly is its end known."""
SAVE_MS = 1_000
FIGURES_MS = 5_000
RESUMED_MS = 60_000
"""An outage that was under way so shortly before a restart goes on until something is good."""

OnChange = Callable[[Change], Awaitable[None]]


class UptimeService:
    """One per controller that leads."""

    def __init__(
        self,
        regions: Sequence[str],
        lanes: Lanes,
        counters: Counters,
        store: SliceStore,
        evidence: Evidence,
        limits: UptimeLimits,
        *,
        clock: Callable[[], Reading],
        on_change: OnChange,
    ) -> None:
        """`on_change` is told of every outage and burn alert, in order; when it raises it is told again."""
        self._lanes = lanes
        self._counters = counters
        self._limits = limits
        self._clock = clock
        self._book = Book(store, evidence, limits)
        self._observations = Observations(tuple(regions))
        self._timeline = Timeline.begin(clock())
        self._believed_from_ms = self._judged_ms = self._counted_ms = 0
        self._saved_ms = self._figured_ms = 0
        self._count_before: dict[str, tuple[int, int, int]] = {}
        self._counts: list[Count] = []
        self._burning: dict[float, BurnAlert] = {}
        self._news: Outbox[Change] = Outbox(on_change, "news of an outage")
        self._records: Outbox[Record] = Outbox(evidence.append, "a record of an outage")
        self._beside: dict[str, asyncio.Task[None]] = {}
        self._figures: MonthFigures | None = None

    async def open(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Go on where the last controller stopped; `history` is every record `uptime.*` of the evidence, in order."""
        self._timeline = Timeline.begin(self._clock())
        now_ms = self._now_ms
        recorded = await self._book.open(history, now_ms)
        self._observations.began_ms = self._book.began_ms
        self._observations.look_from(now_ms)
        outage = _under_way(recorded, now_ms)
        if outage is not None:
            self._observations.outage = outage
            self._news.put(outage)
        await self._guarded("figures", self._refresh_figures)

    async def run_pass(self) -> None:
        """Look once; every 0.1 s."""
        now_ms = self._look_at_clocks()
        self._lanes.start_due()
        trips = self._trips()
        counts, self._counts = self._counts, []
        if _due(now_ms, self._counted_ms, COUNT_MS if self.outage is None else COUNT_FAILING_MS):
            self._counted_ms = now_ms
            self._start("count", self._count)
        self._observations.add(trips, counts)
        if trips or counts or _due(now_ms, self._judged_ms, JUDGE_MS):
            self._judge(now_ms)
        if self._news:
            self._start("news", self._news.run)
        if self._records:
            self._start("records", self._records.run)

    async def settle(self) -> None:
        """Wait for what goes on beside the passes."""
        await asyncio.gather(*self._beside.values(), return_exceptions=True)

    async def close(self) -> None:
        """Keep what is settled, and end everything."""
        for task in self._beside.values():
            task.cancel()
        await self.settle()
        await self._lanes.close()
        await self._counters.close()
        await self._book.close()

    # What it says -------------------------------------------------------------------------------------------

    async def figures(self, month: Month | None = None) -> MonthFigures:
        """A month in figures, the running one by default; BadInput for one that is to come."""
        return await self._book.figures(month or Month.holding_ms(self._now_ms))

    async def show(self, month: Month | None = None) -> dict[str, Any]:
        """The month, the outage that goes on, and what burns, as one document."""
        found = await self.figures(month)
        return {
            **found.to_document(),
            "outage": self.outage.to_document() if self.outage is not None else None,
            "burning": [alert.to_document() for alert in self._burning.values()],
            "burn_rates": self._book.burn_rates(),
            "shares_ppm": dict(self._observations.shares),
            "trouble": self._trouble,
            "from": "controller",
        }

    @property
    def outage(self) -> Outage | None:
        """The one that goes on."""
        found = self._observations.outage
        return found if found is not None and found.ended_ms is None else None

    @property
    def latest(self) -> MonthFigures | None:
        """The running month as of the last seconds; None before the first look."""
        return self._figures

    def burn_rates(self) -> dict[str, float]:
        """How many times faster than allowed the budget is used up, by window."""
        return self._book.burn_rates()

    def standing(self) -> Standing:
        """ZDT-1, as of the last seconds."""
        return adherence.standing(self._figures, self.outage, self._trouble)

    async def reclassify(self, begin: datetime, end: datetime, state: State, reason: str, actor: str) -> dict[str, Any]:
        """Have a past stretch count as something else, with a reason, in the evidence."""
        done = await self._book.reclassify(begin, end, state, reason, actor)
        await self._refresh_figures()
        return done

    # A pass -------------------------------------------------------------------------------------------------

    @property
    def _now_ms(self) -> int:
        return self._timeline.at(self._timeline.last.steady_ms)

    @property
    def _trouble(self) -> str:
        return self._book.trouble or self._records.trouble or self._news.trouble

    def _look_at_clocks(self) -> int:
        reading = self._clock()
        self._timeline, blind, jumped = self._timeline.look(reading)
        now_ms = self._now_ms
        if blind is not None:
            _log.warning("nobody measured", why=blind.why)
        if jumped:
            self._observations.look_from(now_ms)
            self._believed_from_ms = reading.steady_ms
            self._count_before, self._counts = {}, []
            if blind is not None and self._book.began_ms is not None:
                self._book.keep((Slice(blind.begin_ms, blind.end_ms, State.UNKNOWN, why=blind.why),), now_ms)
        elif blind is not None:
            self._observations.blinds.append(blind)
        return now_ms

    def _trips(self) -> list[Trip]:
        """What ended since the last pass, in calendar time; what began by another clock is left out."""
        return [
            replace(trip, begin_ms=self._timeline.at(trip.begin_ms), end_ms=self._timeline.at(trip.end_ms))
            for trip in self._lanes.collect()
            if trip.begin_ms >= self._believed_from_ms
        ]

    def _judge(self, now_ms: int) -> None:
        self._judged_ms = now_ms
        since_ms = self._lanes.under_way_since_ms()
        keep, changed = self._observations.judge(now_ms, None if since_ms is None else self._timeline.at(since_ms))
        self._book.keep(keep, self._observations.settled_ms)
        outage = self._observations.outage
        if changed and outage is not None:
            self._news.put(outage)
            if outage.ended_ms is not None:
                self._records.put(_outage_record(outage))
        self._judge_burning()
        if self._book.began_ms is None and self._observations.began_ms is not None:
            self._records.put(self._book.begin(self._observations.began_ms))
        if changed or _due(now_ms, self._saved_ms, SAVE_MS):
            self._saved_ms = now_ms
            self._start("save", self._save)

    def _judge_burning(self) -> None:
        if not self._book.bad and not self._burning:
            return
        found = burn.judge(self._burning, self._book.bad, self._book.settled_ms, self._limits)
        for rate, alert in found.items():
            if rate not in self._burning or alert.ended_ms is not None:
                self._news.put(alert)
        self._burning = {rate: alert for rate, alert in found.items() if alert.ended_ms is None}

    # Beside the passes ----------------------------------------------------------------------------------------

    def _start(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do it beside the passes, once at a time."""
        running = self._beside.get(name)
        if running is None or running.done():
            self._beside[name] = asyncio.get_running_loop().create_task(self._guarded(name, work))

    async def _guarded(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """What fails is told and done again with a later pass; it ends nothing else."""
        try:
            await work()
        except Exception as error:  # noqa: BLE001 (a fault of one part must not end the measuring)
            _log.error("not done, trying again", what=name, why=f"{type(error).__name__}: {error}")

    async def _count(self) -> None:
        try:
            found = await self._counters.read()
        except Unreachable:
            # Blind is not bad: the next two looks that succeed make a count again.
            self._count_before = {}
            return
        now_ms = self._timeline.at(self._clock().steady_ms)
        for region, (answered, failed) in found.items():
            look = (now_ms, answered, failed)
            count = (
                traffic.difference(region, self._count_before[region], look) if region in self._count_before else None
            )
            if count is not None:
                self._counts.append(count)
            self._count_before[region] = look

    async def _save(self) -> None:
        await self._book.save()
        if _due(self._now_ms, self._figured_ms, FIGURES_MS) or self.outage is not None:
            await self._refresh_figures()

    async def _refresh_figures(self) -> None:
        self._figured_ms = self._now_ms
        self._figures = await self._book.figures(Month.holding_ms(self._book.settled_ms))


def _under_way(recorded: Sequence[Slice], now_ms: int) -> Outage | None:
    """The outage that had not ended when the last controller stopped, a moment ago."""
    last = listed(each for each in recorded if each.confirmed)[-1:]
    if not last or now_ms - last[0].bad_until_ms > RESUMED_MS:
        return None
    outage = track(replace(last[0], ended_ms=None), recorded, since_ms=0)
    return outage if outage is not None and outage.ended_ms is None else None


def _due(now_ms: int, last_ms: int, interval_ms: int) -> bool:
    """Whether so much time has passed, or the clock was set back."""
    return not 0 <= now_ms - last_ms < interval_ms


def _outage_record(outage: Outage) -> Record:
    lasted_s = ((outage.ended_ms or outage.onset_ms) - outage.onset_ms) / 1000
    reason = f"users were not served for {lasted_s:.1f} s in {', '.join(outage.regions)}: {outage.first_failure}"
    return Record("uptime.outage", "controller", ClauseId.ZDT_1, reason, outage.to_document())
