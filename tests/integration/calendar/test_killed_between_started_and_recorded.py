"""SIGKILL before and after every write of the calendar, over the real engine and the real evidence."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

CHILD = Path(__file__).with_name("calendar_child.py")
WRITES = 4
"""The appointment, the decision to start, the start itself, the ending."""
ID = "update-database/2026-11-25"
AT_ONCE = 3
DEADLINE_S = 90


async def lives(directory: Path, moment: int) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(CHILD),
        str(directory),
        str(moment),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            stdout, stderr = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, stdout.decode(), stderr.decode()


async def killed_at(moment: int, directory: Path, turn: asyncio.Semaphore) -> dict[str, Any]:
    directory.mkdir()
    async with turn:
        code, _, complaint = await lives(directory, moment)
        assert code == -signal.SIGKILL, f"moment {moment} never came: {complaint}"
        code, told, complaint = await lives(directory, 0)
    assert code == 0, complaint
    found: dict[str, Any] = json.loads(told.splitlines()[-1])
    return {**found, "moment": moment, "acts": (directory / "acts").read_text().split()}


@pytest.mark.clause("PMT-2.1")
@pytest.mark.clause("SUM")
async def test_a_kill_at_any_write_starts_nothing_twice_and_makes_no_false_miss(tmp_path: Path) -> None:
    turn = asyncio.Semaphore(AT_ONCE)
    moments = range(1, 2 * WRITES + 1)
    for found in await asyncio.gather(*(killed_at(m, tmp_path / str(m), turn) for m in moments)):
        kinds = [kind for kind, _ in found["records"]]
        assert found["runs"] == [ID], found
        assert [kind for kind in kinds if kind in ("calendar.missed", "calendar.skipped", "calendar.undone")] == [], (
            found
        )
        assert kinds.count("calendar.done") == 1, found
        assert kinds.count("calendar.appointed") == 1, found
        assert set(found["acts"]) == {f"{ID}:act"}, found
