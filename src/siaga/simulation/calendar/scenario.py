"""The fault catalogue of the calendar, and years of windows with their faults drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from random import Random

from siaga.runbooks.appointments import Appointment
from siaga.runbooks.windows import Opening, Window
from siaga.sop.clauses import ClauseId
from siaga.sop.modes import Mode


class Kind(StrEnum):
    """What can happen around a window."""

    DEAD = "controller dead"
    DIES = "killed between two writes"
    STOPPED = "controller stopped (SIGSTOP)"
    PAUSED = "machine paused"
    CLOCK = "wall clock set"
    EVIDENCE = "evidence can't be written"
    JOURNAL = "journal can't be reached"
    START = "a start fails or hangs"
    FREEZE = "freeze by hand"
    HALT = "halted"
    NOT_LOW = "traffic not at its low"
    UNKNOWN = "traffic unknown"
    ALLOW = "a person allows it"
    BY_HAND = "a person starts it by hand"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that happens, in true time."""

    kind: Kind
    begin_s: float
    end_s: float
    amount: float = 0.0
    """CLOCK: seconds ahead. PAUSED: seconds until the clock is put right. DIES: writes until then. Else a chance."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One world."""

    seed: int
    begin: datetime
    end: datetime
    appointments: tuple[Appointment, ...]
    faults: tuple[Fault, ...]
    mode: Mode
    run_minutes: tuple[float, float]


UPDATE = Appointment(
    "update-database",
    "update-database",
    ClauseId.PMT_2_1,
    Window(frozenset({3}), time(3), time(4), "Asia/Jakarta"),
    only_at_low_traffic=True,
)
AUDIT = Appointment(
    "audit-vendors", "audit-vendors", ClauseId.PMT_2_2, Window(frozenset({7}), time(23, 30), time(1), "Europe/Berlin")
)
"""Across midnight, in a zone with summer time."""
NIGHT = Appointment(
    "renew-indexes", "renew-indexes", ClauseId.PMT, Window(frozenset({7}), time(2), time(3), "Europe/Berlin")
)
"""Its hour does not exist on one Sunday of the year, and exists twice on another."""
APPOINTMENTS = (UPDATE, AUDIT, NIGHT)


def scenario(seed: int, *, weeks: int = 13, faults_a_window: float = 1.2) -> Scenario:
    """A world of so many weeks; the seasons differ by seed, so that each change of clocks comes up."""
    random = Random(seed)  # noqa: S311 (a world is drawn, not a secret)
    begin = datetime(2027, 1, 1, tzinfo=UTC) + timedelta(weeks=random.randrange(150))
    end = begin + timedelta(weeks=weeks)
    openings = sorted(
        (opening for appointment in APPOINTMENTS for opening in appointment.window.openings(begin, end)),
        key=lambda opening: opening.begin,
    )
    faults = [
        _fault(random, opening)
        for opening in openings
        for _ in range(_count(random, faults_a_window))
        # The last days are calm, so that everything that is owed can be recorded.
        if opening.end < end - timedelta(days=3)
    ]
    modes = (Mode.ACT, Mode.ACT, Mode.ACT, Mode.APPROVE, Mode.ADVISE)
    return Scenario(
        seed,
        begin,
        end,
        APPOINTMENTS,
        tuple(sorted(faults, key=lambda f: f.begin_s)),
        random.choice(modes),
        (2.0, 58.0),
    )


def _count(random: Random, mean: float) -> int:
    return sum(random.random() < mean / 4 for _ in range(4))


def _fault(random: Random, opening: Opening) -> Fault:
    kind = random.choice(tuple(Kind))
    # Most trouble is where something is decided: around the boundaries.
    near = random.choice((opening.begin, opening.begin, opening.last_start, opening.hard_stop, opening.end))
    begin_s = near.timestamp() + random.choice((random.uniform(-90, 90), random.uniform(-1800, 1800)))
    length_s = random.choice((random.uniform(1, 40), random.uniform(40, 1500), random.uniform(1500, 9000)))
    amount = random.random()
    if kind is Kind.CLOCK:
        amount = random.choice((-1, 1)) * random.choice(
            (random.uniform(3, 120), random.uniform(120, 7200), random.uniform(86_400, 9 * 86_400))
        )
    elif kind is Kind.PAUSED:
        amount = random.choice((0.0, random.uniform(0, 10)))
    elif kind is Kind.DIES:
        amount = float(random.randrange(1, 12))
    elif kind is Kind.FREEZE:
        length_s = random.uniform(3600, 9 * 86_400)
    return Fault(kind, begin_s, begin_s + length_s, amount)


def calm(*faults: Fault, weeks: int = 3, begin: date = date(2026, 11, 20)) -> Scenario:
    """A world in which only these faults happen, for one appointment: PMT-2.1."""
    start = datetime(begin.year, begin.month, begin.day, tzinfo=UTC)
    whole = Scenario(0, start, start + timedelta(weeks=weeks), (UPDATE,), faults, Mode.ACT, (10.0, 11.0))
    return replace(whole, faults=tuple(sorted(faults, key=lambda fault: fault.begin_s)))
