"""The log on real files: what it does when files, disks, clocks and other processes do not behave."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from signed_evidence import ORIGIN, SignedEvidence, a_record, checkpoint_line, key, rewritten, witness_key

from siaga.errors import BadInput, Refused
from siaga.evidence import tail
from siaga.evidence.chain import Position
from siaga.evidence.clock import Clock
from siaga.evidence.files import FileStore
from siaga.evidence.log import EvidenceLog
from siaga.evidence.merkle import leaf_hash, verify_consistency, verify_inclusion
from siaga.evidence.model import Unrecorded
from siaga.evidence.segments import Segments
from siaga.evidence.selection import Selection
from siaga.evidence.signatures import parse_checkpoint

pytestmark = pytest.mark.clause("SUM")

OpenLog = Callable[..., Awaitable[EvidenceLog]]


def documents(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line[65:]) for lines in Segments(directory / "evidence").blocks() for line in lines]


def last_segment(directory: Path) -> Path:
    return Segments(directory / "evidence").segments()[-1][1]


async def appended(log: EvidenceLog, count: int) -> list[int]:
    return await asyncio.gather(*(log.append(a_record(n=n)) for n in range(count)))


async def until(condition: Callable[[], object], what: str) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


class FaultyStore(FileStore):
    """Real files whose disk does as it is told."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, ORIGIN)
        self.go_on = threading.Event()
        self.go_on.set()
        self.fails_after_writing: OSError | None = None
        self.recoveries = 0

    def append(self, lines: Sequence[bytes], at: Position, *, fresh: bool) -> None:
        assert self.go_on.wait(30)
        super().append(lines, at, fresh=fresh)
        if self.fails_after_writing is not None:
            # As an fsync that fails: the lines are there to read, and nobody knows whether they are on the disk.
            self._end -= sum(map(len, lines))
            raise self.fails_after_writing

    def recover(self, at: Position) -> None:
        self.recoveries += 1
        if self.fails_after_writing is not None:
            raise self.fails_after_writing
        super().recover(at)


# Growing and reading ------------------------------------------------------------------------------------------------


async def test_records_are_numbered_in_order_and_go_on_after_opening_again(open_log: OpenLog, tmp_path: Path) -> None:
    log = await open_log()
    assert await appended(log, 100) == list(range(100))
    await log.close()
    log = await open_log()
    assert await log.append(a_record()) == 100
    found = documents(tmp_path)
    assert [record["number"] for record in found] == list(range(101))
    assert found[-1].keys() == {
        "actor", "boot", "clause", "epoch", "figures", "kind", "monotonic_s", "number", "reason", "run", "time",
    }  # fmt: skip


async def test_many_segments_give_the_same_proofs_as_one_tree(
    open_log: OpenLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "SEGMENT_BYTES", 2000)
    log = await open_log()
    roots = {}
    for _ in range(60):
        await log.append(a_record())
        roots[log.size] = (log.root(log.size), log.chain(log.size))
    starts = [first for first, _ in Segments(tmp_path / "evidence").segments()]
    assert len(starts) > 3
    for old, (root, chain) in roots.items():
        assert (log.root(old), log.chain(old)) == (root, chain)
        assert verify_consistency(old, root, 60, roots[60][0], log.consistency(old, 60))
    lines = [line for block in Segments(tmp_path / "evidence").blocks() for line in block]
    for number in (0, 7, 30, 59):
        leaf = leaf_hash(lines[number][65:])
        assert verify_inclusion(leaf, number, 60, roots[60][0], log.inclusion(number, 60))
    assert log.root(starts[1]) == roots[starts[1]][0]
    with pytest.raises(ValueError, match="size 61, expected 0 to 60"):
        log.root(61)


async def test_opening_reads_from_the_last_checkpoint_on_only(
    open_log: OpenLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "SEGMENT_BYTES", 2000)
    log = await open_log()
    for _ in range(40):
        await log.append(a_record())
    promise(log, tmp_path)
    await log.close()
    first = Segments(tmp_path / "evidence").segments()[0][1]
    first.write_bytes(first.read_bytes().replace(b"somebody", b"somebodi"))
    log = await open_log()
    assert await log.append(a_record()) == 40


async def test_without_its_note_of_what_is_before_a_segment_is_verified_from_an_earlier_one(
    open_log: OpenLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "SEGMENT_BYTES", 2000)
    log = await open_log()
    for _ in range(40):
        await log.append(a_record())
    root = log.root(40)
    promise(log, tmp_path)
    await log.close()
    notes = sorted((tmp_path / "evidence/log").glob("*.start"))
    notes[-1].unlink()
    notes[-2].write_text("{damaged")
    log = await open_log()
    assert log.root(40) == root


async def test_the_newest_records_are_found_by_what_they_are(open_log: OpenLog) -> None:
    log = await open_log()
    for kind in ("traffic.drain", "traffic.restore", "trafficless.thing", "sessions.standing"):
        await log.append(a_record(kind))
    found = await log.latest(10, Selection(kind="traffic"))
    assert [record["kind"] for record in found] == ["traffic.drain", "traffic.restore"]
    assert [record["number"] for record in await log.latest(2)] == [2, 3]
    assert await log.latest(5, Selection(since="9999-01-01T00:00:00.000Z")) == []
    assert len(await log.latest(5, Selection(clause="SU"))) == 4
    assert await log.latest(5, Selection(run="run-1")) == []


# What is refused ----------------------------------------------------------------------------------------------------


async def test_a_record_that_is_not_plain_is_refused_and_nothing_is_written(open_log: OpenLog) -> None:
    log = await open_log()
    with pytest.raises(BadInput, match=r"`figures\.when`.*a object"):
        await log.append(a_record(when=object()))
    with pytest.raises(BadInput, match="at most 1048576"):
        await log.append(a_record(text="x" * 2**20))
    assert log.size == 0
    assert await log.append(a_record()) == 0


async def test_a_second_writer_is_refused(open_log: OpenLog, tmp_path: Path) -> None:
    await open_log()
    second = EvidenceLog(FileStore(tmp_path / "evidence", ORIGIN), spool=tmp_path / "spool-2")
    with pytest.raises(Refused, match="another process writes the evidence"):
        await second.open()
    await second.close()


async def test_another_logs_directory_is_refused(open_log: OpenLog, tmp_path: Path) -> None:
    log = await open_log()
    await log.close()
    with pytest.raises(Refused, match=r"is of the log `siaga/test/1`, expected `siaga/test/2`"):
        await open_log(FileStore(tmp_path / "evidence", "siaga/test/2"))


async def test_a_half_written_last_line_is_cut_off_kept_aside_and_recorded(open_log: OpenLog, tmp_path: Path) -> None:
    log = await open_log()
    await appended(log, 5)
    await log.close()
    with last_segment(tmp_path).open("ab") as file:
        file.write(b"0123456789abcdef half of a rec")
    log = await open_log()
    assert await log.append(a_record()) == 6
    cut = documents(tmp_path)[5]
    assert cut["kind"] == "evidence.tail_cut"
    assert cut["figures"]["record"] == 5
    assert cut["figures"]["length_bytes"] == 30
    assert last_segment(tmp_path).with_suffix(".torn").read_bytes() == b"0123456789abcdef half of a rec"


async def test_zeros_that_a_file_system_filled_in_are_cut_off(open_log: OpenLog, tmp_path: Path) -> None:
    log = await open_log()
    await appended(log, 5)
    await log.close()
    with last_segment(tmp_path).open("ab") as file:
        file.write(b"0123" + bytes(600) + b'"}\n' + bytes(50))
    log = await open_log()
    assert await log.append(a_record()) == 6


@pytest.mark.parametrize("number", [0, 2, 4])
async def test_a_flipped_byte_refuses_to_open_and_names_the_record(
    open_log: OpenLog, tmp_path: Path, number: int
) -> None:
    log = await open_log()
    await appended(log, 5)
    await log.close()
    path = last_segment(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[number] = lines[number].replace(b"somebody", b"somebodi")
    path.write_bytes(b"".join(lines))
    with pytest.raises(Refused, match=f"record {number}: its content or its chain value was altered"):
        await open_log()


async def test_a_log_that_does_not_hold_refuses_records_and_notes_exempt_acts(
    open_log: OpenLog, tmp_path: Path
) -> None:
    log = await open_log()
    await appended(log, 5)
    await log.close()
    path = last_segment(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"somebody", b"somebodi", 1))
    damaged = EvidenceLog(FileStore(tmp_path / "evidence", ORIGIN), spool=tmp_path / "spool")
    with pytest.raises(Refused):
        await damaged.open()
    with pytest.raises(Unrecorded, match="record 0"):
        await damaged.append(a_record())
    await damaged.append_exempt(a_record("test.acted"))
    assert damaged.describe()["exempt_waiting"] == 1
    assert damaged.describe()["exempt_in_memory"] == 0
    path.write_bytes(whole)
    await damaged.open()
    await until(lambda: damaged.size == 6, "the exempt act is in the log")
    await damaged.close()
    assert documents(tmp_path)[5]["kind"] == "test.acted"


async def test_files_copied_back_from_yesterday_are_refused_with_the_records_that_are_missing(
    open_log: OpenLog, tmp_path: Path
) -> None:
    today = SignedEvidence(tmp_path / "today")
    today.count(30)
    yesterday = SignedEvidence(tmp_path / "evidence")
    yesterday.count(20)
    yesterday.checkpoint()
    yesterday.write()
    with pytest.raises(Refused, match="records 20 to 29 are missing: a checkpoint counts 30"):
        await open_log(seen=parse_checkpoint(today.note()))
    assert (await open_log()).size == 20


async def test_another_history_than_the_witness_saw_is_refused(open_log: OpenLog, tmp_path: Path) -> None:
    evidence = SignedEvidence(tmp_path / "evidence")
    evidence.count(10)
    evidence.checkpoint()
    evidence.count(10)
    remembered = parse_checkpoint(evidence.note())
    rewritten(
        evidence, [line.replace(b"counted", b"forgery") if n == 15 else line for n, line in enumerate(evidence.lines)]
    )
    with pytest.raises(Refused, match="records 10 to 19 are not those that were signed"):
        await open_log(seen=remembered)


async def test_a_dropped_tail_below_the_last_checkpoint_is_refused(open_log: OpenLog, tmp_path: Path) -> None:
    evidence = SignedEvidence(tmp_path / "evidence")
    evidence.count(10)
    evidence.checkpoint()
    evidence.lines = evidence.lines[:7]
    evidence.write()
    with pytest.raises(Refused, match="records 7 to 9 are missing"):
        await open_log()


# Disks that fail ----------------------------------------------------------------------------------------------------


async def test_what_was_not_acknowledged_for_a_failed_fsync_is_not_in_the_log(
    open_log: OpenLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "RETRY_S", 0.05)
    store = FaultyStore(tmp_path / "evidence")
    log = await open_log(store)
    await appended(log, 3)
    store.fails_after_writing = OSError(errno.EIO, os.strerror(errno.EIO))
    with pytest.raises(Unrecorded, match="Input/output error"):
        await log.append(a_record("test.lost"))
    with pytest.raises(Unrecorded):
        await log.append(a_record("test.lost"))
    await log.append_exempt(a_record("test.acted"))
    assert not log.describe()["recording"]
    store.fails_after_writing = None
    await until(lambda: log.size == 5, "records are taken again")
    kinds = [record["kind"] for record in documents(tmp_path)]
    assert kinds == ["test.counted"] * 3 + ["test.acted", "evidence.resumed"]
    assert documents(tmp_path)[4]["figures"]["refused"] >= 2
    assert await log.append(a_record()) == 5
    await log.close()
    assert (await open_log()).size == 6


async def test_an_exempt_act_whose_fsync_failed_is_written_again_once(
    open_log: OpenLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "RETRY_S", 0.05)
    monkeypatch.setattr("siaga.evidence.exempt.RETRY_S", 0.05)
    store = FaultyStore(tmp_path / "evidence")
    log = await open_log(store)
    await appended(log, 3)
    store.fails_after_writing = OSError(errno.EIO, os.strerror(errno.EIO))
    await log.append_exempt(a_record("test.acted"))
    await until(lambda: store.recoveries >= 3, "it was tried again and again")
    assert log.describe()["exempt_waiting"] == 1
    assert [record["kind"] for record in documents(tmp_path)][3:] == ["test.acted"]
    store.fails_after_writing = None
    await until(lambda: log.describe()["exempt_waiting"] == 0, "the exempt act is in the log")
    await log.close()
    assert [record["kind"] for record in documents(tmp_path)].count("test.acted") == 1


async def test_a_disk_that_hangs_is_told_and_holds_up_no_exempt_act(open_log: OpenLog, tmp_path: Path) -> None:
    store = FaultyStore(tmp_path / "evidence")
    log = await open_log(store, deadline_s=0.3)
    await appended(log, 3)
    store.go_on.clear()
    with pytest.raises(Unrecorded, match=r"not written within 0\.3 s"):
        await log.append(a_record("test.slow"))
    with pytest.raises(Unrecorded, match="the last write has not ended"):
        await log.append(a_record("test.refused"))
    async with asyncio.timeout(5):
        await log.append_exempt(a_record("test.acted"))
    assert "has not ended" in log.describe()["why"]
    store.go_on.set()
    await until(lambda: log.describe()["exempt_waiting"] == 0, "the exempt act is in the log")
    kinds = [record["kind"] for record in documents(tmp_path)]
    assert kinds.count("test.acted") == 1
    assert "test.refused" not in kinds


async def test_a_fault_that_nobody_foresaw_is_told_and_refuses_everything_after(
    open_log: OpenLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await open_log()
    await appended(log, 3)
    monkeypatch.setattr(tail.Tail, "commit", lambda self, records: 1 // 0)
    with pytest.raises(Unrecorded, match="is not known"):
        await log.append(a_record())
    with pytest.raises(Unrecorded, match="its writer has ended"):
        await log.append(a_record())
    assert not log.describe()["recording"]
    await log.close()
    monkeypatch.undo()
    assert await (await open_log()).append(a_record()) == 3


async def test_nobody_who_gave_up_waiting_is_written_later(open_log: OpenLog, tmp_path: Path) -> None:
    store = FaultyStore(tmp_path / "evidence")
    log = await open_log(store)
    store.go_on.clear()
    first = asyncio.create_task(log.append(a_record("test.first")))
    await asyncio.sleep(0)
    await until(lambda: log._writing_since_s is not None, "the first is being written")
    second = asyncio.create_task(log.append(a_record("test.second")))
    await asyncio.sleep(0)
    second.cancel()
    store.go_on.set()
    assert await first == 0
    assert await log.append(a_record("test.third")) == 1


def test_a_full_disk_stops_records_but_neither_exempt_acts_nor_recovery(tmp_path: Path) -> None:
    """On a small file system of its own, in a name space where it may be mounted."""
    space = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*space, "mount", "-t", "tmpfs", "tmpfs", tmp_path], check=False, capture_output=True).returncode:
        pytest.skip("no file system may be mounted here; the limit on file size below is told in the same way")
    program = Path(__file__).parent / "on_a_full_disk.py"
    command = [*space, sys.executable, program, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["told"] == "No space left on device"


async def test_a_limit_on_file_size_is_told_like_a_full_disk(open_log: OpenLog, tmp_path: Path) -> None:
    log = await open_log()
    await appended(log, 3)
    await log.close()
    code = (
        "import asyncio, resource, sys; from pathlib import Path\n"
        "from siaga.evidence.files import FileStore; from siaga.evidence.log import EvidenceLog\n"
        "from siaga.evidence.model import Record, Unrecorded\n"
        "async def main(path):\n"
        "    log = EvidenceLog(FileStore(path / 'evidence', 'siaga/test/1'), spool=path / 'spool')\n"
        "    await log.open()\n"
        "    size = max(p.stat().st_size for p in (path / 'evidence/log').glob('*.jsonl'))\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, resource.RLIM_INFINITY))\n"
        "    try:\n"
        "        await log.append(Record('test.long', 'somebody', 'SUM', 'x' * 500))\n"
        "    except Unrecorded as refusal:\n"
        "        print(refusal.message)\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "    await asyncio.sleep(1.1)\n"
        "    print(await log.append(Record('test.short', 'somebody', 'SUM', 'x')))\n"
        "    await log.close()\n"
        "asyncio.run(main(Path(sys.argv[1])))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["the evidence can't be written: File too large", "3"], done.stderr
    assert [record["kind"] for record in documents(tmp_path)[3:]] == ["test.short", "evidence.resumed"]


# Clocks, space, retention -------------------------------------------------------------------------------------------


async def test_a_clock_that_was_set_is_recorded(
    open_log: OpenLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shift_s = 0.0

    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + shift_s)
    log = await open_log()
    await log.append(a_record())
    shift_s = -3600.0
    await log.append(a_record())
    kinds = [record["kind"] for record in documents(tmp_path)]
    assert kinds == ["test.counted", "evidence.clock_set", "test.counted"]
    found = documents(tmp_path)
    assert -3601 < found[1]["figures"]["jump_s"] < -3599
    assert found[2]["monotonic_s"] >= found[0]["monotonic_s"]
    assert found[2]["time"] < found[0]["time"]


def test_time_that_passes_is_no_jump() -> None:
    clock = Clock()
    clock.stamp()
    clock.stamp()
    assert clock.take_jump_s() == 0.0


async def test_space_is_taken_ahead_and_a_closed_segment_gives_its_rest_back(
    open_log: OpenLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "SEGMENT_BYTES", 2000)
    log = await open_log()
    assert log.describe()["reserve_bytes"] > 30 * 2**20
    assert last_segment(tmp_path).stat().st_blocks * 512 > 19 * 2**20
    assert (tmp_path / "evidence/log/reserve").stat().st_blocks * 512 > 19 * 2**20
    for _ in range(20):
        await log.append(a_record())
    first = Segments(tmp_path / "evidence").segments()[0][1]
    assert first.stat().st_blocks * 512 < 2**20


async def test_retention_removes_witnessed_segments_alone_and_says_so(
    open_log: OpenLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "SEGMENT_BYTES", 2000)
    log = await open_log()
    for _ in range(40):
        await log.append(a_record())
    promise(log, tmp_path)
    starts = [first for first, _ in Segments(tmp_path / "evidence").segments()]
    later = datetime.now(UTC) + timedelta(days=1)
    assert await log.prune(later - timedelta(days=2), witnessed_size=40, actor="auditor") is None
    planned = await log.prune(later, witnessed_size=starts[2] + 1, actor="auditor", dry_run=True)
    assert planned is not None
    assert (planned.size, log.size) == (starts[2], 40)
    done = await log.prune(later, witnessed_size=starts[2] + 1, actor="auditor")
    assert done == planned
    segments = Segments(tmp_path / "evidence")
    assert [first for first, _ in segments.segments()] == starts[2:]
    said = documents(tmp_path)[-1]
    assert (said["kind"], said["actor"], said["figures"]["last"]) == ("evidence.pruned", "auditor", starts[2] - 1)
    root = log.root(41)
    await log.close()
    log = await open_log()
    assert log.root(41) == root
    with pytest.raises(ValueError, match="size 3, expected"):
        log.root(3)


async def test_retention_that_was_killed_on_its_way_is_finished_by_the_next_opening(
    open_log: OpenLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "SEGMENT_BYTES", 2000)
    log = await open_log()
    for _ in range(40):
        await log.append(a_record())
    promise(log, tmp_path)
    kept = {path: path.read_bytes() for _, path in Segments(tmp_path / "evidence").segments()}
    await log.prune(datetime.now(UTC) + timedelta(days=1), witnessed_size=40, actor="auditor")
    await log.close()
    for path, content in kept.items():
        if not path.exists():
            path.write_bytes(content)
    log = await open_log()
    left = sorted((tmp_path / "evidence/log").glob("*.jsonl"))
    assert [path for path in left if int(path.stem) < Segments(tmp_path / "evidence").start.size] == []


def promise(log: EvidenceLog, directory: Path) -> None:
    """A checkpoint of all there is, as the service of checkpoints leaves it."""
    line = checkpoint_line(log.size, log.root(log.size), log.chain(log.size), key(1), witness_key())
    with (directory / "evidence/checkpoints.jsonl").open("a") as file:
        file.write(line)
