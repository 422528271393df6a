"""What users saw, in figures, against the clause."""

from __future__ import annotations

from dataclasses import replace

import pytest

from siaga.drills import judge
from siaga.drills.model import Result, Seen

FINE = Seen(
    sent_s=100.0,
    latency_ms=8.0,
    retried_safely=True,
    failed=False,
    outage=False,
    logged_out=False,
    tried_bad=False,
    bad_first=False,
)


def figures(*seen: Seen) -> dict[str, object]:
    return dict(judge.traffic_figures(seen, injected_s=100.0, latency_ms_max=500))


@pytest.mark.clause("ZDT-1.1a")
def test_the_time_to_divert_is_that_of_the_last_request_sent_to_the_bad_node_first() -> None:
    touched = [replace(FINE, sent_s=100.0 + at, bad_first=True, tried_bad=True) for at in (0.0, 0.2, 0.31)]
    assert figures(*touched, replace(FINE, sent_s=107.0))["divert_s"] == 0.31


@pytest.mark.clause("ZDT-1.1a")
def test_a_late_or_failed_answer_that_met_the_bad_node_counts_as_touched() -> None:
    late = replace(FINE, sent_s=102.0, latency_ms=501.0, tried_bad=True)
    failed = replace(FINE, sent_s=103.0, failed=True, tried_bad=True)
    found = figures(FINE, late, failed)
    assert (found["divert_s"], found["slow_answers"], found["errors"]) == (3.0, 1, 1)


def test_a_late_answer_elsewhere_is_counted_but_not_as_diverted_late() -> None:
    found = figures(replace(FINE, sent_s=105.0, latency_ms=700.0))
    assert (found["divert_s"], found["slow_answers"]) == (0.0, 1)


def test_exactly_the_limit_is_not_over_it() -> None:
    assert figures(replace(FINE, latency_ms=500.0))["slow_answers"] == 0


def test_requests_that_may_not_be_repeated_are_counted_apart() -> None:
    raw = replace(FINE, retried_safely=False, failed=True, bad_first=True, tried_bad=True)
    found = figures(FINE, raw)
    assert (found["errors"], found["raw_errors"], found["touched"]) == (0, 1, 0)


def test_the_control_run_is_the_noise_that_is_allowed() -> None:
    control: dict[str, int | float | None] = {"errors": 2}
    assert [c.holds for c in judge.beyond_noise({"errors": 2}, control, ["errors"])] == [True]
    assert [c.holds for c in judge.beyond_noise({"errors": 3}, control, ["errors"])] == [False]


def test_what_was_not_measured_never_holds() -> None:
    assert not judge.at_most({"divert_s": None}, "divert_s", 1.0, "why").holds
    assert not judge.at_most({}, "divert_s", 1.0, "why").holds
    assert not judge.exactly({}, "lost", 0, "why").holds


def test_one_broken_check_breaks_the_drill() -> None:
    good, bad = judge.exactly({"lost": 0}, "lost", 0, "why"), judge.exactly({"lost": 1}, "lost", 0, "why")
    assert Result("d", ("ZDT-1.1a",), {}, {}, (good,)).holds
    assert not Result("d", ("ZDT-1.1a",), {}, {}, (good, bad)).holds
