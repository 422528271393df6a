"""Log, checkpoints, witness and offline verifier together: nothing here stands in for another."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from siaga.errors import Refused
from siaga.evidence.checkpoint_file import CheckpointFile
from siaga.evidence.checkpoints import Checkpoints
from siaga.evidence.files import FileStore
from siaga.evidence.keys import read_public
from siaga.evidence.log import EvidenceLog
from siaga.evidence.model import Record
from siaga.evidence.segments import Segments
from siaga.evidence.verify_export import Report, verify

pytestmark = pytest.mark.clause("SUM")

ORIGIN = "siaga/test/1"
NOON = datetime(2026, 11, 25, 5, tzinfo=UTC)


class Evidence:
    """One log on disk with its checkpoints."""

    def __init__(self, directory: Path, witness: Any) -> None:
        self.directory, self.witness = directory, witness
        self.log = EvidenceLog(FileStore(directory / "evidence", ORIGIN), spool=directory / "spool")

    async def open(self, seen: Any = None) -> Checkpoints:
        await self.log.open(seen=seen)
        store = CheckpointFile(self.directory / "evidence")
        return Checkpoints(
            self.log,
            self.witness.client,
            store,
            self.log.append,
            keys_directory=self.directory / "keys",
            now_monotonic_s=0,
        )

    async def grow(self, count: int) -> None:
        acts = (Record("test.act", "tester", "SUM", f"act {number}") for number in range(count))
        await asyncio.gather(*map(self.log.append, acts))

    def verified(self) -> Report:
        """Offline, trusting the very first keys alone."""
        keys = self.directory / "keys"
        first = {role: read_public(keys / f"{role}.pub")[:1] for role in ("log", "witness")}
        return verify(Segments(self.directory / "evidence"), first["log"], first["witness"])


async def test_an_auditor_with_the_first_keys_follows_every_rotation(
    witness: Any, directories: Callable[[], Path]
) -> None:
    evidence = Evidence(directories(), witness)
    checkpoints = await evidence.open()
    for turn in range(3):
        await evidence.grow(70)
        await checkpoints.take(NOON, 0)
        await checkpoints.rotate_log_key("rina", "yearly", NOON, 0)
        await checkpoints.rotate_witness_key("rina", f"yearly, {turn}")
    await checkpoints.take(NOON, 0)
    await evidence.log.close()
    report = evidence.verified()
    assert (report.exit_code, report.faults) == (0, [])
    assert report.key_changes == 6
    assert report.size == report.witnessed_size > 210


async def test_a_log_copied_back_from_yesterday_does_not_open_against_the_witness(
    witness: Any, directories: Callable[[], Path]
) -> None:
    directory = directories()
    evidence = Evidence(directory, witness)
    checkpoints = await evidence.open()
    await evidence.grow(20)
    await checkpoints.take(NOON, 0)
    await evidence.log.close()
    shutil.copytree(directory / "evidence", directory / "yesterday")
    today = Evidence(directory, witness)
    checkpoints = await today.open()
    await today.grow(30)
    size = (await checkpoints.take(NOON, 0)).size
    await today.log.close()
    shutil.rmtree(directory / "evidence")
    (directory / "yesterday").rename(directory / "evidence")
    # With everything beside the witness copied back, the witness alone knows.
    seen = (await witness.client.last(ORIGIN)).checkpoint
    assert seen.size == size
    with pytest.raises(Refused, match=rf"records \d+ to {size - 1} are missing"):
        await Evidence(directory, witness).open(seen)
