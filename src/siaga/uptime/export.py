"""Uptime for others: OpenSLO, alert rules, and the values for Prometheus (pure).

The rules judge the figures that siaga measured, never counters extrapolated by Prometheus: both say the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from siaga.sop.limits import UptimeLimits
from siaga.sop.month import ZONE
from siaga.uptime import burn
from siaga.uptime.model import Outage
from siaga.uptime.months import MonthFigures

SECONDS = "siaga_uptime_seconds"
BUDGET = "siaga_uptime_budget_seconds"
PERCENT = "siaga_uptime_percent"
COVERED = "siaga_uptime_covered_percent"
BURN = "siaga_uptime_burn_rate"
OUTAGE = "siaga_uptime_outage"
HARD_DOWN = "siaga_uptime_hard_down"
_ABSENT_FOR = "1m"
"""A quarter of the smallest budget: who measures nothing for longer can't say that the month held."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of one metric, all of them gauges."""

    name: str
    help: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


def samples(found: MonthFigures | None, burn_rates: Mapping[str, float], outage: Outage | None) -> Iterable[Sample]:
    """What `/metrics` shows; nothing of a month that was not measured."""
    if found is not None:
        spent = {"good": found.good_ms, "bad": found.bad_ms, "unknown": found.unknown_ms}
        for state, spent_ms in spent.items():
            yield Sample(SECONDS, "Of the running month, by what it was.", spent_ms / 1000, {"state": state})
        yield Sample(BUDGET, "What the running month may be bad and unknown.", found.budget_ms / 1000)
        for name, percent in ((PERCENT, found.uptime_percent), (COVERED, found.covered_percent)):
            if percent is not None:
                yield Sample(name, "Of the running month so far.", float(percent))
    for window, rate in burn_rates.items():
        yield Sample(BURN, "How many times faster than allowed the budget is used up.", rate, {"window": window})
    yield Sample(OUTAGE, "1 while users are not served.", float(outage is not None))
    yield Sample(HARD_DOWN, "1 while an outage is confirmed and lasts.", float(outage is not None and outage.hard_down))


def openslo(site: str, limits: UptimeLimits) -> dict[str, Any]:
    """The objective as an OpenSLO v1 document: time slices, by the calendar of Jakarta."""
    # OpenSLO knows time slices as a share of time, which is what the clause asks for.
    return {
        "apiVersion": "openslo/v1",
        "kind": "SLO",
        "metadata": {"name": f"{site}-uptime", "displayName": "ZDT-1 uptime"},
        "spec": {
            "description": "Users can log in, see their balance and transfer money, in every region.",
            "service": site,
            "indicator": {
                "metadata": {"name": f"{site}-good-time"},
                "spec": {
                    "ratioMetric": {
                        "counter": False,
                        "good": _metric(f'sum({SECONDS}{{state="good"}})'),
                        "total": _metric(f"sum({SECONDS})"),
                    }
                },
            },
            "timeWindow": [
                {
                    "duration": "1M",
                    "isRolling": False,
                    "calendar": {"startTime": "2026-01-01 00:00:00", "timeZone": ZONE},
                }
            ],
            "budgetingMethod": "Timeslices",
            "objectives": [
                {
                    "displayName": f"at least {limits.uptime_percent_min} % of the time, "
                    f"at most {limits.downtime_s_max} s a month",
                    "target": round(limits.uptime_percent_min / 100, 9),
                    "timeSliceTarget": 0.95,
                    "timeSliceWindow": "10s",
                }
            ],
        },
    }


def alert_rules() -> dict[str, Any]:
    """A file of rules for Prometheus: hard down, burn rates over two windows, and the monitor's own absence."""
    rules = [
        _rule(
            "SiagaHardDown",
            f"{HARD_DOWN} == 1",
            "critical",
            "Level 3 · Critical: users are not served",
        )
    ]
    for each in burn.RULES:
        over = [f'{BURN}{{window="{burn.named(window_s)}"}} >= {each.rate}' for window_s in (each.long_s, each.short_s)]
        rules.append(
            _rule(
                f"SiagaBudgetBurn{burn.named(each.long_s)}",
                " and ignoring(window) ".join(over),
                "critical" if each.severity == "page" else "warning",
                f"the month's budget is used up {each.rate:g} times too fast",
            )
        )
    rules.append(_rule("SiagaUptimeAbsent", f"absent({BUDGET})", "critical", "nobody measures uptime", _ABSENT_FOR))
    unproven = f'sum({SECONDS}{{state=~"bad|unknown"}}) > sum({BUDGET})'
    rules.append(_rule("SiagaMonthNotProven", unproven, "warning", "bad and unknown time exceed the month's budget"))
    return {"groups": [{"name": "siaga-uptime", "interval": "5s", "rules": rules}]}


def _metric(query: str) -> dict[str, Any]:
    return {"metricSource": {"type": "Prometheus", "spec": {"query": query}}}


def _rule(name: str, expression: str, severity: str, summary: str, lasting: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {"alert": name, "expr": expression}
    if lasting:
        found["for"] = lasting
    return {**found, "labels": {"severity": severity, "clause": "ZDT-1"}, "annotations": {"summary": summary}}
