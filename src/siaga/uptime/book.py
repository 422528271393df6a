"""The book of slices: what is settled, what of it is kept, what people said about it, and the months' figures."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog

from siaga.errors import BadInput, StoreFault, Unreachable
from siaga.evidence.model import Evidence, Record
from siaga.sop.clauses import ClauseId
from siaga.sop.limits import UptimeLimits
from siaga.sop.month import Month
from siaga.uptime import burn, months
from siaga.uptime.model import Reclassification, Slice, State
from siaga.uptime.months import MonthFigures
from siaga.uptime.store import SliceStore
from siaga.uptime.timeline import overlay

_log = structlog.get_logger()

BEGAN = "uptime.began"
RECLASSIFIED = "uptime.reclassified"


class Book:
    """The store, and in memory what is not in it yet."""

    def __init__(self, store: SliceStore, evidence: Evidence, limits: UptimeLimits) -> None:
        """Nothing is read yet."""
        self._store = store
        self._evidence = evidence
        self._limits = limits
        self._unsaved: tuple[Slice, ...] = ()
        self._saving: tuple[Slice, ...] = ()
        self._unsaved_words: dict[int, Reclassification] = {}
        """What people said and the store has not taken yet, by record."""
        self._begin_saved = False
        self._turn = asyncio.Lock()
        self.bad: tuple[Slice, ...] = ()
        """Bad slices as far back as the burn rates look."""
        self.began_ms: int | None = None
        self.settled_ms = 0
        """Up to here the figures speak."""
        self.trouble = ""
        """Why slices are not kept; empty while they are."""

    async def open(self, history: Sequence[Mapping[str, Any]], now_ms: int) -> tuple[Slice, ...]:
        """Take in what the evidence says, its records `uptime.*` in order; the slices of the last days.

        It is the master of what people said and of when the site began: a store that was lost does not make the time
        before it disappear, it becomes unknown. One that does not answer is read with each save until it does.
        """
        self.settled_ms = now_ms
        self._unsaved_words = {int(each["number"]): _word(each) for each in history if each["kind"] == RECLASSIFIED}
        began = [int(each["figures"]["began_ms"]) for each in history if each["kind"] == BEGAN]
        self.began_ms = min(began, default=None)
        await self.save()
        try:
            found = await asyncio.to_thread(self._store.slices, now_ms - burn.LOOK_BACK_S * 1000, now_ms)
        except StoreFault as error:
            self._complain(error)
            return ()
        self.bad = tuple(each for each in found if each.state is State.BAD)
        return found

    def begin(self, moment_ms: int) -> Record:
        """The site was served for the first time; the record that says so."""
        self.began_ms = moment_ms
        reason = f"the site was first served at {months.iso(moment_ms)}"
        return Record(BEGAN, "controller", ClauseId.ZDT_1, reason, {"began_ms": moment_ms})

    def keep(self, slices: Sequence[Slice], settled_ms: int) -> None:
        """Take in what is settled; `save` has it kept."""
        self.settled_ms = settled_ms
        self._unsaved = overlay(self._unsaved, slices)
        bad = overlay(self.bad, tuple(each for each in slices if each.state is State.BAD))
        self.bad = tuple(each for each in bad if each.end_ms > settled_ms - burn.LOOK_BACK_S * 1000)

    async def save(self) -> None:
        """Have the store keep what it does not have yet; what it refuses waits here for the next time."""
        async with self._turn:
            self._saving, self._unsaved = self._unsaved, ()
            try:
                await asyncio.to_thread(self._save, self._saving)
            except StoreFault as error:
                self._unsaved = overlay(self._saving, self._unsaved)
                self._complain(error)
            else:
                self.trouble = ""
            finally:
                self._saving = ()

    def _save(self, slices: Sequence[Slice]) -> None:
        if not self._begin_saved:
            if self.began_ms is not None:
                self._store.begin(self.began_ms)
            known_ms = self._store.began_ms()
            if known_ms is not None:
                # It may be earlier than what the evidence says, which may have been pruned.
                self.began_ms, self._begin_saved = known_ms, True
        for record, word in tuple(self._unsaved_words.items()):
            self._store.reclassify(word)
            del self._unsaved_words[record]
        self._store.record(slices)

    def _complain(self, error: StoreFault) -> None:
        why = f"the slices can't be kept: {error}"
        if why != self.trouble:
            _log.error(why)
        self.trouble = why

    async def close(self) -> None:
        """Have the rest kept and let go of the store."""
        await self.save()
        await asyncio.to_thread(self._store.close)

    async def figures(self, month: Month) -> MonthFigures:
        """A month in figures; BadInput for one that is to come, Unreachable where the store does not answer."""
        if month.begin_ms > self.settled_ms:
            raise BadInput(
                f"`--month` is `{month}`, expected at most the running one", hint="Nothing is known of what is to come."
            )
        # Taken before the store is read: what is saved in between is then seen twice, not never.
        in_memory, words = overlay(self._saving, self._unsaved), tuple(self._unsaved_words.values())
        try:
            return await asyncio.to_thread(self._figures, month, in_memory, words, self.settled_ms)
        except StoreFault as error:
            raise Unreachable(
                f"the slices can't be read: {error}",
                hint="Look at the disk of the controller, or at the part `control-db` with `siaga status`.",
            ) from error

    def burn_rates(self) -> dict[str, float]:
        """How many times faster than allowed the budget is used up, by window."""
        return {
            burn.named(window_s): round(burn.burn_rate(self.bad, self.settled_ms, window_s, self._limits), 4)
            for window_s in burn.WINDOWS_S
        }

    async def reclassify(self, begin: datetime, end: datetime, state: State, reason: str, actor: str) -> dict[str, Any]:
        """Have a past stretch count as something else: into the evidence first, then into the figures."""
        begin_ms, end_ms = _ms(begin), _ms(end)
        self._check(begin_ms, end_ms)
        stated = {"begin_ms": begin_ms, "end_ms": end_ms, "as": str(state)}
        number = await self._evidence.append(Record(RECLASSIFIED, actor, ClauseId.ZDT_1, reason, stated))
        # Should we end here, the next start takes the word from the evidence.
        self._unsaved_words[number] = Reclassification(begin_ms, end_ms, state, actor, reason, number)
        await self.save()
        return {**stated, "record": number, "month": (await self.figures(Month.holding_ms(begin_ms))).to_document()}

    def _check(self, begin_ms: int, end_ms: int) -> None:
        begin, end = months.iso(begin_ms), months.iso(end_ms)
        if begin_ms >= end_ms:
            raise BadInput(f"from: found {begin}, expected a moment before {end}", hint="Nothing was changed.")
        if end_ms > self.settled_ms:
            raise BadInput(
                f"to: found {end}, expected a moment that is past, at most {months.iso(self.settled_ms)}",
                hint="Only what was measured can be re-classified; repeat it when the time is over.",
            )
        if self.began_ms is None or begin_ms < self.began_ms:
            since = "it never was" if self.began_ms is None else months.iso(self.began_ms)
            raise BadInput(
                f"from: found {begin}, expected a moment since the site is served ({since})",
                hint="Time before the site existed is not counted.",
            )

    def _figures(
        self, month: Month, in_memory: Sequence[Slice], unsaved_words: Sequence[Reclassification], until_ms: int
    ) -> MonthFigures:
        kept = overlay(self._store.slices(month.begin_ms, month.end_ms), in_memory)
        words = {word.record: word for word in (*self._store.reclassifications(), *unsaved_words)}
        return months.figures(
            month,
            kept,
            tuple(words.values()),
            began_ms=self.began_ms,
            now_ms=until_ms,
            limits=self._limits,
        )


def _word(record: Mapping[str, Any]) -> Reclassification:
    figures = record["figures"]
    return Reclassification(
        int(figures["begin_ms"]),
        int(figures["end_ms"]),
        State(figures["as"]),
        record["actor"],
        record["reason"],
        int(record["number"]),
    )


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
