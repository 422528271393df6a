"""What a month's records come to, clause by clause."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from reported_month import (
    AFTER,
    NOVEMBER,
    SEAL,
    UPTIME,
    a_whole_month,
    all_holding,
    appointed,
    at,
    drained,
    drill,
    folded,
    incident,
    inputs,
    numbered,
    report,
    run,
    settled,
)

from siaga.evidence.model import Record
from siaga.reports.document import to_document
from siaga.reports.model import Report
from siaga.reports.month import gather
from siaga.reports.period import Stage
from siaga.runbooks.calendar import State
from siaga.sop.adherence import Adherence, Standing
from siaga.sop.clauses import CLAUSES, ClauseId

Entries = list[tuple[datetime, Record]]
HOLDS, AT_RISK, BROKEN, NOT_MEASURED = Adherence.HOLDS, Adherence.AT_RISK, Adherence.BROKEN, Adherence.NOT_MEASURED


def part(made: Report, clause: ClauseId, name: str) -> Standing:
    standing = next(c.standing for c in made.clauses if c.standing.clause is clause)
    return next(p for p in standing.parts if p.part == name)


def whole(made: Report, clause: ClauseId) -> Standing:
    return next(c.standing for c in made.clauses if c.standing.clause is clause)


def of(entries: Entries, **others: object) -> Report:
    return report(numbered(entries), **others)


@pytest.mark.clause("SUM")
def test_every_clause_is_in_it_in_the_order_of_the_document() -> None:
    assert [c.standing.clause for c in report(a_whole_month()).clauses] == list(CLAUSES)


@pytest.mark.clause("SUM")
def test_a_month_of_which_nothing_is_recorded_says_so_and_nothing_holds() -> None:
    made = of([appointed()], uptime=None, seal=replace(SEAL, records=0, first=None, last=None))
    assert not made.measured
    assert {c.standing.adherence for c in made.clauses} == {NOT_MEASURED}
    assert {c.standing.why for c in made.clauses} == {"nothing was measured"}


def test_the_running_month_is_marked_as_not_final() -> None:
    assert report(a_whole_month(), now=at(20)).stage is Stage.RUNNING
    assert report(a_whole_month()).stage is Stage.FINAL


# ZDT-1 --------------------------------------------------------------------------------------------------------------


@pytest.mark.clause("ZDT-1")
def test_the_verdict_on_uptime_is_that_of_its_own_domain() -> None:
    made = of([*all_holding(NOVEMBER.begin, NOVEMBER.end)], uptime=replace(UPTIME, verdict=BROKEN, why="5.1 min"))
    assert whole(made, ClauseId.ZDT_1).adherence is BROKEN
    assert "uptime 99.9984 %, 0.68 min down" in part(made, ClauseId.ZDT_1, "uptime").figure


@pytest.mark.clause("ZDT-1")
def test_without_figures_of_uptime_the_clause_is_not_measured() -> None:
    made = of(all_holding(NOVEMBER.begin, NOVEMBER.end), uptime=None, uptime_missing="the file is gone")
    assert whole(made, ClauseId.ZDT_1).adherence is NOT_MEASURED
    assert made.uptime_missing == "the file is gone"


# ZDT-1.1a -----------------------------------------------------------------------------------------------------------


@pytest.mark.clause("ZDT-1.1a")
def test_diversions_are_told_with_the_longest_and_one_that_came_too_late_breaks_the_clause() -> None:
    good = part(of([drained(5, 1.2), drained(6, 3.3)]), ClauseId.ZDT_1_1A, "diversions")
    assert (good.adherence, good.figure) == (HOLDS, "2 diversions, after 3.3 s at most")
    late = part(of([drained(5, 1.2), drained(6, 10.1)]), ClauseId.ZDT_1_1A, "diversions")
    assert late.adherence is BROKEN


@pytest.mark.clause("ZDT-1.1a")
def test_a_drain_by_a_person_is_no_diversion() -> None:
    by_hand = (at(5), Record("traffic.drain", "ayu", "ZDT-1.1a", "maintenance", {}))
    assert all(p.part != "diversions" for p in whole(of([by_hand]), ClauseId.ZDT_1_1A).parts)


# Windows ------------------------------------------------------------------------------------------------------------


@pytest.mark.clause("PMT-2.1")
@pytest.mark.parametrize(
    ("last", "adherence", "figure"),
    [
        (State.DONE, HOLDS, "4 of 4 done"),
        (State.UNDONE, AT_RISK, "3 of 4 done, 1 undone"),
        (State.SKIPPED, AT_RISK, "3 of 4 done, 1 skipped"),
        (State.MISSED, BROKEN, "3 of 4 done, 1 MISSED"),
    ],
)
def test_each_wednesday_is_accounted_for(last: State, adherence: Adherence, figure: str) -> None:
    made = of([appointed(), *(settled(day, State.DONE) for day in (4, 11, 18)), settled(25, last, "because")])
    found = part(made, ClauseId.PMT_2_1, "windows")
    assert (found.adherence, found.figure) == (adherence, figure)
    assert [w.state for c in made.clauses for w in c.expected if c.standing.clause == "PMT-2.1"][-1] == last


@pytest.mark.clause("PMT-2.1", "SUM")
def test_a_wednesday_of_which_nobody_recorded_anything_was_missed() -> None:
    made = of([appointed(), *(settled(day, State.DONE) for day in (4, 11, 18))])
    assert part(made, ClauseId.PMT_2_1, "windows").adherence is BROKEN
    assert part(made, ClauseId.SUM, "windows").figure == "3 of 4 windows with a run, or a recorded reason why not"


@pytest.mark.clause("PMT-2.1")
def test_a_run_that_nobody_settled_yet_is_found_by_its_own_records() -> None:
    known = {"runbook": "update-database", "manner": "real"}
    began = Record("runbooks.started", "controller", "PMT-2.1", "", known, run="update-database/2026-11-25")
    ended = replace(began, kind="runbooks.ended", figures={**known, "outcome": "done"})
    made = of(
        [
            appointed(),
            *(settled(day, State.DONE) for day in (4, 11, 18)),
            (at(25, 3, 1), began),
            (at(25, 3, 20), ended),
        ]
    )
    assert part(made, ClauseId.PMT_2_1, "windows").adherence is HOLDS


@pytest.mark.clause("PMT-2.1")
def test_windows_to_come_are_no_fault_of_the_running_month() -> None:
    made = of([appointed(), settled(4, State.DONE)], now=at(10))
    assert part(made, ClauseId.PMT_2_1, "windows").figure == "1 of 4 done, 3 to come"
    assert part(made, ClauseId.PMT_2_1, "windows").adherence is HOLDS


# Runs and drills ----------------------------------------------------------------------------------------------------


@pytest.mark.clause("DRP-3.1")
def test_a_clock_that_ran_out_breaks_its_clause_though_the_run_was_done() -> None:
    breached = run("recover-1", 20, kind="clock-breached", clock="P1", elapsed_s=2000.0, limit_s=1800.0)
    made = of([run("recover-1", 20, kind="started"), breached, run("recover-1", 20, kind="ended", outcome="done")])
    found = part(made, ClauseId.DRP_3_1, "runs")
    assert (found.adherence, found.why) == (BROKEN, "recover-1: P1: 2000 s of 1800 s")


@pytest.mark.clause("DRP-3.1")
def test_a_drills_own_run_is_no_run_in_earnest() -> None:
    started = run("drill-1", 20, kind="started", manner="drill")
    assert of([started]).runs == ()


@pytest.mark.clause("ZDT-1.1a")
def test_the_last_verdict_of_a_drill_counts_and_places_are_never_mixed() -> None:
    repeated = part(of([drill(5, holds=False), drill(6, holds=True)]), ClauseId.ZDT_1_1A, "drills")
    assert repeated.adherence is HOLDS
    mixed = part(of([drill(5, holds=False, where="site"), drill(6, holds=True)]), ClauseId.ZDT_1_1A, "drills")
    assert mixed.adherence is AT_RISK
    assert mixed.figure == "0 of 1 drills held on this site; 1 of 1 drills held on the embedded platform"


# Standings and the seal ---------------------------------------------------------------------------------------------


@pytest.mark.clause("SUM")
def test_a_clause_holds_only_if_it_was_known_to_for_the_whole_month() -> None:
    assert whole(of(all_holding(NOVEMBER.begin, NOVEMBER.end)), ClauseId.DRP).adherence is HOLDS
    half = of(all_holding(NOVEMBER.begin, at(16)))
    assert whole(half, ClauseId.DRP).adherence is NOT_MEASURED
    broken = of([*all_holding(NOVEMBER.begin, at(16)), *all_holding(at(16), NOVEMBER.end, DRP=BROKEN)])
    assert whole(broken, ClauseId.DRP).adherence is BROKEN


@pytest.mark.clause("SUM")
def test_evidence_that_does_not_hold_breaks_strict_adherence() -> None:
    made = of([drill(5, holds=True)], seal=replace(SEAL, verdict="does not hold", faults=("record 7: a byte",)))
    assert part(made, ClauseId.SUM, "evidence").adherence is BROKEN
    assert part(made, ClauseId.SUM, "evidence").why == "record 7: a byte"


@pytest.mark.clause("SUM")
def test_behind_a_record_that_does_not_hold_no_window_is_said_to_be_missed() -> None:
    found = folded(numbered([appointed(), settled(4, State.DONE)]))
    found.known_until = at(5)
    faulty = replace(SEAL, verdict="does not hold", faults=("record 7: a byte",))
    made = gather(replace(inputs([]), found=found, seal=faulty), NOVEMBER, AFTER)
    assert part(made, ClauseId.PMT_2_1, "windows").figure == "1 of 4 done, 3 to come"
    assert part(made, ClauseId.SUM, "evidence").adherence is BROKEN


@pytest.mark.clause("SUM")
def test_the_newest_records_may_wait_for_the_witness_but_not_for_long() -> None:
    waiting = replace(SEAL, size=1000, waiting_since=AFTER - timedelta(minutes=4))
    assert part(of([drill(5, holds=True)], seal=waiting), ClauseId.SUM, "evidence").adherence is HOLDS
    made = of([drill(5, holds=True)], seal=replace(waiting, waiting_since=AFTER - timedelta(minutes=6)))
    assert part(made, ClauseId.SUM, "evidence").adherence is AT_RISK
    assert "records 1000 to 1019 await the witness" in part(made, ClauseId.SUM, "evidence").why


@pytest.mark.clause("ZDT-1")
def test_an_incident_is_told_at_its_highest_level_as_far_as_it_has_got() -> None:
    made = of(
        [
            incident(9, "opened", "log-ins fail", level=2),
            incident(9, "level", "users are affected", level=3, declared_s=3.4, share=0.235),
            incident(9, "resolved", "a node came back", level=2, declared_s=3.4, resolved_s=60.0),
        ]
    )
    (found,) = made.incidents
    assert (found.words, found.subject, found.ended_as) == ("Level 3 · Critical", "log-ins fail", "a node came back")
    assert (found.declared_s, found.resolved_s) == (3.4, 60.0)


@pytest.mark.clause("ZDT-1")
def test_an_incident_belongs_to_every_month_in_which_it_lasted() -> None:
    lasting = at(1) - timedelta(hours=1)
    before = [incident(1, "opened", "x", id_="INC-1", onset=lasting.isoformat())]
    over = [(NOVEMBER.begin - timedelta(minutes=50), before[0][1])]
    assert [one.id for one in of(over).incidents] == ["INC-1"]
    ended = incident(1, "resolved", "x", id_="INC-1", onset=lasting.isoformat(), resolved_s=600.0)
    assert of([*over, (NOVEMBER.begin - timedelta(minutes=40), ended[1])]).incidents == ()
    next_month = incident(30, "opened", "x", onset=NOVEMBER.end.isoformat())
    assert of([next_month]).incidents == ()


def test_what_people_did_is_listed_with_its_record() -> None:
    made = report(a_whole_month())
    assert [(act.kind, act.actor) for act in made.acts] == [("lever.mode", "ayu")]


def test_records_of_the_months_beside_it_are_not_counted() -> None:
    outside = [
        (NOVEMBER.begin - timedelta(seconds=1), drill(1, holds=True)[1]),
        (NOVEMBER.end, drill(1, holds=True)[1]),
    ]
    assert of(outside).drills == ()


def test_the_document_is_plain_json_and_holds_every_clause() -> None:
    found = json.loads(json.dumps(to_document(report(a_whole_month()))))
    assert [c["standing"]["clause"] for c in found["clauses"]] == list(CLAUSES)
    assert (found["month"], found["stage"], found["verdict"]) == ("2026-11", "final", "at risk")
    assert found["uptime"]["raw_percent"] == "99.9984"
    assert found["begin"] == "2026-10-31T17:00:00+00:00"
    assert AFTER.isoformat() == found["made_at"]
