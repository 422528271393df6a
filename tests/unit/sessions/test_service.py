"""The session loop: what it shows and what it records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from siaga.sessions.model import Answer, ServerFacts
from siaga.sessions.service import VALID_S, SessionsService
from siaga.sop.adherence import Adherence
from siaga.sop.limits import Limits

pytestmark = pytest.mark.clause("ZDT-1.1b")

NOON = datetime(2026, 11, 25, 5, tzinfo=UTC)


class Told:
    """A watcher that tells what it was given."""

    def __init__(self, answer: Answer) -> None:
        """Give this answer for the only server."""
        self.answer = answer

    async def observe(self) -> tuple[ServerFacts, ...]:
        """One server."""
        return (ServerFacts("sessions-1", "127.0.0.1:6379", self.answer, NOON, why="refuses connections"),)


def service(watcher: Told, events: list[Mapping[str, object]]) -> SessionsService:
    return SessionsService(watcher, Limits().sessions, record=events.append, placements=lambda: (), one_machine=True)


def test_before_the_first_look_nothing_is_measured() -> None:
    unlooked = service(Told(Answer.REFUSED), [])
    assert unlooked.standing(NOON).adherence is Adherence.NOT_MEASURED
    assert unlooked.show(NOON)["shards"] == []


async def test_what_it_shows_is_json_with_standing_and_events() -> None:
    events: list[Mapping[str, object]] = []
    looked = service(Told(Answer.REFUSED), events)
    await looked.run_pass(NOON)
    shown = json.loads(json.dumps(looked.show(NOON)))
    assert shown["standing"]["adherence"] == "broken"
    assert shown["events"] == events
    assert shown["events"][0] == {
        "kind": "sessions.standing",
        "clause": "ZDT-1.1b",
        "reason": "session cluster: broken (first look): no server answers: sessions-1 refuses connections",
        "at": "2026-11-25T05:00:00+00:00",
    }


async def test_the_same_look_twice_is_recorded_once() -> None:
    events: list[Mapping[str, object]] = []
    looked = service(Told(Answer.REFUSED), events)
    await looked.run_pass(NOON)
    recorded = len(events)
    await looked.run_pass(NOON + timedelta(seconds=1))
    assert len(events) == recorded


async def test_a_loop_that_stopped_speaks_for_its_valid_seconds_only() -> None:
    looked = service(Told(Answer.REFUSED), [])
    await looked.run_pass(NOON)
    assert looked.standing(NOON + timedelta(seconds=VALID_S)).adherence is Adherence.BROKEN
    later = looked.standing(NOON + timedelta(seconds=VALID_S + 1))
    assert [part.adherence for part in later.parts] == [Adherence.NOT_MEASURED, Adherence.NOT_MEASURED]


async def test_a_book_that_cannot_be_written_does_not_hide_the_verdict() -> None:
    def full(_: Mapping[str, object]) -> None:
        raise OSError("no space left on device")

    looked = SessionsService(
        Told(Answer.REFUSED), Limits().sessions, record=full, placements=lambda: (), one_machine=True
    )
    with pytest.raises(OSError, match="no space"):
        await looked.run_pass(NOON)
    assert looked.standing(NOON).adherence is Adherence.BROKEN


async def test_what_could_not_be_recorded_is_recorded_later() -> None:
    events: list[Mapping[str, object]] = []
    room = False

    def record(event: Mapping[str, object]) -> None:
        if not room:
            raise OSError("no space left on device")
        events.append(event)

    looked = SessionsService(
        Told(Answer.REFUSED), Limits().sessions, record=record, placements=lambda: (), one_machine=True
    )
    with pytest.raises(OSError, match="no space"):
        await looked.run_pass(NOON)
    room = True
    await looked.run_pass(NOON + timedelta(seconds=1))
    assert events == looked.show(NOON)["events"]
