"""What the users' own requests say of a region, from the front door's counters (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from siaga.uptime.model import WHOLE_PPM, Count, Shares, State

SLICE_MS = 10_000
REQUESTS_MIN = 20
"""Fewer say nothing about everybody else."""
FAILED_PERCENT_MAX = 5
FAILED_MIN = 5
"""Two lost requests in the first half second of a slice are more than 5 %, and no outage (ten simulated hours)."""
_FADING = 0.99
"""A second's requests count for some minutes in the regions' shares of users."""


@dataclass(frozen=True, slots=True)
class TrafficMark:
    """A short stretch as users saw it."""

    begin_ms: int
    end_ms: int
    state: State
    share_ppm: int
    """Of the requests, how many failed."""
    telling: bool
    """Its slice holds enough requests to contradict a single failed journey."""


def marks(counts: Iterable[Count]) -> tuple[TrafficMark, ...]:
    """Judge the counts of one region, in order.

    A slice of 10 s is judged as a whole; of a bad one only the stretches in which requests failed are bad, so that an
    outage of 3 s counts as 3 s.
    """
    slices: dict[int, list[Count]] = {}
    for count in counts:
        slices.setdefault(count.begin_ms // SLICE_MS, []).append(count)
    return tuple(_mark(count, members) for members in slices.values() for count in members)


def _mark(count: Count, members: Sequence[Count]) -> TrafficMark:
    answered, failed = sum(c.answered for c in members), sum(c.failed for c in members)
    too_many = _too_many(count.failed, count.answered)
    enough = answered >= REQUESTS_MIN
    alone = count.answered >= REQUESTS_MIN and count.failed >= FAILED_MIN
    together = enough and failed >= FAILED_MIN and _too_many(failed, answered)
    state = State.UNKNOWN
    if too_many and (alone or together):
        state = State.BAD
    elif count.answered and not too_many:
        state = State.GOOD
    share_ppm = count.failed * WHOLE_PPM // count.answered if state is State.BAD else 0
    return TrafficMark(count.begin_ms, count.end_ms, state, share_ppm, enough)


def _too_many(failed: int, answered: int) -> bool:
    return failed * 100 > answered * FAILED_PERCENT_MAX


def weighed(weights: Mapping[str, float], counts: Iterable[Count]) -> dict[str, float]:
    """Each region's recent requests; old ones fade, so that an outage does not change who its users were."""
    found = dict(weights)
    for count in counts:
        # While its requests fail a region has fewer of them than users.
        if not count.failed:
            found[count.region] = found.get(count.region, 0.0) * _FADING + count.answered
    return found


def shares(weights: Mapping[str, float], regions: Sequence[str]) -> Shares:
    """Of all users, how many arrive in each region; equal shares while nobody has come."""
    total = sum(weights.get(region, 0.0) for region in regions)
    if not total:
        weights, total = dict.fromkeys(regions, 1.0), float(len(regions))
    found = {region: int(WHOLE_PPM * weights.get(region, 0.0) / total) for region in regions}
    found[regions[0]] += WHOLE_PPM - sum(found.values())
    return found


def difference(region: str, begin: tuple[int, int, int], end: tuple[int, int, int]) -> Count | None:
    """What came between two looks at the counters, each (moment in ms, answered, failed).

    None where the counters went back: the proxy was restarted, and what came in between is not known.
    """
    begin_ms, answered_before, failed_before = begin
    end_ms, answered_after, failed_after = end
    if answered_after < answered_before or failed_after < failed_before or end_ms <= begin_ms:
        return None
    answered = answered_after - answered_before
    return Count(region, begin_ms, end_ms, answered, min(failed_after - failed_before, answered))
