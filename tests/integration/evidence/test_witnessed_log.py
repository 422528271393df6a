"""The log, the service of checkpoints and a real witness process together: from a record to the auditor's verdict."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from signed_evidence import ORIGIN, a_record

from siaga.errors import Refused
from siaga.evidence import tail
from siaga.evidence.checkpoint_file import CheckpointFile
from siaga.evidence.checkpoints import Checkpoints
from siaga.evidence.export import export, verifier
from siaga.evidence.log import EvidenceLog
from siaga.evidence.segments import Segments
from siaga.evidence.verify_export import read_keys, verify
from siaga.evidence.witness_client import WitnessClient

pytestmark = pytest.mark.clause("SUM")

OpenLog = Callable[..., Awaitable[EvidenceLog]]


@pytest.fixture
def witness() -> Iterator[Path]:
    """The socket of a witness process with a directory of its own; the path of a socket has to be short."""
    directory = Path(tempfile.mkdtemp(prefix="siaga-w-", dir="/tmp"))
    command = [sys.executable, "-m", "siaga.evidence.witness", str(directory / "w"), str(directory / "w.sock")]
    process = subprocess.Popen(command)
    deadline_s = time.monotonic() + 20
    while not answers(directory / "w.sock"):
        assert time.monotonic() < deadline_s, "the witness did not start"
        time.sleep(0.02)
    yield directory / "w.sock"
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    shutil.rmtree(directory)


def answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def service(log: EvidenceLog, witness: Path, directory: Path) -> Checkpoints:
    return Checkpoints(
        log,
        WitnessClient(witness),
        CheckpointFile(directory / "evidence"),
        log.append,
        keys_directory=directory / "keys",
        now_monotonic_s=time.monotonic(),
    )


async def grow(log: EvidenceLog, count: int) -> None:
    await asyncio.gather(*(log.append(a_record(n=n)) for n in range(count)))


async def test_what_was_recorded_through_rotations_of_both_keys_is_proven_to_an_auditor(
    open_log: OpenLog, witness: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "SEGMENT_BYTES", 20_000)
    log = await open_log()
    checkpoints = service(log, witness, tmp_path)
    trusted = read_keys(tmp_path / "keys/log.pub")
    for _ in range(3):
        await grow(log, 50)
        await checkpoints.take(datetime.now(UTC), time.monotonic())
    first_witness = read_keys(tmp_path / "keys/witness.pub")
    await checkpoints.rotate_log_key("auditor", "yearly", datetime.now(UTC), time.monotonic())
    await checkpoints.rotate_witness_key("auditor", "yearly")
    await grow(log, 50)
    await checkpoints.take(datetime.now(UTC), time.monotonic())
    report = verify(Segments(tmp_path / "evidence"), trusted, first_witness)
    assert report.faults == []
    assert (report.exit_code, report.size, report.key_changes) == (0, log.size, 2)
    export(Segments(tmp_path / "evidence"), tmp_path / "keys", tmp_path / "audit.jsonl")
    (tmp_path / "verify_export.py").write_text(verifier())
    keys = ("--log-key", tmp_path / "keys/log.pub", "--witness-key", tmp_path / "keys/witness.pub")
    command = [sys.executable, "-I", tmp_path / "verify_export.py", tmp_path / "audit.jsonl", *keys]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60, check=False, cwd="/")
    assert done.stdout.splitlines()[-1] == "PROVEN", done.stdout + done.stderr


async def test_a_directory_that_was_copied_back_is_refused_by_what_the_witness_remembers(
    open_log: OpenLog, witness: Path, tmp_path: Path
) -> None:
    log = await open_log()
    checkpoints = service(log, witness, tmp_path)
    await grow(log, 20)
    await checkpoints.take(datetime.now(UTC), time.monotonic())
    yesterday = log.size
    shutil.copytree(tmp_path / "evidence", tmp_path / "yesterday")
    await grow(log, 20)
    await checkpoints.take(datetime.now(UTC), time.monotonic())
    today = log.size
    await log.close()
    shutil.rmtree(tmp_path / "evidence")
    (tmp_path / "yesterday").rename(tmp_path / "evidence")
    seen = (await WitnessClient(witness).last(ORIGIN)).checkpoint
    with pytest.raises(Refused, match=f"records {yesterday} to {today - 1} are missing"):
        await open_log(seen=seen)


async def test_checkpoints_go_on_after_the_log_was_opened_again_and_a_segment_changed(
    open_log: OpenLog, witness: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "SEGMENT_BYTES", 3000)
    for _ in range(3):
        log = await open_log(seen=(await WitnessClient(witness).last(ORIGIN)).checkpoint)
        checkpoints = service(log, witness, tmp_path)
        for _ in range(4):
            await grow(log, 5)
            taken = await checkpoints.take(datetime.now(UTC), time.monotonic())
            assert taken.root == log.root(taken.size)
        await log.close()
    assert len(Segments(tmp_path / "evidence").segments()) > 2
