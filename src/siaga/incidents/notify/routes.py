"""Who is told what, and when: routes by level, escalation, retries, severities (pure).

What a route was told is compared with what the incident is now, so that nothing is lost when the controller is
killed between declaring and telling: the next pass finds what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from siaga.incidents.model import Incident, Level, State
from siaga.incidents.notify.message import Event, Message, compose
from siaga.site.notifications import NotificationRoute, RouteKind

SEVERITIES: Mapping[RouteKind, Mapping[Level, str]] = {
    RouteKind.PAGERDUTY: {Level.CRITICAL: "critical", Level.MAJOR: "error", Level.MINOR: "warning"},
    RouteKind.APPRISE: {Level.CRITICAL: "failure", Level.MAJOR: "warning", Level.MINOR: "info"},
}
"""Each route's own word. Theirs go the other way round than the SOP's numbers: Level 3 is the worst of every scale."""

RETRY_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Waits after each failed attempt; the last one goes on for ever."""
REFUSED_RETRY_S = 30.0
"""At least: what was refused stays wrong until somebody changes it, and somebody may at any time."""
BUSY_RETRY_S_MAX = 300.0
"""However long a route asks us to wait."""
FAILING = 3
"""A route that failed this often in a row hands over to the next step of the escalation."""


_OF_LEVEL = frozenset({Event.OPENED, Event.RAISED, Event.LOWERED, Event.RETURNED, Event.REMINDER})


class Verdict(StrEnum):
    """What came of an attempt."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    """The route understood and said no: 4xx."""
    BUSY = "busy"
    """Too many requests: 429."""
    FAILED = "failed"
    """No answer, a slow one, or 5xx."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one attempt."""

    verdict: Verdict
    why: str = ""
    """In words; never an address or a key."""
    retry_after_s: float | None = None
    """What the route asked for."""


@dataclass(frozen=True, slots=True)
class Thread:
    """What one route has been told of one incident, and what is still to be sent."""

    route: str
    incident: str
    told_level: int = 0
    """The last one queued; 0 when nothing ever was."""
    told_flaps: int = 0
    """How often it had come back when that was last queued."""
    acknowledged: bool = False
    resolved: bool = False
    queue: tuple[Message, ...] = ()
    """Oldest first; they are sent in this order."""
    attempts: int = 0
    """Failed ones in a row, of the first in the queue."""
    accepted: int = 0
    trouble: str = ""
    """Why the last attempt failed; empty after one that was accepted."""
    refused: bool = False

    @property
    def failing(self) -> bool:
        """Whether others should be told instead."""
        return self.refused or self.attempts >= FAILING

    @property
    def spent(self) -> bool:
        """Whether nothing is left to do."""
        return self.resolved and not self.queue


def severity(kind: RouteKind, level: Level) -> str:
    """The route's own word for a level."""
    return SEVERITIES[kind][level]


def due(
    routes: Sequence[NotificationRoute], threads: Mapping[str, Thread], level: Level, unanswered_s: float
) -> set[str]:
    """The routes to be told by now of an unanswered incident of this level; `threads` are its own, by route.

    A step of the escalation is due in its time, or at once when every route of the steps before it fails. Nothing is
    before the first step: it is always due at once, so that somebody hears of it.
    """
    wanted = [route for route in routes if route.level_min <= level]
    found: set[str] = set()
    for after_s in sorted({route.after_s for route in wanted}):
        step = {route.name for route in wanted if route.after_s == after_s}
        earlier_fail = all(name in threads and threads[name].failing for name in found)
        if unanswered_s < after_s and not earlier_fail:
            break
        found |= step
    return found


def plan(
    incident: Incident,
    routes: Sequence[NotificationRoute],
    threads: Mapping[str, Thread],
    *,
    site: str,
    unanswered_s: float,
    since_told_s: Mapping[str, float],
    now: datetime,
) -> dict[str, Thread]:
    """The incident's threads with whatever each route is still to be told; only those that changed.

    `unanswered_s` and `since_told_s` (by route) are measured by a clock that nobody can set.
    """
    answered = incident.state is not State.OPEN
    # Answered before anybody was told: the first step still hears of it, and nobody is escalated to.
    told_now = due(routes, {} if answered else threads, incident.level, 0.0 if answered else unanswered_s)
    changed: dict[str, Thread] = {}
    for route in routes:
        old = threads.get(route.name) or Thread(route.name, incident.id)
        if old.told_level == 0 and route.name not in told_now:
            continue
        reminder = not answered and since_told_s.get(route.name, 0.0) >= route.repeat_s
        new = old
        for event in _missing(old, incident, reminder=reminder):
            new = queued(new, compose(incident, event, site, now), incident.flaps)
        if new is not old:
            changed[route.name] = new
    return changed


def _missing(thread: Thread, incident: Incident, *, reminder: bool) -> list[Event]:
    found: list[Event] = []
    if thread.resolved:
        return found
    if thread.told_level == 0:
        found.append(Event.OPENED)
    elif thread.told_level != incident.level:
        found.append(Event.RAISED if incident.level > thread.told_level else Event.LOWERED)
    elif _tells_return(thread, incident):
        found.append(Event.RETURNED)
    elif reminder and not thread.queue:
        found.append(Event.REMINDER)
    if incident.acknowledged_at is not None and not thread.acknowledged:
        found.append(Event.ACKNOWLEDGED)
    if incident.state is State.RESOLVED:
        found.append(Event.RESOLVED)
    return found


def _tells_return(thread: Thread, incident: Incident) -> bool:
    """The first returns are told, then each that doubles their number: what flaps must not become noise."""
    returns = incident.flaps
    return returns > thread.told_flaps and returns >= 2 * thread.told_flaps and incident.mitigated_at is None


def queued(thread: Thread, message: Message, flaps: int = 0) -> Thread:
    """The thread with one more message to send; `flaps` is how often its incident has come back."""
    # The first may be on its way; of what waits behind it only the newest word on the level is worth sending.
    said_again = message.event in _OF_LEVEL
    behind = tuple(m for m in thread.queue[1:] if not (said_again and m.event in _OF_LEVEL))
    return replace(
        thread,
        queue=(*thread.queue[:1], *behind, message),
        told_level=int(message.level),
        told_flaps=max(thread.told_flaps, flaps),
        acknowledged=message.event is Event.ACKNOWLEDGED or (thread.acknowledged and message.event is not Event.RAISED),
        resolved=message.event is Event.RESOLVED,
    )


def after(thread: Thread, outcome: Outcome) -> Thread:
    """The thread once the first of its queue was tried."""
    if outcome.verdict is Verdict.ACCEPTED:
        return replace(
            thread, queue=thread.queue[1:], attempts=0, accepted=thread.accepted + 1, trouble="", refused=False
        )
    refused = outcome.verdict is Verdict.REFUSED
    return replace(thread, attempts=thread.attempts + 1, trouble=outcome.why, refused=refused)


def retry_s(attempts: int, outcome: Outcome) -> float:
    """How long to wait after the failed attempt of this number, the first being 1."""
    wait_s = RETRY_S[min(max(attempts, 1), len(RETRY_S)) - 1]
    if outcome.verdict is Verdict.REFUSED:
        return max(wait_s, REFUSED_RETRY_S)
    if outcome.retry_after_s is not None:
        return min(max(wait_s, outcome.retry_after_s), BUSY_RETRY_S_MAX)
    return wait_s
