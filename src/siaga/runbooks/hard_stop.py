"""Keeps every step of a runbook inside its window, also of a run that wakes up after it.

A controller that is killed at 03:10 and started at 05:00 resumes its runs at once, before anybody looks at the
calendar; a machine may be paused between the look and the start. So the steps themselves ask for the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from siaga.errors import Refused
from siaga.runbooks.appointments import Appointment
from siaga.runbooks.model import Act, Approval, Context, Document, Manner, Runbook, Step

Now = Callable[[], datetime]


def within_windows(runbook: Runbook, appointments: Iterable[Appointment], now: Now) -> Runbook:
    """The same runbook, whose acts are refused outside its windows and after the hard stop: the engine then undoes.

    After the point of no return the run goes forward whatever the time, and a drill has no window.
    """
    own = tuple(a for a in appointments if a.runbook == runbook.name)
    if not own:
        return runbook
    steps: list[Step | Approval] = []
    bound = True
    for step in runbook.steps:
        if isinstance(step, Step) and bound:
            steps.append(replace(step, act=_bound(step.act, own, now)))
            bound = not step.point_of_no_return
        else:
            steps.append(step)
    return replace(runbook, steps=tuple(steps))


def outside(appointments: Iterable[Appointment], now: datetime) -> str:
    """Why nothing of them may be done now; empty inside a window and before its hard stop."""
    windows = [appointment.window for appointment in appointments]
    for window in windows:
        for opening in window.openings(now - timedelta(days=2), now + timedelta(microseconds=1)):
            if now < opening.hard_stop:
                return ""
    return f"outside its window, {' and '.join(str(window) for window in windows)}, or after its hard stop"


def _bound(act: Act, appointments: tuple[Appointment, ...], now: Now) -> Act:
    async def bounded(context: Context) -> Document | None:
        why = outside(appointments, now()) if context.manner is Manner.REAL else ""
        if why:
            raise Refused(why, hint="It goes back by itself; the calendar names the next window.")
        return await act(context)

    return bounded
