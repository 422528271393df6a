"""Runbooks and their calendar, put together: what can be run, when it is expected, and what holds it (SUM)."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from siaga.controller.calendar_ports import Senses
from siaga.controller.calendar_runs import EngineRuns
from siaga.controller.calendar_service import CalendarService
from siaga.controller.freeze_watch import ChangeCalendarFile, FreezeWatch
from siaga.controller.hourly_requests import HourlyRequests
from siaga.controller.leadership import Leadership
from siaga.controller.levers import Levers
from siaga.controller.recording import Recording
from siaga.errors import BadInput
from siaga.hosts.model import Host
from siaga.platform import control_database, secrets
from siaga.platform.layout import Layout
from siaga.runbooks import site_schedule
from siaga.runbooks.appointments import Appointment
from siaga.runbooks.calendar import may_start_by_hand
from siaga.runbooks.engine import Engine
from siaga.runbooks.gates import Hands, gated
from siaga.runbooks.hard_stop import within_windows
from siaga.runbooks.http import HttpCaller
from siaga.runbooks.journal import FILE_NAME, Place, PostgresDatabase, SqliteFile
from siaga.runbooks.low_traffic import Traffic, traffic_at
from siaga.runbooks.model import Clock, Runbook
from siaga.runbooks.order import Order
from siaga.runbooks.runner import Wiring
from siaga.runbooks.wall_clock import Reading
from siaga.runbooks.windows import Opening
from siaga.site.model import Site

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Procedures:
    """The engine and the calendar above it."""

    engine: Engine
    calendar: CalendarService
    names: frozenset[str]
    """Of every runbook that can be run, and of those that are expected and not built yet."""
    closed: Callable[[str], str]
    """Why a runbook may not be started by hand now; empty when it may."""


def put_together(
    layout: Layout,
    host: Host,
    leadership: Leadership,
    recording: Recording,
    levers: Levers,
    requests: HourlyRequests,
    runbooks: Sequence[Runbook],
) -> Procedures:
    """Nothing runs yet; BadInput when the site names a runbook or step that does not exist."""
    site = layout.site
    names = {runbook.name for runbook in runbooks}
    known = frozenset(names | {a.runbook for a in site_schedule.appointments(site)})
    site_schedule.check_names(site, known)
    wanted = site_schedule.appointments(site)
    bounded = [within_windows(r, wanted, _now) for r in gated(runbooks, site.gates, _hands(layout, host))]
    engine = Engine(
        _place(layout),
        bounded,
        Wiring(
            evidence=recording,
            halted=lambda: levers.halted,
            epoch=lambda: leadership.epoch,
            may_act=leadership.may_act,
            on_breach=_tell_breach,
        ),
    )
    freezes = _freezes(site, host, levers, known)
    calendar = CalendarService(
        wanted,
        evidence=recording,
        runs=EngineRuns(engine),
        levers=levers,
        freezes=freezes,
        senses=Senses(
            clocks=lambda: Reading(_now(), time.clock_gettime(time.CLOCK_BOOTTIME)),
            history=lambda: recording.history("calendar"),
            traffic=_traffic(requests),
            other=_machinery(names),
        ),
    )
    return Procedures(engine, calendar, known, lambda name: may_start_by_hand(wanted, freezes.freezes, name, _now()))


def _now() -> datetime:
    return datetime.now(UTC)


def _place(layout: Layout) -> Place:
    if layout.site.controller.state == "postgresql":
        return PostgresDatabase(control_database.conninfo(layout))
    return SqliteFile(layout.directory("controller") / FILE_NAME)


def _hands(layout: Layout, host: Host) -> Hands:
    def host_named(name: str) -> Host:
        if name != host.name:
            raise BadInput(f"host `{name}` is not known, expected `{host.name}`", hint="Only this host is managed yet.")
        return host

    async def secret(name: str) -> str:
        return secrets.read(layout.secret(name))

    return Hands(host=host_named, http=HttpCaller(), secret=secret)


def _freezes(site: Site, host: Host, levers: Levers, runbooks: Collection[str]) -> FreezeWatch:
    file = None
    if site.change_calendar is not None:
        file = ChangeCalendarFile(host, site.change_calendar.file, site.timezone, runbooks)
    return FreezeWatch(site_schedule.freezes(site), lambda: levers.freezes, file)


def _traffic(requests: HourlyRequests) -> Callable[[Opening, str, datetime], Awaitable[Traffic]]:
    async def measured(opening: Opening, zone: str, now: datetime) -> Traffic:
        return traffic_at(opening, zone, requests.hours, requests.per_hour(now), now)

    return measured


def _machinery(runbooks: Collection[str]) -> Callable[[Appointment], Awaitable[str]]:
    async def other(appointment: Appointment) -> str:
        if appointment.runbook in runbooks:
            return ""
        return f"this version of siaga has no runbook `{appointment.runbook}` yet"

    return other


async def _tell_breach(order: Order, clock: Clock, elapsed_s: float) -> None:
    _log.error("a clock of a run is over its limit", run=order.run, clock=clock.name, elapsed_s=round(elapsed_s))
