"""Signing keys on disk: who may read them, what damage looks like, and rotation cut off anywhere."""

from __future__ import annotations

import base64
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from siaga.errors import BadInput
from siaga.evidence import keys
from siaga.evidence.keys import KeyRing, SigningKey, open_ring
from siaga.evidence.notes import fingerprint, successors
from siaga.evidence.signatures import COSIGNATURE, ED25519

pytestmark = pytest.mark.clause("SUM")

ORIGIN = "siaga/test/1"


def ring(directory: Path) -> KeyRing:
    return open_ring(directory, "log", ORIGIN, ED25519)


def secret_parts(directory: Path) -> list[str]:
    """What must never be seen outside of the key files."""
    return [path.read_text().strip().split("+", 4)[4] for path in directory.glob("*.key")]


def test_a_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    made = ring(tmp_path)
    assert ring(tmp_path).current.public == made.current.public
    assert stat.S_IMODE((tmp_path / "log.key").stat().st_mode) == 0o600
    assert keys.read_public(tmp_path / "log.pub") == (made.current.public,)


@pytest.mark.parametrize("content", ["", "nonsense", "PRIVATE+KEY+siaga/test/1+00000000+AAAA", "\u00ff\u00fe"])
def test_a_file_that_is_no_key_is_refused(tmp_path: Path, content: str) -> None:
    ring(tmp_path)
    (tmp_path / "log.key").write_text(content)
    with pytest.raises(BadInput, match=r"log\.key: (not a|a damaged) private key") as refused:
        ring(tmp_path)
    assert "state restore" in refused.value.hint


def test_each_changed_character_of_a_key_is_noticed_and_none_is_told(tmp_path: Path) -> None:
    ring(tmp_path)
    whole, (secret,) = (tmp_path / "log.key").read_text(), secret_parts(tmp_path)
    for place in range(len(whole) - 1):
        (tmp_path / "log.key").write_text(whole[:place] + chr(ord(whole[place]) ^ 1) + whole[place + 1 :])
        with pytest.raises(BadInput) as refused:
            ring(tmp_path)
        assert secret[:20] not in str(refused.value)


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    ring(tmp_path)
    (tmp_path / "log.key").chmod(0o640)
    with pytest.raises(BadInput, match="mode 0640, expected 0600"):
        ring(tmp_path)


def test_a_key_of_another_log_is_refused_by_fingerprint(tmp_path: Path, signing_key: Callable[..., SigningKey]) -> None:
    expected = fingerprint(ring(tmp_path).current.public)
    (tmp_path / "log.key").write_text(signing_key(3).text)
    with pytest.raises(BadInput, match=f"expected {expected}"):
        ring(tmp_path)


def test_a_wrong_key_is_not_replaced_by_a_next_one_that_is_wrong_too(
    tmp_path: Path, signing_key: Callable[..., SigningKey]
) -> None:
    ring(tmp_path)
    for name, seed in (("log.key", 3), ("log.next.key", 4)):
        (tmp_path / name).write_text(signing_key(seed).text)
        (tmp_path / name).chmod(0o600)
    with pytest.raises(BadInput, match="another log's key, or an older one"):
        ring(tmp_path)


def test_a_key_of_another_name_or_kind_is_refused(tmp_path: Path, signing_key: Callable[..., SigningKey]) -> None:
    ring(tmp_path)
    for other in (signing_key(3, "siaga/other/1"), signing_key(3, ORIGIN, COSIGNATURE)):
        (tmp_path / "log.key").write_text(other.text)
        with pytest.raises(BadInput, match="holds a key of"):
            ring(tmp_path)


def test_a_lost_key_is_not_quietly_replaced(tmp_path: Path) -> None:
    ring(tmp_path)
    (tmp_path / "log.key").unlink()
    with pytest.raises(BadInput, match="is missing, though its public key is known"):
        ring(tmp_path)


@pytest.mark.parametrize("name", ["", "with space", "with+plus", "with\nline"])
def test_a_name_that_a_signature_line_can_not_hold_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="key name"):
        open_ring(tmp_path, "log", name, ED25519)
    assert list(tmp_path.iterdir()) == []


def test_a_rotation_signs_with_the_next_key_and_keeps_the_public_ones(tmp_path: Path) -> None:
    before = ring(tmp_path)
    after = before.switch(before.prepare(0))
    assert after.public == (before.current.public, after.current.public)
    assert successors(before.current.public, after.handovers)[-1] == after.current.public
    assert sorted(path.name for path in tmp_path.glob("*.key")) == ["log.key"]
    assert before.current.text.strip() not in (tmp_path / "log.key").read_text()
    again = ring(tmp_path)
    assert (again.current.public, again.public, again.handovers) == (
        after.current.public,
        after.public,
        after.handovers,
    )


def test_a_rotation_that_was_prepared_and_left_goes_on_with_the_same_key(tmp_path: Path) -> None:
    first = ring(tmp_path).prepare(0)
    assert ring(tmp_path).prepare(0) == first
    assert len(ring(tmp_path).public) == 1, "preparing changes nothing"


@pytest.mark.parametrize("after", range(3), ids=["handovers-written", "public-written", "all-done"])
def test_a_rotation_cut_off_anywhere_ends_with_one_key_or_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    before = ring(tmp_path)
    handover = before.prepare(0)
    done = 0

    def cut_off(path: Path, content: bytes, mode: int = 0o600) -> None:
        nonlocal done
        if done == after:
            raise KeyboardInterrupt
        done += 1
        written(path, content, mode)

    written = keys.write_and_rename
    with monkeypatch.context() as patched:
        patched.setattr(keys, "write_and_rename", cut_off)
        # Two files are written before the key takes its place.
        if after < 2:
            with pytest.raises(KeyboardInterrupt):
                before.switch(handover)
        else:
            before.switch(handover)
    found = ring(tmp_path)
    assert found.current.public == found.public[-1]
    finished = found if after >= 2 else found.switch(found.prepare(0))
    assert len(finished.public) == 2
    assert successors(before.current.public, finished.handovers)[-1] == finished.current.public


def test_a_switch_cut_off_before_the_key_took_its_place_is_finished_at_the_next_start(tmp_path: Path) -> None:
    before = ring(tmp_path)
    (tmp_path / "kept").write_bytes((tmp_path / "log.key").read_bytes())
    handover = before.prepare(0)
    following = (tmp_path / "log.next.key").read_bytes()
    after = before.switch(handover)
    # As it was on disk one step before the end.
    (tmp_path / "log.next.key").write_bytes(following)
    (tmp_path / "log.next.key").chmod(0o600)
    (tmp_path / "kept").chmod(0o600)
    (tmp_path / "kept").replace(tmp_path / "log.key")
    assert ring(tmp_path).current.public == after.current.public
    assert not (tmp_path / "log.next.key").exists()


@pytest.mark.parametrize("content", ["[", '["no note"]', "7"])
def test_damaged_hand_overs_are_refused(tmp_path: Path, content: str) -> None:
    ring(tmp_path)
    (tmp_path / "log.handovers.json").write_text(content)
    with pytest.raises(BadInput, match=r"handovers\.json is damaged"):
        ring(tmp_path)


def test_no_private_key_shows_in_words_or_figures(tmp_path: Path) -> None:
    before = ring(tmp_path)
    handover = before.prepare(0)
    secrets = secret_parts(tmp_path)
    assert len(secrets) == 2
    shown = repr(before) + str(before.current) + handover + str(keys.rotation_figures(handover))
    for secret in secrets:
        assert secret not in shown
        assert base64.b64decode(secret)[1:].hex() not in shown
