"""From bad slices to one outage with a beginning and an end, and whether it is a blip or hard down (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from siaga.uptime.model import Outage, Slice, State

HARD_DOWN_MS = 2_000
"""Bad for so long at a stretch, and confirmed: acted upon at once, whatever the burn rates say."""
QUIET_MS = 5_000
"""Good for so long after the last bad moment: the outage has ended. Less is the same outage, flapping."""


def track(current: Outage | None, slices: Sequence[Slice], since_ms: int) -> Outage | None:
    """The outage as it stands after the latest slices, in order, up to now; None where there is none.

    Bad slices that ended before `since_ms` belong to outages that were told before. An outage that comes back with
    `ended_ms` has ended with this call.
    """
    stretches = _stretches((each for each in slices if each.end_ms > since_ms), QUIET_MS)
    if current is None:
        # One request that failed once counts in the minutes; it wakes nobody.
        stretches = [bad for bad in stretches if any(each.confirmed for each in bad)]
        if not stretches:
            return None
        current = _begun(stretches[0][0])
    for bad in stretches:
        if bad[-1].end_ms > current.onset_ms:
            current = _widened(current, bad)
    return _ended(current, slices)


def listed(slices: Iterable[Slice], quiet_ms: int = QUIET_MS) -> tuple[Outage, ...]:
    """The outages of a stretch that is over, oldest first."""
    stretches = _stretches(slices, quiet_ms)
    return tuple(replace(_widened(_begun(bad[0]), bad), ended_ms=bad[-1].end_ms) for bad in stretches)


def _stretches(slices: Iterable[Slice], quiet_ms: int) -> list[list[Slice]]:
    """The bad slices, in order, parted wherever more than `quiet_ms` lies between two of them."""
    stretches: list[list[Slice]] = []
    for each in slices:
        if each.state is not State.BAD:
            continue
        if stretches and each.begin_ms - stretches[-1][-1].end_ms <= quiet_ms:
            stretches[-1].append(each)
        else:
            stretches.append([each])
    return stretches


def _begun(first: Slice) -> Outage:
    return Outage(first.begin_ms, None, False, (), 0, (), first.why, first.begin_ms)


def _widened(outage: Outage, bad: Sequence[Slice]) -> Outage:
    return replace(
        outage,
        # What fails last may have begun first: a journey that hung until its deadline began where it set out.
        onset_ms=min(outage.onset_ms, bad[0].begin_ms),
        hard_down=outage.hard_down or _lasted_ms(bad) >= HARD_DOWN_MS,
        regions=tuple(dict.fromkeys((*outage.regions, *(name for each in bad for name in each.regions)))),
        share_ppm=max((outage.share_ppm, *(each.share_ppm for each in bad))),
        journeys=tuple(dict.fromkeys((*outage.journeys, *(step for each in bad for step in each.steps)))),
        bad_until_ms=max((outage.bad_until_ms, *(each.end_ms for each in bad))),
    )


def _lasted_ms(bad: Sequence[Slice]) -> int:
    """The longest stretch without a pause that something confirmed."""
    longest_ms, begin_ms, end_ms, confirmed = 0, 0, 0, False
    for each in bad:
        if each.begin_ms != end_ms:
            begin_ms, confirmed = each.begin_ms, False
        confirmed, end_ms = confirmed or each.confirmed, each.end_ms
        if confirmed:
            longest_ms = max(longest_ms, end_ms - begin_ms)
    return longest_ms


def _ended(outage: Outage, slices: Sequence[Slice]) -> Outage:
    """Ended once everything after the last bad moment was good for long enough; what nobody measured ends nothing."""
    good = [each for each in slices if each.state is State.GOOD and each.end_ms > outage.bad_until_ms]
    if sum(each.end_ms - max(each.begin_ms, outage.bad_until_ms) for each in good) >= QUIET_MS:
        return replace(outage, ended_ms=outage.bad_until_ms)
    return outage
