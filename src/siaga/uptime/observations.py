"""The last seconds of what was seen, judged again with every fact that comes in (pure).

A moment is settled when nothing still under way can change it; settled slices are kept, and only a bad one that the
users' requests reveal later may still take a good one's place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from siaga.uptime import decide, traffic
from siaga.uptime.model import Blind, Count, Outage, Outcome, Shares, Slice, State, Trip
from siaga.uptime.outages import track
from siaga.uptime.timeline import clipped

KEPT_MS = 2 * traffic.SLICE_MS
"""Longer than a slice of traffic, a journey and the quiet after an outage."""
SETTLE_MS = 1_500
"""By then the counters have told about a moment."""
BEGINNING_MS = 60_000
"""How long the regions of a new site may take to serve one after the other."""


@dataclass(slots=True)
class Observations:
    """What is known of the last seconds, and the outage that goes on."""

    regions: tuple[str, ...]
    outage: Outage | None = None
    began_ms: int | None = None
    """When the site was first served; nothing before counts."""
    watching_since_ms: int = 0
    settled_ms: int = 0
    """Up to here everything was handed over."""
    blinds: list[Blind] = field(default_factory=list)
    """When the monitor did not run: unknown, and journeys of that time that failed tell nothing."""
    _told_until_ms: int = 0
    """Bad time up to here belongs to outages that have ended."""
    _trips: list[Trip] = field(default_factory=list)
    _counts: list[Count] = field(default_factory=list)
    _weights: Mapping[str, float] = field(default_factory=dict)
    _first_ok: dict[str, int] = field(default_factory=dict)

    def look_from(self, now_ms: int) -> None:
        """Look from now on; what was seen by another clock is forgotten."""
        self.watching_since_ms = self.settled_ms = now_ms
        self._told_until_ms = min(self._told_until_ms, now_ms)
        self._trips.clear()
        self._counts.clear()
        self.blinds.clear()

    def add(self, trips: Iterable[Trip], counts: Sequence[Count]) -> None:
        """Take in new facts."""
        for trip in trips:
            self._trips.append(trip)
            if trip.outcome is Outcome.OK:
                self._first_ok.setdefault(trip.region, trip.begin_ms)
                self._note_beginning(trip.end_ms)
        self._counts += counts
        self._weights = traffic.weighed(self._weights, counts)
        self._trips.sort(key=lambda trip: trip.begin_ms)

    @property
    def shares(self) -> Shares:
        """Of all users, how many arrive in each region."""
        return traffic.shares(self._weights, self.regions)

    def judge(self, now_ms: int, under_way_since_ms: int | None) -> tuple[tuple[Slice, ...], bool]:
        """The slices to keep now, and whether the outage began, changed or ended (`outage` says how it stands)."""
        if self.began_ms is None:
            self.settled_ms = now_ms
            return (), False
        begin_ms = max(self.watching_since_ms, self.began_ms, now_ms - KEPT_MS)
        self._forget(begin_ms)
        if begin_ms >= now_ms:
            return (), False
        settled_ms = min(now_ms - SETTLE_MS, under_way_since_ms if under_way_since_ms is not None else now_ms)
        settled_ms = max(settled_ms, self.settled_ms, begin_ms)
        slices = self._judged(begin_ms, now_ms)
        keep = (
            *(each for each in clipped(slices, begin_ms, self.settled_ms) if each.state is State.BAD),
            *clipped(slices, max(begin_ms, self.settled_ms), settled_ms),
        )
        self.settled_ms = settled_ms
        return keep, self._track(slices)

    def _judged(self, begin_ms: int, now_ms: int) -> tuple[Slice, ...]:
        regions = {
            region: decide.judge_region(
                [trip for trip in self._trips if trip.region == region and not self._asleep(trip)],
                [count for count in self._counts if count.region == region],
                begin_ms,
                now_ms,
            )
            for region in self.regions
        }
        return decide.judge_site(regions, self.shares, self.blinds, begin_ms, now_ms)

    def _track(self, slices: Sequence[Slice]) -> bool:
        """Follow the outage."""
        before = self.outage if self.outage is None or self.outage.ended_ms is None else None
        self.outage = track(before, slices, self._told_until_ms)
        if self.outage is not None and self.outage.ended_ms is not None:
            self._told_until_ms = self.outage.ended_ms
        return _told(self.outage) != _told(before)

    def _note_beginning(self, now_ms: int) -> None:
        """The site exists once every region has served; one that never does can't put it off for longer."""
        if self.began_ms is None:
            if len(self._first_ok) == len(self.regions):
                self.began_ms = max(self._first_ok.values())
            elif now_ms - min(self._first_ok.values()) >= BEGINNING_MS:
                self.began_ms = min(self._first_ok.values())

    def _asleep(self, trip: Trip) -> bool:
        return trip.outcome is Outcome.FAILED and any(
            trip.begin_ms < blind.end_ms and trip.end_ms > blind.begin_ms for blind in self.blinds
        )

    def _forget(self, begin_ms: int) -> None:
        """Drop what no longer reaches into the time that is judged."""
        old_ms = begin_ms - decide.STALE_MS
        self._trips = [trip for trip in self._trips if trip.end_ms >= old_ms]
        self._counts = [count for count in self._counts if count.end_ms > begin_ms - traffic.SLICE_MS]
        self.blinds = [blind for blind in self.blinds if blind.end_ms > begin_ms]


def _told(outage: Outage | None) -> tuple[object, ...] | None:
    """What others are told about; the time that passes is no news."""
    if outage is None:
        return None
    return (
        outage.onset_ms,
        outage.ended_ms,
        outage.hard_down,
        outage.regions,
        outage.share_ppm,
        outage.journeys,
    )
