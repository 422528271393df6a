"""An incident as it is told afterwards: its timeline from the evidence, its report, its form for a regulator."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from siaga.errors import BadInput, SiagaError
from siaga.incidents import regulator
from siaga.incidents.model import Incident
from siaga.incidents.report import Form, Found, render
from siaga.incidents.service import IncidentsService
from siaga.incidents.timeline import Entry, begins, timeline
from siaga.site.model import Site

Records = Callable[[datetime], Awaitable[Sequence[Mapping[str, Any]]]]
"""Every record of the evidence since a moment, oldest first."""


class Account:
    """Reads only."""

    def __init__(
        self, incidents: IncidentsService, records: Records, site: Site, clock: Callable[[], datetime]
    ) -> None:
        self._incidents = incidents
        self._records = records
        self._site = site
        self._clock = clock

    async def show(self, id_: str) -> dict[str, Any]:
        """Everything about one incident."""
        incident = self._incidents.find(id_)
        entries, trouble = await self._timeline(incident)
        running = self._running(incident)
        return {
            **self._incidents.show(id_),
            "timeline": [{**asdict(entry), "at": entry.at.isoformat()} for entry in entries],
            "timeline_trouble": trouble,
            "regulator": {**asdict(running), "due_at": running.due_at.isoformat()} if running else None,
        }

    async def report(self, id_: str, form: Form) -> str:
        """The post-incident report."""
        incident = self._incidents.find(id_)
        entries, trouble = await self._timeline(incident)
        shown = self._incidents.show(id_)
        return render(
            Found(
                incident=incident,
                site=self._site.name,
                timezone=self._site.timezone,
                told=shown["told"],
                entries=entries,
                deliveries=shown["deliveries"],
                trouble=trouble,
            ),
            form,
        )

    def draft(self, id_: str) -> str:
        """The regulator's form, drafted; BadInput where none is wanted."""
        incident = self._incidents.find(id_)
        running = self._running(incident)
        if running is None:
            raise BadInput(
                f"nobody outside has to be told of incident {id_}",
                hint="`[regulator]` in the site file names the authority, its hours, and from which level on.",
            )
        return regulator.draft(incident, running, self._site.name)

    def _running(self, incident: Incident) -> regulator.Clock | None:
        return regulator.clock(incident, self._site.regulator, self._clock())

    async def _timeline(self, incident: Incident) -> tuple[tuple[Entry, ...], str]:
        try:
            records = await self._records(begins(incident))
        except SiagaError as error:
            return (), f"the evidence can't be read: {error.message}"
        return timeline(incident, records, self._clock()), ""
