"""Seals: what was altered is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from siaga.errors import BadInput
from siaga.ledger import keys, seal
from siaga.ledger.model import Position

SECRET = bytes(range(32))
POSITION = Position("1", 1, "db", False, False, "0/1", "5:9:6", 180000)


def made(directory: Path) -> None:
    with seal.written(directory, seal.contents(POSITION, "m", 2, 3, [7]), SECRET) as path:
        path.write_bytes(b"accounts")


def test_a_seal_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    made(tmp_path)
    found = seal.load(tmp_path, SECRET)
    assert (found.position, found.map_digest, found.accounts, found.entries, found.seen) == (POSITION, "m", 2, 3, (7,))
    assert found.path.read_bytes() == b"accounts"


@pytest.mark.clause("DRP-3.2b")
@pytest.mark.parametrize("field", ["accounts", "entries", "seen", "map_digest", "sha256", "hmac"])
def test_an_altered_manifest_is_refused(tmp_path: Path, field: str) -> None:
    made(tmp_path)
    path = tmp_path / seal.MANIFEST
    document = json.loads(path.read_bytes())
    document[field] = [8] if field == "seen" else "0" * 64
    path.write_text(json.dumps(document))
    with pytest.raises(BadInput, match="altered, or made with another key"):
        seal.load(tmp_path, SECRET)


@pytest.mark.parametrize("content", ["[1]", '"x"', "7", "null", "{}", "nonsense", "[" * 100_000])
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    made(tmp_path)
    (tmp_path / seal.MANIFEST).write_text(content)
    with pytest.raises(BadInput, match="not a seal"):
        seal.load(tmp_path, SECRET)


def test_a_file_in_place_of_a_seal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(BadInput, match="not a seal"):
        seal.load(path, SECRET)


def test_altered_accounts_are_refused(tmp_path: Path) -> None:
    made(tmp_path)
    (tmp_path / seal.ACCOUNTS).write_bytes(b"accountz")
    with pytest.raises(BadInput, match="not the file that was sealed"):
        seal.load(tmp_path, SECRET)


def test_another_key_is_refused(tmp_path: Path) -> None:
    made(tmp_path)
    with pytest.raises(BadInput, match="another key"):
        seal.load(tmp_path, SECRET[::-1])


def test_a_seal_that_was_not_finished_is_none(tmp_path: Path) -> None:
    made(tmp_path)

    def cut_short() -> None:
        with seal.written(tmp_path, seal.contents(POSITION, "m", 2, 3, []), SECRET) as path:
            path.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_short()
    # The one that stood before still stands, and nothing else is left behind.
    assert seal.load(tmp_path, SECRET).accounts == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [seal.ACCOUNTS, seal.MANIFEST]


def test_a_key_file_is_made_closed_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with pytest.raises(BadInput, match="no such key file"):
        seal.secret(path, create=False)
    first = seal.secret(path, create=True)
    assert path.stat().st_mode & 0o777 == 0o600
    assert seal.secret(path, create=False) == first
    path.chmod(0o644)
    with pytest.raises(BadInput, match="others may read it"):
        seal.secret(path, create=False)


def test_a_key_file_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="expected a place where a key file can be made"):
        seal.secret(tmp_path / "no" / "key", create=True)


@pytest.mark.parametrize("content", ["", "abc", "zz" * 32])
def test_what_is_no_key_is_refused_without_repeating_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "key"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(BadInput, match="expected 64 hexadecimal digits") as refusal:
        seal.secret(path, create=False)
    assert not content or content not in str(refusal.value)


def test_the_two_keys_differ_and_neither_is_the_secret() -> None:
    assert len(keys.entry_key(SECRET)) == 32
    assert keys.entry_key(SECRET) not in keys.seal_key(SECRET).hex()
    assert SECRET.hex() not in (keys.entry_key(SECRET), keys.seal_key(SECRET).hex())
