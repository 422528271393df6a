"""Which program may work with which state."""

from __future__ import annotations

from pathlib import Path

import pytest

from siaga.controller import state, state_version
from siaga.controller.state_version import FORMAT, StateVersion, from_document, to_document
from siaga.errors import BadInput, Exit
from siaga.evidence.model import Record


def test_a_state_without_a_version_file_is_of_format_0(tmp_path: Path) -> None:
    assert state.read(tmp_path) == StateVersion(format=0)


def test_who_leads_stamps_its_own_format_and_version(tmp_path: Path) -> None:
    stamped = state.stamp(tmp_path)
    assert (stamped.format, stamped.siaga != "") == (FORMAT, True)
    assert state.read(tmp_path) == stamped
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o600


def test_a_state_of_the_next_version_is_read_and_what_it_added_stays() -> None:
    found = from_document({"format": FORMAT + 1, "siaga": "next", "new": [1]}, origin="state.json")
    back = state_version.stamped(found, "this one")
    assert to_document(back)["new"] == [1]
    assert to_document(back)["format"] == FORMAT, "so that the next version migrates what we write meanwhile"


def test_a_state_two_versions_ahead_is_refused_with_a_way_out() -> None:
    with pytest.raises(BadInput, match=f"state format {FORMAT + 2}, written by siaga 9.9") as refused:
        from_document({"format": FORMAT + 2, "siaga": "9.9"}, origin="state.json")
    assert refused.value.exit_code is Exit.USAGE
    assert "one version at a time" in refused.value.hint


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"format": 1, "si',
        b"[]",
        b'{"format": "1", "siaga": ""}',
        b'{"format": true, "siaga": ""}',
        b'{"format": 1}',
        b'{"format": 1, "siaga": "x", "generation": 0}',
        b'{"format": 1, "siaga": "x", "continues": "1"}',
    ],
)
def test_a_damaged_version_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state.json").write_bytes(content)
    with pytest.raises(BadInput, match=r"state\.json is damaged") as refused:
        state.read(tmp_path)
    assert "siaga state restore" in refused.value.hint


def test_a_log_of_a_later_generation_has_a_name_and_a_directory_of_its_own() -> None:
    assert state_version.evidence_origin("payments", 1) == "siaga/payments/1"
    assert state_version.evidence_origin("payments", 2) == "siaga/payments/2"
    assert state_version.evidence_directory(1) != state_version.evidence_directory(2)


class KeptRecords:
    """Evidence in memory: the protocol alone."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    async def append(self, record: Record) -> int:
        self.records.append(record)
        return len(self.records) - 1

    async def append_exempt(self, record: Record) -> None:
        self.records.append(record)


async def test_a_continued_log_begins_with_what_was_lost_once() -> None:
    continues = {"origin": "siaga/x/1", "first_lost": 5, "last_lost": 9, "actor": "ana", "reason": "disk gone"}
    found = StateVersion(FORMAT, "x", 2, continues)
    evidence = KeptRecords()
    for size in (0, 1):
        await state.begin_generation(found, evidence, size)
    (record,) = evidence.records
    assert (record.kind, record.actor, record.reason) == ("evidence.continued", "ana", "disk gone")
    assert record.figures["last_lost"] == 9
    await state.begin_generation(StateVersion(FORMAT, "x"), evidence, 0)
    assert len(evidence.records) == 1, "the first generation continues nothing"
