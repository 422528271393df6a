"""Which records somebody asks for, found in stored lines without parsing those that can't be meant (pure)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


class BadLine(ValueError):
    """A stored line that holds no record."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What a record must have; empty is anything."""

    kind: str = ""
    """The whole kind, or its domain: `traffic` means every `traffic.*`."""
    clause: str = ""
    """The clause, or one above it: `ZDT-1.1` means `ZDT-1.1a`, too."""
    run: str = ""
    since: str = ""
    """UTC, ISO 8601."""

    def may_have(self, line: bytes) -> bool:
        """Quickly: False where it certainly is none of them."""
        starts = (("kind", self.kind), ("clause", self.clause), ("run", self.run))
        return all(f'"{name}":"{wanted}'.encode() in line for name, wanted in starts if wanted)

    def has(self, document: dict[str, Any]) -> bool:
        """Whether this record is asked for."""
        kind: str = document["kind"]
        return (
            (kind == self.kind or kind.startswith(f"{self.kind}." if self.kind else ""))
            and document["clause"].startswith(self.clause)
            and self.run in ("", document["run"])
        )


EVERYTHING = Selection()


def latest(newest_first: Iterable[bytes], count: int, selection: Selection) -> list[dict[str, Any]]:
    """The last `count` records that are asked for, oldest first; BadLine when one can't be read."""
    found: list[dict[str, Any]] = []
    if count <= 0:
        return found
    for line in newest_first:
        if selection.since or selection.may_have(line):
            document = _parsed(line)
            if document["time"] < selection.since:
                break
            if selection.has(document):
                found.append(document)
                if len(found) == count:
                    break
    return found[::-1]


def exempt_ids(blocks: Iterable[list[bytes]]) -> set[str]:
    """The ids of the exempt acts that are in the log already."""
    lines = (line for block in blocks for line in block if b'"exempt_id":"' in line)
    return {document["exempt_id"] for document in map(_parsed, lines) if "exempt_id" in document}


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line[65:])
    except ValueError as error:
        raise BadLine("a record among those that were asked for can't be read") from error
    if not isinstance(found, dict) or not found.keys() >= _NEEDED:
        raise BadLine("a line among those that were asked for is no record")
    return found


_NEEDED = frozenset({"clause", "kind", "number", "run", "time"})
