"""The witness's answers and memory: on disk before it answers, and useless to whoever damages it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siaga.errors import BadInput
from siaga.evidence.cosigning import Request
from siaga.evidence.notes import cosigned_at
from siaga.evidence.signatures import parse_key, parse_note
from siaga.evidence.witness import Witness, reply

pytestmark = pytest.mark.clause("SUM")

MakeLog = Callable[..., Any]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
)


def line(op: str, **fields: Any) -> bytes:
    return json.dumps({"op": op, **fields}).encode()


def cosign(request: Request) -> bytes:
    return line(
        "cosign",
        note=request.note,
        key=request.key.text,
        old_size=request.old_size,
        proof=[base64.b64encode(node).decode() for node in request.proof],
        handovers=list(request.handovers),
        epoch=request.epoch,
    )


@pytest.fixture(scope="module")
def old_witness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witness]:
    yield Witness(tmp_path_factory.mktemp("witness"))


def test_a_cosignature_holds_under_the_witness_s_key_and_states_the_time(tmp_path: Path, log_of: MakeLog) -> None:
    witness = Witness(tmp_path)
    key = parse_key(reply(witness, line("public_key"), 0)["key"])
    note = reply(witness, cosign(log_of(3).request(0, 3)), 1_790_000_000)["note"]
    assert cosigned_at(parse_note(note), key) == 1_790_000_000


def test_what_was_cosigned_is_on_disk_before_the_answer(tmp_path: Path, log_of: MakeLog) -> None:
    log = log_of(9)
    note = reply(Witness(tmp_path), cosign(log.request(0, 5)), 7)["note"]
    # Another one on the same directory, as after a kill right behind the answer.
    restarted = Witness(tmp_path)
    assert reply(restarted, line("last", origin=log.key.public.name), 8)["note"] == note
    assert "note" in reply(restarted, cosign(log.request(5, 9)), 9)


def test_a_refusal_is_remembered_until_a_person_has_looked(tmp_path: Path, log_of: MakeLog) -> None:
    witness, origin = Witness(tmp_path), log_of(1).key.public.name
    reply(witness, cosign(log_of(5).request(0, 5)), 7)
    forged = log_of(6, altered=2).request(5, 6)
    assert reply(witness, cosign(forged), 8)["refused"] == "fork"
    reply(witness, cosign(log_of(7).request(5, 7)), 9)
    remembered = reply(Witness(tmp_path), line("last", origin=origin), 10)["refusal"]
    assert (remembered["refusal"], remembered["time_s"], remembered["note"]) == ("fork", 8, forged.note)
    reply(witness, line("acknowledge", origin=origin), 11)
    assert reply(Witness(tmp_path), line("last", origin=origin), 12)["refusal"] is None


def test_a_conflict_speaks_against_nobody_and_is_not_remembered(tmp_path: Path, log_of: MakeLog) -> None:
    witness, log = Witness(tmp_path), log_of(9)
    reply(witness, cosign(log.request(0, 5)), 7)
    assert reply(witness, cosign(log.request(4, 9)), 8)["refused"] == "conflict"
    assert reply(witness, line("last", origin=log.key.public.name), 9)["refusal"] is None


def test_one_witness_keeps_several_logs_apart(tmp_path: Path, log_of: MakeLog, signing_key: Any) -> None:
    witness, log = Witness(tmp_path), log_of(4)
    reply(witness, cosign(log.request(0, 4)), 7)
    assert reply(witness, line("last", origin="siaga/other/1"), 8)["note"] is None


@pytest.mark.parametrize("damage", ["flipped", "emptied", "removed", "other format"])
def test_a_witness_without_its_memory_cosigns_nothing(tmp_path: Path, log_of: MakeLog, damage: str) -> None:
    reply(Witness(tmp_path), cosign(log_of(5).request(0, 5)), 7)
    path = tmp_path / "memory.json"
    content = path.read_text()
    match damage:
        case "flipped":
            path.write_text(content.replace("\\n5\\n", "\\n4\\n"))
        case "emptied":
            path.write_text("")
        case "removed":
            path.unlink()
        case "other format":
            path.write_text(content.replace('"format": 1', '"format": 2'))
    with pytest.raises(BadInput, match="the witness's memory .* is damaged") as refused:
        Witness(tmp_path)
    assert "accept the new witness by its fingerprint" in refused.value.hint


def test_another_witness_s_memory_is_not_taken_for_its_own(tmp_path: Path, log_of: MakeLog) -> None:
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
        reply(Witness(tmp_path / name), cosign(log_of(5).request(0, 5)), 7)
    (tmp_path / "theirs/memory.json").replace(tmp_path / "ours/memory.json")
    with pytest.raises(BadInput, match="does not bear this witness's signature"):
        Witness(tmp_path / "ours")


def test_the_leadership_it_saw_survives_a_restart(tmp_path: Path, log_of: MakeLog) -> None:
    log = log_of(9)
    reply(Witness(tmp_path), cosign(replace(log.request(0, 9), epoch=7)), 7)
    restarted = Witness(tmp_path)
    assert reply(restarted, cosign(replace(log.request(5, 5), epoch=6)), 8)["refused"] == "stale"
    assert reply(restarted, line("last", origin=log.key.public.name), 9)["refusal"] is None


def test_a_first_start_that_was_cut_off_starts_again(tmp_path: Path) -> None:
    Witness(tmp_path)
    (tmp_path / "witness.key").unlink()
    (tmp_path / "witness.pub").unlink()
    assert "key" in reply(Witness(tmp_path), line("public_key"), 0)


def test_a_rotated_witness_hands_over_to_its_new_key_and_keeps_its_memory(tmp_path: Path, log_of: MakeLog) -> None:
    witness, log = Witness(tmp_path), log_of(9)
    reply(witness, cosign(log.request(0, 5)), 7)
    old = reply(witness, line("public_key"), 8)["key"]
    first = reply(witness, line("rotate_key", old=old), 8)
    assert first["key"] != old
    # Asked again, since the answer was lost: the same key, not a third one.
    assert reply(witness, line("rotate_key", old=old), 9) == json.loads(json.dumps(first)) | {
        "handovers": first["handovers"]
    }
    restarted = Witness(tmp_path)
    note = reply(restarted, cosign(log.request(5, 9)), 10)["note"]
    assert cosigned_at(parse_note(note), parse_key(first["key"])) == 10


@given(request=JSON)
def test_any_json_gets_an_answer(old_witness: Witness, request: Any) -> None:
    assert set(reply(old_witness, json.dumps(request).encode(), 0)) == {"refused", "why"}


@given(content=st.binary(max_size=50))
def test_any_bytes_get_an_answer(old_witness: Witness, content: bytes) -> None:
    assert reply(old_witness, content, 0)["refused"] == "bad request"


@given(field=st.sampled_from(["note", "key", "old_size", "proof", "handovers", "epoch"]), value=JSON)
def test_a_request_with_any_field_wrong_is_refused(
    old_witness: Witness, log_of: MakeLog, field: str, value: Any
) -> None:
    document = json.loads(cosign(log_of(3).request(0, 3)))
    if value == document[field] or (not value and document[field] == []):
        return
    answer = reply(old_witness, json.dumps({**document, field: value}).encode(), 0)
    assert answer.get("refused") in ("bad request", "unknown key", "conflict") or field in ("handovers", "epoch")


def test_deeply_nested_json_does_not_end_it(old_witness: Witness) -> None:
    assert reply(old_witness, b"[" * 100_000, 0)["refused"] == "bad request"
