"""From what each step of a drill found to its result (pure): figures beside the control run's, against the limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from siaga.drills import judge
from siaga.drills.catalogue import Drill, Scope
from siaga.drills.model import Check, Event, Figure, Result
from siaga.sop.limits import Limits

LOGIN_AGAIN_S_MAX = 1.5

BREAK, HEAL, CONTROL, HOLD, RECOVER, LEDGER = (
    "break it",
    "heal it",
    "control run",
    "hold the fault",
    "watch users recover",
    "compare the ledger",
)
"""Names of the steps whose findings are judged."""

Found = Mapping[str, Mapping[str, Any]]


def result(drill: Drill, found: Found, decisions: Sequence[Mapping[str, Any]], limits: Limits) -> Result:
    """Judge a drill by what its steps found; `decisions` are the controller's, each with `at_s` from the injection."""
    control, figures = dict(found[CONTROL]["figures"]), dict(found[RECOVER]["figures"])
    ledger = dict(found[LEDGER])
    if drill.scope in (Scope.NODE, Scope.REGION):
        # Without a fault there is nothing to divert from.
        control |= {"divert_s": None, "touched": None}
        checks = _traffic_checks(figures, control, limits)
    else:
        # No node is at fault here, so there is nobody to divert from.
        control, figures = _without_diversion(control), _without_diversion(figures)
        if drill.scope is Scope.SESSIONS:
            figures, control = _session_figures(figures, control, found)
            checks = _session_checks(figures, control, limits)
        else:
            figures = _database_figures(figures, found)
            checks = _database_checks(figures, control)
    figures |= ledger
    timeline = sorted((*_events(found), *_decided(decisions)), key=lambda event: event.at_s)
    return Result(
        drill.name, drill.clauses, figures, control, (*checks, *ledger_checks(figures)), timeline=tuple(timeline)
    )


def ledger_checks(figures: Mapping[str, Figure]) -> tuple[Check, ...]:
    """Every count is zero, and there was something to count."""
    checks = [judge.exactly(figures, name, 0, "compared with the ledger") for name in ("lost", "doubled")]
    checks += [judge.exactly(figures, name, 0, "double entry") for name in ("balances_wrong", "sum_of_balances")]
    written = figures.get("acknowledged") or 0
    any_written = judge.exactly(figures, "acknowledged", written, "at least one write compared")
    return (*checks, replace(any_written, holds=written > 0))


def _traffic_checks(figures: Mapping[str, Figure], control: Mapping[str, Figure], limits: Limits) -> tuple[Check, ...]:
    divert_s_max = min(judge.DIVERT_S_GOAL, float(limits.traffic.divert_s_max))
    return (
        judge.at_most(figures, "divert_s", divert_s_max, "our goal; ZDT-1.1a allows 10 s"),
        *judge.beyond_noise(figures, control, ("errors", "slow_answers", "logged_out")),
    )


def _session_figures(
    figures: dict[str, Figure], control: dict[str, Figure], found: Found
) -> tuple[dict[str, Figure], dict[str, Figure]]:
    logins, asked = found[HOLD], found[RECOVER]["sessions"]
    kept: dict[str, Figure] = {
        "logins_again_s": logins["logins_again_s"],
        "logins": logins["logins"],
        "failed_logins": logins["failed_logins"],
        "sessions_before": found[BREAK]["sessions"],
        "sessions_valid_after": asked["valid"],
        "lost_sessions": asked["invalid"],
        "sessions_unknown": asked["unknown"],
    }
    return kept | figures, {**control, "failed_logins": found[CONTROL]["failed_logins"]}


def _session_checks(figures: Mapping[str, Figure], control: Mapping[str, Figure], limits: Limits) -> tuple[Check, ...]:
    return (
        judge.at_most(figures, "logins_again_s", LOGIN_AGAIN_S_MAX, "our goal"),
        judge.exactly(figures, "lost_sessions", limits.sessions.sessions_lost_max, "ZDT-1.1b"),
        judge.exactly(figures, "sessions_valid_after", figures["sessions_before"], "every acknowledged one"),
        *judge.beyond_noise(figures, control, ("errors", "logged_out")),
    )


def _database_figures(figures: dict[str, Figure], found: Found) -> dict[str, Figure]:
    kept: dict[str, Figure] = {
        "sessions_before": found[BREAK]["sessions"],
        "sessions_valid_during": found[HOLD]["valid"],
        "sessions_valid_after": found[RECOVER]["sessions"]["valid"],
    }
    late = found[RECOVER]
    return kept | figures | {"logged_out": late["logged_out_until_now"], "writes_again_s": late["writes_again_s"]}


def _database_checks(figures: Mapping[str, Figure], control: Mapping[str, Figure]) -> tuple[Check, ...]:
    return (
        judge.exactly(figures, "sessions_valid_during", figures["sessions_before"], "ZDT-1.1b"),
        judge.exactly(figures, "sessions_valid_after", figures["sessions_before"], "ZDT-1.1b"),
        judge.exactly(figures, "logged_out", 0, "ZDT-1.1b"),
        *judge.beyond_noise(figures, control, ("errors", "slow_answers")),
    )


def _without_diversion(figures: Mapping[str, Figure]) -> dict[str, Figure]:
    return {name: value for name, value in figures.items() if name not in ("divert_s", "touched")}


def _events(found: Found) -> list[Event]:
    injected_s = found[BREAK]["at_s"]
    return [
        Event(round(document["at_s"] - injected_s, 3), document["what"])
        for document in found.values()
        if document and "at_s" in document
    ]


def _decided(decisions: Sequence[Mapping[str, Any]]) -> list[Event]:
    return [Event(round(d["at_s"], 3), f"controller: {d['reason']}") for d in decisions if d["at_s"] >= 0]
