"""What is told afterwards: timelines, JSON, the regulator's clock, the standing of the clause."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siaga.incidents import acts, adherence, decide, regulator
from siaga.incidents.documents import from_document, to_document
from siaga.incidents.files import append_line, read_lines
from siaga.incidents.model import Book, Change, ChangeKind, Fact, FactKind, Incident, Level
from siaga.incidents.records import record_of, worth_recording
from siaga.incidents.timeline import ENTRIES_MAX, timeline
from siaga.site.notifications import Regulator
from siaga.sop.adherence import Adherence

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


def incident(kind: FactKind = FactKind.OUTAGE) -> Incident:
    fact = Fact("outage", kind, NOW, True, "users get errors", "ZDT-1", 0.5 if kind is FactKind.OUTAGE else None)
    (found,) = decide.take(Book(), [fact], NOW + timedelta(seconds=2))[0].open.values()
    return found


def record(number: int, kind: str, seconds: float, **figures: Any) -> dict[str, Any]:
    time = (NOW + timedelta(seconds=seconds)).isoformat()
    return {"number": number, "kind": kind, "time": time, "actor": "controller", "reason": "why", "figures": figures}


def test_the_timeline_has_its_own_records_and_what_others_did_meanwhile() -> None:
    found = incident()
    records = [
        record(1, "traffic.drain", -3600),
        record(2, "traffic.drain", 1),
        record(3, "incident.opened", 9000, incident=found.id, at=(NOW + timedelta(seconds=2)).isoformat()),
        record(4, "incident.opened", 3, incident="inc-other"),
        record(5, "evidence.pruned", 3),
        record(6, "runbooks.step-done", 30),
        {**record(7, "traffic.restore", 9000), "exempt_at": (NOW + timedelta(seconds=20)).isoformat()},
    ]
    entries = timeline(found, records, NOW + timedelta(seconds=60))
    assert [entry.record for entry in entries] == [2, 3, 7, 6]


def test_a_long_timeline_says_what_it_leaves_out() -> None:
    records = [record(number, "traffic.drain", number / 100) for number in range(2000)]
    entries = timeline(incident(), records, NOW + timedelta(seconds=60))
    assert len(entries) == ENTRIES_MAX + 1
    assert "1500 records are left out" in [entry.reason for entry in entries]


@given(st.lists(st.tuples(st.sampled_from(FactKind), st.booleans(), st.integers(0, 600)), max_size=12))
def test_an_incident_survives_json_unchanged(steps: list[tuple[FactKind, bool, int]]) -> None:
    book = Book()
    for kind, present, second in steps:
        at = NOW + timedelta(seconds=second)
        book, _ = decide.take(book, [Fact(f"{kind}:x", kind, at, present, "words", "ZDT-1")], at)
    for found in book.open.values():
        assert from_document(to_document(found)) == found


@pytest.mark.parametrize("damage", [{"levels": []}, {"level": None, "levels": None}, {"family": "pets"}])
def test_a_damaged_document_is_no_incident(damage: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        from_document({**to_document(incident()), **damage})


def test_a_record_names_level_rule_and_times() -> None:
    found = incident()
    made = record_of(Change(ChangeKind.OPENED, found, "controller", "why"), NOW)
    assert (made.kind, made.clause) == ("incident.opened", "ZDT-1")
    assert made.reason == f"{found.id} opened, Level 3 · Critical: why"
    assert (made.figures["level"], made.figures["rules"], made.figures["detected_s"]) == (3, 1, 2.0)


def test_endless_flapping_is_counted_and_not_recorded_one_by_one() -> None:
    flapping = replace(incident(), flaps=51)
    assert not worth_recording(Change(ChangeKind.RECURRED, flapping, "controller", "why"), 0)
    assert worth_recording(Change(ChangeKind.LEVEL, flapping, "controller", "why"), 5000)
    assert worth_recording(Change(ChangeKind.RECURRED, incident(), "controller", "why"), 999)


def test_the_regulators_clock_runs_from_the_detection_and_a_downgrade_does_not_stop_it() -> None:
    rule = Regulator(name="OJK", hours=24)
    found = incident(FactKind.INTEGRITY)
    clock = regulator.clock(found, rule, NOW + timedelta(hours=1))
    assert clock is not None
    assert clock.due_at == NOW + timedelta(hours=24, seconds=2)
    lower, _ = acts.downgrade(Book().having(found), found.id, Level.MINOR, "ana", "known", NOW)
    assert regulator.clock(lower.open[found.id], rule, NOW) is not None
    assert regulator.clock(incident(FactKind.REDUNDANCY), rule, NOW) is None
    assert regulator.clock(found, None, NOW) is None


@pytest.mark.clause("ZDT-1")
def test_the_clause_is_at_risk_while_a_level_3_is_open() -> None:
    standing = adherence.standing([incident()], routes=1, failing={}, now=NOW)
    assert standing.adherence is Adherence.AT_RISK
    assert standing.why == "the worst is Level 3 · Critical"
    calm = adherence.standing([], routes=1, failing={}, now=NOW)
    assert calm.adherence is Adherence.HOLDS


def test_a_level_3_that_nobody_was_told_of_is_named() -> None:
    later = NOW + timedelta(minutes=5)
    untold = adherence.standing([incident()], routes=1, failing={"on-call": "refused"}, now=later)
    assert untold.why == f"nobody was told of {incident().id} (on-call: refused)"
    alone = adherence.standing([incident()], routes=0, failing={}, now=later)
    assert "no route is configured" in alone.why
    told = replace(incident(), notified_at=NOW)
    assert "nobody was told" not in adherence.standing([told], routes=1, failing={}, now=later).why


def test_a_torn_line_costs_itself_alone(tmp_path: Any) -> None:
    path = tmp_path / "deliveries.jsonl"
    append_line(path, {"a": 1})
    with path.open("ab") as file:
        file.write(b'{"torn": ')
    append_line(path, {"b": 2})
    assert read_lines(path) == [{"a": 1}, {"b": 2}]
