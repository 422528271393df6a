"""The records of the release before, into the real evidence, by a process that is killed again and again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterable

from state_directory import StateDirectory, in_child

from siaga.controller.state_import import FROM, IMPORTED, import_records
from siaga.evidence.log import EvidenceLog
from siaga.evidence.model import Record
from siaga.evidence.segments import Segments

COUNT = 800


def old(number: int) -> str:
    return json.dumps(
        {
            "time": "2026-11-01T00:00:00.000+00:00",
            "monotonic_s": 0.5,
            "kind": "traffic.drain",
            "actor": "controller",
            "clause": "ZDT-1.1a",
            "reason": f"old {number}",
            "figures": {"p50_ms": 812.25},
        }
    )


class KillsItself:
    """The evidence, in a process that ends by SIGKILL as it asks for one more record than this."""

    def __init__(self, log: EvidenceLog, budget: int) -> None:
        self._log = log
        self._budget = budget

    async def append(self, record: Record) -> int:
        if self._budget == 0:
            # Those before it in the batch are on their way to the disk.
            await asyncio.sleep(0)
            os.kill(os.getpid(), signal.SIGKILL)
        self._budget -= 1
        return await self._log.append(record)

    async def append_exempt(self, record: Record) -> None:
        raise AssertionError("an import can wait")


async def _import(state: StateDirectory, budget: int = -1) -> None:
    async with state.log() as log:

        def lines() -> Iterable[bytes]:
            return (line for block in Segments(state.evidence).blocks() for line in block)

        await import_records(state.controller, KillsItself(log, budget), lines)


async def test_killed_again_and_again_each_old_record_is_in_the_evidence_once(state: StateDirectory) -> None:
    records = state.controller / "records.jsonl"
    records.write_text("".join(old(number) + "\n" for number in range(COUNT)) + '{"time": "torn')
    for budget in (0, 1, 63, 64, 65, 200, 300):
        ended = in_child(lambda budget=budget: asyncio.run(_import(state, budget)))  # type: ignore[misc]
        assert ended == -signal.SIGKILL
    await _import(state)
    imported = [record for record in state.records() if FROM in record["figures"]]
    reasons = [record["reason"] for record in imported if record["kind"] != IMPORTED]
    assert sorted(reasons) == sorted(f"old {number}" for number in range(COUNT))
    assert len([record for record in imported if record["kind"] == IMPORTED]) == 1
    assert [path.name for path in state.controller.glob("records*")] == ["records.imported.jsonl"]
    first = next(record for record in imported if record["reason"] == "old 0")
    assert first["figures"][FROM]["time"] == "2026-11-01T00:00:00.000+00:00"
    assert (first["kind"], first["clause"], first["figures"]["p50_ms"]) == ("traffic.drain", "ZDT-1.1a", 812.25)
