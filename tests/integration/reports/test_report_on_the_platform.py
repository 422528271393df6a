"""The running month's report of a platform that runs: recorded while its controller lives, written without it, too."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from platform_under_test import Platform, eventually

from siaga.sop.month import Month

pytestmark = pytest.mark.clause("SUM")


def report(platform: Platform, directory: Path) -> Any:
    month = str(Month.holding(datetime.now(UTC)))
    answer = platform.siaga("report", "--month", month, "--output", str(directory), "--json")
    assert answer.code == 0, answer.stderr
    return answer.document


def newest(platform: Platform, kind: str) -> Any:
    found = platform.siaga("evidence", "show", "--kind", kind, "--count", "1", "--json").document["records"]
    return found[0] if found else None


@pytest.mark.clause("ZDT-1")
def test_it_holds_the_months_uptime_and_is_recorded_with_the_digest_of_each_file(
    platform: Platform, tmp_path: Path
) -> None:
    eventually(lambda: newest(platform, "sop.standings"), "how the clauses stand is written down")
    made: list[Any] = []

    def measured() -> bool:
        made.append(report(platform, tmp_path))
        return made[-1]["uptime"] is not None

    eventually(measured, "a month in which uptime was measured", 60.0)
    found = made[-1]
    assert (found["stage"], found["not_recorded"], found["seal"]["faults"]) == ("running, not final", "", [])
    assert found["uptime"]["budget_ms"] > 0
    record = newest(platform, "report.written")
    assert record["number"] == found["record"]
    assert [file["sha256"] for file in record["figures"]["files"]] == [file["sha256"] for file in found["files"]]
    assert {path.suffix for path in tmp_path.glob("siaga-report-embedded-*-running.*")} == {".html", ".pdf"}
    parts = {part["part"] for clause in found["clauses"] for part in clause["standing"]["parts"]}
    assert {"uptime", "over the month", "evidence"} <= parts


def test_with_the_controller_dead_it_is_written_and_says_that_it_was_not_recorded(
    platform: Platform, tmp_path: Path
) -> None:
    controller = platform.part("controller")["pid"]
    os.kill(controller, signal.SIGSTOP)
    try:
        found = report(platform, tmp_path)
    finally:
        os.kill(controller, signal.SIGCONT)
    assert found["record"] is None
    assert "does not answer" in found["not_recorded"]
    assert "not recorded: the controller does not answer" in next(tmp_path.glob("*.html")).read_text()
    eventually(lambda: platform.siaga("status").code == 0, "the controller answers again")
