"""Signed notes that we write: checkpoints, and the hand-over from one key to the next.

The public formats c2sp.org/signed-note, /tlog-checkpoint and /tlog-cosignature, which other logs and witnesses speak
too. Reading and verifying lives in `signatures.py`, which an auditor carries away; keys sign in `keys.py`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from siaga.evidence.signatures import (
    COSIGNATURE,
    BadNote,
    Checkpoint,
    Key,
    Note,
    Signature,
    parse_checkpoint,
    parse_key,
    parse_note,
    rotation_message,
)


def checkpoint_text(origin: str, size: int, root: bytes, chain: bytes) -> str:
    """What a log signs of itself: this many records, this tree, this end of the chain."""
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\nchain {chain.hex()}\n"


def written(text: str, signatures: Iterable[Signature]) -> str:
    """The note as it is stored and sent."""
    return f"{text}\n{''.join(map(_line, signatures))}"


def _line(signature: Signature) -> str:
    encoded = base64.b64encode(signature.key_id + signature.signature).decode()
    return f"\u2014 {signature.name} {encoded}\n"


def fingerprint(key: Key) -> str:
    """For people to compare: SHA-256 over the public key, in hex."""
    return hashlib.sha256(key.public).hexdigest()


def signature_of(note: Note, key: Key) -> Signature:
    """The verified signature of this key; BadNote when there is none, or one that does not match the text."""
    if note.signed_by([key]) is None:
        raise BadNote(f"not signed by `{key.name}` (key {key.id.hex()})")
    return next(line for line in note.signatures if (line.name, line.key_id) == (key.name, key.id))


def cosigned_at(note: Note, key: Key) -> int:
    """When the witness of this key cosigned, in POSIX seconds as it says; BadNote when it did not."""
    assert key.kind == COSIGNATURE, "only a cosignature carries its time"
    return int.from_bytes(signature_of(note, key).signature[:8], "big")


def log_checkpoint(note: str, key: Key) -> Checkpoint:
    """The checkpoint that the log's key signed; BadNote when it did not, or speaks for another log."""
    checkpoint = parse_checkpoint(note)
    signature_of(checkpoint.note, key)
    if checkpoint.origin != key.name:
        raise BadNote(f"checkpoint of `{checkpoint.origin}`, signed by the key of `{key.name}`")
    return checkpoint


@dataclass(frozen=True, slots=True)
class Handover:
    """One key makes way for the next one of the same name and kind.

    A note that both sign: the old key hands over, the new one shows that somebody holds it.
    """

    old: Key
    new: Key

    @property
    def text(self) -> str:
        """What both sign. Never a checkpoint: where that has its size, this has the name."""
        return rotation_message(self.old.name, self.old.text, self.new.text).decode()


def parse_handover(content: str) -> Handover:
    """Read a hand-over and verify both signatures; BadNote when one is missing or more than the key changes."""
    note = parse_note(content)
    lines = note.text.decode().split("\n")
    if len(lines) != 5:
        raise BadNote("not a hand-over from one key to the next: expected four lines")
    handover = Handover(parse_key(lines[2]), parse_key(lines[3]))
    if handover.text.encode() != note.text:
        raise BadNote("not a hand-over from one key to the next: its text has another form")
    if (handover.old.name, handover.old.kind) != (handover.new.name, handover.new.kind):
        raise BadNote(f"hand-over from `{handover.old.name}` to `{handover.new.name}`: name and kind must stay")
    for key in (handover.old, handover.new):
        signature_of(note, key)
    return handover


def successors(key: Key, handovers: Iterable[str]) -> tuple[Key, ...]:
    """The key and those it made way for, in order; hand-overs of other keys are passed over."""
    found = [key]
    for handover in map(parse_handover, handovers):
        if handover.old == found[-1]:
            found.append(handover.new)
    return tuple(found)
