"""What the verifier finds in evidence that somebody has laid hands on; each fault is named by record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from signed_evidence import SignedEvidence, a_record, key, rewritten, witness_key

from siaga.evidence.chain import BadRecord, Position, Walk, beginning
from siaga.evidence.segments import Segments
from siaga.evidence.signatures import parse_checkpoint
from siaga.evidence.verify_export import Fault

pytestmark = pytest.mark.clause("SUM")


@pytest.fixture
def evidence(tmp_path: Path) -> SignedEvidence:
    """Thirty records under two checkpoints, of 10 and of 30 records."""
    made = SignedEvidence(tmp_path / "evidence")
    made.count(10)
    made.checkpoint()
    made.count(20)
    made.checkpoint()
    made.write()
    return made


def only_fault(evidence: SignedEvidence, **changed: object) -> Fault:
    report = evidence.verified(**changed)
    assert report.exit_code == 1
    assert len(report.faults) == 1, report.words()
    return report.faults[0]


def test_untouched_evidence_is_proven(evidence: SignedEvidence) -> None:
    report = evidence.verified()
    assert (report.exit_code, report.size, report.witnessed_size, report.checkpoints) == (0, 30, 30, 2)
    assert report.witnessed_at == "2026-11-30T00:53:20+00:00"


def test_records_under_no_witnessed_checkpoint_leave_it_open(evidence: SignedEvidence) -> None:
    evidence.count(3)
    evidence.write()
    report = evidence.verified()
    assert (report.exit_code, report.size, report.witnessed_size) == (3, 33, 30)
    assert "records 30 to 32 are under no checkpoint of the witness yet" in report.words()


def test_evidence_that_nobody_witnessed_is_not_proven(tmp_path: Path) -> None:
    made = SignedEvidence(tmp_path / "evidence")
    made.count(4)
    made.checkpoint(witnessed=False)
    made.write()
    assert made.verified().exit_code == 3


@pytest.mark.parametrize("number", [0, 9, 17, 29])
@pytest.mark.parametrize("place", [3, 70, -4])
def test_a_flipped_byte_is_named_by_record(evidence: SignedEvidence, number: int, place: int) -> None:
    def flip(line: bytes) -> bytes:
        content = bytearray(line)
        content[place] ^= 1
        return bytes(content)

    evidence.alter(number, flip)
    assert only_fault(evidence).record == number


def test_a_dropped_tail_is_named_by_its_first_and_last_record(evidence: SignedEvidence) -> None:
    evidence.lines = evidence.lines[:25]
    evidence.write()
    fault = only_fault(evidence)
    assert fault == Fault(25, "records 25 to 29 are missing: a checkpoint counts 30")


def test_a_dropped_middle_is_named_by_its_first_and_last_record(evidence: SignedEvidence) -> None:
    del evidence.lines[12:15]
    evidence.write()
    assert only_fault(evidence) == Fault(12, "records 12 to 14 are missing, the next line is record 15")


def test_a_missing_first_segment_is_named(evidence: SignedEvidence) -> None:
    evidence.write([0, 8, 20])
    (evidence.directory / f"log/{0:012d}.jsonl").unlink()
    assert only_fault(evidence) == Fault(0, "records 0 to 7 are missing, the next line is record 8")


def test_a_missing_middle_segment_is_named(evidence: SignedEvidence) -> None:
    evidence.write([0, 8, 20])
    (evidence.directory / f"log/{8:012d}.jsonl").unlink()
    assert only_fault(evidence) == Fault(8, "records 8 to 19 are missing, the next line is record 20")


def test_a_record_put_in_twice_is_named(evidence: SignedEvidence) -> None:
    evidence.lines.insert(12, evidence.lines[11])
    evidence.write()
    assert only_fault(evidence) == Fault(12, "found record 11 in its place")


def test_two_exchanged_records_are_named(evidence: SignedEvidence) -> None:
    evidence.lines[12], evidence.lines[13] = evidence.lines[13], evidence.lines[12]
    evidence.write()
    assert only_fault(evidence).record == 12


def test_a_forked_log_is_named_by_the_checkpoints_around_the_fork(evidence: SignedEvidence) -> None:
    other = [line.replace(b"counted", b"forgery") if n == 17 else line for n, line in enumerate(evidence.lines)]
    rewritten(evidence, other)
    fault = only_fault(evidence)
    assert fault.record == 10
    assert fault.why.startswith("records 10 to 29 are not those that were signed")


def test_a_half_written_line_is_named_and_missing_if_it_was_promised(evidence: SignedEvidence) -> None:
    evidence.alter(29, lambda line: line[:50])
    fault = only_fault(evidence)
    assert fault.record == 29
    assert "half written" in fault.why


def test_a_half_written_line_that_nobody_was_promised_is_only_said(evidence: SignedEvidence) -> None:
    evidence.lines.append(b"0123 half of a rec")
    evidence.write()
    report = evidence.verified()
    assert report.exit_code == 0
    assert "record 30 is half written (18 bytes) and was never acknowledged" in report.words()


def test_another_logs_key_is_refused(evidence: SignedEvidence) -> None:
    faults = evidence.verified(log_keys=[key(7).public]).faults
    assert {fault.record for fault in faults} == {0}
    assert "not signed by the log's key" in faults[0].why


def test_another_witnesss_key_is_refused(evidence: SignedEvidence) -> None:
    fault = only_fault(evidence, witness_keys=[witness_key(7).public])
    assert "cosigned by witness.test, and nowhere with the witness key that was given" in fault.why


def test_a_signature_that_was_altered_is_named(evidence: SignedEvidence) -> None:
    path = evidence.directory / "checkpoints.jsonl"
    first, second = path.read_text().splitlines()
    document = json.loads(second)
    document["note"] = json.loads(first)["note"].partition("\n\n")[0] + "\n\n" + document["note"].partition("\n\n")[2]
    path.write_text(f"{first}\n{json.dumps(document)}\n")
    fault = only_fault(evidence)
    assert "does not match the text" in fault.why


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"note": 7}', '{"note": "x"}', "\udc80"])
def test_a_checkpoint_that_can_not_be_read_is_named(evidence: SignedEvidence, line: str) -> None:
    with (evidence.directory / "checkpoints.jsonl").open("ab") as file:
        file.write(line.encode(errors="surrogateescape") + b"\n")
    assert "checkpoint 3 after it can't be read" in only_fault(evidence).why


def test_a_checkpoint_of_another_log_is_named(evidence: SignedEvidence) -> None:
    path = evidence.directory / "origin"
    path.write_text("siaga/other/1\n")
    report = evidence.verified()
    assert report.exit_code == 1
    assert any("is of another log" in fault.why for fault in report.faults)


def test_what_the_witness_remembers_shows_that_a_directory_was_copied_back(evidence: SignedEvidence) -> None:
    yesterday = SignedEvidence(evidence.directory.parent / "yesterday")
    yesterday.count(10)
    yesterday.checkpoint()
    yesterday.write()
    assert yesterday.verified().exit_code == 0
    remembered = parse_checkpoint(evidence.note())
    assert only_fault(yesterday, seen=[remembered]) == Fault(
        10, "records 10 to 29 are missing: the witness remembers 30"
    )


def test_a_changed_key_is_followed_through_its_record(evidence: SignedEvidence) -> None:
    rotated(evidence, key(2))
    report = evidence.verified()
    assert (report.exit_code, report.key_changes, report.size) == (0, 1, 36)
    assert evidence.verified(log_keys=[key(2).public]).exit_code == 0
    assert evidence.verified(log_keys=[key(1).public, key(2).public]).exit_code == 0


def test_the_old_key_counts_for_nothing_after_its_hand_over(evidence: SignedEvidence) -> None:
    rotated(evidence, key(2))
    evidence.log_key = key(1)
    evidence.count(1)
    evidence.checkpoint()
    evidence.write()
    assert "not signed by the log's key" in only_fault(evidence).why


def test_a_new_key_counts_only_once_the_old_one_has_covered_its_record(evidence: SignedEvidence) -> None:
    evidence.rotate(key(2))
    evidence.log_key = key(2)
    evidence.checkpoint()
    evidence.write()
    assert "not signed by the log's key" in only_fault(evidence).why


def test_a_hand_over_that_the_new_key_did_not_sign_is_named_by_record(evidence: SignedEvidence) -> None:
    evidence.rotate(key(2), proven_by=key(3))
    evidence.checkpoint()
    evidence.write()
    fault = only_fault(evidence)
    assert fault.record == 30
    assert "its change of key does not hold" in fault.why


def test_a_text_that_looks_like_a_hand_over_is_none(evidence: SignedEvidence) -> None:
    evidence.add(a_record(reason='"kind":"evidence.key_rotated","monotonic_s"'))
    evidence.checkpoint()
    evidence.write()
    assert evidence.verified().exit_code == 0


def test_pruned_evidence_is_verified_from_where_it_begins(evidence: SignedEvidence) -> None:
    prune(evidence, 20)
    report = evidence.verified()
    assert (report.exit_code, report.first, report.size, report.checkpoints) == (0, 20, 30, 1)
    assert "records 0 to 19 were removed by retention, their root is in the checkpoint of 30" in report.words()


def test_a_forged_note_of_what_was_pruned_is_found_by_the_next_checkpoint(evidence: SignedEvidence) -> None:
    prune(evidence, 20)
    path = evidence.directory / f"log/{0:012d}.pruned"
    document = json.loads(path.read_bytes())
    document["frontier"][0] = "00" * 32
    path.write_text(json.dumps(document))
    assert "are not those that were signed" in only_fault(evidence).why


def test_a_walk_keeps_the_position_at_every_size_it_was_asked_for(evidence: SignedEvidence) -> None:
    walk = Walk(beginning("siaga/test/1"), [0, 7, 30, 31])
    walk.feed([line[:-1] for line in evidence.lines])
    assert set(walk.passed) == {0, 7, 30}
    again = Walk(walk.passed[7])
    again.feed([line[:-1] for line in evidence.lines[7:]])
    assert again.position == walk.position == evidence.walk.position


@pytest.mark.parametrize("change", [{"size": 7}, {"chain": "00"}, {"frontier": ["00"]}, {"size": "x"}])
def test_a_damaged_position_is_refused(change: dict[str, object]) -> None:
    document = {**Position(1, b"c" * 32, (b"p" * 32,)).document(), **change}
    with pytest.raises(ValueError, match="position in the log|invalid literal|non-hexadecimal"):
        Position.from_document(document)


def test_a_bad_record_stops_the_walk_right_before_it(evidence: SignedEvidence) -> None:
    walk = Walk(beginning("siaga/test/1"))
    lines = [line[:-1] for line in evidence.lines]
    with pytest.raises(BadRecord, match="record 4: "):
        walk.feed([*lines[:4], lines[4].replace(b"somebody", b"somebodi"), *lines[5:]])
    assert walk.size == 4
    walk.feed(lines[4:])
    assert walk.size == 30


def test_lines_are_read_backwards_over_blocks_and_segments(
    evidence: SignedEvidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("siaga.evidence.segments.BLOCK_BYTES", 16 * 100)
    evidence.lines.append(b"half of a lin")
    evidence.write([0, 8, 20])
    whole = [line[:-1] for line in evidence.lines[:30]]
    assert list(Segments(evidence.directory).newest_first()) == whole[::-1]
    for first in (0, 7, 8, 19, 29, 30):
        assert [line for lines in Segments(evidence.directory).blocks(first) for line in lines] == whole[first:]


def rotated(evidence: SignedEvidence, new: object) -> None:
    evidence.rotate(new)  # type: ignore[arg-type]
    evidence.checkpoint()
    evidence.log_key = new  # type: ignore[assignment]
    evidence.count(5)
    evidence.checkpoint()
    evidence.write()


def prune(evidence: SignedEvidence, size: int) -> None:
    evidence.write([0, size])
    walk = Walk(beginning("siaga/test/1"))
    walk.feed([line[:-1] for line in evidence.lines[:size]])
    document = {"first": 0, "last": size - 1, **walk.position.document()}
    (evidence.directory / f"log/{0:012d}.pruned").write_text(json.dumps(document))
    (evidence.directory / f"log/{0:012d}.jsonl").unlink()
