"""kill -9 amid 64 appenders: nothing that was acknowledged is missing, no exempt act is missing or doubled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from siaga.evidence.files import FileStore
from siaga.evidence.log import EvidenceLog
from siaga.evidence.model import Record
from siaga.evidence.segments import Segments

pytestmark = pytest.mark.clause("SUM")

APPENDERS = Path(__file__).parent / "appenders.py"
KILLS = int(os.environ.get("SIAGA_EVIDENCE_KILLS", "4"))
"""`make soak` asks for more."""
ACKNOWLEDGED_BEFORE_KILL = 2000


def run_and_kill(directory: Path, run: int) -> list[list[str]]:
    """What the process was told before it was killed."""
    process = subprocess.Popen(
        [sys.executable, APPENDERS, str(directory), str(run)], stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdout is not None
    told: list[list[str]] = []
    for line in process.stdout:
        told.append(line.split())
        if len(told) == ACKNOWLEDGED_BEFORE_KILL + run * 761 % 2500:
            process.send_signal(signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL
    return told


def records(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line[65:]) for lines in Segments(directory / "evidence").blocks() for line in lines]


async def test_nothing_acknowledged_is_missing_after_kills(tmp_path: Path) -> None:
    told: list[list[str]] = []
    for run in range(KILLS):
        told += run_and_kill(tmp_path, run)
    log = EvidenceLog(FileStore(tmp_path / "evidence", "siaga/test/1"), spool=tmp_path / "spool")
    await log.open()
    last = await log.append(Record("test.last", "somebody", "SUM", "after the kills"))
    while log.describe()["exempt_waiting"]:
        await log.append(Record("test.waited", "somebody", "SUM", "for exempt acts to arrive"))
    await log.close()
    found = records(tmp_path)
    assert [record["number"] for record in found] == list(range(len(found)))
    reasons = {record["number"]: record["reason"] for record in found}
    acknowledged = [(int(words[1]), words[2]) for words in told if words[0] == "log"]
    assert len(acknowledged) > KILLS * ACKNOWLEDGED_BEFORE_KILL / 2
    assert [token for number, token in acknowledged if reasons.get(number) != token] == []
    acted = Counter(record["reason"] for record in found if "exempt_id" in record)
    assert {words[1] for words in told if words[0] == "exempt"} <= acted.keys()
    assert set(acted.values()) == {1}
    assert len(Segments(tmp_path / "evidence").segments()) > 2
    assert last < len(found)
