"""Carries out the plan of the routes: every thread on its own, so that a slow route holds up no other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import structlog

from siaga.errors import StoreFault
from siaga.incidents.model import Incident
from siaga.incidents.notify.journal import DeliveryJournal
from siaga.incidents.notify.message import Event, Message, compose
from siaga.incidents.notify.routes import Outcome, Thread, Verdict, after, plan, queued, retry_s
from siaga.site.notifications import NotificationRoute, RouteKind

_log = structlog.get_logger()

AT_ONCE_MAX = 4
"""Attempts under way on one route."""

Key = tuple[str, str]
"""Incident and route."""


class Sender(Protocol):
    """A route's technology."""

    async def send(self, message: Message) -> Outcome:
        """One attempt, with a deadline of its own; never raises for what the other side does."""
        ...


class Telling:
    """Keeps each thread's queue moving. At least once: what was sent and not kept is sent again, by the same key."""

    def __init__(
        self,
        routes: Sequence[NotificationRoute],
        senders: Mapping[str, Sender],
        journal: DeliveryJournal,
        *,
        site: str,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        tried: Callable[[Message, str, Outcome, Thread], Awaitable[None]],
    ) -> None:
        """`senders` by route; `tried` hears of every attempt once its thread is up to date."""
        self.routes = routes
        self._senders = senders
        self._journal = journal
        self._site = site
        self._clock = clock
        self._monotonic = monotonic
        self._tried = tried
        self.threads: dict[Key, Thread] = {}
        self._sending: dict[Key, asyncio.Task[None]] = {}
        self._not_before: dict[Key, float] = {}
        self._queued_at: dict[Key, float] = {}
        self._known_since: dict[str, float] = {}

    def plan(self, incidents: Iterable[Incident]) -> bool:
        """Queue whatever is still to be told; whether anything was."""
        changed = False
        for incident in incidents:
            for name, thread in self._planned(incident).items():
                key = (incident.id, name)
                self.threads[key] = thread
                self._queued_at[key] = self._monotonic()
                # News is not kept waiting for the retry of what is older.
                self._not_before.pop(key, None)
                changed = True
        return changed

    def _planned(self, incident: Incident) -> dict[str, Thread]:
        now_s = self._monotonic()
        known_since = self._known_since.setdefault(incident.id, now_s)
        own = {route: thread for (id_, route), thread in self.threads.items() if id_ == incident.id}
        since_told_s = {
            name: now_s - self._queued_at.setdefault((incident.id, name), now_s)
            for name, thread in own.items()
            if thread.told_level
        }
        # The wall clock counts over restarts, the other one where that was set back.
        by_wall_s = (self._clock() - incident.declared_at).total_seconds()
        return plan(
            incident,
            self.routes,
            own,
            site=self._site,
            unanswered_s=max(now_s - known_since, by_wall_s),
            since_told_s=since_told_s,
            now=self._clock(),
        )

    def again(self, incident: Incident, kind: RouteKind) -> bool:
        """Tell the routes of one kind once more, since somebody closed it there; whether there are any."""
        keys = [(incident.id, route.name) for route in self.routes if route.kind is kind]
        told = [key for key in keys if key in self.threads]
        for key in told:
            message = compose(incident, Event.OPENED, self._site, self._clock())
            self.threads[key] = queued(self.threads[key], message)
            self._queued_at[key] = self._monotonic()
        return bool(told)

    def dispatch(self) -> None:
        """Begin every attempt that is due, the worst incident first; returns at once."""
        waiting = [key for key, thread in self.threads.items() if thread.queue and key not in self._sending]
        for key in sorted(waiting, key=lambda key: -self.threads[key].told_level):
            under_way = sum(1 for _, route in self._sending if route == key[1])
            if under_way >= AT_ONCE_MAX or self._monotonic() < self._not_before.get(key, 0.0):
                continue
            if key[1] in self._senders:
                self._sending[key] = asyncio.create_task(self._send(key))

    async def _send(self, key: Key) -> None:
        try:
            while self.threads[key].queue:
                message = self.threads[key].queue[0]
                started = self._monotonic()
                outcome = await self._attempt(key[1], message)
                attempt = self.threads[key].attempts + 1
                # Read again: something may have been queued meanwhile.
                self.threads[key] = after(self.threads[key], outcome)
                await self._note(key[1], message, attempt, outcome, self._monotonic() - started)
                await self._tried(message, key[1], outcome, self.threads[key])
                if outcome.verdict is not Verdict.ACCEPTED:
                    self._not_before[key] = self._monotonic() + retry_s(attempt, outcome)
                    break
        finally:
            del self._sending[key]

    async def _attempt(self, route: str, message: Message) -> Outcome:
        try:
            return await self._senders[route].send(message)
        except Exception as error:  # noqa: BLE001 (a route's fault may not end the telling)
            _log.error("a route failed in a way it should not", route=route, kind=type(error).__name__)
            return Outcome(Verdict.FAILED, f"failed here ({type(error).__name__})")

    async def _note(self, route: str, message: Message, attempt: int, outcome: Outcome, took_s: float) -> None:
        try:
            await self._journal.note(route, message, attempt, outcome, took_s, self._clock())
        except (OSError, StoreFault) as error:
            _log.error("a delivery could not be journaled", route=route, incident=message.incident, why=str(error))

    def forget(self, open_ids: Iterable[str]) -> None:
        """Let go of what is over: resolved and told, or resolved with nobody to be told by a route that is gone."""
        still, names = frozenset(open_ids), {route.name for route in self.routes}
        for key, thread in tuple(self.threads.items()):
            if key[0] not in still and (thread.spent or key[1] not in names) and key not in self._sending:
                del self.threads[key]
                self._not_before.pop(key, None)
                self._queued_at.pop(key, None)
        for id_ in tuple(self._known_since):
            if id_ not in still:
                del self._known_since[id_]

    def of(self, incident: Incident) -> dict[str, Any]:
        """Who was told, for `show`."""
        own = [thread for (id_, _), thread in self.threads.items() if id_ == incident.id]
        deliveries = self._journal.of(incident.id)
        return {
            "told": self._words(incident, own, deliveries),
            "routes": [
                {
                    "route": thread.route,
                    "accepted": thread.accepted,
                    "waiting": [str(message.event) for message in thread.queue],
                    "attempts": thread.attempts,
                    "trouble": thread.trouble,
                }
                for thread in own
            ],
            "deliveries": deliveries,
        }

    def _words(self, incident: Incident, own: Sequence[Thread], deliveries: Sequence[Mapping[str, Any]]) -> str:
        if not self.routes:
            return "no route is configured: nobody was told"
        if not any(route.level_min <= incident.level for route in self.routes) and not own and not deliveries:
            return f"no route wants {incident.level.label}: nobody was told"
        accepted = {line["route"] for line in deliveries if line["verdict"] == Verdict.ACCEPTED}
        accepted |= {thread.route for thread in own if thread.accepted}
        if incident.notified_by:
            accepted.add(incident.notified_by)
        if accepted:
            return f"told by {', '.join(sorted(accepted))}"
        why = "; ".join(f"{thread.route}: {thread.trouble}" for thread in own if thread.trouble)
        return f"nobody was told yet{f' ({why})' if why else ''}"

    @property
    def failing(self) -> dict[str, str]:
        """Routes that do not accept what they are given, and why."""
        return {thread.route: thread.trouble for thread in self.threads.values() if thread.failing}

    async def close(self) -> None:
        """Stop; what was under way is told again at the next start."""
        under_way = list(self._sending.values())
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
