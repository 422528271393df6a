"""What a site file says about the calendar, as the calendar's own nouns (pure)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, date, datetime, time, timedelta

from whenever import PlainDateTime

from siaga.errors import BadInput
from siaga.runbooks.appointments import Appointment
from siaga.runbooks.freezes import Freeze
from siaga.runbooks.windows import HARD_STOP_BEFORE_END, LAST_START_BEFORE_END, Window
from siaga.site.model import Site
from siaga.site.schedule import DAYS, UPDATE_DATABASE, ChangeFreeze, ScheduledRunbook
from siaga.site.wording import nearest
from siaga.sop.clauses import ClauseId
from siaga.sop.limits import DatabaseLimits

WIB = "Asia/Jakarta"
"""The SOP's zone, whatever the site's is."""
AUDIT_VENDORS = "audit-vendors"
HEALTH_CHECK = "health-check"
SITE_FILE = "the site file"


def appointments(site: Site) -> tuple[Appointment, ...]:
    """What the SOP expects every week, then what the site adds; a site's own with the same name takes its place."""
    own = {scheduled.name: _of(scheduled) for scheduled in site.appointments}
    found = {appointment.name: appointment for appointment in (_update(site.limits.database), _AUDIT, _HEALTH)}
    return tuple((found | own).values())


def freezes(site: Site) -> tuple[Freeze, ...]:
    """The freezes of the site file."""
    return tuple(_freeze(freeze, site.timezone) for freeze in site.freezes)


def check_names(site: Site, runbooks: Collection[str]) -> None:
    """Refuse a runbook that does not exist, wherever the site names one: a freeze for it would freeze nothing."""
    named = [(f"appointments.{a.name}.runbook", a.runbook) for a in site.appointments]
    named += [(f"freezes[{n}].runbooks", name) for n, f in enumerate(site.freezes, 1) for name in f.runbooks]
    named += [(f"gates.{gate.name}.runbook", gate.runbook) for gate in site.gates]
    lines = list(_unknown(named, runbooks))
    if lines:
        raise BadInput("\n".join(lines), hint="`siaga runs plan` lists every runbook.")


def _unknown(named: Iterable[tuple[str, str]], runbooks: Collection[str]) -> Iterable[str]:
    for path, name in named:
        if name not in runbooks:
            advice = nearest(name, runbooks) or f", expected one of {', '.join(sorted(runbooks)) or 'none'}"
            yield f'{path} = "{name}": no such runbook{advice}'


def _update(limits: DatabaseLimits) -> Appointment:
    length = datetime.combine(date.min, limits.window_end) - datetime.combine(date.min, limits.window_begin)
    # A site may tighten the hour to anything: the last start then keeps its place in it.
    window = Window(
        weekdays=frozenset({DAYS.index(limits.window_weekday) + 1}),
        begin=limits.window_begin,
        end=limits.window_end,
        zone=WIB,
        last_start_before_end=min(LAST_START_BEFORE_END, length // 3),
        hard_stop_before_end=min(HARD_STOP_BEFORE_END, length // 12),
    )
    return Appointment(UPDATE_DATABASE, UPDATE_DATABASE, ClauseId.PMT_2_1, window, only_at_low_traffic=True)


_AUDIT = Appointment(
    AUDIT_VENDORS, AUDIT_VENDORS, ClauseId.PMT_2_2, Window(frozenset({1}), begin=time(9), end=time(12), zone=WIB)
)
"""Weekly, at an hour at which vendors are busy: their answers at night would flatter them."""

_HEALTH = Appointment(
    HEALTH_CHECK, HEALTH_CHECK, ClauseId.PMT, Window(frozenset({7}), begin=time(1), end=time(5), zone=WIB)
)
"""Days before the update of the database: what it finds can still hold that."""


def _of(scheduled: ScheduledRunbook) -> Appointment:
    window = Window(
        weekdays=frozenset(DAYS.index(day) + 1 for day in scheduled.weekdays),
        begin=scheduled.begin,
        end=scheduled.end,
        zone=scheduled.zone,
        last_start_before_end=timedelta(minutes=scheduled.last_start_before_end_min),
        hard_stop_before_end=timedelta(minutes=scheduled.hard_stop_before_end_min),
    )
    return Appointment(
        scheduled.name,
        scheduled.runbook,
        scheduled.clause,
        window,
        parameters=dict(scheduled.parameters),
        only_at_low_traffic=scheduled.only_at_low_traffic,
    )


def _freeze(freeze: ChangeFreeze, zone: str) -> Freeze:
    return Freeze(
        begin=_placed(freeze.begin, zone),
        end=_placed(freeze.end, zone),
        reason=freeze.reason,
        source=SITE_FILE,
        runbooks=frozenset(freeze.runbooks),
        clauses=frozenset(freeze.clauses),
    )


def _placed(moment: datetime, zone: str) -> datetime:
    if moment.tzinfo is not None:
        return moment.astimezone(UTC)
    return PlainDateTime(moment).assume_tz(zone, disambiguation="compatible").to_instant().to_stdlib()
