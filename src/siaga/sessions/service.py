"""The session loop: observe, judge, record what changed (ZDT-1.1b)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from siaga.sessions import separation, slots
from siaga.sessions.decide import decide
from siaga.sessions.model import Answer, Event, Role, ServerFacts, SessionVerdict, Shard
from siaga.sessions.separation import Placement
from siaga.sop.adherence import Standing, aged, combine, to_document
from siaga.sop.clauses import ClauseId
from siaga.sop.limits import SessionsLimits

VALID_S = 10.0
"""How long a look speaks for the present: ten missed passes of a loop that runs every second."""

EVENTS_SHOWN_MAX = 50

EVENTS_UNRECORDED_MAX = 10_000


class Watcher(Protocol):
    """Whoever can look at the session servers."""

    async def observe(self) -> tuple[ServerFacts, ...]:
        """Look at every server at the same time."""
        ...


class SessionsService:
    """Watches the session cluster and its separation from the database."""

    def __init__(
        self,
        watcher: Watcher,
        limits: SessionsLimits,
        *,
        record: Callable[[Mapping[str, object]], None],
        placements: Callable[[], Sequence[Placement]],
        one_machine: bool,
    ) -> None:
        self._watcher = watcher
        self._limits = limits
        self._record = record
        self._placements = placements
        self._one_machine = one_machine
        self._verdict: SessionVerdict | None = None
        self._aspects: tuple[separation.Aspect, ...] = ()
        self._standing = combine(ClauseId.ZDT_1_1B, ())
        self._events: deque[Event] = deque(maxlen=EVENTS_SHOWN_MAX)
        self._unrecorded: deque[Event] = deque(maxlen=EVENTS_UNRECORDED_MAX)

    async def run_pass(self, now: datetime) -> None:
        """Look once; what changed is shown at once, and recorded."""
        verdict = decide(await self._watcher.observe(), self._limits, now, self._verdict)
        aspects = separation.separation(self._placements(), one_machine=self._one_machine)
        events = (*verdict.events, *separation.changes(self._aspects, aspects, now))
        self._verdict, self._aspects = verdict, aspects
        self._standing = combine(
            ClauseId.ZDT_1_1B, (verdict.standing(VALID_S), separation.standing(aspects, now, valid_s=VALID_S))
        )
        self._events.extend(events)
        self._unrecorded.extend(events)
        # What could not be recorded stays first in the queue for the next pass.
        while self._unrecorded:
            self._record(_event_document(self._unrecorded[0]))
            self._unrecorded.popleft()

    def standing(self, now: datetime) -> Standing:
        """How ZDT-1.1b stands; not measured once the last look is too old."""
        return aged(self._standing, now)

    def show(self, now: datetime) -> dict[str, Any]:
        """What `siaga sessions show --json` prints."""
        verdict = self._verdict
        return {
            "standing": to_document(self.standing(now)),
            "slots_served": verdict.slots_served if verdict else None,
            "shards": [_shard_document(shard) for shard in verdict.shards] if verdict else [],
            "servers": [_server_document(server) for server in verdict.servers] if verdict else [],
            "separation": [{"aspect": a.name, "state": str(a.separation), "why": a.why} for a in self._aspects],
            "events": [_event_document(event) for event in self._events],
        }


def _event_document(event: Event) -> dict[str, object]:
    return {
        "kind": f"sessions.{event.kind}",
        "clause": str(event.clause),
        "reason": event.reason,
        "at": event.at.isoformat(),
    }


def _shard_document(shard: Shard) -> dict[str, object]:
    return {
        "slots": slots.words(shard.slots),
        "slots_count": slots.count(shard.slots),
        "primary": shard.primary or None,
        "coverage": str(shard.coverage),
        "replicas_linked": list(shard.replicas),
        "why": shard.why,
    }


def _server_document(server: ServerFacts) -> dict[str, object]:
    answered = server.answer is Answer.ANSWERED
    return {
        "name": server.name,
        "address": server.address,
        "answer": str(server.answer),
        "why": server.why,
        "role": str(server.role),
        "link_up": server.link_up if answered and server.role is Role.REPLICA else None,
        "offset_bytes": server.offset if answered else None,
        "timeouts": server.timeouts,
        "process_id": server.process_id or None,
        "observed_at": server.observed_at.isoformat(),
    }
