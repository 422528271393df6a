"""SIGKILL before and after every write of the calendar, over the real engine and the real evidence."""

from __future__ import annotations

import json
import multiprocessing
import signal
from pathlib import Path

import pytest
from runbooks_calendar.calendar_life import Moments, live

ID = "update-database/2026-11-25"
MOMENTS = [
    f"{when} {what}"
    for what in ("calendar.appointed", "calendar.start", "the start", "calendar.done")
    for when in ("before", "after")
]
LIFE_DEADLINE_S = 60.0
_processes = multiprocessing.get_context("forkserver")
# What takes long to import is imported once, and each life is forked from there.
_processes.set_forkserver_preload(["runbooks_calendar.calendar_life", "sqlalchemy.dialects.sqlite", "pysqlite3.dbapi2"])


@pytest.mark.clause("PMT-2.1")
@pytest.mark.clause("SUM")
def test_a_kill_at_any_write_starts_nothing_twice_and_makes_no_false_miss(tmp_path: Path) -> None:
    for number in range(len(MOMENTS) + 1):
        life = _processes.Process(target=live, args=(tmp_path,), daemon=True)
        life.start()
        life.join(LIFE_DEADLINE_S)
        if life.exitcode is None:
            life.kill()
        wanted = -signal.SIGKILL if number < len(MOMENTS) else 0
        assert life.exitcode == wanted, (Moments(tmp_path).died, (tmp_path / "log").read_text()[-2000:])
    assert Moments(tmp_path).died == MOMENTS
    result = json.loads((tmp_path / "result.json").read_text())
    kinds = [kind for kind in result["kinds"] if kind != "calendar.clock"]
    assert kinds == ["calendar.appointed", "calendar.start", "calendar.done"]
    assert result["runs"] == [ID]
    assert set((tmp_path / "acts").read_text().split()) == {f"{ID}:act"}
