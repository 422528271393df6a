"""Stretches of time laid over each other, joined and cut (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from siaga.uptime.model import Mark, Reclassification, RegionSlice, Slice, State

Stretch = TypeVar("Stretch", Slice, RegionSlice, Mark)
_RANK = {State.UNKNOWN: 0, State.GOOD: 1, State.BAD: 2}


def overlay(recorded: Sequence[Slice], measured: Sequence[Slice]) -> tuple[Slice, ...]:
    """Both in one row, each in order and without overlaps; where both speak of a moment, the worse measurement counts.

    Only a clock that was set back makes two of them meet. Bad stays bad, whichever came first; what was measured takes
    the place of what was not.
    """
    bounds = sorted({bound for each in (*recorded, *measured) for bound in (each.begin_ms, each.end_ms)})
    found: list[Slice] = []
    first, second = _Cursor(recorded), _Cursor(measured)
    for begin_ms, end_ms in zip(bounds, bounds[1:], strict=False):
        said = [each for each in (first.at(begin_ms), second.at(begin_ms)) if each is not None]
        if said:
            worst = max(said, key=lambda each: _RANK[each.state])
            found.append(replace(worst, begin_ms=begin_ms, end_ms=end_ms))
    return joined(found)


def joined(stretches: Iterable[Stretch]) -> tuple[Stretch, ...]:
    """Neighbours that say the same become one: a row for a change, not for a slice."""
    found: list[Stretch] = []
    for each in stretches:
        if each.begin_ms >= each.end_ms:
            continue
        if found and found[-1].end_ms == each.begin_ms and found[-1].said == each.said:
            found[-1] = replace(found[-1], end_ms=each.end_ms)
        else:
            found.append(each)
    return tuple(found)


def clipped(slices: Iterable[Slice], begin_ms: int, end_ms: int) -> tuple[Slice, ...]:
    """Only what lies between the two moments."""
    return tuple(
        each
        if begin_ms <= each.begin_ms and each.end_ms <= end_ms
        else replace(each, begin_ms=max(each.begin_ms, begin_ms), end_ms=min(each.end_ms, end_ms))
        for each in slices
        if each.begin_ms < end_ms and each.end_ms > begin_ms
    )


def filled(slices: Sequence[Slice], begin_ms: int, end_ms: int) -> tuple[Slice, ...]:
    """The whole stretch without a hole: what nobody measured is said to be unknown."""
    found: list[Slice] = []
    reached_ms = begin_ms
    for each in clipped(slices, begin_ms, end_ms):
        if each.begin_ms > reached_ms:
            found.append(_unmeasured(reached_ms, each.begin_ms))
        found.append(each)
        reached_ms = each.end_ms
    if reached_ms < end_ms:
        found.append(_unmeasured(reached_ms, end_ms))
    return tuple(found)


def reclassified(slices: Sequence[Slice], words: Iterable[Reclassification]) -> tuple[Slice, ...]:
    """The slices as people have re-classified them; of two words about one moment the later counts."""
    found: Sequence[Slice] = slices
    for word in words:
        before = clipped(found, _FIRST_MS, word.begin_ms)
        after = clipped(found, word.end_ms, _LAST_MS)
        inside = [_as_said(each, word) for each in clipped(found, word.begin_ms, word.end_ms)]
        found = (*before, *inside, *after)
    return tuple(found)


_FIRST_MS, _LAST_MS = -(1 << 62), 1 << 62


def _as_said(measured: Slice, word: Reclassification) -> Slice:
    if measured.state is word.state:
        return measured
    why = f"re-classified from {measured.state} by {word.actor}: {word.reason}"
    share_ppm = 1_000_000 if word.state is State.BAD else 0
    return Slice(measured.begin_ms, measured.end_ms, word.state, share_ppm, regions=measured.regions, why=why)


def _unmeasured(begin_ms: int, end_ms: int) -> Slice:
    return Slice(begin_ms, end_ms, State.UNKNOWN, why="nobody measured")


class _Cursor:
    """Walks along slices in order of time."""

    def __init__(self, slices: Sequence[Slice]) -> None:
        self._slices = slices
        self._next = 0

    def at(self, moment_ms: int) -> Slice | None:
        """The slice that holds the moment; moments must not go back."""
        while self._next < len(self._slices) and self._slices[self._next].end_ms <= moment_ms:
            self._next += 1
        if self._next == len(self._slices) or self._slices[self._next].begin_ms > moment_ms:
            return None
        return self._slices[self._next]
