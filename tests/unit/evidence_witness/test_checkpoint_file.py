"""The witnessed checkpoints on disk: torn lines, damaged lines, failed writes, copies."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from siaga.errors import BadInput
from siaga.evidence.checkpoint_file import CheckpointFile
from siaga.evidence.keys import SigningKey
from siaga.evidence.notes import checkpoint_text, written
from siaga.evidence.signatures import COSIGNATURE, Checkpoint, parse_checkpoint

pytestmark = pytest.mark.clause("SUM")

NOON = datetime(2026, 11, 25, 5, tzinfo=UTC)


@pytest.fixture
def signed(signing_key: Callable[..., SigningKey]) -> Callable[[int], tuple[Checkpoint, str]]:
    def make(size: int) -> tuple[Checkpoint, str]:
        text = checkpoint_text("siaga/test/1", size, bytes(32), bytes(32))
        witness = signing_key(9, "siaga/witness", COSIGNATURE)
        note = written(text, [signing_key(1).sign(text, 0), witness.sign(text, 100)])
        return parse_checkpoint(note), note

    return make


@pytest.fixture
def opened(tmp_path: Path, signing_key: Callable[..., SigningKey]) -> Callable[[], tuple[CheckpointFile, Any]]:
    def make() -> tuple[CheckpointFile, Any]:
        file = CheckpointFile(tmp_path)
        witness = signing_key(9, "siaga/witness", COSIGNATURE)
        return file, file.open([signing_key(1).public], [witness.public])

    return make


Signed = Callable[[int], tuple[Checkpoint, str]]
Opened = Callable[[], tuple[CheckpointFile, Any]]


def test_what_was_kept_is_found_again_in_the_agreed_form(tmp_path: Path, signed: Signed, opened: Opened) -> None:
    file, nothing = opened()
    assert nothing is None
    for size in (3, 5):
        file.append(*signed(size), NOON)
    assert opened()[1].size == 5
    lines = (tmp_path / "checkpoints.jsonl").read_text().splitlines()
    assert json.loads(lines[1]) == {"note": signed(5)[1], "size": 5, "time": "2026-11-25T05:00:00.000+00:00"}
    assert stat.S_IMODE((tmp_path / "checkpoints.jsonl").stat().st_mode) == 0o600


def test_a_line_torn_by_a_crash_anywhere_is_cut_off(tmp_path: Path, signed: Signed, opened: Opened) -> None:
    file, _ = opened()
    file.append(*signed(3), NOON)
    path = tmp_path / "checkpoints.jsonl"
    whole = path.read_bytes()
    for end in range(1, len(whole)):
        path.write_bytes(whole + whole[:end])
        assert opened()[1].size == 3
        assert path.read_bytes() == whole


def test_the_last_of_many_is_found_without_reading_all(tmp_path: Path, signed: Signed, opened: Opened) -> None:
    opened()[0].append(*signed(7), NOON)
    path = tmp_path / "checkpoints.jsonl"
    line = path.read_bytes()
    path.write_bytes(b"not read any more\n" * 40_000 + line + line[:30])
    assert opened()[1].size == 7
    assert path.read_bytes().endswith(line)
    opened()[0].append(*signed(9), NOON)
    assert opened()[1].size == 9


def test_what_a_failed_write_left_behind_is_written_over(tmp_path: Path, signed: Signed, opened: Opened) -> None:
    file, _ = opened()
    file.append(*signed(3), NOON)
    with (tmp_path / "checkpoints.jsonl").open("ab") as torn:
        torn.write(b'{"note": "half a line that is longer than' + b"x" * 2000)
    file.append(*signed(4), NOON)
    assert opened()[1].size == 4
    assert len((tmp_path / "checkpoints.jsonl").read_text().splitlines()) == 2


def test_a_leader_that_wakes_up_leaves_its_successor_s_checkpoints_alone(
    tmp_path: Path, signed: Signed, opened: Opened
) -> None:
    asleep, _ = opened()
    asleep.append(*signed(3), NOON)
    successor, _ = opened()
    successor.append(*signed(5), NOON)
    for size in (4, 6):
        with pytest.raises(OSError, match="another process has changed the checkpoints"):
            asleep.append(*signed(size), NOON)
    assert opened()[1].size == 5
    assert len((tmp_path / "checkpoints.jsonl").read_text().splitlines()) == 2


def test_checkpoints_that_were_cut_off_meanwhile_are_not_filled_up(
    tmp_path: Path, signed: Signed, opened: Opened
) -> None:
    file, _ = opened()
    file.append(*signed(3), NOON)
    (tmp_path / "checkpoints.jsonl").write_bytes(b"")
    with pytest.raises(OSError, match="another process has changed the checkpoints"):
        file.append(*signed(4), NOON)


def test_a_damaged_last_line_is_refused(tmp_path: Path, signed: Signed, opened: Opened) -> None:
    file, _ = opened()
    file.append(*signed(3), NOON)
    path = tmp_path / "checkpoints.jsonl"
    path.write_text(path.read_text().replace("\\n3\\n", "\\n4\\n"))
    with pytest.raises(BadInput, match=r"checkpoints\.jsonl, the last line: .*does not match the text"):
        opened()


def test_checkpoints_of_a_witness_that_nobody_knows_are_refused(
    tmp_path: Path, signed: Signed, opened: Opened, signing_key: Callable[..., SigningKey]
) -> None:
    opened()[0].append(*signed(3), NOON)
    stranger = signing_key(7, "siaga/witness", COSIGNATURE)
    with pytest.raises(BadInput, match="not cosigned by any witness that is known"):
        CheckpointFile(tmp_path).open([signing_key(1).public], [stranger.public])


def test_the_one_that_waits_is_replaced_and_goes_when_one_was_witnessed(
    tmp_path: Path, signed: Signed, opened: Opened
) -> None:
    file, _ = opened()
    file.wait(*signed(3), NOON)
    file.wait(*signed(4), NOON)
    assert json.loads((tmp_path / "checkpoint.pending.json").read_text())["size"] == 4
    file.append(*signed(4), NOON)
    assert not (tmp_path / "checkpoint.pending.json").exists()


def test_copies_are_read_only_and_never_written_twice(tmp_path: Path, signed: Signed) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    file = CheckpointFile(tmp_path, elsewhere)
    file.copy(*signed(3), NOON)
    (copy,) = elsewhere.iterdir()
    assert json.loads(copy.read_text())["size"] == 3
    assert stat.S_IMODE(copy.stat().st_mode) == 0o400
    with pytest.raises(FileExistsError):
        file.copy(*signed(3), NOON)


def test_a_place_for_copies_that_is_gone_is_told(tmp_path: Path, signed: Signed) -> None:
    with pytest.raises(FileNotFoundError):
        CheckpointFile(tmp_path, tmp_path / "unmounted").copy(*signed(3), NOON)
    assert list(tmp_path.iterdir()) == []
