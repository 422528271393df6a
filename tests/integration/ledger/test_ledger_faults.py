"""The fault catalogue, planted at random in ledgers of three shapes: 0 missed, 0 false."""

from __future__ import annotations

import pytest

from benchmarks.ledger.faults import Recorded, attempt, copied
from benchmarks.ledger.plants import CATALOGUE, Fault, plant, possible, restored_to_older_point
from benchmarks.ledger.server import Server
from benchmarks.ledger.shapes import SHAPES, Shape
from siaga.ledger import check
from siaga.ledger.model import Name, Scope, State, Verdict
from siaga.ledger.reading import EngineName, Options

ENGINES: tuple[EngineName, ...] = ("fingerprint", "duckdb", "postgres")
CASES = [
    pytest.param(shape, fault, id=f"{shape.name}-{fault.name.replace(' ', '_')}")
    for shape in SHAPES
    for fault in CATALOGUE
    if possible(fault, shape.map)
]


@pytest.mark.clause("DRP-3.2b")
@pytest.mark.parametrize(("shape", "fault"), CASES)
def test_a_planted_fault_is_found_and_nothing_else_is_blamed(
    server: Server, templates: dict[str, str], shape: Shape, fault: Fault
) -> None:
    # Each case has a seed of its own; which of the engines reads it alternates.
    place = next(i for i, case in enumerate(CASES) if case.values == (shape, fault))
    options = Options(engine=ENGINES[place % len(ENGINES)])
    outcome = attempt(server, shape, templates[shape.name], fault, 1000 + place, options)
    assert not outcome.missed, outcome.planted
    assert not outcome.false, outcome.planted
    assert outcome.report.scope is Scope.INTERNAL
    if fault.shows(shape.map):
        assert outcome.report.verdict is Verdict.MISMATCH
        assert not {(m.account, m.currency) for m in outcome.report.mismatched} - outcome.planted.victims


@pytest.mark.clause("DRP-3.2b")
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_consistent_roll_back_is_named_with_a_record_from_outside_and_only_then(
    server: Server, templates: dict[str, str], records: dict[str, Recorded], shape: Shape
) -> None:
    fault = next(fault for fault in CATALOGUE if fault.plant is restored_to_older_point)
    alone = attempt(server, shape, templates[shape.name], fault, 7, Options())
    assert alone.report.verdict is Verdict.VERIFIED
    assert alone.report.scope is Scope.INTERNAL
    with_record = attempt(server, shape, templates[shape.name], fault, 7, Options(journal=records[shape.name]))
    assert with_record.exact, with_record.planted
    assert with_record.report.scope is Scope.JOURNAL
    assert with_record.report.mismatched
    assert all(Name.JOURNAL in found.failed_checks for found in with_record.report.mismatched)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_record_from_outside_shows_every_fault_of_the_catalogue(
    server: Server, templates: dict[str, str], records: dict[str, Recorded], shape: Shape
) -> None:
    # Those that the columns of this shape cannot show are the interesting ones.
    hidden = [fault for fault in CATALOGUE if possible(fault, shape.map) and not fault.shows(shape.map)]
    assert hidden
    for seed, fault in enumerate(hidden, 50):
        outcome = attempt(server, shape, templates[shape.name], fault, seed, Options(journal=records[shape.name]))
        assert outcome.exact, outcome.planted


@pytest.mark.clause("DRP-3.2b")
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_the_fingerprint_misses_nothing_that_the_columns_can_show(
    server: Server, templates: dict[str, str], shape: Shape
) -> None:
    # Each fault by itself, and seeds of its own: whatever the other engines would name has to disagree here first.
    faults = [fault for fault in CATALOGUE if possible(fault, shape.map)]
    for seed, fault in enumerate(3 * faults, 300):
        outcome = attempt(server, shape, templates[shape.name], fault, seed, Options(engine="fingerprint"))
        assert outcome.exact, outcome.planted
        assert (outcome.report.engine == "fingerprint") is not fault.shows(shape.map), outcome.planted


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_all_engines_say_the_same_of_a_whole_ledger(server: Server, templates: dict[str, str], shape: Shape) -> None:
    dsn = server.dsn(templates[shape.name])
    found = [check(dsn, shape.map, Options(engine=engine)) for engine in ENGINES]
    assert [report.engine for report in found] == list(ENGINES)
    assert {report.verdict for report in found} == {Verdict.VERIFIED}
    assert len({(report.accounts, report.entries, report.verified) for report in found}) == 1
    assert len({report.verdicts_digest for report in found}) == 1
    assert found[0].verified == found[0].accounts > 0
    for report in found:
        checks = {check.name: check.state for check in report.checks}
        expected = State.NOT_APPLICABLE if shape.name == "pgbench" else State.RUN
        assert checks[Name.TRANSACTION_ZERO_SUM] is checks[Name.RUNNING_BALANCE] is expected


def test_all_engines_say_the_same_of_a_harmed_ledger(server: Server, templates: dict[str, str]) -> None:
    shape = SHAPES[2]
    with copied(server, templates[shape.name], "harmed_twice") as database:
        with server.connect(database) as connection:
            for seed, fault in enumerate(CATALOGUE[:3]):
                plant(connection, shape.map, fault, seed)
        found = [check(server.dsn(database), shape.map, Options(engine=engine)) for engine in ENGINES]
    first = found[0]
    assert first.mismatched
    assert first.verdicts_digest
    for other in found[1:]:
        assert first.mismatched == other.mismatched
        assert first.tainted == other.tainted
        assert first.verdicts_digest == other.verdicts_digest
