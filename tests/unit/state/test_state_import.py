"""The records of the release before: each comes into the evidence once, whatever happens on the way."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siaga.controller import state_import
from siaga.controller.state_import import DAMAGED, FROM, IMPORTED, import_records
from siaga.errors import BadInput
from siaga.evidence.model import Record


class Killed(BaseException):
    """Ends the program where it stands, as kill -9 does: nothing after it runs."""


class Log:
    """Keeps lines as the log does, over every kill; `budget` appends until the next one."""

    def __init__(self) -> None:
        self.kept: list[Record] = []
        self.budget: int | None = None
        self.refused_words: tuple[str, ...] = ()

    async def append(self, record: Record) -> int:
        if record.reason in self.refused_words:
            raise BadInput("a number beyond 2^53", hint="")
        if self.budget is not None:
            if self.budget == 0:
                raise Killed
            self.budget -= 1
        self.kept.append(record)
        return len(self.kept) - 1

    async def append_exempt(self, record: Record) -> None:
        raise AssertionError("an import can wait")

    def lines(self) -> Iterable[bytes]:
        return [b"0" * 64 + b" " + json.dumps({"figures": dict(r.figures)}).encode() for r in self.kept]

    def reasons(self) -> list[str]:
        return [record.reason for record in self.kept if record.kind not in (IMPORTED, DAMAGED)]


def old(number: int, **changes: Any) -> bytes:
    document = {
        "time": "2026-11-01T00:00:00.000+00:00",
        "monotonic_s": 1.5,
        "kind": "traffic.drain",
        "actor": "controller",
        "clause": "ZDT-1.1a",
        "reason": f"reason {number}",
        "figures": {"p50_ms": 812},
    }
    return json.dumps(document | changes).encode()


def written(directory: Path, count: int, *, first: int = 0, tail: bytes = b"") -> None:
    lines = b"".join(old(n) + b"\n" for n in range(first, first + count))
    (directory / "records.jsonl").write_bytes(lines + tail)


async def test_every_old_record_is_imported_with_both_its_clocks(tmp_path: Path) -> None:
    written(tmp_path, 3)
    log = Log()
    assert await import_records(tmp_path, log, log.lines) == 4
    assert log.reasons() == ["reason 0", "reason 1", "reason 2"]
    record = log.kept[1]
    assert (record.kind, record.actor, record.clause) == ("traffic.drain", "controller", "ZDT-1.1a")
    assert record.figures["p50_ms"] == 812
    assert record.figures[FROM]["time"] == "2026-11-01T00:00:00.000+00:00"
    assert (record.figures[FROM]["line"], record.figures[FROM]["monotonic_s"]) == (2, 1.5)
    assert log.kept[-1].kind == IMPORTED
    assert sorted(path.name for path in tmp_path.iterdir()) == ["records.imported.jsonl"]


async def test_without_old_records_nothing_is_recorded(tmp_path: Path) -> None:
    log = Log()
    assert await import_records(tmp_path, log, log.lines) == 0
    (tmp_path / "records.jsonl").write_bytes(b"")
    assert await import_records(tmp_path, log, log.lines) == 0
    assert log.kept == []


async def test_a_torn_last_line_is_left_out_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    content = b"\n".join([old(0), b'{"kind": "traf', old(2), old(3, actor=7), b'{"time": "20'])
    (tmp_path / "records.jsonl").write_bytes(content)
    log = Log()
    await import_records(tmp_path, log, log.lines)
    assert log.reasons() == ["reason 0", "reason 2"]
    damaged = [record.figures[FROM]["line"] for record in log.kept if record.kind == DAMAGED]
    assert damaged == [2, 4]
    assert log.kept[-1].figures["damaged"] == 2


async def test_a_record_that_the_evidence_refuses_does_not_stop_the_others(tmp_path: Path) -> None:
    written(tmp_path, 3)
    log = Log()
    log.refused_words = ("reason 1",)
    await import_records(tmp_path, log, log.lines)
    assert log.reasons() == ["reason 0", "reason 2"]
    assert [record.figures[FROM]["line"] for record in log.kept if record.kind == DAMAGED] == [2]


async def test_going_back_and_upgrading_again_imports_what_came_meanwhile(tmp_path: Path) -> None:
    log = Log()
    for first in (0, 10):
        written(tmp_path, 2, first=first)
        await import_records(tmp_path, log, log.lines)
    assert log.reasons() == ["reason 0", "reason 1", "reason 10", "reason 11"]
    assert {path.name for path in tmp_path.iterdir()} == {"records.imported.jsonl", "records.imported-2.jsonl"}


@settings(deadline=None, max_examples=50)
@given(count=st.integers(1, 200), budgets=st.lists(st.integers(0, 90), max_size=6), back=st.booleans())
async def test_killed_at_any_point_every_record_is_imported_exactly_once(
    count: int, budgets: list[int], back: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        written(directory, count, tail=b'{"torn')
        log = Log()
        for budget in budgets:
            log.budget = budget
            with contextlib.suppress(Killed, BaseExceptionGroup):
                await import_records(directory, log, log.lines)
        expected = [f"reason {n}" for n in range(count)]
        if back and not (directory / "records.jsonl").exists():
            # The old release was started again after an import that did not end.
            written(directory, 3, first=1000)
            expected += [f"reason {n}" for n in range(1000, 1003)]
        log.budget = None
        await import_records(directory, log, log.lines)
        assert sorted(log.reasons()) == sorted(expected)
        assert not (directory / "records.jsonl").exists()


@pytest.mark.parametrize("moment", ["before the rename", "after the last append"])
async def test_killed_between_the_renames_nothing_is_imported_twice(
    tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, 5)
    log = Log()
    rename = Path.rename
    wanted = "records.importing.jsonl" if moment == "before the rename" else "records.imported.jsonl"

    def killed_at(path: Path, target: Path) -> Path:
        if target.name == wanted:
            raise Killed
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", killed_at)
    with pytest.raises(Killed):
        await import_records(tmp_path, log, log.lines)
    monkeypatch.undo()
    await import_records(tmp_path, log, log.lines)
    assert log.reasons() == [f"reason {n}" for n in range(5)]
    assert state_import.imported_lines(log.lines(), "0" * 64) == frozenset()
