"""From what each step of a drill found to its result."""

from __future__ import annotations

from typing import Any

import pytest

from siaga.drills import verdicts
from siaga.drills.catalogue import find
from siaga.sop.limits import Limits

USERS = {
    "requests": 2400,
    "errors": 0,
    "slow_answers": 0,
    "divert_s": 0.1,
    "touched": 3,
    "logged_out": 0,
}
LEDGER = {"acknowledged": 700, "lost": 0, "doubled": 0, "balances_wrong": 0, "sum_of_balances": 0}


def found(**changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    steps: dict[str, dict[str, Any]] = {
        verdicts.CONTROL: {"at_s": 90.0, "what": "control run", "figures": dict(USERS), "failed_logins": 0},
        verdicts.BREAK: {"at_s": 100.0, "what": "fault on sgp-1", "parts": ["sgp-1"], "sessions": 1000},
        verdicts.HOLD: {"logins": 160, "failed_logins": 4, "logins_again_s": 0.9, "valid": 1000},
        verdicts.HEAL: {"at_s": 108.0, "what": "healed"},
        verdicts.RECOVER: {
            "figures": dict(USERS),
            "sessions": {"valid": 1000, "invalid": 0, "unknown": 0},
            "writes_again_s": 1.5,
            "logged_out_until_now": 0,
        },
        verdicts.LEDGER: dict(LEDGER),
        "let users in": {"instance": "x"},
    }
    for name, change in changes.items():
        steps[getattr(verdicts, name)] |= change
    return steps


@pytest.mark.clause("ZDT-1.1a")
def test_a_node_drill_holds_when_users_are_diverted_and_the_books_agree() -> None:
    result = verdicts.result(find("node-loss"), found(), [{"at_s": 2.0, "reason": "sgp-1 drained"}], Limits())
    assert result.holds
    assert result.figures["divert_s"] == 0.1
    assert result.control["divert_s"] is None
    assert [event.at_s for event in result.timeline] == [-10.0, 0.0, 2.0, 8.0]


@pytest.mark.clause("ZDT-1.1a")
@pytest.mark.parametrize("figure", [{"errors": 1}, {"slow_answers": 1}, {"divert_s": 1.1}])
def test_a_node_drill_does_not_hold_beyond_the_noise_of_its_control_run(figure: dict[str, float]) -> None:
    steps = found(RECOVER={"figures": {**USERS, **figure}})
    assert not verdicts.result(find("node-loss"), steps, [], Limits()).holds


@pytest.mark.parametrize("wrong", ["lost", "doubled", "balances_wrong", "sum_of_balances"])
def test_no_drill_holds_when_the_books_do_not_agree(wrong: str) -> None:
    for drill in ("node-loss", "session-primary-loss", "database-loss"):
        assert not verdicts.result(find(drill), found(LEDGER={wrong: 1}), [], Limits()).holds


def test_no_drill_holds_when_nothing_was_written() -> None:
    assert not verdicts.result(find("node-loss"), found(LEDGER={"acknowledged": 0}), [], Limits()).holds


@pytest.mark.clause("ZDT-1.1b")
def test_a_session_drill_counts_every_acknowledged_session() -> None:
    drill = find("session-primary-loss")
    result = verdicts.result(drill, found(), [], Limits())
    assert result.holds
    assert (result.figures["failed_logins"], result.control["failed_logins"]) == (4, 0)
    assert "divert_s" not in result.figures
    lost = found(RECOVER={"sessions": {"valid": 999, "invalid": 1, "unknown": 0}})
    assert not verdicts.result(drill, lost, [], Limits()).holds
    unknown = found(RECOVER={"sessions": {"valid": 999, "invalid": 0, "unknown": 1}})
    assert not verdicts.result(drill, unknown, [], Limits()).holds


@pytest.mark.clause("ZDT-1.1b")
def test_a_database_drill_asks_for_the_sessions_during_the_outage_and_after() -> None:
    drill = find("database-loss")
    assert verdicts.result(drill, found(), [], Limits()).holds
    assert not verdicts.result(drill, found(HOLD={"valid": 999}), [], Limits()).holds
    assert not verdicts.result(drill, found(RECOVER={"logged_out_until_now": 1}), [], Limits()).holds
