"""What the book asks of the place that keeps its slices: SQLite here, PostgreSQL where two controllers share it.

A row for a change and not for a slice: five years of a site are megabytes. Nothing is ever removed, and time in no
row was not measured.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from siaga.uptime.model import Reclassification, Slice, Source, State, Step
from siaga.uptime.timeline import overlay


class SliceStore(Protocol):
    """One writer, any number of readers. Calls block; StoreFault where they can't be carried out."""

    def record(self, measured: Sequence[Slice]) -> None:
        """Lay the slices, in order and without overlaps, over what is recorded; see `overlay`.

        Survives a killed process when it returns, and a failed machine when something changed; while all stays the
        same, the last seconds before a failed machine are lost and then count as not measured.
        """

    def slices(self, begin_ms: int, end_ms: int) -> tuple[Slice, ...]:
        """Everything recorded that touches the stretch, in order."""

    def begin(self, moment_ms: int) -> None:
        """Note when the site was first served; an earlier moment stays."""

    def began_ms(self) -> int | None:
        """When the site was first served."""

    def reclassify(self, word: Reclassification) -> None:
        """Keep a person's word, whose record is in the evidence; the same record twice is once."""

    def reclassifications(self) -> tuple[Reclassification, ...]:
        """Every word, the latest last."""

    def close(self) -> None:
        """Let go of it."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What laying slices over rows does to the rows."""

    gone_ms: tuple[int, ...]
    """Begins of rows that are no more."""
    changed: tuple[Slice, ...]
    """Rows that are new or different."""
    grown_only: bool
    """All stays as it was, for a little longer: an fsync a second would be a load of its own for that."""


def changes(before: Sequence[Slice], measured: Sequence[Slice]) -> Changes:
    """What is to be done to the rows `before`, which touch the stretch of `measured`."""
    after = overlay(before, measured)
    kept = {each.begin_ms: each for each in after}
    gone_ms = tuple(each.begin_ms for each in before if each.begin_ms not in kept)
    changed = tuple(each for each in after if each not in before)
    return Changes(gone_ms, changed, not gone_ms and len(changed) == 1 and len(before) == len(after))


def detail_of(each: Slice) -> str | None:
    """All but its stretch and its state, as JSON; None where there is nothing to say."""
    detail: dict[str, Any] = {
        "share_ppm": each.share_ppm,
        "confirmed": each.confirmed,
        "regions": each.regions,
        "steps": each.steps,
        "sources": each.sources,
        "why": each.why,
    }
    said = {name: value for name, value in detail.items() if value}
    return json.dumps(said) if said else None


def slice_of(begin_ms: int, end_ms: int, state: State, detail: str | None) -> Slice:
    """A row read back."""
    if detail is None:
        return Slice(begin_ms, end_ms, state)
    said = json.loads(detail)
    return Slice(
        begin_ms,
        end_ms,
        state,
        share_ppm=said.get("share_ppm", 0),
        confirmed=said.get("confirmed", False),
        regions=tuple(said.get("regions", ())),
        steps=tuple(Step(each) for each in said.get("steps", ())),
        sources=tuple(Source(each) for each in said.get("sources", ())),
        why=said.get("why", ""),
    )
