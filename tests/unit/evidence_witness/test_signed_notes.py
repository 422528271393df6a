"""The public formats, byte for byte: what other logs, witnesses and verifiers make of ours."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from siaga.evidence.keys import SigningKey, parse_signing_key
from siaga.evidence.notes import (
    Handover,
    checkpoint_text,
    cosigned_at,
    fingerprint,
    log_checkpoint,
    parse_handover,
    signature_of,
    successors,
    written,
)
from siaga.evidence.signatures import COSIGNATURE, ED25519, BadNote, parse_checkpoint, parse_key, parse_note

pytestmark = pytest.mark.clause("SUM")

# From golang.org/x/mod/sumdb/note, the format's first implementation: key, text and signatures.
GO_PRIVATE = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz\n"
GO_PUBLIC = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_OTHER_PUBLIC = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
GO_OTHER_LINE = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
)
# From c2sp.org/signed-note.
C2SP_PUBLIC = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
C2SP_NOTE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
WITNESS = "siaga/witness"


def test_the_first_implementation_s_key_signs_as_it_does_there() -> None:
    key = parse_signing_key(GO_PRIVATE)
    assert key.public.text == GO_PUBLIC
    assert key.text == GO_PRIVATE
    assert written(GO_TEXT, [key.sign(GO_TEXT, 0)]) == f"{GO_TEXT}\n{GO_LINE}"


def test_a_note_of_two_signers_is_verified_by_either() -> None:
    note = parse_note(f"{GO_TEXT}\n{GO_LINE}{GO_OTHER_LINE}")
    for key in (GO_PUBLIC, GO_OTHER_PUBLIC):
        assert signature_of(note, parse_key(key)).name in key


def test_the_specification_s_own_example_verifies() -> None:
    assert signature_of(parse_note(C2SP_NOTE), parse_key(C2SP_PUBLIC))


def test_what_is_read_is_written_the_same() -> None:
    note = parse_note(C2SP_NOTE)
    assert written(note.text.decode(), note.signatures) == C2SP_NOTE


def test_a_checkpoint_has_the_public_form_with_the_chain_below() -> None:
    text = checkpoint_text("siaga/test/1", 7, bytes(32), bytes(31) + b"\xff")
    zeroes = "A" * 43
    assert text == f"siaga/test/1\n7\n{zeroes}=\nchain {'00' * 31}ff\n"


def test_a_cosignature_signs_header_time_and_text_and_carries_the_time(
    signing_key: Callable[..., SigningKey],
) -> None:
    key = signing_key(9, WITNESS, COSIGNATURE)
    line = key.sign("siaga/test/1\n", 1679315147)
    assert line.signature[:8] == (1679315147).to_bytes(8, "big")
    # The message as c2sp.org/tlog-cosignature words it, checked without our own verifier.
    assert key.public.verify(line.signature[8:], b"cosignature/v1\ntime 1679315147\nsiaga/test/1\n")
    assert cosigned_at(parse_note(written("siaga/test/1\n", [line])), key.public) == 1679315147


def test_one_key_as_log_and_as_witness_has_two_ids(signing_key: Callable[..., SigningKey]) -> None:
    as_log, as_witness = signing_key(9, WITNESS, ED25519).public, signing_key(9, WITNESS, COSIGNATURE).public
    assert as_log.id != as_witness.id
    assert fingerprint(as_log) == fingerprint(as_witness)


def test_a_cosignature_whose_time_was_changed_does_not_hold(signing_key: Callable[..., SigningKey]) -> None:
    key = signing_key(9, WITNESS, COSIGNATURE)
    line = key.sign("text\n", 100)
    moved = type(line)(line.name, line.key_id, (101).to_bytes(8, "big") + line.signature[8:])
    with pytest.raises(BadNote, match="does not match the text"):
        cosigned_at(parse_note(written("text\n", [moved])), key.public)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda note: note.replace("\n7\n", "\n8\n"), "does not match"),
        (lambda note: note.replace("chain 0", "chain 1"), "does not match"),
        (lambda note: note.replace("— siaga", "— other"), "not signed by"),
        (lambda note: note.replace("\n\n", "\n"), "blank line"),
        (lambda note: note.replace("\n7\n", "\n07\n"), "leading zeroes|does not match"),
        (lambda note: note.replace("\n7\n", "\n\x017\n"), "control character"),
        (lambda note: note[:-1], "newline|signature lines"),
        (lambda note: note.replace("—", "-"), "em dash"),
    ],
)
def test_a_changed_checkpoint_is_refused_and_the_reason_named(
    signing_key: Callable[..., SigningKey], change: Callable[[str], str], expected: str
) -> None:
    key = signing_key(1)
    text = checkpoint_text("siaga/test/1", 7, bytes(32), bytes(32))
    note = written(text, [key.sign(text, 0)])
    assert log_checkpoint(note, key.public).size == 7
    assert change(note) != note
    with pytest.raises(BadNote, match=expected):
        log_checkpoint(change(note), key.public)


def test_a_log_s_key_does_not_speak_for_another_log(signing_key: Callable[..., SigningKey]) -> None:
    key = signing_key(1)
    text = checkpoint_text("siaga/other/1", 7, bytes(32), bytes(32))
    with pytest.raises(BadNote, match="checkpoint of `siaga/other/1`, signed by the key of `siaga/test/1`"):
        log_checkpoint(written(text, [key.sign(text, 0)]), key.public)


def test_signatures_of_strangers_are_passed_over(signing_key: Callable[..., SigningKey]) -> None:
    ours, stranger = signing_key(1), signing_key(2, "stranger")
    text = checkpoint_text("siaga/test/1", 7, bytes(32), bytes(32))
    note = written(text, [stranger.sign(text, 0), ours.sign(text, 0)])
    assert log_checkpoint(note, ours.public).size == 7
    with pytest.raises(BadNote, match="not signed by"):
        log_checkpoint(written(text, [stranger.sign(text, 0)]), ours.public)


def test_every_character_of_a_public_key_counts() -> None:
    for place, character in enumerate(GO_PUBLIC):
        damaged = GO_PUBLIC[:place] + chr(ord(character) + 1) + GO_PUBLIC[place + 1 :]
        with pytest.raises(BadNote):
            parse_key(damaged)


def handover(old: SigningKey, new: SigningKey) -> str:
    text = Handover(old.public, new.public).text
    return written(text, [old.sign(text, 5), new.sign(text, 5)])


@pytest.mark.parametrize("kind", [ED25519, COSIGNATURE])
def test_keys_are_followed_through_their_hand_overs(signing_key: Callable[..., SigningKey], kind: int) -> None:
    first, second, third, other = (signing_key(seed, "log", kind) for seed in (1, 2, 3, 4))
    notes = [handover(first, second), handover(other, third), handover(second, third)]
    assert successors(first.public, notes) == (first.public, second.public, third.public)
    assert successors(second.public, notes) == (second.public, third.public)
    assert successors(third.public, notes) == (third.public,)


@pytest.mark.parametrize("missing", [0, 1], ids=["old", "new"])
def test_a_hand_over_needs_both_signatures(signing_key: Callable[..., SigningKey], missing: int) -> None:
    keys = signing_key(1), signing_key(2)
    text = Handover(keys[0].public, keys[1].public).text
    with pytest.raises(BadNote, match="not signed by"):
        parse_handover(written(text, [keys[1 - missing].sign(text, 0)]))


def test_a_hand_over_changes_nothing_but_the_key(signing_key: Callable[..., SigningKey]) -> None:
    with pytest.raises(BadNote, match="name and kind must stay"):
        parse_handover(handover(signing_key(1, "log"), signing_key(2, "other")))


def test_a_hand_over_is_no_checkpoint(signing_key: Callable[..., SigningKey]) -> None:
    with pytest.raises(BadNote):
        parse_checkpoint(handover(signing_key(1), signing_key(2)))
