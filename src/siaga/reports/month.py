"""A month's report, gathered from what was recorded and measured (pure).

Each clause is judged by its parts, and is as good as the worst of them. What nobody measured is not measured: no part
is ever assumed to hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from siaga.reports import records, standings
from siaga.reports.model import ClauseMonth, Drill, Expected, Report, Run, Seal, UptimeMonth
from siaga.reports.period import stage
from siaga.reports.records import MonthRecords
from siaga.reports.standings import Kept
from siaga.runbooks.calendar import State
from siaga.runbooks.run import Outcome
from siaga.sop.adherence import Adherence, Standing, combine
from siaga.sop.clauses import CLAUSES, ClauseId
from siaga.sop.limits import Limits
from siaga.sop.month import Month

UNMEASURED_PERCENT_MAX = 0.1
"""Of the elapsed month; with more than that, a month is not provable (research, control-plane section 2)."""
UNWITNESSED_MAX = timedelta(minutes=5)
"""The newest records wait for the next checkpoint, as they may."""
NOTHING = "nothing was measured"


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything a report is made of."""

    site: str
    embedded: bool
    limits: Limits
    made_by: str
    version: str
    found: MonthRecords
    seal: Seal
    uptime: UptimeMonth | None = None
    uptime_missing: str = "no figures of uptime are kept here"


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the records of the month say, folded."""

    windows: tuple[Expected, ...]
    runs: tuple[Run, ...]
    drills: tuple[Drill, ...]
    kept: Mapping[ClauseId, Kept]
    diversions: records.Diversions


def gather(inputs: Inputs, month: Month, now: datetime) -> Report:
    """Put the report together; the month is one of those that may be reported on (`period.demand_reportable`)."""
    found = inputs.found
    facts = _Facts(
        # Of what is behind a record that does not hold nobody can say that it was missed.
        windows=records.windows(found, found.known_until or now),
        runs=records.runs(found.documents),
        drills=records.drills(found.documents),
        kept=standings.kept(found.standings, month, began_at=found.began_at, now=now),
        diversions=records.diversions(found.documents),
    )
    return Report(
        site=inputs.site,
        embedded=inputs.embedded,
        month=month,
        stage=stage(month, now),
        made_at=now,
        made_by=inputs.made_by,
        version=inputs.version,
        began_at=found.began_at,
        clauses=tuple(_clause(clause, inputs, facts, now) for clause in CLAUSES),
        uptime=inputs.uptime,
        uptime_missing="" if inputs.uptime else inputs.uptime_missing,
        incidents=records.incidents(found.incidents, month),
        runs=facts.runs,
        drills=facts.drills,
        acts=records.acts(found.documents),
        seal=inputs.seal,
    )


def _clause(clause: ClauseId, inputs: Inputs, facts: _Facts, now: datetime) -> ClauseMonth:
    own = tuple(window for window in facts.windows if window.clause is clause)
    parts = [*_parts(clause, inputs, facts, now), *_common_parts(clause, own, facts)]
    if not (inputs.found.count or inputs.uptime or inputs.seal.faults):
        parts = []
    standing = combine(clause, parts) if parts else _nothing(clause)
    return ClauseMonth(standing, own, inputs.found.by_clause[clause])


def _nothing(clause: ClauseId) -> Standing:
    return Standing(clause, Adherence.NOT_MEASURED, "", CLAUSES[clause].numbers, NOTHING)


# Parts of one clause ----------------------------------------------------------------------------------------------


def _parts(clause: ClauseId, inputs: Inputs, facts: _Facts, now: datetime) -> Iterator[Standing]:
    if clause is ClauseId.ZDT_1:
        yield _uptime(inputs)
    elif clause is ClauseId.ZDT_1_1A and (facts.diversions.drains or facts.diversions.held):
        yield _diverted(facts.diversions, inputs.limits)
    elif clause is ClauseId.SUM:
        yield _sealed(inputs.seal, now)
        if facts.windows:
            yield _accounted(facts.windows)


def _uptime(inputs: Inputs) -> Standing:
    found = inputs.uptime
    if found is None:
        return Standing(
            ClauseId.ZDT_1,
            Adherence.NOT_MEASURED,
            "",
            CLAUSES[ClauseId.ZDT_1].numbers,
            inputs.uptime_missing,
            part="uptime",
        )
    return Standing(
        ClauseId.ZDT_1,
        found.verdict,
        figure=f"uptime {found.raw_percent} %, {minutes(found.bad_ms)} down, {minutes(found.unknown_ms)} not measured",
        limit=f"at most {minutes(found.budget_ms)} down or not measured in the month",
        why=found.why,
        part="uptime",
    )


def _diverted(found: records.Diversions, limits: Limits) -> Standing:
    limit_s = float(limits.traffic.divert_s_max)
    late = found.over_s_max > limit_s
    kept = f"; {found.held} times a bad node kept its traffic, none better was left" if found.held else ""
    return Standing(
        ClauseId.ZDT_1_1A,
        Adherence.BROKEN if late else Adherence.HOLDS if found.drains else Adherence.AT_RISK,
        figure=f"{found.drains} diversions, after {found.over_s_max:g} s at most{kept}",
        limit=f"diverted within {limit_s:g} s",
        why="a diversion came too late" if late else "every diversion came in time" if found.drains else kept[2:],
        part="diversions",
    )


def _sealed(seal: Seal, now: datetime) -> Standing:
    if seal.faults:
        adherence, why = Adherence.BROKEN, seal.faults[0]
    elif seal.last is None:
        adherence, why = Adherence.NOT_MEASURED, "nothing was recorded in the month"
    elif seal.covers_all:
        adherence, why = Adherence.HOLDS, "every record verified, all under a checkpoint that the witness signed"
    else:
        late = seal.waiting_since is None or now - seal.waiting_since > UNWITNESSED_MAX
        adherence = Adherence.AT_RISK if late else Adherence.HOLDS
        why = f"records {max(seal.size, seal.first or 0)} to {seal.last} await the witness"
    return Standing(
        ClauseId.SUM,
        adherence,
        figure=f"{seal.records} records: {seal.verdict}",
        limit="every record verified and witnessed",
        why=why,
        part="evidence",
    )


def _accounted(windows: Sequence[Expected]) -> Standing:
    over = [window for window in windows if window.state in records.SETTLED]
    missed = sum(window.state == State.MISSED for window in over)
    return Standing(
        ClauseId.SUM,
        Adherence.BROKEN if missed else Adherence.HOLDS if over else Adherence.NOT_MEASURED,
        figure=f"{len(over) - missed} of {len(over)} windows with a run, or a recorded reason why not",
        limit="every window that is over",
        why=f"{missed} MISSED" if missed else "" if over else "no window was over yet",
        part="windows",
    )


# Parts that any clause may have -------------------------------------------------------------------------------------


def _common_parts(clause: ClauseId, windows: Sequence[Expected], facts: _Facts) -> Iterator[Standing]:
    if windows:
        yield _windows(clause, windows)
    in_windows = {window.run for window in facts.windows}
    other = [run for run in facts.runs if run.clause == clause and run.id not in in_windows]
    if other:
        yield _runs(clause, other)
    drills = [drill for drill in facts.drills if clause in drill.clauses]
    if drills:
        yield _drills(clause, drills)
    yield _kept(clause, facts.kept[clause])


def _windows(clause: ClauseId, windows: Sequence[Expected]) -> Standing:
    """Skipped with a good reason is still not done: at risk, never broken."""
    count = {state: sum(window.state == state for window in windows) for state in State}
    waiting = len(windows) - sum(count[State(state)] for state in records.SETTLED)
    if count[State.MISSED]:
        adherence = Adherence.BROKEN
    elif count[State.UNDONE] or count[State.SKIPPED]:
        adherence = Adherence.AT_RISK
    else:
        adherence = Adherence.HOLDS if count[State.DONE] else Adherence.NOT_MEASURED
    told = [f"{count[state]} {state}" for state in (State.UNDONE, State.SKIPPED, State.MISSED) if count[state]]
    figure = ", ".join(
        [f"{count[State.DONE]} of {len(windows)} done", *told, *([f"{waiting} to come"] if waiting else [])]
    )
    not_done = [w for w in windows if w.state in records.SETTLED and w.state != State.DONE]
    why = "; ".join(f"{window.id} {window.state}: {window.reason}" for window in not_done)
    if adherence is Adherence.HOLDS:
        why = "every window that is over was used"
    return Standing(clause, adherence, figure, CLAUSES[clause].numbers, why or "no window was over yet", part="windows")


def _runs(clause: ClauseId, runs: Sequence[Run]) -> Standing:
    done = sum(run.outcome == Outcome.DONE for run in runs)
    breached = [f"{run.id}: {words}" for run in runs for words in run.breached]
    others = [f"{run.id}: {run.outcome}" for run in runs if run.outcome != Outcome.DONE]
    adherence = Adherence.BROKEN if breached else Adherence.AT_RISK if others else Adherence.HOLDS
    return Standing(
        clause,
        adherence,
        figure=f"{done} of {len(runs)} runs done",
        limit="every run done, inside its clocks",
        why="; ".join(breached or others) or "every run was done in time",
        part="runs",
    )


def _drills(clause: ClauseId, drills: Sequence[Drill]) -> Standing:
    """The last verdict of each drill counts, at each place for itself (decision 22)."""
    last = {(drill.where, drill.name): drill for drill in drills}
    failing = [f"{name} ({place(where)})" for (where, name), drill in last.items() if not drill.holds]
    figures = []
    for where in dict.fromkeys(drill.where for drill in drills):
        there = [drill for drill in drills if drill.where == where]
        figures.append(f"{sum(drill.holds for drill in there)} of {len(there)} drills held {place(where)}")
    return Standing(
        clause,
        Adherence.AT_RISK if failing else Adherence.HOLDS,
        figure="; ".join(figures),
        limit="the last run of each drill holds",
        why=f"last did not hold: {', '.join(failing)}" if failing else "the last run of each drill held",
        part="drills",
    )


PLACES = {"embedded": "on the embedded platform", "site": "on this site"}


def place(where: str) -> str:
    """Where a drill proved something, in words."""
    return PLACES.get(where, f"at {where}")


def _kept(clause: ClauseId, kept: Kept) -> Standing:
    share = {state: kept.percent(state) for state in Adherence}
    unmeasured = share[Adherence.NOT_MEASURED]
    if kept.broken:
        adherence, why = Adherence.BROKEN, f"broken {len(kept.broken)} times, first {standings.span(kept.broken[0])}"
    elif unmeasured > UNMEASURED_PERCENT_MAX or not kept.elapsed:
        adherence, why = Adherence.NOT_MEASURED, f"nobody knows how it stood for {percent(unmeasured)} of the time"
    else:
        adherence, why = Adherence.HOLDS, "never seen broken"
    names = {state: str(state) for state in Adherence} | {Adherence.HOLDS: "held"}
    told = (f"{names[state]} {percent(share[state])}" for state in Adherence if share[state])
    return Standing(
        clause,
        adherence,
        figure=", ".join(told),
        limit=f"never broken, {100 - UNMEASURED_PERCENT_MAX:g} % measured",
        why=why,
        part="over the month",
    )


# Words ------------------------------------------------------------------------------------------------------------


def minutes(length_ms: int) -> str:
    """`4.05 min`: two decimals, as the clause has its own."""
    return f"{length_ms / 60_000:.2f} min"


def percent(share: float) -> str:
    """To four decimals, since two hide everything at 99.99 %; and never rounded up to 100."""
    return "100 %" if share >= 100 else f"{min(share, 99.9999):.4f} %"
