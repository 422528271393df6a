"""Who is told what and when: levels, escalation, order, retries."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siaga.incidents import acts, decide
from siaga.incidents.model import Book, Fact, FactKind, Incident, Level
from siaga.incidents.notify.documents import thread_document, thread_from
from siaga.incidents.notify.message import Event, compose
from siaga.incidents.notify.routes import FAILING, Outcome, Thread, Verdict, after, due, plan, retry_s
from siaga.site.notifications import NotificationRoute, RouteKind

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


def route(name: str, level_min: int = 1, after_s: int = 0, repeat_s: int = 900) -> NotificationRoute:
    return NotificationRoute(
        name=name, kind=RouteKind.APPRISE, secret=f"{name}-url", level_min=level_min, after_s=after_s, repeat_s=repeat_s
    )


ON_CALL, CHIEF, MAIL = route("on-call", 2), route("chief", 3, 300), route("mail")


def incident(kind: FactKind = FactKind.OUTAGE) -> tuple[Book, Incident]:
    book, _ = decide.take(Book(), [Fact("key", kind, NOW, True, "words")], NOW)
    (found,) = book.open.values()
    return book, found


def planned(
    found: Incident,
    routes: list[NotificationRoute],
    threads: dict[str, Thread] | None = None,
    unanswered_s: float = 0.0,
    since_told_s: dict[str, float] | None = None,
) -> dict[str, Thread]:
    known = threads or {}
    changed = plan(
        found,
        routes,
        known,
        site="test",
        unanswered_s=unanswered_s,
        since_told_s=since_told_s or {},
        now=NOW,
    )
    return {**known, **changed}


def events(thread: Thread) -> list[Event]:
    return [message.event for message in thread.queue]


def sent(threads: dict[str, Thread]) -> dict[str, Thread]:
    for name, thread in threads.items():
        while thread.queue:
            thread = after(thread, Outcome(Verdict.ACCEPTED))
        threads[name] = thread
    return threads


def test_each_level_has_its_routes() -> None:
    routes = [ON_CALL, MAIL]
    assert set(planned(incident(FactKind.DEGRADATION)[1], routes)) == {"mail"}
    assert set(planned(incident(FactKind.REDUNDANCY)[1], routes)) == {"on-call", "mail"}


def test_nothing_is_told_twice() -> None:
    _, found = incident()
    threads = planned(found, [ON_CALL])
    assert planned(found, [ON_CALL], threads) == threads
    assert planned(found, [ON_CALL], sent(threads)) == threads


def test_the_next_step_is_told_when_nobody_answers_in_time() -> None:
    _, found = incident()
    threads = planned(found, [ON_CALL, CHIEF], unanswered_s=299.0)
    assert set(threads) == {"on-call"}
    assert set(planned(found, [ON_CALL, CHIEF], threads, unanswered_s=300.0)) == {"on-call", "chief"}


def test_an_acknowledgement_stops_the_escalation() -> None:
    book, found = incident()
    threads = sent(planned(found, [ON_CALL, CHIEF]))
    book, _ = acts.acknowledge(book, found.id, "ana", NOW)
    later = planned(book.open[found.id], [ON_CALL, CHIEF], threads, unanswered_s=1e6, since_told_s={"on-call": 1e6})
    assert set(later) == {"on-call"}
    assert events(later["on-call"]) == [Event.ACKNOWLEDGED]


@pytest.mark.parametrize("failed", [{"attempts": FAILING}, {"attempts": 1, "refused": True}])
def test_the_next_step_stands_in_for_one_that_fails(failed: dict[str, int]) -> None:
    _, found = incident()
    threads = planned(found, [ON_CALL, CHIEF])
    threads["on-call"] = replace(threads["on-call"], **failed)
    assert set(planned(found, [ON_CALL, CHIEF], threads, unanswered_s=1.0)) == {"on-call", "chief"}


def test_one_route_that_works_is_enough_for_a_step() -> None:
    threads = {"on-call": Thread("on-call", "i", attempts=9), "mail": Thread("mail", "i", accepted=1)}
    assert due([ON_CALL, MAIL, CHIEF], threads, Level.CRITICAL, 1.0) == {"on-call", "mail"}


@given(st.lists(st.integers(0, 3600), min_size=1, max_size=5))
def test_somebody_is_always_told_of_a_level_3_at_once(steps: list[int]) -> None:
    routes = [route(f"r{number}", 3, after_s) for number, after_s in enumerate(steps)]
    assert due(routes, {}, Level.CRITICAL, 0.0)


def test_a_rise_is_told_at_once_and_reaches_the_routes_of_its_level() -> None:
    book, found = incident(FactKind.REDUNDANCY)
    threads = sent(planned(found, [ON_CALL, route("boss", 3)]))
    book, _ = decide.take(book, [Fact("outage", FactKind.OUTAGE, NOW, True, "outage")], NOW)
    threads = planned(book.open[found.id], [ON_CALL, route("boss", 3)], threads)
    assert events(threads["on-call"]) == [Event.RAISED]
    assert events(threads["boss"]) == [Event.OPENED]
    assert threads["on-call"].queue[0].level is Level.CRITICAL


def test_a_rise_that_waits_behind_a_failure_is_never_dropped() -> None:
    book, found = incident(FactKind.REDUNDANCY)
    threads = planned(found, [ON_CALL])
    book, _ = decide.take(book, [Fact("outage", FactKind.OUTAGE, NOW, True, "outage")], NOW)
    threads = planned(book.open[found.id], [ON_CALL], threads)
    book, _ = acts.acknowledge(book, found.id, "ana", NOW)
    threads = planned(book.open[found.id], [ON_CALL], threads)
    assert events(threads["on-call"]) == [Event.OPENED, Event.RAISED, Event.ACKNOWLEDGED]


def test_the_queue_of_a_dead_route_stays_short() -> None:
    book, found = incident(FactKind.REDUNDANCY)
    threads = planned(found, [ON_CALL])
    for number in range(50):
        flip = FactKind.INTEGRITY if number % 2 else FactKind.REDUNDANCY
        book = book.having(
            replace(
                found,
                levels=(*found.levels, replace(found.levels[0], level=Level(3 if flip is FactKind.INTEGRITY else 2))),
            )
        )
        threads = planned(book.open[found.id], [ON_CALL], threads, since_told_s={"on-call": 1e6})
    assert len(threads["on-call"].queue) <= 2


def test_who_was_told_is_told_of_a_lower_level_and_of_the_end() -> None:
    book, found = incident(FactKind.INTEGRITY)
    boss = route("boss", 3)
    threads = sent(planned(found, [boss]))
    book, _ = acts.downgrade(book, found.id, Level.MINOR, "ana", "known", NOW)
    threads = planned(book.open[found.id], [boss], threads)
    assert events(threads["boss"]) == [Event.LOWERED]
    book, _ = decide.take(book, [Fact("key", FactKind.INTEGRITY, NOW, False, "words")], NOW)
    book, _ = acts.resolve(book, found.id, "ana", "done", NOW)
    threads = planned(book.closed[-1], [boss], sent(threads))
    assert events(threads["boss"]) == [Event.RESOLVED]
    assert planned(book.closed[-1], [boss], sent(threads))["boss"].queue == ()


def test_what_was_over_before_anybody_was_told_is_told_all_the_same() -> None:
    book, found = incident()
    book, _ = decide.take(book, [Fact("key", FactKind.OUTAGE, NOW, False, "words")], NOW)
    threads = planned(book.open[found.id], [ON_CALL, CHIEF], unanswered_s=1e6)
    assert {name: events(thread) for name, thread in threads.items()} == {"on-call": [Event.OPENED]}


def test_it_is_repeated_while_nobody_acknowledges() -> None:
    _, found = incident()
    threads = sent(planned(found, [ON_CALL]))
    assert planned(found, [ON_CALL], threads, 800.0, {"on-call": 899.0})["on-call"].queue == ()
    assert events(planned(found, [ON_CALL], threads, 900.0, {"on-call": 900.0})["on-call"]) == [Event.REMINDER]


def test_what_comes_back_is_told_again_ever_more_seldom() -> None:
    book, found = incident()
    threads = sent(planned(found, [ON_CALL]))
    told = []
    for flaps in range(1, 17):
        book = book.having(replace(found, flaps=flaps))
        threads = planned(book.open[found.id], [ON_CALL], threads)
        if events(threads["on-call"]) == [Event.RETURNED]:
            told.append(flaps)
        sent(threads)
    assert told == [1, 2, 4, 8, 16]


def test_waits_grow_and_never_end() -> None:
    failed = Outcome(Verdict.FAILED)
    assert [retry_s(n, failed) for n in (1, 2, 3, 8, 9, 1000)] == [1.0, 2.0, 5.0, 300.0, 300.0, 300.0]


def test_a_busy_route_is_given_the_time_it_asks_for_up_to_a_bound() -> None:
    assert retry_s(1, Outcome(Verdict.BUSY, retry_after_s=20.0)) == 20.0
    assert retry_s(1, Outcome(Verdict.BUSY, retry_after_s=1e9)) == 300.0


def test_a_refusal_is_not_hammered() -> None:
    assert [retry_s(n, Outcome(Verdict.REFUSED)) for n in (1, 5, 6, 100)] == [30.0, 30.0, 60.0, 300.0]


@given(st.sampled_from(Event))
def test_every_message_shows_level_by_number_and_word_under_one_key(event: Event) -> None:
    _, found = incident()
    message = compose(found, event, "payments", NOW)
    assert message.title.startswith("Level 3 · Critical")
    assert message.dedup_key == f"siaga/payments/{found.id}"
    assert found.id in message.text


def test_a_thread_survives_json_unchanged() -> None:
    _, found = incident()
    thread = planned(found, [ON_CALL])["on-call"]
    assert thread_from(thread_document(thread)) == thread
