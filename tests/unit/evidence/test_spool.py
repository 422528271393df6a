"""The spool of exempt acts: what is noted is found again, whole, once, in its order; what was torn is not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from siaga.errors import Refused
from siaga.evidence.spool import PAGE_BYTES, SPOOL_BYTES, Spool, SpoolFull

pytestmark = pytest.mark.clause("DRP")


def body(text: str) -> bytes:
    return json.dumps({"text": text}).encode()


def texts(spool: Spool) -> list[str]:
    return [entry.document["text"] for entry in spool.found]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def test_what_was_noted_is_found_again_in_its_order(path: Path) -> None:
    spool = Spool(path)
    noted = [spool.put(body(f"{n}" * (n * 1500 + 1)), n) for n in range(6)]
    spool.clear(noted[2])
    spool.close()
    found = Spool(path).found
    assert [entry.document["text"][0] for entry in found] == ["0", "1", "3", "4", "5"]
    assert [entry.log_size for entry in found] == [0, 1, 3, 4, 5]
    assert [entry.id for entry in found] == [noted[n].id for n in (0, 1, 3, 4, 5)]


def test_ids_differ_from_one_process_to_the_next(path: Path) -> None:
    spool = Spool(path)
    first = spool.put(body("a"), 0)
    spool.clear(first)
    spool.close()
    assert Spool(path).put(body("b"), 0).id != first.id


def test_its_space_is_taken_when_it_is_made(path: Path) -> None:
    Spool(path).close()
    assert path.stat().st_size == SPOOL_BYTES
    assert path.stat().st_blocks * 512 >= SPOOL_BYTES
    assert path.stat().st_mode & 0o777 == 0o600


def test_entries_written_before_and_after_another_opening_keep_their_order(path: Path) -> None:
    for text in ("a", "b", "c"):
        spool = Spool(path)
        spool.put(body(text), 0)
        spool.close()
    assert texts(Spool(path)) == ["a", "b", "c"]


@pytest.mark.parametrize("place", [0, 5, 9, 13, 20, 40])
def test_a_half_written_entry_is_left_out_and_counted(path: Path, place: int) -> None:
    spool = Spool(path)
    spool.put(body("whole"), 0)
    spool.put(body("torn"), 0)
    spool.close()
    content = bytearray(path.read_bytes())
    content[PAGE_BYTES + place] ^= 0xFF
    path.write_bytes(content)
    again = Spool(path)
    assert texts(again) == ["whole"]
    # Where the very mark of an entry is gone, nothing tells that there was one.
    assert again.torn == (0 if place == 0 else 1)


def test_a_full_spool_says_so_and_has_room_again_once_something_is_cleared(path: Path) -> None:
    spool = Spool(path)
    entries = []
    with pytest.raises(SpoolFull):
        while True:
            entries.append(spool.put(body("x" * 60_000), 0))
    assert len(entries) == SPOOL_BYTES // PAGE_BYTES // entries[0].pages
    spool.clear(entries[7])
    spool.put(body("y" * 60_000), 0)
    spool.close()
    assert len(Spool(path).found) == len(entries)


def test_a_second_process_is_refused(path: Path) -> None:
    Spool(path)
    with pytest.raises(Refused, match="another process notes exempt acts"):
        Spool(path)


def test_a_file_that_was_cut_short_is_filled_up(path: Path) -> None:
    spool = Spool(path)
    spool.put(body("kept"), 0)
    spool.close()
    os.truncate(path, PAGE_BYTES * 3)
    assert texts(Spool(path)) == ["kept"]
    assert path.stat().st_size == SPOOL_BYTES


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=st.lists(st.tuples(st.integers(0, 20_000), st.booleans()), max_size=40))
def test_whatever_was_noted_and_cleared_exactly_the_rest_is_found(path: Path, acts: list[tuple[int, bool]]) -> None:
    path.unlink(missing_ok=True)
    spool = Spool(path)
    waiting: list[str] = []
    kept = []
    for n, (length, clears) in enumerate(acts):
        text = f"{n}:{'x' * length}"
        entry = spool.put(body(text), n)
        kept.append(entry)
        waiting.append(text)
        if clears:
            spool.clear(kept.pop(0))
            del waiting[0]
    spool.close()
    again = Spool(path)
    assert texts(again) == waiting
    again.close()
