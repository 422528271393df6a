"""The incidents of a platform: what makes them, whom they are told, and where they are kept (ZDT-1)."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from siaga.controller import incident_facts
from siaga.controller.recording import Recording
from siaga.errors import StoreFault, Unreachable
from siaga.incidents.account import Account
from siaga.incidents.files import FileStore
from siaga.incidents.notify.heartbeat import HeartbeatSender
from siaga.incidents.notify.senders import senders
from siaga.incidents.postgres import PostgresStore
from siaga.incidents.service import IncidentsService
from siaga.incidents.store import IncidentStore
from siaga.platform import control_database, secrets
from siaga.platform.layout import Layout
from siaga.sop.adherence import Standing
from siaga.uptime.model import Change, Outage


@dataclass(frozen=True, slots=True)
class Sights:
    """What is looked at for facts besides the clauses."""

    nodes: Callable[[], Sequence[Mapping[str, Any]]]
    parts: Callable[[], Sequence[Mapping[str, Any]]]


class IncidentWatch:
    """Brings what the domains see to the incidents."""

    def __init__(self, incidents: IncidentsService, sights: Sights) -> None:
        self._incidents = incidents
        self._sights = sights
        self._seen: Mapping[str, datetime] = {}

    async def begin(self, outage: Outage | None) -> None:
        """After a restart: what ended while nobody was here is not announced any more; what lasts is, once more."""
        await self._incidents.observe(("outage", "burn:"), [incident_facts.of_uptime(outage)] if outage else [])

    async def on_uptime(self, change: Change) -> None:
        """Told by the minutes, at once: users see it."""
        await self._incidents.note([incident_facts.of_uptime(change)])

    async def run_pass(self, standings: Sequence[Standing]) -> None:
        """Look at everything that users don't notice; then let the incidents escalate, retry and end."""
        now = _now()
        facts = [
            *incident_facts.of_parts(self._sights.parts(), now),
            *incident_facts.of_nodes(self._sights.nodes(), now),
            *incident_facts.of_standings(standings, now),
        ]
        told, self._seen = incident_facts.lasting(facts, self._seen, now)
        await self._incidents.observe(incident_facts.LOOKED_AT, told)
        await self._incidents.run_pass()


def incidents_service(layout: Layout, recording: Recording, epoch: int) -> IncidentsService:
    """The service, with what was open when the last controller ended; blocks.

    Unreachable where that can't be read from PostgreSQL: whoever went on without it would overwrite it.
    """
    try:
        return _incidents_service(layout, recording, _store(layout, epoch))
    except StoreFault as error:
        raise Unreachable(
            f"the open incidents can't be read from the state's database: {error}",
            hint="Look at the part `control-db` with `siaga status`, and at the rights of the role `siaga_state`.",
        ) from error


def _store(layout: Layout, epoch: int) -> IncidentStore:
    if layout.site.controller.state == "postgresql":
        return PostgresStore(control_database.connector(layout, f"siaga incidents {epoch}"), epoch=epoch)
    return FileStore(layout.directory("controller"))


def _incidents_service(layout: Layout, recording: Recording, store: IncidentStore) -> IncidentsService:
    site = layout.site
    return IncidentsService(
        store,
        recording,
        site.notifications,
        senders(site.notifications, secret_of(layout), site.name),
        site=site.name,
        clock=_now,
        monotonic=time.monotonic,
    )


def account(layout: Layout, incidents: IncidentsService, recording: Recording) -> Account:
    """How an incident is told afterwards."""
    return Account(incidents, recording.since, layout.site, _now)


def heartbeat(layout: Layout, trouble: Callable[[], str]) -> HeartbeatSender | None:
    """The dead-man's switch outside, where the site has one."""
    switch = layout.site.heartbeat
    return HeartbeatSender(switch.secret, secret_of(layout), trouble) if switch is not None else None


def secret_of(layout: Layout) -> Callable[[str], Awaitable[str]]:
    """Reads a secret by the name that the site file gives it."""

    async def read(name: str) -> str:
        return secrets.read(layout.secret(name))

    return read


def _now() -> datetime:
    return datetime.now(UTC)
