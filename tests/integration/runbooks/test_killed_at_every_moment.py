"""`kill -9` at every step boundary and inside every step: each run goes on by itself and ends as it should."""

from __future__ import annotations

import statistics
from concurrent.futures import ThreadPoolExecutor

import pytest
from runbooks.kill_matrix import Case, drive_and_kill, judge
from runbooks.killable import LISTED

from siaga.runbooks.model import Step

AT_ONCE = 8


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    """Every listed runbook, killed at every moment, several at once since a life waits more than it works."""
    root = tmp_path_factory.mktemp("killed")
    listed = {name: Case(root / name.replace(" ", "-"), make, answers) for name, (make, answers, _) in LISTED.items()}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(drive_and_kill, listed.values()):
            pass
    return listed


@pytest.mark.clause("SUM")
@pytest.mark.parametrize("name", LISTED)
def test_a_run_killed_at_every_moment_ends_as_it_should(cases: dict[str, Case], name: str) -> None:
    make, _, outcome = LISTED[name]
    case = cases[name]
    runbook = make(case)
    assert case.result["state"] == outcome
    judge(case, runbook, case.result)
    died = {entry["at"] for entry in case.deaths.read()}
    acted = {entry["step"] for entry in case.acts.read() if entry["what"] == "act"}
    for step in runbook.steps:
        if isinstance(step, Step) and step.name in acted:
            assert f"before act {step.name}" in died
            assert f"before the journal begun {step.name} False False" in died
            assert f"before the journal begun {step.name} False True" in died


@pytest.mark.clause("SUM")
def test_every_effect_happened_once(cases: dict[str, Case]) -> None:
    for name, case in cases.items():
        effects = (case.directory / "effects.jsonl").read_text().splitlines()
        assert len(effects) == len(set(effects)), name


@pytest.mark.clause("SUM")
def test_every_act_was_recorded_before_it_was_done(cases: dict[str, Case]) -> None:
    for name, case in cases.items():
        begun = {e["reason"].split("`")[1] for e in case.evidence.read() if e["kind"] == "runbooks.step-begun"}
        assert begun >= {entry["step"] for entry in case.acts.read() if entry["what"] == "act"}, name
        assert sum(e["kind"] == "runbooks.ended" for e in case.evidence.read()) >= 1


@pytest.mark.clause("SUM")
def test_a_restarted_run_goes_on_within_five_seconds(cases: dict[str, Case]) -> None:
    first_turns = [entry["first_turn_s"] for case in cases.values() for entry in case.lives.read()]
    assert len(first_turns) > 100
    assert statistics.median(first_turns) < 5.0


def test_nobody_is_called_over_a_network(cases: dict[str, Case]) -> None:
    assert {name: case.connections.read() for name, case in cases.items()} == dict.fromkeys(cases, [])
