"""One incident and not forty alerts; levels that rise by themselves; what flaps; what is over."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from siaga.incidents import acts, decide
from siaga.incidents.model import Book, Change, ChangeKind, Fact, FactKind, Incident, Level, State

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def fact(
    key: str = "outage",
    kind: FactKind = FactKind.OUTAGE,
    since_s: float = 0.0,
    *,
    present: bool = True,
    level: Level | None = None,
) -> Fact:
    return Fact(key, kind, at(since_s), present, f"{key} subject", clause="ZDT-1", level=level)


def over(key: str = "outage", kind: FactKind = FactKind.OUTAGE, since_s: float = 0.0) -> Fact:
    return fact(key, kind, since_s, present=False)


def take(book: Book, *facts: Fact, now_s: float = 0.0) -> tuple[Book, list[Change]]:
    book, changes = decide.take(book, facts, at(now_s))
    return book, list(changes)


def kinds(changes: Iterable[Change]) -> list[ChangeKind]:
    return [change.kind for change in changes]


def only(book: Book) -> Incident:
    (incident,) = book.open.values()
    return incident


def alert(number: int, since_s: float = 0.0, level: Level | None = None) -> Fact:
    return fact(f"alert:{number}", FactKind.ALERT, since_s, level=level)


@pytest.mark.clause("ZDT-1")
def test_the_first_outage_opens_a_level_3() -> None:
    book, changes = take(Book(), fact(since_s=-2.0))
    assert kinds(changes) == [ChangeKind.OPENED]
    incident = only(book)
    assert incident.level is Level.CRITICAL
    assert incident.onset == at(-2.0)
    assert incident.figures()["detected_s"] == 2.0


def test_a_repeated_fact_changes_nothing() -> None:
    book, _ = take(Book(), fact())
    again, changes = take(book, fact(), now_s=1.0)
    assert changes == []
    assert only(again).levels == only(book).levels


def test_forty_alerts_of_one_cause_are_one_incident() -> None:
    book, changes = take(Book(), fact("redundancy:valkey-2", FactKind.REDUNDANCY), *(alert(n) for n in range(40)))
    assert kinds(changes) == [ChangeKind.OPENED]
    assert len(only(book).causes) == 41


def test_what_begins_much_later_is_another_incident() -> None:
    book, _ = take(Book(), fact("redundancy:a", FactKind.REDUNDANCY))
    book, changes = take(book, fact("redundancy:b", FactKind.REDUNDANCY, 3600.0), now_s=3600.0)
    assert kinds(changes) == [ChangeKind.OPENED]
    assert len(book.open) == 2


def test_a_compromised_key_is_never_part_of_an_outage() -> None:
    book, _ = take(
        Book(), fact(), fact("key:alpha", FactKind.KEY_COMPROMISED), fact("ledger:integrity", FactKind.INTEGRITY)
    )
    assert len(book.open) == 3


def test_a_level_rises_by_itself_and_the_onset_is_the_worst_causes() -> None:
    book, _ = take(Book(), fact("redundancy:valkey-2", FactKind.REDUNDANCY, -100.0))
    book, changes = take(book, fact(since_s=58.0), now_s=60.0)
    assert kinds(changes) == [ChangeKind.LEVEL]
    incident = only(book)
    assert incident.level is Level.CRITICAL
    assert incident.subject == "outage subject"
    assert incident.onset == at(58.0)
    assert incident.figures()["detected_s"] == 2.0


def test_a_rise_wants_a_new_acknowledgement() -> None:
    book, _ = take(Book(), fact("redundancy:valkey-2", FactKind.REDUNDANCY))
    book, _ = acts.acknowledge(book, only(book).id, "ana", at(1.0))
    book, _ = take(book, fact(), now_s=2.0)
    assert only(book).state is State.OPEN


def test_the_end_of_one_cause_lowers_nothing() -> None:
    book, _ = take(Book(), fact(), fact("redundancy:a", FactKind.REDUNDANCY))
    book, changes = take(book, over(), now_s=30.0)
    assert kinds(changes) == [ChangeKind.CAUSES]
    assert only(book).level is Level.CRITICAL
    assert only(book).state is State.OPEN


def test_it_is_mitigated_with_its_last_cause_and_resolved_after_the_quiet() -> None:
    book, _ = take(Book(), fact())
    book, changes = take(book, over(since_s=58.0), now_s=60.0)
    assert ChangeKind.MITIGATED in kinds(changes)
    id_ = only(book).id
    still, none = decide.settle(book, {id_: decide.QUIET_S - 1}, at(359.0))
    assert none == ()
    assert still == book
    book, changes = decide.settle(book, {id_: decide.QUIET_S}, at(360.0))
    assert kinds(changes) == [ChangeKind.RESOLVED]
    assert not book.open
    assert book.closed[0].figures()["mitigated_s"] == 58.0


def test_what_comes_back_before_the_quiet_is_the_same_incident() -> None:
    book, _ = take(Book(), fact())
    book, _ = take(book, over(), now_s=10.0)
    book, changes = take(book, fact(since_s=100.0), now_s=100.0)
    assert kinds(changes) == [ChangeKind.RECURRED]
    assert only(book).flaps == 1
    assert only(book).state is State.OPEN
    assert only(book).causes["outage"].begun == 2
    assert only(book).onset == at(0.0)


def test_the_quiet_grows_with_every_flap_up_to_an_hour() -> None:
    incident = only(take(Book(), fact())[0])
    wanted = [decide.quiet_wanted_s(replace(incident, flaps=flaps)) for flaps in (0, 2, 3, 4, 50)]
    assert wanted == [300.0, 300.0, 600.0, 1200.0, 3600.0]


def test_what_comes_back_after_it_was_resolved_is_called_a_recurrence() -> None:
    book, _ = take(Book(), fact())
    book, _ = take(book, over(), now_s=10.0)
    book, _ = decide.settle(book, {only(book).id: 300.0}, at(310.0))
    book, changes = take(book, fact(since_s=400.0), now_s=400.0)
    assert kinds(changes) == [ChangeKind.OPENED]
    assert only(book).recurrence_of == book.closed[0].id


def test_doubt_about_integrity_ends_only_by_a_person() -> None:
    book, _ = take(Book(), fact("ledger:integrity", FactKind.INTEGRITY))
    book, _ = take(book, over("ledger:integrity", FactKind.INTEGRITY), now_s=5.0)
    id_ = only(book).id
    _, changes = decide.settle(book, {id_: 1e9}, at(1e6))
    assert changes == ()
    book, changes = acts.resolve(book, id_, "ana", "every account cross-checked", at(1e6))
    assert kinds(changes) == [ChangeKind.RESOLVED]


def test_a_flood_of_10000_alerts_is_one_bounded_incident() -> None:
    book = Book()
    for begin in range(0, 10_000, 500):
        book, _ = take(book, *(alert(n) for n in range(begin, begin + 500)), now_s=begin / 500)
    assert len(book.open) == 1
    incident = only(book)
    assert len(incident.causes) == decide.ALERTS_NAMED_MAX
    assert incident.alerts_more == 10_000 - decide.ALERTS_NAMED_MAX


def test_a_flood_that_trickles_for_days_opens_no_second_incident() -> None:
    book, _ = take(Book(), *(alert(n) for n in range(300)))
    for hour in range(1, 48):
        book, _ = take(book, alert(1000 + hour), now_s=hour * 3600.0)
    assert len(book.open) == 1


def test_alerts_far_apart_open_a_bounded_number_of_incidents() -> None:
    book = Book()
    for number in range(300):
        book, _ = take(book, alert(number, number * 3600.0), now_s=number * 3600.0)
    assert len(book.open) == decide.OPEN_MAX


def test_a_critical_alert_beyond_those_that_are_named_still_raises_the_level() -> None:
    book, _ = take(Book(), *(alert(n) for n in range(300)))
    book, changes = take(book, alert(999, level=Level.CRITICAL), now_s=1.0)
    assert kinds(changes) == [ChangeKind.LEVEL]
    assert only(book).level is Level.CRITICAL


def test_an_alert_that_nobody_repeats_has_ended() -> None:
    book, _ = take(Book(), alert(1), alert(2))
    book, _ = take(book, alert(2), now_s=10 * 3600.0)
    assert [one.key for one in decide.silent(book, at(13 * 3600.0))] == ["alert:1"]


def test_what_a_source_does_not_report_any_more_has_ended() -> None:
    book, _ = take(
        Book(), fact("redundancy:a", FactKind.REDUNDANCY), fact("redundancy:b", FactKind.REDUNDANCY), alert(1)
    )
    found = decide.ended(book, ["redundancy:"], ["redundancy:b"], at(9.0))
    assert [(one.key, one.present) for one in found] == [("redundancy:a", False)]


def test_a_clock_that_was_set_back_does_not_turn_the_order_round() -> None:
    book, _ = take(Book(), fact("redundancy:a", FactKind.REDUNDANCY))
    book, _ = take(book, fact("redundancy:a", FactKind.REDUNDANCY, level=Level.CRITICAL), now_s=-3600.0)
    book, _ = take(book, over("redundancy:a"), now_s=-3590.0)
    incident = only(book)
    assert incident.levels[1].at >= incident.levels[0].at
    assert incident.mitigated_at is not None
    assert incident.mitigated_at >= incident.levels[1].at


def test_two_incidents_of_one_second_have_two_ids() -> None:
    book, _ = take(Book(), fact(), fact("key:alpha", FactKind.KEY_COMPROMISED))
    assert sorted(book.open) == ["inc-20261123-030000", "inc-20261123-030000-2"]


def test_an_end_of_what_nobody_knows_is_nothing() -> None:
    book, changes = take(Book(), over("redundancy:never"))
    assert (book, changes) == (Book(), [])


def test_a_budget_that_an_outage_made_burn_does_not_hold_its_incident_open() -> None:
    book, _ = take(Book(), fact(), fact("burn:14.4", FactKind.BURN, 20.0))
    book, changes = take(book, over(since_s=60.0), now_s=61.0)
    assert ChangeKind.MITIGATED in kinds(changes)
    book, settled = decide.settle(book, {only(book).id: decide.QUIET_S}, at(400.0))
    assert [change.kind for change in settled] == [ChangeKind.RESOLVED]


def test_a_budget_that_burns_without_an_outage_is_an_incident_while_it_burns() -> None:
    book, _ = take(Book(), fact("burn:6", FactKind.BURN))
    assert only(book).level is Level.MAJOR
    assert only(book).state is State.OPEN
    book, changes = take(book, over("burn:6", FactKind.BURN, 60.0), now_s=61.0)
    assert ChangeKind.MITIGATED in kinds(changes)


@pytest.mark.clause("PMT")
def test_what_wears_out_is_no_part_of_an_outage() -> None:
    wears_out = replace(fact("clause:PMT:disks", FactKind.DEGRADATION), clause="PMT")
    book, _ = take(Book(), fact(), wears_out)
    assert sorted(incident.level for incident in book.open.values()) == [Level.MINOR, Level.CRITICAL]
    book, changes = take(book, over(since_s=60.0), now_s=61.0)
    assert [c.incident.level for c in changes if c.kind is ChangeKind.MITIGATED] == [Level.CRITICAL]
