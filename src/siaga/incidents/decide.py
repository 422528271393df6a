"""Facts in, incidents out: opening, correlating, raising, damping (ZDT-1; pure).

One incident and not forty alerts: what begins within minutes of each other in one family is one incident. A level
rises by itself and never falls by itself. What flaps stays one incident that takes ever longer to end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from siaga.incidents.levels import level_of
from siaga.incidents.model import (
    CONTROLLER,
    Book,
    Cause,
    Change,
    ChangeKind,
    Fact,
    FactKind,
    Family,
    Incident,
    Level,
    LevelChange,
    State,
)

TOGETHER = timedelta(minutes=5)
"""Facts that begin this soon after the last one of an incident are taken for the same cause."""
QUIET_S = 300.0
"""So long after the end of its last cause an incident is resolved."""
QUIET_S_MAX = 3600.0
FLAPS_FREE = 2
"""Each return beyond these doubles the quiet that is wanted."""
RECURRENCE = timedelta(hours=1)
"""A cause that is back this soon after its incident was resolved is called a recurrence."""
ALERTS_NAMED_MAX = 200
"""Of one incident; more are counted. A flood must not become the state file."""
OPEN_MAX = 50
"""Beyond so many open incidents an alert joins the newest one."""
_ENDING = (Family.SERVICE, Family.MAINTENANCE)
"""Families whose incidents end by themselves."""
ALERT_SILENT_MAX = timedelta(hours=12)
"""An alert that its sender has not repeated for so long has ended: Alertmanager repeats every 4 h unless told."""


def take(book: Book, facts: Iterable[Fact], now: datetime) -> tuple[Book, tuple[Change, ...]]:
    """The book with these facts in it, and what became of its incidents. The same fact twice changes nothing."""
    pages = {id_: _Page(one, dict(one.causes)) for id_, one in book.open.items()}
    holder = {key: page for page in pages.values() for key in page.causes}
    for fact in facts:
        page = holder.get(fact.key)
        if not fact.present:
            if page is not None:
                page.end(fact, now)
            continue
        if page is None:
            page = _home(pages, fact, now) or _opened(pages, book, fact, now)
        if page.begin(fact, now):
            holder[fact.key] = page
    changes: list[Change] = []
    for page in pages.values():
        closed, found = page.close(now)
        book = book.having(closed) if closed is not page.incident or page.new else book
        changes += found
    return book, tuple(changes)


def ended(book: Book, prefixes: Sequence[str], lasting: Iterable[str], now: datetime) -> tuple[Fact, ...]:
    """Facts that end what lasts in the book below these prefixes and is not in `lasting` any more."""
    still = frozenset(lasting)
    return tuple(
        replace(cause.fact, present=False, since=now)
        for incident in book.open.values()
        for cause in incident.lasting
        if cause.fact.key.startswith(tuple(prefixes)) and cause.fact.key not in still
    )


def silent(book: Book, now: datetime) -> tuple[Fact, ...]:
    """Facts that end the alerts of which nothing was heard for too long."""
    return tuple(
        replace(cause.fact, present=False, since=now)
        for incident in book.open.values()
        for cause in incident.lasting
        if cause.fact.kind is FactKind.ALERT and now - cause.seen_at > ALERT_SILENT_MAX
    )


def settle(book: Book, quiet_s: Mapping[str, float], now: datetime) -> tuple[Book, tuple[Change, ...]]:
    """Resolve what has been quiet for long enough; `quiet_s` by incident, measured by a clock nobody can set."""
    changes = []
    for incident in tuple(book.open.values()):
        if not ends_by_itself(incident) or quiet_s.get(incident.id, 0.0) < quiet_wanted_s(incident):
            continue
        reason = f"every cause has ended, and none came back within {quiet_wanted_s(incident):.0f} s"
        resolved = replace(
            incident, resolved_at=max(now, incident.last_at), resolved_by=CONTROLLER, resolved_reason=reason
        )
        book = book.having(resolved)
        changes.append(Change(ChangeKind.RESOLVED, resolved, CONTROLLER, reason))
    return book, tuple(changes)


def ends_by_itself(incident: Incident) -> bool:
    """Doubt about integrity, a key, and what a person declared: only a person ends those."""
    by_person = incident.levels[0].actor != CONTROLLER
    return incident.state is State.MITIGATED and incident.family in _ENDING and not by_person


def quiet_wanted_s(incident: Incident) -> float:
    """How long it has to be quiet until it is over."""
    return min(QUIET_S * 2.0 ** min(max(0, incident.flaps - FLAPS_FREE), 10), QUIET_S_MAX)


def new_id(book: Book, now: datetime) -> str:
    """The moment in UTC; with a number where that is taken, as it may be when a clock was set back."""
    plain = f"inc-{now:%Y%m%d-%H%M%S}"
    number, found = 1, plain
    while book.find(found) is not None:
        number += 1
        found = f"{plain}-{number}"
    return found


@dataclass
class _Page:
    """One incident while facts are taken in."""

    incident: Incident
    causes: dict[str, Cause]
    new: bool = False
    alerts_more: int = 0
    overflow_level: Level = Level.MINOR
    begun: int = 0
    over: int = 0
    touched: bool = False
    seen: bool = False

    def __post_init__(self) -> None:
        """Find once what would be asked ten thousand times in a flood."""
        self.last_began = max((c.noted_at for c in self.causes.values()), default=self.incident.levels[0].at)

    @property
    def flooded(self) -> bool:
        """Whether further alerts are only counted."""
        return len(self.causes) >= ALERTS_NAMED_MAX

    def begin(self, fact: Fact, now: datetime) -> bool:
        """A fact that lasts; False when it is only counted."""
        known = self.causes.get(fact.key)
        level, rule = level_of(fact)
        if known is None and self.flooded and fact.kind is FactKind.ALERT:
            self.alerts_more += 1
            self.overflow_level = max(self.overflow_level, level)
            return False
        self.seen = True
        if known is None:
            self.last_began = now
            self.causes[fact.key] = Cause(fact, level, rule, noted_at=now, seen_at=now)
            self.begun += 1
            return True
        if not known.lasts:
            self.begun += 1
            known = replace(known, begun=known.begun + 1, ended_at=None)
            self._judge_again(fact.key)
        if level > known.level:
            known = replace(known, fact=fact, level=level, rule=rule)
            self._judge_again(fact.key)
            self.touched = True
        if (fact.share or 0.0) > (known.fact.share or 0.0):
            known = replace(known, fact=replace(known.fact, share=fact.share))
            self.touched = True
        self.causes[fact.key] = replace(known, seen_at=now)
        return True

    def _judge_again(self, key: str) -> None:
        self.incident = replace(self.incident, accepted=self.incident.accepted - {key})

    def end(self, fact: Fact, now: datetime) -> None:
        """A fact that has ended."""
        known = self.causes[fact.key]
        if known.lasts:
            # Never in the future, whatever the other clock says.
            self.causes[fact.key] = replace(known, ended_at=min(fact.since, max(now, known.noted_at)))
            self.over += 1

    def close(self, now: datetime) -> tuple[Incident, list[Change]]:
        """The incident as it is now, and what became of it."""
        before = self.incident
        if not (self.new or self.begun or self.over or self.touched or self.alerts_more):
            return (replace(before, causes=self.causes) if self.seen else before), []
        now = max(now, before.last_at)
        after = replace(before, causes=self.causes, alerts_more=before.alerts_more + self.alerts_more)
        changes: list[Change] = []
        returned = before.mitigated_at is not None and bool(after.holding)
        if returned:
            after = replace(after, mitigated_at=None, flaps=before.flaps + 1)
        after = self._raised(after, now)
        if self.new:
            changes.append(Change(ChangeKind.OPENED, after, CONTROLLER, after.levels[-1].reason))
        elif after.level > before.level:
            changes.append(Change(ChangeKind.LEVEL, after, CONTROLLER, after.levels[-1].reason))
        if returned:
            changes.append(Change(ChangeKind.RECURRED, after, CONTROLLER, f"it is back, time {after.flaps}"))
        elif not changes and (self.begun or self.over):
            changes.append(Change(ChangeKind.CAUSES, after, CONTROLLER, f"{self.begun} began, {self.over} ended"))
        if after.causes and not after.holding and after.mitigated_at is None:
            last = max((cause.ended_at for cause in after.causes.values() if cause.ended_at is not None), default=now)
            after = replace(after, mitigated_at=max(last, after.levels[-1].at))
            changes.append(Change(ChangeKind.MITIGATED, after, CONTROLLER, "its last cause has ended"))
        return after, changes

    def _raised(self, after: Incident, now: datetime) -> Incident:
        judged = [cause for key, cause in after.causes.items() if key not in after.accepted]
        worst = max(judged, key=lambda cause: cause.level, default=None)
        level, reason = (worst.level, f"{worst.fact.subject}: {worst.rule}") if worst else (Level.MINOR, "")
        if self.alerts_more and self.overflow_level > level:
            level, reason = self.overflow_level, "one alert of many is that bad"
        if level <= after.level and not self.new:
            return after
        earlier = () if self.new else after.levels
        subject = worst.fact.subject if worst is not None else after.subject
        return replace(
            after,
            subject=subject,
            levels=(*earlier, LevelChange(now, level, CONTROLLER, reason)),
            # Somebody looked after something milder.
            acknowledged_at=None,
            acknowledged_by="",
            # Told of a level below its highest is not told of it.
            notified_at=after.notified_at if level <= after.highest.level else None,
        )


def _home(pages: Mapping[str, _Page], fact: Fact, now: datetime) -> _Page | None:
    """The incident that this fact is part of; None when it is one of its own."""
    alike = [page for page in pages.values() if page.incident.family is fact.family]
    near = [page for page in alike if abs(now - page.last_began) <= TOGETHER]
    if not near and fact.kind is FactKind.ALERT:
        near = [page for page in alike if page.flooded] or (alike if len(pages) >= OPEN_MAX else [])
    return max(near, key=lambda page: page.last_began, default=None)


def _opened(pages: dict[str, _Page], book: Book, fact: Fact, now: datetime) -> _Page:
    id_ = new_id(replace(book, open={**book.open, **{key: page.incident for key, page in pages.items()}}), now)
    before = next(
        (
            one.id
            for one in reversed(book.closed)
            if fact.key in one.causes and one.resolved_at is not None and abs(now - one.resolved_at) <= RECURRENCE
        ),
        "",
    )
    level, rule = level_of(fact)
    incident = Incident(
        id=id_,
        subject=fact.subject,
        family=fact.family,
        levels=(LevelChange(now, level, CONTROLLER, rule),),
        recurrence_of=before,
    )
    pages[id_] = _Page(incident, {}, new=True)
    return pages[id_]
