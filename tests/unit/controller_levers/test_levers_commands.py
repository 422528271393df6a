"""`siaga halt`, `siaga resume` and `siaga calendar`, with a controller that answers, is dead, or hangs."""

from __future__ import annotations

import fcntl
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from siaga.cli import ask, calendar, levers
from siaga.controller import levers_file
from siaga.errors import Exit, Unreachable
from siaga.platform import lifecycle


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A platform whose controller does not answer."""
    (tmp_path / "controller").mkdir()
    place = SimpleNamespace(place=SimpleNamespace(state=tmp_path))
    monkeypatch.setattr(lifecycle, "required", lambda home: place)

    def silent(*_: object) -> object:
        raise Unreachable("the controller does not answer", hint="Start it.")

    monkeypatch.setattr(ask, "post", silent)
    return tmp_path


def test_a_halt_with_the_controller_dead_is_there_when_the_next_one_starts(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert levers.halt(reason="figures look wrong", json=True) == Exit.DONE
    assert "figures look wrong" in json.loads(capsys.readouterr().out)["halted"]
    found = levers_file.load(state / "controller/levers.json", datetime.now(UTC))
    assert found.halt is not None
    assert not found.halt.recorded


def test_a_controller_that_only_hangs_is_not_written_over(state: Path) -> None:
    lock = os.open(state / "controller/lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        with pytest.raises(Unreachable):
            levers.halt(reason="figures look wrong")
        assert not (state / "controller/levers.json").exists()
    finally:
        os.close(lock)


def test_nothing_resumes_with_the_controller_dead(state: Path) -> None:
    levers.halt(reason="figures look wrong")
    with pytest.raises(Unreachable):
        levers.resume(reason="fine")
    assert levers_file.load(state / "controller/levers.json", datetime.now(UTC)).halt is not None


def occurrence(state: str) -> dict[str, Any]:
    return {
        "id": "update-database/2026-11-25",
        "clause": "PMT-2.1",
        "begin": "2026-11-24T20:00:00+00:00",
        "zone": "Asia/Jakarta",
        "state": state,
        "run": "",
        "reason": "nobody was watching",
        "compensating": "2026-12-02",
    }


@pytest.mark.parametrize(
    ("states", "doubts", "code"),
    [
        (["done", "expected"], "", Exit.DONE),
        (["done", "skipped", "running", "held"], "", Exit.DONE),
        (["done", "MISSED"], "", Exit.DOES_NOT_HOLD),
        (["undone"], "the clock was set", Exit.DOES_NOT_HOLD),
        (["done"], "the clock was set", Exit.UNDETERMINED),
        ([], "", Exit.DONE),
    ],
)
def test_the_calendar_ends_with_the_code_of_what_it_found(
    states: list[str], doubts: str, code: Exit, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {"occurrences": [occurrence(state) for state in states], "doubts": doubts, "halted": ""}
    monkeypatch.setattr(ask, "get", lambda path: found)
    assert calendar.show(json=True) == code
    assert json.loads(capsys.readouterr().out) == found
    assert calendar.show() == code
    printed = capsys.readouterr().out
    assert all(state in printed for state in states)
    assert "2026-11-25 03:00 Asia/Jakarta" in printed or not states
