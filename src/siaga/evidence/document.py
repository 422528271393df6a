"""A record as the log keeps it: who, when by both clocks, why, with figures; and where it stands (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from siaga.errors import BadInput
from siaga.evidence.canonical import canonical
from siaga.evidence.model import Record

RECORD_BYTES_MAX = 1024 * 1024


def iso(moment: datetime) -> str:
    """As records have it: UTC, with milliseconds; texts of this form compare as the moments do."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Stamp:
    """A moment by both clocks."""

    time: str
    """UTC, ISO 8601 with milliseconds."""
    monotonic_s: float
    """Since the machine started, time asleep included; it can't be set."""
    boot: str
    """Which start of the machine that was."""

    @property
    def document(self) -> dict[str, Any]:
        """The fields of a record."""
        return {"time": self.time, "monotonic_s": self.monotonic_s, "boot": self.boot}


@dataclass(frozen=True, slots=True)
class Exempt:
    """An act that was done before its record was in the log (decision 21): when, and its entry in the spool."""

    id: str
    at: Stamp

    @property
    def document(self) -> dict[str, Any]:
        """The fields of a record."""
        stamp = {f"exempt_{name}": value for name, value in self.at.document.items() if name != "time"}
        return {"exempt_id": self.id, "exempt_at": self.at.time, **stamp}


@dataclass(frozen=True, slots=True)
class Unnumbered:
    """The canonical JSON of a record in two halves; its number, which stands between them, comes last."""

    head: bytes
    tail: bytes

    @staticmethod
    def of(record: Record, stamp: Stamp, epoch: int, exempt: Exempt | None = None) -> Unnumbered:
        """BadInput names what can't be recorded."""
        head: dict[str, Any] = {
            "actor": record.actor,
            "boot": stamp.boot,
            "clause": record.clause,
            "epoch": epoch,
            **(exempt.document if exempt else {}),
            "figures": record.figures,
            "kind": record.kind,
            "monotonic_s": stamp.monotonic_s,
        }
        tail = {"reason": record.reason, "run": record.run, "time": stamp.time}
        found = Unnumbered(canonical(head), canonical(tail))
        if found.length_bytes > RECORD_BYTES_MAX:
            raise BadInput(
                f"record `{record.kind}` has {found.length_bytes} bytes, expected at most {RECORD_BYTES_MAX}",
                hint="Record a count and a digest, and keep the list itself elsewhere.",
            )
        return found

    @property
    def length_bytes(self) -> int:
        """Without the number."""
        return len(self.head) + len(self.tail)

    def numbered(self, number: int) -> bytes:
        """The whole document; every name in the head sorts before `number`, every one in the tail after it."""
        return b'%b,"number":%d,%b' % (self.head[:-1], number, self.tail[1:])


def spooled(record: Record, stamp: Stamp) -> bytes:
    """What the spool keeps of a record until it is in the log; BadInput names what can't be recorded."""
    fields = {name: getattr(record, name) for name in ("kind", "actor", "clause", "reason", "figures", "run")}
    return canonical({**fields, **stamp.document})


def unspooled(document: Mapping[str, Any]) -> tuple[Record, Stamp]:
    """Read it back."""
    names = ("kind", "actor", "clause", "reason", "figures", "run")
    stamp = Stamp(document["time"], document["monotonic_s"], document["boot"])
    return Record(**{name: document[name] for name in names}), stamp
