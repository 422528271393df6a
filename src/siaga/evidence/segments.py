"""Evidence as files, to read: a directory, or an export in one file.

`log/NUMBER.jsonl` are the segments, each named by its first record; `log/NUMBER.pruned` stands for those removed;
`checkpoints.jsonl` holds the signed notes; `origin` names the log. Standard library alone: the offline verifier
carries this file along.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from siaga.evidence.chain import Position, beginning

BLOCK_BYTES = 4 * 1024 * 1024


class Unreadable(ValueError):
    """There is no evidence to read there: what was found, and what was wanted."""


class Segments:
    """An evidence directory, as it is now. A writer may be at work in it."""

    def __init__(self, directory: Path) -> None:
        """Look at the directory; Unreadable when it holds no evidence."""
        self._directory = directory
        self.unfinished_bytes = 0
        """After the last whole line, once that was read: a record that is being written, or was when power failed."""
        try:
            self.origin = (directory / "origin").read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Unreadable(f"{directory} holds no evidence: its file `origin` can't be read ({error})") from error
        self.pruned = self._pruned()

    @property
    def start(self) -> Position:
        """Where the records that are left begin."""
        return self.pruned or beginning(self.origin)

    def checkpoints(self) -> list[bytes]:
        """The lines of the signed checkpoints, oldest first; a line that is being written is left out."""
        return checkpoint_lines(self._directory)

    def segments(self) -> list[tuple[int, Path]]:
        """First record and path of every segment that is left, in order."""
        found = sorted((int(path.stem), path) for path in self._log.glob("*.jsonl") if path.stem.isdigit())
        return [(first, path) for first, path in found if first >= self.start.size]

    def blocks(self, first: int = 0) -> Iterator[list[bytes]]:
        """Whole lines in order, from record `first` on."""
        segments = self.segments()
        begin = max((n for n, (start, _) in enumerate(segments) if start <= first), default=0)
        skip = max(0, first - segments[begin][0]) if segments else 0
        for _, path in segments[begin:]:
            rest = b""
            with path.open("rb") as file:
                while block := file.read(BLOCK_BYTES):
                    *lines, rest = (rest + block).split(b"\n")
                    yield lines[skip:]
                    skip = max(0, skip - len(lines))
            self.unfinished_bytes = len(rest)

    def newest_first(self) -> Iterator[bytes]:
        """Whole lines, the last one first."""
        for _, path in reversed(self.segments()):
            yield from _lines_backwards(path)

    @property
    def _log(self) -> Path:
        return self._directory / "log"

    def _pruned(self) -> Position | None:
        found = [_read_position(path) for path in self._log.glob("*.pruned")]
        return max(found, key=lambda position: position.size, default=None)


def checkpoint_lines(directory: Path) -> list[bytes]:
    """The lines of the signed checkpoints in a directory, oldest first; what follows the last LF is none yet."""
    try:
        return (directory / "checkpoints.jsonl").read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []


def _read_position(path: Path) -> Position:
    try:
        return Position.from_document(json.loads(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise Unreadable(f"{path} can't be read: {error}") from error


def _lines_backwards(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        # What follows the last LF is not a line yet.
        rest: bytes | None = None
        while end:
            begin = max(0, end - BLOCK_BYTES // 16)
            file.seek(begin)
            first, *lines = file.read(end - begin).split(b"\n")
            if lines:
                if rest is not None:
                    yield lines.pop() + rest
                else:
                    lines.pop()
                yield from reversed(lines)
                rest = first
            elif rest is not None:
                rest = first + rest
            end = begin
        if rest:
            yield rest


class ExportFile:
    """An export in one file: a line that names the log and where it begins, its checkpoints, its records."""

    def __init__(self, path: Path) -> None:
        """Read the first line and the checkpoints; Unreadable when it is not such a file."""
        self._path = path
        self._checkpoints: list[bytes] = []
        self.unfinished_bytes = 0
        try:
            with path.open("rb") as file:
                header: dict[str, Any] = json.loads(file.readline())
                self.origin = str(header["origin"])
                self.pruned = Position.from_document(header["pruned"]) if header["pruned"] else None
                self._records_at = file.tell()
                while (line := file.readline()).startswith(b'{"note"'):
                    self._checkpoints.append(line.rstrip(b"\n"))
                    self._records_at = file.tell()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Unreadable(f"{path} is not an export of evidence: {error}") from error

    @property
    def start(self) -> Position:
        """Where the records that are left begin."""
        return self.pruned or beginning(self.origin)

    def checkpoints(self) -> list[bytes]:
        """The lines of the signed checkpoints, oldest first."""
        return self._checkpoints

    def blocks(self) -> Iterator[list[bytes]]:
        """Whole lines in order."""
        rest = b""
        with self._path.open("rb") as file:
            file.seek(self._records_at)
            while block := file.read(BLOCK_BYTES):
                *lines, rest = (rest + block).split(b"\n")
                yield lines
        self.unfinished_bytes = len(rest)
