"""Evidence as it lies on disk, small and signed by real keys, to be damaged by tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from siaga.evidence.chain import Walk, beginning
from siaga.evidence.document import Stamp, Unnumbered
from siaga.evidence.keys import SigningKey, rotation_figures
from siaga.evidence.model import Record
from siaga.evidence.notes import Handover, checkpoint_text, written
from siaga.evidence.segments import Segments
from siaga.evidence.signatures import COSIGNATURE, ED25519
from siaga.evidence.verify_export import Report, verify

ORIGIN = "siaga/test/1"
COSIGNED_AT_S = 1_796_000_000


def key(seed: int, name: str = ORIGIN, kind: int = ED25519) -> SigningKey:
    return SigningKey(name, kind, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


def witness_key(seed: int = 200) -> SigningKey:
    return key(seed, "witness.test", COSIGNATURE)


def a_record(kind: str = "test.counted", reason: str = "counted", **figures: Any) -> Record:
    return Record(kind, "somebody", "SUM", reason, figures)


def stamp(number: int) -> Stamp:
    return Stamp(f"2026-11-23T04:{number // 60 % 60:02d}:{number % 60:02d}.000Z", 100.0 + number, "boot")


def checkpoint_line(size: int, root: bytes, chain: bytes, *signers: SigningKey) -> str:
    text = checkpoint_text(ORIGIN, size, root, chain)
    note = written(text, [signer.sign(text, COSIGNED_AT_S) for signer in signers])
    return json.dumps({"note": note, "size": size, "time": "2026-11-23T05:00:00.000Z"}) + "\n"


@dataclass
class SignedEvidence:
    """Writes one log; `log_key` and `witness` sign, and may be exchanged between two checkpoints."""

    directory: Path
    log_key: SigningKey = field(default_factory=lambda: key(1))
    witness: SigningKey = field(default_factory=witness_key)

    def __post_init__(self) -> None:
        (self.directory / "log").mkdir(parents=True)
        (self.directory / "origin").write_text(f"{ORIGIN}\n")
        self.walk = Walk(beginning(ORIGIN))
        self.lines: list[bytes] = []
        self.trusted = (self.log_key.public, self.witness.public)

    def add(self, *records: Record) -> None:
        for record in records:
            number = self.walk.size
            line, _ = self.walk.add(Unnumbered.of(record, stamp(number), epoch=1).numbered(number))
            self.lines.append(line)

    def count(self, records: int) -> None:
        self.add(*(a_record(n=self.walk.size + n) for n in range(records)))

    def checkpoint(self, *, witnessed: bool = True) -> None:
        with (self.directory / "checkpoints.jsonl").open("a") as file:
            file.write(self._checkpoint_line(witnessed=witnessed))

    def note(self) -> str:
        return str(json.loads(self._checkpoint_line(witnessed=True))["note"])

    def _checkpoint_line(self, *, witnessed: bool) -> str:
        signers = (self.log_key, self.witness) if witnessed else (self.log_key,)
        return checkpoint_line(self.walk.size, self.walk.position.root, self.walk.chain, *signers)

    def rotate(self, new: SigningKey, *, proven_by: SigningKey | None = None) -> None:
        """Record the hand-over; the caller takes the old key's last checkpoint, then exchanges `log_key`."""
        handover = Handover(self.log_key.public, new.public)
        text = handover.text
        note = written(text, [signer.sign(text, COSIGNED_AT_S) for signer in (self.log_key, proven_by or new)])
        self.add(
            a_record("evidence.key_rotated", **rotation_figures(note) if proven_by is None else {"handover": note})
        )

    def write(self, segments: Sequence[int] = (0,)) -> None:
        """Lay the lines out in segments that begin with these records."""
        for path in (self.directory / "log").iterdir():
            path.unlink()
        for begin, end in zip(segments, [*segments[1:], len(self.lines)], strict=True):
            (self.directory / f"log/{begin:012d}.jsonl").write_bytes(b"".join(self.lines[begin:end]))

    def alter(self, number: int, change: Callable[[bytes], bytes]) -> None:
        self.lines[number] = change(self.lines[number])
        self.write()

    def verified(self, **changed: Any) -> Report:
        log_key, witness = self.trusted
        keys: Mapping[str, Any] = {"log_keys": [log_key], "witness_keys": [witness], **changed}
        return verify(Segments(self.directory), **keys)


def rewritten(target: SignedEvidence, lines: Sequence[bytes]) -> None:
    """A forger's work: the same log with other contents, every chain value computed anew."""
    walk = Walk(beginning(ORIGIN))
    target.lines = [walk.add(line[65:-1])[0] for line in lines]
    target.walk = walk
    target.write()
