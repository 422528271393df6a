"""What to do about every expected occurrence, at any moment, whatever happened to the controller and its clock (pure).

Each ends in exactly one of done, undone, skipped with a reason, or MISSED, so that an auditor who samples Wednesdays
finds something under every one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum

from whenever import Instant

from siaga.runbooks.appointments import Appointment, Occurrence
from siaga.runbooks.freezes import Freeze, first_over
from siaga.runbooks.windows import Opening

WRONG_CLOCK_AHEAD = timedelta(hours=1)
"""What was recorded at a time that is still so far ahead was recorded by a wrong clock; less may be this one."""
COMPENSATION_WEEKS_MAX = 26


class State(StrEnum):
    """How an occurrence stands."""

    EXPECTED = "expected"
    """Its window is still to come."""
    DUE = "due now"
    HELD = "held"
    """Inside its window; a rule keeps it from starting, and may let go before the last start."""
    TOO_LATE = "too late to start"
    RUNNING = "running"
    DONE = "done"
    UNDONE = "undone"
    """It ran and ended, but not as done."""
    SKIPPED = "skipped"
    MISSED = "MISSED"


TERMINAL = frozenset({State.DONE, State.UNDONE, State.SKIPPED, State.MISSED})


@dataclass(frozen=True, slots=True)
class RunSeen:
    """A real run of a runbook, by the calendar or by a person, as the journal knows it."""

    id: str
    runbook: str
    began_at: datetime
    ended_at: datetime | None = None
    done: bool = False
    """Whether it ended as it should."""
    outcome: str = ""
    """How it ended, in the engine's words."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an occurrence stands, and why."""

    occurrence: Occurrence
    state: State
    reason: str = ""
    run: str = ""
    compensating: date | None = None
    """The next window of the appointment in which nothing is frozen; of what was skipped or missed."""


@dataclass(frozen=True, slots=True)
class Settled:
    """How an occurrence ended, as the evidence has it."""

    state: State
    reason: str
    at: datetime
    run: str = ""
    compensating: date | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """What keeps an occurrence from starting."""

    rule: str
    """Which rule it is, in a word or two; the same as long as it holds."""
    reason: str
    """With the figures of the moment."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known besides the time."""

    settled: Mapping[str, Settled] = field(default_factory=dict)
    """By occurrence id: what is in the evidence."""
    held: Mapping[str, Hold] = field(default_factory=dict)
    """By occurrence id: what held it when it was last looked at, as the evidence has it."""
    runs: tuple[RunSeen, ...] = ()
    freezes: tuple[Freeze, ...] = ()
    freezes_known_since: Mapping[str, datetime] = field(default_factory=dict)
    """By the key of a freeze; one that is not in it was never seen before now."""
    holds: Mapping[str, Hold] = field(default_factory=dict)
    """By appointment name: what keeps it from starting now."""
    troubles: Mapping[str, str] = field(default_factory=dict)
    """By occurrence id: why an attempt to start it failed."""
    watching_since: datetime | None = None
    """Since when somebody has looked without a break."""


def judge(occurrences: Iterable[Occurrence], facts: Facts, now: datetime) -> tuple[Verdict, ...]:
    """One verdict for each occurrence, in their order."""
    return tuple(_judge(occurrence, facts, now) for occurrence in occurrences)


def _judge(occurrence: Occurrence, facts: Facts, now: datetime) -> Verdict:
    opening = occurrence.opening
    settled = facts.settled.get(occurrence.id)
    if settled is not None and not withdrawn(settled, opening, now):
        return Verdict(occurrence, settled.state, settled.reason, settled.run, settled.compensating)
    run = run_of(occurrence, facts.runs)
    if run is not None:
        return _of_run(occurrence, run)
    freeze = _freeze_over(occurrence, facts, now)
    if now < opening.begin:
        return Verdict(occurrence, State.EXPECTED, f"will be skipped: {freeze}" if freeze else "")
    if freeze is not None:
        return _skipped(occurrence, facts, str(freeze))
    if not opening.startable:
        return _skipped(occurrence, facts, "clocks are set forward in this window, and no time to start is left of it")
    if now <= opening.last_start:
        hold = facts.holds.get(occurrence.appointment.name)
        return Verdict(occurrence, State.HELD, hold.reason) if hold else Verdict(occurrence, State.DUE)
    return _after_last_start(occurrence, facts, now)


def _after_last_start(occurrence: Occurrence, facts: Facts, now: datetime) -> Verdict:
    held = facts.held.get(occurrence.id)
    if held is not None:
        last = _when(occurrence, occurrence.opening.last_start)
        return _skipped(occurrence, facts, f"held until the last start {last}: {held.reason}")
    if now < occurrence.opening.end:
        return Verdict(occurrence, State.TOO_LATE, _absence(occurrence, facts))
    return Verdict(
        occurrence, State.MISSED, _absence(occurrence, facts), compensating=compensating(occurrence, facts.freezes)
    )


def _of_run(occurrence: Occurrence, run: RunSeen) -> Verdict:
    if run.ended_at is None:
        return Verdict(occurrence, State.RUNNING, f"began {_when(occurrence, run.began_at)}", run.id)
    state = State.DONE if run.done else State.UNDONE
    words = f"{run.outcome or state}: {_when(occurrence, run.began_at)} to {_when(occurrence, run.ended_at)}"
    return Verdict(occurrence, state, words, run.id)


def run_of(occurrence: Occurrence, runs: Iterable[RunSeen]) -> RunSeen | None:
    """The run that bears its id, or else the first one of its runbook that a person began inside the window."""
    by_hand: list[RunSeen] = []
    for run in runs:
        if run.id == occurrence.id:
            return run
        if run.runbook == occurrence.appointment.runbook and _began_in(occurrence.opening, run):
            by_hand.append(run)
    return min(by_hand, key=lambda run: run.began_at, default=None)


def withdrawn(settled: Settled, opening: Opening, now: datetime) -> bool:
    """Whether a recorded verdict does not count: nothing ran, and it was given by a clock that was far ahead.

    Asked as late as possible, around the beginning of the window: a clock that is set back for a while, wrongly,
    shall not take back what was right.
    """
    nothing_ran = settled.state in (State.SKIPPED, State.MISSED)
    near = opening.begin - WRONG_CLOCK_AHEAD <= now <= opening.last_start
    return nothing_ran and near and settled.at > now + WRONG_CLOCK_AHEAD


def past_hard_stop(verdict: Verdict, now: datetime) -> bool:
    """Whether a run has to go back now, where it still can."""
    return verdict.state is State.RUNNING and now >= verdict.occurrence.opening.hard_stop


def compensating(occurrence: Occurrence, freezes: Iterable[Freeze]) -> date | None:
    """The date of the next window of this appointment in which nothing is frozen; None within half a year."""
    appointment, known = occurrence.appointment, tuple(freezes)
    begin = occurrence.opening.begin
    later = appointment.window.openings(begin + timedelta(seconds=1), begin + timedelta(weeks=COMPENSATION_WEEKS_MAX))
    free = (opening.day for opening in later if opening.startable and _over(appointment, opening, known) is None)
    return next(free, None)


def may_start_by_hand(
    appointments: Iterable[Appointment], freezes: Iterable[Freeze], runbook: str, now: datetime
) -> str:
    """Why a person may not start this runbook now; empty when it may, or when no window is set for it."""
    own = [appointment for appointment in appointments if appointment.runbook == runbook]
    refusals = [_refusal(appointment, tuple(freezes), now) for appointment in own]
    return "" if "" in refusals else "; ".join(refusals)


def _refusal(appointment: Appointment, freezes: tuple[Freeze, ...], now: datetime) -> str:
    window = appointment.window
    openings = [o for o in window.openings(now - timedelta(days=2), now + timedelta(seconds=1)) if now < o.end]
    if not openings:
        return f"outside its window, {window}"
    opening = openings[0]
    if now > opening.last_start:
        return f"inside its window, {window}, but after the last start {local(opening.last_start, window.zone)}"
    freeze = _over(appointment, opening, freezes)
    return str(freeze) if freeze else ""


def _freeze_over(occurrence: Occurrence, facts: Facts, now: datetime) -> Freeze | None:
    """Of the freezes that were known before the window ended."""
    opening, known = occurrence.opening, facts.freezes_known_since
    in_time = [freeze for freeze in facts.freezes if known.get(freeze.key, now) < opening.end]
    return _over(occurrence.appointment, opening, in_time)


def _over(appointment: Appointment, opening: Opening, freezes: Iterable[Freeze]) -> Freeze | None:
    return first_over(
        freezes, runbook=appointment.runbook, clause=appointment.clause, begin=opening.begin, end=opening.end
    )


def _skipped(occurrence: Occurrence, facts: Facts, reason: str) -> Verdict:
    return Verdict(occurrence, State.SKIPPED, reason, compensating=compensating(occurrence, facts.freezes))


def _absence(occurrence: Occurrence, facts: Facts) -> str:
    """Why nothing was started in time."""
    opening, zone = occurrence.opening, occurrence.appointment.window.zone
    trouble = facts.troubles.get(occurrence.id)
    if trouble:
        return f"it could not be started: {trouble}"
    since = facts.watching_since
    last = local(opening.last_start, zone)
    if since is not None and since > opening.last_start:
        return f"nobody was watching until {local(since, zone)}, after the last start {last}"
    return f"nothing was started until the last start {last}"


def _began_in(opening: Opening, run: RunSeen) -> bool:
    return opening.begin <= run.began_at < opening.end


def _when(occurrence: Occurrence, moment: datetime) -> str:
    return local(moment, occurrence.appointment.window.zone)


def local(moment: datetime, zone: str) -> str:
    """A moment as people of that zone read it: `2026-11-25 03:40 Asia/Jakarta`."""
    there = Instant(moment).to_tz(zone).to_stdlib()
    return f"{there:%Y-%m-%d %H:%M} {zone}"
