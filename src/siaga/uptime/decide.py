"""Was it good, bad or unknown: the judgement of every moment, from journeys and from the users' requests (pure).

A region is bad when either says so. A single failed journey is held against the users' own requests, when there are
enough of them; and of several vantage points of a region, half have to see it. The site is bad when any region is:
the clause is judged unweighted, and the share of users stands beside it (decision 20).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from siaga.uptime import traffic
from siaga.uptime.model import (
    WHOLE_PPM,
    Blind,
    Count,
    Mark,
    Outcome,
    RegionSlice,
    Shares,
    Slice,
    Source,
    State,
    Trip,
)
from siaga.uptime.timeline import joined
from siaga.uptime.traffic import TrafficMark

STALE_MS = 4_000
"""A journey speaks for the time until the next one, and no longer than this."""
CONFIRMED_BY = 2
"""So many failed journeys in a row are no blip."""


def judge_region(trips: Iterable[Trip], counts: Iterable[Count], begin_ms: int, end_ms: int) -> tuple[RegionSlice, ...]:
    """Every moment from `begin_ms` to `end_ms`, without a hole; all trips and counts are of one region, in order."""
    lanes: dict[str, list[Trip]] = {}
    for trip in trips:
        if trip.outcome is not Outcome.INCONCLUSIVE:
            lanes.setdefault(trip.vantage, []).append(trip)
    seen = [_lane(lane) for lane in lanes.values()]
    users = traffic.marks(counts)
    edges = {begin_ms, end_ms}
    edges |= {edge for marks in seen for mark in marks for edge in (mark.begin_ms, mark.end_ms)}
    edges |= {edge for mark in users for edge in (mark.begin_ms, mark.end_ms)}
    bounds = sorted(edge for edge in edges if begin_ms <= edge <= end_ms)
    return joined(
        _region_slice(
            begin, end, [mark for marks in seen for mark in marks if _holds(mark, begin)], _mark_at(users, begin)
        )
        for begin, end in zip(bounds, bounds[1:], strict=False)
    )


def judge_site(
    regions: Mapping[str, Sequence[RegionSlice]], shares: Shares, blinds: Sequence[Blind], begin_ms: int, end_ms: int
) -> tuple[Slice, ...]:
    """The regions put together, each judged for the same stretch; what the monitor slept through is unknown."""
    edges = {begin_ms, end_ms}
    edges |= {edge for found in regions.values() for each in found for edge in (each.begin_ms, each.end_ms)}
    edges |= {edge for blind in blinds for edge in (blind.begin_ms, blind.end_ms)}
    bounds = sorted(edge for edge in edges if begin_ms <= edge <= end_ms)
    return joined(
        _blind_slice(begin, end, blinds)
        or _site_slice(begin, end, {name: _slice_at(found, begin) for name, found in regions.items() if found}, shares)
        for begin, end in zip(bounds, bounds[1:], strict=False)
    )


def _lane(trips: Sequence[Trip]) -> tuple[Mark, ...]:
    """What one vantage point says: good from an answer on, bad from the first request that failed until an answer."""
    found: list[Mark] = []
    for run in _runs(trips):
        confirmed = sum(trip.outcome is Outcome.FAILED for trip in run) >= CONFIRMED_BY
        first = run[0]
        for trip, following in zip(run, (*run[1:], None), strict=True):
            until_ms = trip.end_ms + STALE_MS
            if following is not None:
                until_ms = min(until_ms, following.begin_ms)
            if trip.outcome is Outcome.FAILED:
                found.append(Mark(trip.begin_ms, until_ms, State.BAD, confirmed, trip.step, trip.why))
                continue
            good_ms = trip.begin_ms
            if first.outcome is Outcome.FAILED:
                # It may have waited for the service to come back: only its answer proves that it has.
                good_ms = trip.end_ms
                found.append(Mark(trip.begin_ms, good_ms, State.BAD, confirmed, first.step, first.why))
            found.append(Mark(good_ms, until_ms, State.GOOD))
    return joined(_without_overlaps(found))


def _runs(trips: Sequence[Trip]) -> list[list[Trip]]:
    """Each failed trip with those that follow it up to the first good one; a good trip outside of these by itself."""
    found: list[list[Trip]] = []
    for trip in trips:
        before = found[-1][-1] if found else None
        if before is not None and before.outcome is Outcome.FAILED and trip.begin_ms - before.end_ms <= STALE_MS:
            found[-1].append(trip)
        else:
            found.append([trip])
    return found


def _without_overlaps(marks: Sequence[Mark]) -> list[Mark]:
    """Each ends where the next begins."""
    found = []
    for mark, following in zip(marks, (*marks[1:], None), strict=True):
        end_ms = mark.end_ms if following is None else min(mark.end_ms, following.begin_ms)
        found.append(replace(mark, end_ms=end_ms))
    return found


def _region_slice(begin_ms: int, end_ms: int, lanes: Sequence[Mark], users: TrafficMark | None) -> RegionSlice:
    failing = [mark for mark in lanes if mark.state is State.BAD]
    users_state = users.state if users is not None else State.UNKNOWN
    served = users is not None and users.telling and users_state is State.GOOD
    # Half of the vantage points and more, and no blip that the users did not notice.
    believed = bool(failing) and 2 * len(failing) >= len(lanes)
    believed = believed and (any(mark.confirmed for mark in failing) or not served)
    if believed or users_state is State.BAD:
        share_ppm = WHOLE_PPM if believed or users is None else users.share_ppm
        heard = (Source.JOURNEYS, believed), (Source.TRAFFIC, users_state is State.BAD)
        return RegionSlice(
            begin_ms,
            end_ms,
            State.BAD,
            share_ppm,
            confirmed=users_state is State.BAD or any(mark.confirmed for mark in failing),
            steps=tuple(dict.fromkeys(mark.step for mark in failing if mark.step is not None)) if believed else (),
            sources=tuple(source for source, said in heard if said),
            why=failing[0].why if believed else "more than 5 % of the users' requests failed",
        )
    if lanes or users_state is State.GOOD:
        return RegionSlice(begin_ms, end_ms, State.GOOD)
    return RegionSlice(begin_ms, end_ms, State.UNKNOWN, why="neither a journey nor a user's request tells")


def _blind_slice(begin_ms: int, end_ms: int, blinds: Sequence[Blind]) -> Slice | None:
    for blind in blinds:
        if blind.begin_ms <= begin_ms < blind.end_ms:
            return Slice(begin_ms, end_ms, State.UNKNOWN, why=blind.why)
    return None


def _site_slice(begin_ms: int, end_ms: int, regions: Mapping[str, RegionSlice], shares: Shares) -> Slice:
    bad = {name: each for name, each in regions.items() if each.state is State.BAD}
    if bad:
        share_ppm = sum(shares[name] * each.share_ppm // WHOLE_PPM for name, each in bad.items())
        first = next(iter(bad.values()))
        return Slice(
            begin_ms,
            end_ms,
            State.BAD,
            share_ppm,
            confirmed=len(bad) > 1 or any(each.confirmed for each in bad.values()),
            regions=tuple(bad),
            steps=tuple(dict.fromkeys(step for each in bad.values() for step in each.steps)),
            sources=tuple(dict.fromkeys(source for each in bad.values() for source in each.sources)),
            why=first.why,
        )
    dark = [name for name, each in regions.items() if each.state is State.UNKNOWN]
    if dark or not regions:
        why = regions[dark[0]].why if dark else "no region is watched"
        return Slice(begin_ms, end_ms, State.UNKNOWN, regions=tuple(dark), why=why)
    return Slice(begin_ms, end_ms, State.GOOD)


def _slice_at(found: Sequence[RegionSlice], moment_ms: int) -> RegionSlice:
    return next(each for each in found if each.begin_ms <= moment_ms < each.end_ms)


def _mark_at(marks: Sequence[TrafficMark], moment_ms: int) -> TrafficMark | None:
    return next((mark for mark in marks if mark.begin_ms <= moment_ms < mark.end_ms), None)


def _holds(mark: Mark, moment_ms: int) -> bool:
    return mark.begin_ms <= moment_ms < mark.end_ms
