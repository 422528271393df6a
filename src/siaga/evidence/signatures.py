"""Signed notes and checkpoints, to read and to verify; `notes.py` writes them.

The public formats c2sp.org/signed-note, /tlog-checkpoint and /tlog-cosignature. Standard library and `cryptography`
alone: the offline verifier carries this file along.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ED25519 = 0x01
COSIGNATURE = 0x04
NOTE_CHARACTERS_MAX = 1 << 16
SIGNATURES_MAX = 32
"""The format asks for 16 at least; a bound keeps a hostile note cheap to refuse."""


class BadNote(ValueError):
    """A note, a checkpoint or a key that is not what it should be; the message says why."""


@dataclass(frozen=True)
class Key:
    """A public key with the name that it signs under; as text `NAME+ID+BASE64`."""

    name: str
    kind: int
    public: bytes

    @property
    def id(self) -> bytes:
        """Four bytes that name the key in a signature line; they identify, they do not protect."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    @property
    def text(self) -> str:
        """As other programs of the format read it."""
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(bytes([self.kind]) + self.public).decode()}"

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Whether the key made this Ed25519 signature of the message."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except InvalidSignature:
            return False
        return True


def parse_key(text: str) -> Key:
    """Read `NAME+ID+BASE64`; BadNote says what is wrong with it."""
    # The name has no `+`, the base64 may have.
    name, _, rest = text.strip().partition("+")
    key_id, _, encoded = rest.partition("+")
    decoded = _unbase64(encoded, f"public key of `{name[:80]}`")
    if not name or re.search(r"\s", name):
        raise BadNote("not a public key: expected NAME+ID+BASE64, the name without spaces")
    if len(decoded) != 33 or decoded[0] not in (ED25519, COSIGNATURE):
        raise BadNote(f"public key of `{name[:80]}`: expected 33 bytes of an Ed25519 key, found {len(decoded)}")
    key = Key(name, decoded[0], decoded[1:])
    if key.id.hex() != key_id:
        raise BadNote(f"public key of `{name[:80]}`: its id is {key.id.hex()}, its text says {key_id[:80]!r}")
    return key


@dataclass(frozen=True)
class Signature:
    """One signature line of a note."""

    name: str
    key_id: bytes
    signature: bytes
    """With the eight bytes of its time in front where it is a cosignature."""


@dataclass(frozen=True)
class Note:
    """A text with signatures."""

    text: bytes
    """What is signed, its last LF included."""
    signatures: tuple[Signature, ...]

    def signed_by(self, keys: Iterable[Key]) -> Key | None:
        """The first of the keys that signed it; BadNote when a line names one of them and is not its signature."""
        for key in keys:
            for line in self.signatures:
                if (line.name, line.key_id) == (key.name, key.id):
                    if not self._verified(key, line.signature):
                        raise BadNote(f"the signature of `{key.name}` (key {key.id.hex()}) does not match the text")
                    return key
        return None

    def _verified(self, key: Key, signature: bytes) -> bool:
        if key.kind == ED25519:
            return key.verify(signature, self.text)
        time_s, signature = int.from_bytes(signature[:8], "big"), signature[8:]
        return key.verify(signature, cosigned_message(self.text, time_s))


def cosigned_message(text: bytes, time_s: int) -> bytes:
    """What a witness signs: the checkpoint, and when it saw it (POSIX seconds)."""
    return b"cosignature/v1\ntime %d\n" % time_s + text


def parse_note(note: str) -> Note:
    """Take text and signatures apart, verifying none yet; BadNote when it is no note."""
    if len(note) > NOTE_CHARACTERS_MAX:
        raise BadNote(f"note of {len(note)} characters, at most {NOTE_CHARACTERS_MAX} are read")
    if any(character < " " and character != "\n" for character in note):
        raise BadNote("note with a control character")
    text, blank, tail = note.rpartition("\n\n")
    if not blank or not tail.endswith("\n"):
        raise BadNote("not a signed note: expected a text, a blank line, then signature lines")
    lines = tail[:-1].split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise BadNote(f"note with {len(lines)} signatures, at most {SIGNATURES_MAX} are read")
    return Note((text + "\n").encode(), tuple(map(_parse_signature, lines)))


def _parse_signature(line: str) -> Signature:
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    if dash != "\u2014" or not name:
        raise BadNote(f"signature line {line[:80]!r}: expected an em dash, a name and base64")
    decoded = _unbase64(encoded, f"signature of `{name[:80]}`")
    if len(decoded) <= 4:
        raise BadNote(f"signature of `{name[:80]}` is too short")
    return Signature(name, decoded[:4], decoded[4:])


@dataclass(frozen=True)
class Checkpoint:
    """What the log promised: after `size` records the tree had this root and the chain this value."""

    origin: str
    size: int
    root: bytes
    chain: bytes
    note: Note


def parse_checkpoint(note: str) -> Checkpoint:
    """Read a checkpoint's note, verifying no signature; BadNote says what is wrong with it."""
    parsed = parse_note(note)
    lines = parsed.text.decode().split("\n")
    if len(lines) != 5 or not lines[0]:
        raise BadNote("not a checkpoint: expected four lines: origin, size, root, `chain HEX`")
    origin, size, root, chain = lines[:4]
    if not re.fullmatch(r"0|[1-9][0-9]{0,17}", size, re.ASCII):
        raise BadNote(f"checkpoint of `{origin[:80]}`: size {size[:80]!r} is no decimal without leading zeroes")
    decoded = _unbase64(root, f"root in the checkpoint of `{origin[:80]}`")
    if len(decoded) != 32 or not re.fullmatch(r"chain [0-9a-f]{64}", chain):
        raise BadNote(f"checkpoint of `{origin[:80]}`: expected a root of 32 bytes and `chain` with 64 hex digits")
    return Checkpoint(origin, int(size), decoded, bytes.fromhex(chain.removeprefix("chain ")), parsed)


def rotation_message(origin: str, old: str, new: str) -> bytes:
    """What both keys sign where one makes way for the other; the keys in their text form."""
    return f"siaga evidence key rotation\n{origin}\n{old}\n{new}\n".encode()


def _unbase64(text: str, what: str) -> bytes:
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise BadNote(f"{what} is no base64") from error
    # Two texts for one signature would let a note be changed without anybody noticing.
    if base64.b64encode(content).decode() != text:
        raise BadNote(f"{what} is not in the one form that base64 allows")
    return content
