"""The levers: careful at once, bold only when recorded and saved, and safe when their file is damaged."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from siaga.controller import levers_file
from siaga.controller.levers import Levers, ModeRules
from siaga.controller.levers_file import halt_while_dead
from siaga.controller.levers_state import State, from_document, to_document
from siaga.errors import BadInput, PlatformFault, Refused
from siaga.evidence.model import Record, Unrecorded
from siaga.runbooks.freezes import Freeze
from siaga.sop.advice import Advice, Deed
from siaga.sop.clauses import ClauseId
from siaga.sop.modes import Mode

NOW = datetime(2026, 11, 25, tzinfo=UTC)
CLAUSE = ClauseId.PMT_2_1
ACTS, OBSERVES = ModeRules(Mode.ACT), ModeRules(Mode.OBSERVE)


class Book:
    """Evidence in memory; can be full."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.full = False
        self.before_append: Callable[[], object] | None = None

    async def append(self, record: Record) -> int:
        if self.before_append is not None:
            self.before_append()
        if self.full:
            raise Unrecorded("the disk is full", hint="Make room.")
        self.records.append(record)
        return len(self.records)

    async def append_exempt(self, record: Record) -> None:
        self.records.append(record)

    @property
    def kinds(self) -> list[str]:
        return [record.kind for record in self.records]


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "levers.json"


def levers(path: Path, book: Book, rules: ModeRules = ACTS, now: datetime = NOW) -> Levers:
    return Levers(path, book, rules, lambda: now)


def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: Path, state: State) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(levers_file, "save", fails)


async def test_a_halt_holds_at_once_and_over_restarts_until_a_person_resumes(path: Path, book: Book) -> None:
    first = levers(path, book)
    assert first.halted == ""
    await first.halt("ani", "figures look wrong")
    assert "figures look wrong (ani, 2026-11-25" in first.halted
    second = levers(path, book)
    assert second.halted == first.halted
    await second.resume("budi", "a display error")
    assert levers(path, book).halted == ""
    assert book.kinds == ["lever.halt", "lever.resume"]


async def test_a_halt_needs_neither_evidence_nor_disk(path: Path, book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    book.full = True
    own = levers(path, book)
    with monkeypatch.context() as broken:
        full_disk(broken)
        await own.halt("ani", "figures look wrong")
        assert own.halted
        assert "No space left" in own.trouble
    await own.keep()
    assert own.trouble == ""
    assert levers(path, book).halted, "saved as soon as there was room"


async def test_nothing_resumes_without_its_record(path: Path, book: Book) -> None:
    own = levers(path, book)
    await own.halt("ani", "figures look wrong")
    book.full = True
    with pytest.raises(Unrecorded):
        await own.resume("ani", "fine again")
    assert own.halted
    assert levers(path, book).halted


async def test_nothing_resumes_that_can_not_be_saved(path: Path, book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    own = levers(path, book)
    await own.halt("ani", "figures look wrong")
    with monkeypatch.context() as broken:
        full_disk(broken)
        with pytest.raises(PlatformFault, match="nothing was changed"):
            await own.resume("ani", "fine again")
    assert own.halted
    assert book.kinds[-1] == "lever.resume_failed", "the evidence says that it is not in force"


async def test_a_halt_pulled_while_somebody_resumes_stays(path: Path, book: Book) -> None:
    own = levers(path, book)
    await own.halt("ani", "first")
    other: list[asyncio.Task[None]] = []

    def pull() -> None:
        book.before_append = None
        other.append(asyncio.ensure_future(own.halt("budi", "second")))

    async def slow(record: Record) -> int:
        pull()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        book.records.append(record)
        return 1

    book.append = slow  # type: ignore[method-assign]
    with pytest.raises(Refused, match="halted again meanwhile: second"):
        await own.resume("ani", "fine again")
    await asyncio.gather(*other)
    assert "second" in own.halted
    assert "second" in levers(path, book).halted


@pytest.mark.parametrize("actor", ["", "controller", "keeper"])
async def test_only_a_person_resumes_with_a_reason_and_only_what_is_halted(path: Path, book: Book, actor: str) -> None:
    own = levers(path, book)
    with pytest.raises(Refused, match="nothing is halted"):
        await own.resume("ani", "fine")
    await own.halt("controller", "no second witness")
    with pytest.raises(Refused, match="expected a person"):
        await own.resume(actor, "fine")
    with pytest.raises(BadInput, match="no reason given"):
        await own.resume("ani", " ")
    assert own.halted


async def test_of_two_halts_both_reasons_are_told(path: Path, book: Book) -> None:
    own = levers(path, book)
    await own.halt("ani", "first")
    await own.halt("budi", "second")
    assert "second; before: first" in own.halted


# Damage -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"version": 2}',
        b'{"version": 1}',
        b"\xff\xfe",
        b"[" * 100_000,
        json.dumps({**to_document(State()), "modes": {"PMT-2.1": "always"}}).encode(),
        json.dumps({**to_document(State()), "halt": {"reason": "x"}}).encode(),
    ],
)
async def test_a_damaged_file_halts_everything_over_every_restart_and_is_kept(
    path: Path, book: Book, content: bytes
) -> None:
    path.write_bytes(content)
    for _ in range(2):
        own = levers(path, book)
        assert "levers.json is damaged" in own.halted
        assert own.mode(CLAUSE) is Mode.OBSERVE
    assert path.with_suffix(".damaged").read_bytes() == content
    await own.keep()
    assert book.kinds == ["lever.halt"], "recorded once a controller lives"
    await own.resume("ani", "modes set again")
    after = levers(path, book)
    assert (after.halted, after.mode(CLAUSE)) == ("", Mode.OBSERVE)


async def test_a_file_cut_anywhere_never_acts(path: Path, book: Book) -> None:
    await levers(path, book, OBSERVES).set_mode(CLAUSE, Mode.ACT, actor="ani", reason="score of 99 %")
    whole = path.read_bytes()
    for length in range(0, len(whole.rstrip()), 7):
        path.write_bytes(whole[:length])
        assert levers(path, book).halted


def test_a_file_that_can_not_be_read_halts(tmp_path: Path, book: Book) -> None:
    directory = tmp_path / "levers.json"
    directory.mkdir()
    assert "can't be read" in levers(directory, book).halted


async def test_a_halt_while_the_controller_is_dead_is_found_and_recorded_by_the_next(path: Path, book: Book) -> None:
    halt_while_dead(path, "figures look wrong", "ani", NOW)
    own = levers(path, book)
    assert "figures look wrong" in own.halted
    await own.keep()
    await own.keep()
    assert [(r.kind, r.actor) for r in book.records] == [("lever.halt", "ani")]
    assert levers(path, book).halted


# Modes --------------------------------------------------------------------------------------------------


async def test_a_clause_moves_up_only_when_it_is_recorded_and_down_always(path: Path, book: Book) -> None:
    own = levers(path, book, OBSERVES)
    book.full = True
    with pytest.raises(Unrecorded):
        await own.set_mode(CLAUSE, Mode.ACT, actor="ani", reason="score of 99 %")
    assert own.mode(CLAUSE) is Mode.OBSERVE
    book.full = False
    await own.set_mode(CLAUSE, Mode.ACT, actor="ani", reason="score of 99 %")
    assert levers(path, book, OBSERVES).mode(CLAUSE) is Mode.ACT
    book.full = True
    await own.set_mode(CLAUSE, Mode.ADVISE, actor="controller", reason="two wrong drains")
    assert own.mode(CLAUSE) is Mode.ADVISE
    assert book.records[-1].figures == {"from": "act", "to": "advise"}


async def test_a_clause_moved_down_while_somebody_moves_it_up_stays_down(path: Path, book: Book) -> None:
    own = levers(path, book, ModeRules(Mode.ADVISE))
    down: list[asyncio.Task[object]] = []

    def wrong() -> None:
        book.before_append = None
        change = own.set_mode(CLAUSE, Mode.OBSERVE, actor="controller", reason="two wrong drains")
        down.append(asyncio.ensure_future(change))

    slow = book.append

    async def append(record: Record) -> int:
        wrong()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return await slow(record)

    book.append = append  # type: ignore[method-assign]
    with pytest.raises(Refused, match="moved meanwhile"):
        await own.set_mode(CLAUSE, Mode.ACT, actor="ani", reason="score of 99 %")
    await asyncio.gather(*down)
    assert own.mode(CLAUSE) is Mode.OBSERVE
    assert levers(path, book, ModeRules(Mode.ADVISE)).mode(CLAUSE) is Mode.OBSERVE


async def test_a_site_that_lowers_its_highest_mode_lowers_what_was_set_before(path: Path, book: Book) -> None:
    await levers(path, book, OBSERVES).set_mode(CLAUSE, Mode.ACT, actor="ani", reason="score of 99 %")
    strict = levers(path, book, ModeRules(Mode.OBSERVE, {CLAUSE: Mode.APPROVE}))
    assert strict.mode(CLAUSE) is Mode.APPROVE


# Freezes and advice -------------------------------------------------------------------------------------


async def test_a_freeze_by_hand_outlives_a_restart_and_is_lifted_by_a_person(path: Path, book: Book) -> None:
    own = levers(path, book)
    freeze = Freeze(NOW, NOW + timedelta(days=3), "stock-taking", "ani", clauses=frozenset({ClauseId.PMT}))
    name = await own.freeze(freeze)
    again = levers(path, book)
    assert again.freezes == (freeze,)
    with pytest.raises(BadInput, match=f"expected one of {name}"):
        await again.lift("freeze-9", actor="ani", reason="done")
    with pytest.raises(Refused, match="expected a person"):
        await again.lift(name, actor="controller", reason="done")
    await again.lift(name, actor="ani", reason="done early")
    assert levers(path, book).freezes == ()
    assert await again.freeze(freeze) != name, "an id is never used twice"
    with pytest.raises(BadInput, match="expected a time to come"):
        await again.freeze(Freeze(NOW - timedelta(days=3), NOW, "past", "ani"))


async def test_advice_is_given_once_and_its_answers_are_counted_over_restarts(path: Path, book: Book) -> None:
    own = levers(path, book)
    for number in range(3):
        await own.advise(Advice(f"a-{number}", CLAUSE, "start", "update-database/2026-11-25", NOW))
    assert book.kinds == ["advice.given"]
    later = levers(path, book)
    await later.did(Deed(CLAUSE, "start", "update-database/2026-11-25", "ani", NOW + timedelta(minutes=1)))
    assert later.score(CLAUSE).share_agreed == 1.0
    await later.advise(Advice("a-9", CLAUSE, "start", "update-database/2026-12-02", NOW))
    last = levers(path, book, now=NOW + timedelta(hours=1))
    await last.keep()
    assert (last.score(CLAUSE).agreed, last.score(CLAUSE).nothing) == (1, 1)
    assert last.show()["advice_scores"]["PMT-2.1"]["share_agreed"] == 0.5
    assert book.kinds == ["advice.given", "advice.answered", "advice.given", "advice.answered"]


async def test_everything_set_by_hand_survives_its_file(path: Path, book: Book) -> None:
    own = levers(path, book)
    await own.halt("ani", "x")
    await own.freeze(Freeze(NOW, NOW + timedelta(days=3), "r", "ani", frozenset({"b"}), frozenset({ClauseId.PMT})))
    await own.set_mode(CLAUSE, Mode.OBSERVE, actor="ani", reason="x")
    await own.advise(Advice("a", CLAUSE, "start", "t", NOW, "why"))
    state = from_document(json.loads(path.read_bytes()))
    assert from_document(to_document(state)) == state
    assert path.stat().st_mode & 0o777 == 0o600
