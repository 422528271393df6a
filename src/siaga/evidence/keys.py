"""Signing keys on disk: made, loaded, rotated; each with the public keys it follows from.

A ring is one directory's keys of one role (`log`, `witness`): `ROLE.key` signs; `ROLE.pub` lists every public key,
oldest first; `ROLE.handovers.json` holds the signed hand-overs between them; `ROLE.next.key` is there during a
rotation. Private keys are readable by their owner alone and are never printed.

A rotation of the log's key is recorded as `evidence.key_rotated`, one of the witness's key as
`evidence.witness_key_rotated`, with these figures (all text): `old_key` and `new_key` (text form of the public keys),
`old_fingerprint` and `new_fingerprint`, and `handover`: the note that both keys sign, over the text of
`signatures.rotation_message`. A verifier trusts `handover` alone. It goes over to the log's new key at the first
checkpoint which that key signs, if an earlier checkpoint signed by the old key covers the record; from then on the
old key counts for nothing.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from siaga.errors import BadInput
from siaga.evidence.notes import Handover, fingerprint, parse_handover, written
from siaga.evidence.signatures import (
    COSIGNATURE,
    ED25519,
    BadNote,
    Key,
    Signature,
    cosigned_message,
    parse_key,
)
from siaga.hosts.local import sync_directory, write_and_rename

_PRIVATE = "PRIVATE+KEY+"
_RESTORE = "Restore it from the backup of Siaga's state (`siaga state restore`)."


class SigningKey:
    """A private key with its name and kind. Its repr shows the public half only."""

    __slots__ = ("_private", "public")

    def __init__(self, name: str, kind: int, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = Key(name, kind, private.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        """Never the private half: this lands in logs."""
        return f"SigningKey({self.public.text})"

    def sign(self, text: str, time_s: int) -> Signature:
        """Sign a note's text; a cosignature states the time (POSIX seconds), a plain one has no room for it."""
        if self.public.kind == ED25519:
            signature = self._private.sign(text.encode())
        else:
            signature = time_s.to_bytes(8, "big") + self._private.sign(cosigned_message(text.encode(), time_s))
        return Signature(self.public.name, self.public.id, signature)

    @property
    def text(self) -> str:
        """The private key as it is kept; the id in it makes damage show."""
        content = bytes([self.public.kind]) + self._private.private_bytes_raw()
        return f"{_PRIVATE}{self.public.name}+{self.public.id.hex()}+{base64.b64encode(content).decode()}\n"


def parse_signing_key(text: str) -> SigningKey:
    """Read a private key's text form; BadNote when it is none or damaged. No message holds any part of it."""
    try:
        name, found_id, encoded = text.strip().removeprefix(_PRIVATE).split("+", 2)
        content = base64.b64decode(encoded, validate=True)
        key = SigningKey(name, content[0], Ed25519PrivateKey.from_private_bytes(content[1:]))
    except (ValueError, IndexError):
        raise BadNote("not a private key, or a damaged one") from None
    if not text.startswith(_PRIVATE) or key.public.kind not in (ED25519, COSIGNATURE):
        raise BadNote("not a private key, or a damaged one")
    if key.public.id.hex() != found_id:
        raise BadNote("a damaged private key: its id does not match")
    return key


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys of one role as they are on disk."""

    directory: Path
    role: str
    current: SigningKey
    public: tuple[Key, ...]
    """Every public key, oldest first; the last one is the current key's."""
    handovers: tuple[str, ...]
    """The signed hand-overs, oldest first."""

    def prepare(self, time_s: int) -> str:
        """The signed hand-over to the next key, which is made once and then found again until `switch`."""
        path = self._path("next.key")
        name, kind = self.current.public.name, self.current.public.kind
        if not path.exists():
            write_and_rename(path, _generate(name, kind).text.encode())
        following = _read_private(path, name, kind)
        text = Handover(self.current.public, following.public).text
        return written(text, (self.current.sign(text, time_s), following.sign(text, time_s)))

    def switch(self, handover: str) -> KeyRing:
        """Sign with the next key from now on. The old private key is gone afterwards.

        A crash in between leaves the old key in force, or a `ROLE.pub` that names the next one: `open_ring` then
        finishes the switch.
        """
        following = parse_handover(handover).new
        write_and_rename(self._path("handovers.json"), json.dumps((*self.handovers, handover)).encode())
        _write_public(self._path("pub"), (*self.public, following))
        return open_ring(self.directory, self.role, following.name, following.kind)

    def _path(self, suffix: str) -> Path:
        return self.directory / f"{self.role}.{suffix}"


def open_ring(directory: Path, role: str, name: str, kind: int) -> KeyRing:
    """Load the keys of a role, making the first one where there never was any.

    BadInput when a key is missing, damaged, readable by others, of another name, or not the one that signed last.
    """
    path, public_path = directory / f"{role}.key", directory / f"{role}.pub"
    if not path.exists():
        if public_path.exists():
            raise BadInput(f"{path} is missing, though its public key is known", hint=_RESTORE)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_and_rename(path, _generate(name, kind).text.encode())
    current = _read_private(path, name, kind)
    if not public_path.exists():
        _write_public(public_path, (current.public,))
    public = read_public(public_path)
    if public[-1] != current.public:
        current = _finish_switch(directory / f"{role}.next.key", path, current, public[-1])
    return KeyRing(directory, role, current, public, _read_handovers(directory / f"{role}.handovers.json"))


def _finish_switch(next_path: Path, path: Path, current: SigningKey, expected: Key) -> SigningKey:
    following = _read_private(next_path, expected.name, expected.kind) if next_path.exists() else None
    if following is None or following.public != expected:
        raise BadInput(
            f"{path} holds the key with fingerprint {fingerprint(current.public)}, expected {fingerprint(expected)}",
            hint=f"It is another log's key, or an older one. {_RESTORE}",
        )
    next_path.replace(path)
    sync_directory(path.parent)
    return following


def read_public(path: Path) -> tuple[Key, ...]:
    """The public keys in a file, one a line, oldest first; BadInput when there is none or one is damaged."""
    try:
        keys = tuple(parse_key(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except (BadNote, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: {error}", hint=_RESTORE) from error
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}", hint=_RESTORE) from error
    if not keys:
        raise BadInput(f"{path} is empty, expected public keys", hint=_RESTORE)
    return keys


def rotation_figures(handover: str) -> dict[str, str]:
    """The figures of the record of a rotation, as the top of this file lists them."""
    found = parse_handover(handover)
    return {
        "old_key": found.old.text,
        "new_key": found.new.text,
        "old_fingerprint": fingerprint(found.old),
        "new_fingerprint": fingerprint(found.new),
        "handover": handover,
    }


def pin(path: Path, keys: tuple[Key, ...]) -> None:
    """Keep somebody else's public keys as the ones to trust."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write_public(path, keys)


def _write_public(path: Path, keys: tuple[Key, ...]) -> None:
    write_and_rename(path, "".join(f"{key.text}\n" for key in keys).encode())


def _generate(name: str, kind: int) -> SigningKey:
    if not name or "+" in name or any(c.isspace() or not c.isprintable() for c in name):
        raise BadInput(f"key name {name[:80]!r}: found spaces or `+`", hint="Choose a name such as `siaga/payments/1`.")
    return SigningKey(name, kind, Ed25519PrivateKey.generate())


def _read_private(path: Path, name: str, kind: int) -> SigningKey:
    try:
        mode = path.stat().st_mode & 0o777
        key = parse_signing_key(path.read_text(encoding="ascii"))
    except UnicodeDecodeError:
        raise BadInput(f"{path}: not a private key, or a damaged one", hint=_RESTORE) from None
    except BadNote as error:
        raise BadInput(f"{path}: {error}", hint=_RESTORE) from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}", hint=_RESTORE) from error
    if mode & 0o077:
        raise BadInput(
            f"{path} has mode {mode:04o}, expected 0600: others could sign in our name",
            hint=f"`chmod 600 {path}`; if somebody else may have read it, rotate the key.",
        )
    if (key.public.name, key.public.kind) != (name, kind):
        raise BadInput(f"{path} holds a key of `{key.public.name}`, expected one of `{name}`", hint=_RESTORE)
    return key


def _read_handovers(path: Path) -> tuple[str, ...]:
    try:
        handovers = json.loads(path.read_bytes())
        for handover in handovers:
            parse_handover(handover)
    except FileNotFoundError:
        return ()
    except (ValueError, TypeError, AttributeError) as error:
        raise BadInput(f"{path} is damaged: {error}", hint=_RESTORE) from error
    return tuple(handovers)
