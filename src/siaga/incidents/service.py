"""Incidents (ZDT-1): facts in, decisions, then people told, and all of it recorded.

Order matters: what was decided is kept first, since a kill in between must not make a second incident of it; then
people are told, at once; the evidence follows, since a full disk must not keep a Level 3 from anybody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import structlog

from siaga.errors import BadInput, SiagaError, StoreFault
from siaga.evidence.model import Evidence, Record
from siaga.incidents import acts, decide
from siaga.incidents.adherence import standing
from siaga.incidents.documents import to_document
from siaga.incidents.model import CONTROLLER, Book, Change, ChangeKind, Fact, Incident, Level, State
from siaga.incidents.notify.journal import RECENT, DeliveryJournal
from siaga.incidents.notify.message import Message, dedup_key
from siaga.incidents.notify.pagerduty_webhook import Answer, Word
from siaga.incidents.notify.routes import FAILING, Outcome, Thread, Verdict
from siaga.incidents.notify.telling import Sender, Telling
from siaga.incidents.records import record_of, worth_recording
from siaga.incidents.store import IncidentStore, Kept
from siaga.site.notifications import NotificationRoute, RouteKind
from siaga.sop.adherence import Standing
from siaga.sop.clauses import ClauseId

_log = structlog.get_logger()

DISK_PATIENCE_S = 1.0
"""A disk that hangs may delay a notification by so much."""
KEEP_INTERVAL_S = 60.0
"""So often what is only seen again is kept."""

Decision = Callable[[Book, datetime], tuple[Book, tuple[Change, ...]]]


class IncidentsService:
    """One per controller that leads."""

    def __init__(
        self,
        store: IncidentStore,
        evidence: Evidence,
        routes: Sequence[NotificationRoute],
        senders: Mapping[str, Sender],
        *,
        site: str,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        """Reads what was kept, which blocks; nothing is told before the first pass or fact.

        `senders` by route, UTC from `clock`.
        """
        self._store = store
        self._evidence = evidence
        self._clock = clock
        self._monotonic = monotonic
        self._site = site
        self._telling = Telling(
            routes,
            senders,
            DeliveryJournal(store.deliveries(RECENT), store.note_delivery),
            site=site,
            clock=clock,
            monotonic=monotonic,
            tried=self._tried,
        )
        kept = store.load()
        self._book = kept.book
        self._telling.threads = {(thread.incident, thread.route): thread for thread in kept.threads}
        self._unrecorded = deque(kept.unrecorded)
        self._unarchived = kept.unarchived
        self._pending: list[Fact] = []
        self._turn = asyncio.Lock()
        self._recording = asyncio.Lock()
        self._quiet_since: dict[tuple[str, datetime, int], float] = {}
        self._unsaved = False
        self._saved_at = monotonic()
        self._saving: asyncio.Task[None] | None = None
        self._disk_trouble = ""
        self._record_trouble = ""

    # Facts ----------------------------------------------------------------------------------------------------

    async def note(self, facts: Iterable[Fact]) -> None:
        """Take in what begins, lasts or has ended; a repeated fact changes nothing.

        Returns once it is kept and whoever has to be told is being told.
        """
        self._pending += facts
        if self._pending:
            # Whoever comes while another's facts are being kept is taken in with all that came meanwhile.
            await self._change(self._take_pending)

    async def observe(self, prefixes: Sequence[str], facts: Iterable[Fact]) -> None:
        """Take in everything that lasts now below these prefixes of keys; what is not among it has ended.

        For sources that know the whole of their state: nothing stays open for having ended while nobody looked.
        """
        lasting = list(facts)
        over = decide.ended(self._book, prefixes, (fact.key for fact in lasting), self._clock())
        await self.note([*lasting, *over])

    def _take_pending(self, book: Book, now: datetime) -> tuple[Book, tuple[Change, ...]]:
        taken, self._pending = self._pending, []
        return decide.take(book, taken, now)

    # People ---------------------------------------------------------------------------------------------------

    async def declare(self, level: Level, actor: str, reason: str) -> dict[str, Any]:
        """Open an incident that no measurement has shown."""
        changes = await self._change(lambda book, now: acts.declare(book, level, actor, reason, now))
        return self.show(changes[0].incident.id)

    async def acknowledge(self, id_: str, actor: str) -> dict[str, Any]:
        """Say that somebody looks after it; stops the escalation."""
        await self._change(lambda book, now: acts.acknowledge(book, id_, actor, now))
        return self.show(id_)

    async def downgrade(self, id_: str, to: Level, actor: str, reason: str) -> dict[str, Any]:
        """Lower its level; refused while an outage lasts."""
        await self._change(lambda book, now: acts.downgrade(book, id_, to, actor, reason, now))
        return self.show(id_)

    async def resolve(self, id_: str, actor: str, reason: str) -> dict[str, Any]:
        """Close it; refused while a cause lasts."""
        await self._change(lambda book, now: acts.resolve(book, id_, actor, reason, now))
        return self.show(id_)

    async def answered(self, answer: Answer) -> str:
        """Somebody acknowledged or resolved at PagerDuty; what was done about it, in words."""
        id_ = answer.dedup_key.rpartition("/")[2]
        if answer.dedup_key != dedup_key(self._site, id_) or self._book.find(id_) is None:
            return "not an incident of this platform"
        actor = f"pagerduty:{answer.actor}"
        try:
            if answer.word is Word.ACKNOWLEDGED:
                await self.acknowledge(id_, actor)
            else:
                await self.resolve(id_, actor, f"resolved at PagerDuty by {answer.actor}")
        except SiagaError as refusal:
            open_here = self._book.open.get(id_)
            if answer.word is Word.RESOLVED and open_here is not None:
                # Closed there while it lasts here.
                self._telling.again(open_here, RouteKind.PAGERDUTY)
                await self._keep()
                self._telling.dispatch()
            return refusal.message
        return f"{answer.word.removeprefix('incident.')} here too"

    # The loop -------------------------------------------------------------------------------------------------

    async def run_pass(self) -> None:
        """End what has been quiet, escalate, remind, try again, and record what is not recorded yet."""
        self._pending += decide.silent(self._book, self._clock())
        await self._change(self._take_pending)
        await self._change(lambda book, now: decide.settle(book, self._quiet_s(), now))
        self._telling.forget(self._book.open)
        if self._monotonic() - self._saved_at > KEEP_INTERVAL_S:
            self._unsaved = True
        if self._unsaved:
            await self._keep()
        await self._record()

    def _quiet_s(self) -> dict[str, float]:
        now_s = self._monotonic()
        # By its moment too: what came back and ended again between two passes begins its quiet anew.
        quiet = [(one.id, one.mitigated_at, one.flaps) for one in self._book.open.values() if one.mitigated_at]
        self._quiet_since = {key: self._quiet_since.get(key, now_s) for key in quiet}
        return {key[0]: now_s - since_s for key, since_s in self._quiet_since.items()}

    async def _change(self, decision: Decision) -> tuple[Change, ...]:
        async with self._turn:
            self._book, changes = decision(self._book, self._clock())
            for change in changes:
                self._note_change(change)
            over = [change.incident for change in changes if change.kind is ChangeKind.RESOLVED]
            told = self._telling.plan([*self._book.open.values(), *over])
            if changes or told:
                await self._keep()
        self._telling.dispatch()
        return changes

    def _note_change(self, change: Change) -> None:
        log = _log.warning if change.incident.level is Level.CRITICAL else _log.info
        log(change.reason, incident=change.incident.id, change=str(change.kind), label=change.incident.level.label)
        if change.kind is ChangeKind.RESOLVED:
            self._unarchived = (*self._unarchived, change.incident)
        if worth_recording(change, len(self._unrecorded)):
            self._unrecorded.append(record_of(change, self._clock()))

    # What came of telling -----------------------------------------------------------------------------------------

    async def _tried(self, message: Message, route: str, outcome: Outcome, thread: Thread) -> None:
        incident = self._book.find(message.incident)
        if incident is not None and outcome.verdict is Verdict.ACCEPTED:
            self._note_told(incident, message, route)
        elif thread.attempts == (1 if thread.refused else FAILING):
            figures = {"incident": message.incident, "route": route, "attempts": thread.attempts}
            why = f"{route} does not accept what it is told: {thread.trouble}"
            self._unrecorded.append(Record("incident.untold", CONTROLLER, ClauseId.ZDT_1, why, figures))
            _log.error(why, incident=message.incident)
        still_open = self._book.open.get(message.incident)
        if thread.failing and still_open is not None and self._telling.plan([still_open]):
            # The next step of the escalation stands in for a route that fails.
            self._telling.dispatch()
        await self._keep()

    def _note_told(self, incident: Incident, message: Message, route: str) -> None:
        if incident.notified_at is not None or message.level < incident.highest.level:
            return
        told = replace(incident, notified_at=max(self._clock(), incident.declared_at), notified_by=route)
        self._book = self._book.having(told)
        if told.state is State.RESOLVED:
            self._unarchived = (*self._unarchived, told)
        took_s = told.figures()["notified_s"]
        figures = {"incident": told.id, "route": route, "level": int(message.level), "notified_s": took_s}
        reason = f"{route} accepted {message.level.label} {took_s} s after the onset"
        self._unrecorded.append(Record("incident.notified", CONTROLLER, ClauseId.ZDT_1, reason, figures))

    # Keeping and recording ----------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Have the store hold the present state; one that hangs is not waited for long."""
        self._unsaved = True
        if self._saving is None or self._saving.done():
            self._saving = asyncio.create_task(self._save())
        await asyncio.wait([self._saving], timeout=DISK_PATIENCE_S)

    async def _save(self) -> None:
        while self._unsaved:
            self._unsaved = False
            archived = self._unarchived
            threads = tuple(self._telling.threads.values())
            kept = Kept(self._book, threads, tuple(self._unrecorded), archived)
            try:
                await asyncio.to_thread(self._store.save, kept)
            except (OSError, StoreFault) as error:
                self._unsaved = True
                if not self._disk_trouble:
                    _log.error("incidents can't be kept; people are told all the same", why=str(error))
                self._disk_trouble = str(error)
                return
            self._disk_trouble = ""
            self._saved_at = self._monotonic()
            self._unarchived = self._unarchived[len(archived) :]

    async def _record(self) -> None:
        """Move what happened into the evidence; what it does not take stays, in order."""
        async with self._recording:
            if not self._unrecorded:
                return
            while self._unrecorded:
                try:
                    await self._evidence.append(self._unrecorded[0])
                except BadInput as error:
                    # It would never be taken, and everything behind it would wait for ever.
                    _log.error("a record of an incident is refused by the evidence", why=error.message)
                except SiagaError as error:
                    if error.message != self._record_trouble:
                        _log.error("incidents are not recorded yet", why=error.message, waiting=len(self._unrecorded))
                    self._record_trouble = error.message
                    return
                self._record_trouble = ""
                self._unrecorded.popleft()
        await self._keep()

    async def close(self) -> None:
        """Stop telling and keep what is left to be told."""
        await self._telling.close()
        await self._keep()

    # What it says -------------------------------------------------------------------------------------------------

    @property
    def open(self) -> tuple[Incident, ...]:
        """Every open incident, the worst first."""
        return tuple(sorted(self._book.open.values(), key=lambda one: (-one.level, one.declared_at)))

    def find(self, id_: str) -> Incident:
        """One incident; BadInput when there is none of this id among the open and the last closed."""
        found = self._book.find(id_)
        if found is None:
            raise BadInput(
                f"there is no incident `{id_[:60]}`", hint="`siaga incidents list` shows the open and the last closed."
            )
        return found

    def listing(self, count: int = 50) -> list[dict[str, Any]]:
        """The open ones, the worst first, then the last closed, the newest first."""
        found = (*self.open, *reversed(self._book.closed))[: max(count, len(self._book.open))]
        return [{**to_document(one), "causes": len(one.causes), "told": self.told(one)} for one in found]

    def show(self, id_: str) -> dict[str, Any]:
        """One incident with who was told."""
        incident = self.find(id_)
        return {**to_document(incident), **self._telling.of(incident)}

    def told(self, incident: Incident) -> str:
        """Who knows of it, in words."""
        return str(self._telling.of(incident)["told"])

    async def history(self, begin: datetime, end: datetime) -> list[Incident]:
        """Every incident that was open between two moments, oldest first: for the month's report."""
        archived = await asyncio.to_thread(self._store.archive)
        known = (*archived, *self._book.closed, *self._book.open.values())
        found = {one.id: one for one in known if one.onset < end and (one.resolved_at or end) >= begin}
        return sorted(found.values(), key=lambda one: one.onset)

    def describe(self) -> dict[str, Any]:
        """For `siaga status`."""
        return {
            "open": len(self._book.open),
            "level": max((int(one.level) for one in self._book.open.values()), default=0),
            "failing_routes": self._telling.failing,
            "unrecorded": len(self._unrecorded),
            "disk_trouble": self._disk_trouble,
        }

    def standing(self, now: datetime) -> Standing:
        """The part "incidents" of ZDT-1."""
        return standing(self.open, routes=len(self._telling.routes), failing=self._telling.failing, now=now)
