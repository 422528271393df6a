"""What people may do with incidents, and what is refused."""

from datetime import UTC, datetime, timedelta

import pytest

from siaga.errors import BadInput, Refused
from siaga.incidents import acts, decide
from siaga.incidents.model import Book, ChangeKind, Fact, FactKind, Level, State

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)


def book_with(*facts: tuple[str, FactKind]) -> tuple[Book, str]:
    found = [Fact(key, kind, NOW, True, f"{key} is bad") for key, kind in facts]
    book, _ = decide.take(Book(), found, NOW)
    (id_,) = book.open
    return book, id_


def end(book: Book, key: str, kind: FactKind) -> Book:
    return decide.take(book, [Fact(key, kind, LATER, False, "over")], LATER)[0]


@pytest.mark.clause("ZDT-1")
def test_an_outage_that_lasts_is_not_downgraded_by_anybody() -> None:
    book, id_ = book_with(("outage", FactKind.OUTAGE))
    with pytest.raises(Refused, match=r"stays Level 3 · Critical: outage is bad still lasts"):
        acts.downgrade(book, id_, Level.MAJOR, "ana", "not that bad", LATER)


def test_a_downgrade_names_the_person_and_the_reason() -> None:
    book, id_ = book_with(("ledger:integrity", FactKind.INTEGRITY))
    book, (change,) = acts.downgrade(book, id_, Level.MAJOR, "ana", "a rounding of the test ledger", LATER)
    assert (change.kind, change.actor, change.reason) == (ChangeKind.LEVEL, "ana", "a rounding of the test ledger")
    assert book.open[id_].level is Level.MAJOR
    assert book.open[id_].highest.level is Level.CRITICAL


def test_a_downgrade_lasts_while_nothing_gets_worse() -> None:
    book, id_ = book_with(("ledger:integrity", FactKind.INTEGRITY))
    book, _ = acts.downgrade(book, id_, Level.MINOR, "ana", "known", LATER)
    book, changes = decide.take(book, [Fact("ledger:integrity", FactKind.INTEGRITY, NOW, True, "again")], LATER)
    assert changes == ()
    assert book.open[id_].level is Level.MINOR


def test_a_cause_that_begins_again_raises_the_level_again() -> None:
    book, id_ = book_with(("ledger:integrity", FactKind.INTEGRITY))
    book, _ = acts.downgrade(book, id_, Level.MINOR, "ana", "known", LATER)
    book = end(book, "ledger:integrity", FactKind.INTEGRITY)
    book, _ = decide.take(book, [Fact("ledger:integrity", FactKind.INTEGRITY, LATER, True, "again")], LATER)
    assert book.open[id_].level is Level.CRITICAL


@pytest.mark.parametrize("to", [Level.MAJOR, Level.CRITICAL])
def test_only_a_lower_level_is_a_downgrade(to: Level) -> None:
    book, id_ = book_with(("redundancy:a", FactKind.REDUNDANCY))
    with pytest.raises(Refused, match="is not lower"):
        acts.downgrade(book, id_, to, "ana", "reason", LATER)


@pytest.mark.parametrize("reason", ["", "  \n "])
def test_a_reason_is_wanted(reason: str) -> None:
    book, id_ = book_with(("redundancy:a", FactKind.REDUNDANCY))
    with pytest.raises(BadInput, match="the reason is empty"):
        acts.downgrade(book, id_, Level.MINOR, "ana", reason, LATER)


def test_nobody_closes_what_still_goes_on() -> None:
    book, id_ = book_with(("outage", FactKind.OUTAGE))
    with pytest.raises(Refused, match="can't be resolved: outage is bad still lasts"):
        acts.resolve(book, id_, "ana", "I am tired", LATER)


def test_two_people_who_acknowledge_at_once_are_one_acknowledgement() -> None:
    book, id_ = book_with(("outage", FactKind.OUTAGE))
    book, _ = acts.acknowledge(book, id_, "ana", LATER)
    book, changes = acts.acknowledge(book, id_, "budi", LATER)
    assert changes == ()
    assert book.open[id_].acknowledged_by == "ana"


def test_two_people_who_resolve_at_once_resolve_once() -> None:
    book, id_ = book_with(("outage", FactKind.OUTAGE))
    book = end(book, "outage", FactKind.OUTAGE)
    book, _ = acts.resolve(book, id_, "ana", "fixed", LATER)
    book, changes = acts.resolve(book, id_, "budi", "fixed too", LATER)
    assert changes == ()
    assert book.closed[-1].resolved_by == "ana"


def test_a_closed_incident_takes_no_more_words() -> None:
    book, id_ = book_with(("outage", FactKind.OUTAGE))
    book, _ = acts.resolve(end(book, "outage", FactKind.OUTAGE), id_, "ana", "fixed", LATER)
    with pytest.raises(Refused, match="was resolved by ana: fixed"):
        acts.acknowledge(book, id_, "budi", LATER)


def test_an_unknown_incident_is_named() -> None:
    with pytest.raises(BadInput, match="there is no incident `inc-1`"):
        acts.acknowledge(Book(), "inc-1", "ana", NOW)


def test_what_a_person_declared_takes_in_what_is_measured_next_and_ends_by_a_person() -> None:
    book, _ = acts.declare(Book(), Level.MAJOR, "ana", "users call", NOW)
    book, _ = decide.take(book, [Fact("outage", FactKind.OUTAGE, LATER, True, "outage")], LATER)
    (incident,) = book.open.values()
    assert incident.level is Level.CRITICAL
    book = end(book, "outage", FactKind.OUTAGE)
    assert book.open[incident.id].state is State.MITIGATED
    assert decide.settle(book, {incident.id: 1e9}, LATER)[1] == ()
