"""Copies Siaga's own state into one file, while the controllers run or not.

The order is what makes the copy consistent: first the journal of runs, last the evidence. So the evidence knows
at least everything that the journal knows. A run that is resumed from the copy may do again what was done after
it, which its checks and keys allow for; never does the journal claim a step that the evidence has not heard of.
Within the evidence what points into the log (checkpoints, spool) is copied before the log itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from siaga.controller import state, state_manifest
from siaga.controller.leadership_file import EPOCH, read_epoch
from siaga.controller.state_manifest import CONTROLLER, NAME, Manifest, Member
from siaga.controller.state_version import evidence_directory
from siaga.errors import BadInput, PlatformFault, SiagaError
from siaga.evidence.segments import Segments, Unreadable
from siaga.hosts.local import sync_directory
from siaga.platform.layout import Layout

ATTEMPTS_MAX = 3
_SQLITE = b"SQLite format 3\0"
_BUSY_S = 30.0
_LOG = "log"


class _Changed(Exception):
    """A segment of the evidence was pruned while we copied."""


def back_up(layout: Layout, target: Path, now: datetime) -> tuple[Path, Manifest]:
    """Write the backup and return where it is; `target` is a new file or a directory.

    BadInput when the target exists or can't be written; nothing half-written ever has its name.
    """
    if target.is_dir():
        target = target / f"siaga-state-{layout.site.name}-{now:%Y%m%dT%H%M%SZ}.tar"
    if target.exists():
        raise BadInput(
            f"{target} exists, expected a new file", hint="Choose another name; a backup overwrites nothing."
        )
    try:
        scratch = Path(tempfile.mkdtemp(prefix=".siaga-backup-", dir=target.parent))
    except OSError as error:
        raise BadInput(
            f"{target} can't be written: {error.strerror}",
            hint="Choose a directory that exists and that you may write.",
        ) from error
    try:
        manifest = _with_retries(layout, scratch, now)
        # A hard link refuses what a rename would overwrite.
        os.link(scratch / "backup", target)
        sync_directory(target.parent)
    except FileExistsError as error:
        raise BadInput(f"{target} was made by another meanwhile", hint="Choose another name.") from error
    except OSError as error:
        raise PlatformFault(
            f"the backup was not written: {error.strerror or error}", hint="Make room on the disk, then try again."
        ) from error
    finally:
        for path in scratch.iterdir():
            path.unlink()
        scratch.rmdir()
    return target, manifest


def _with_retries(layout: Layout, scratch: Path, now: datetime) -> Manifest:
    for _ in range(ATTEMPTS_MAX):
        with contextlib.suppress(_Changed):
            return _write(layout, scratch, now)
    raise SiagaError(
        "old evidence was removed during each attempt to copy it", hint="Try again when `evidence.pruned` is recorded."
    )


def _write(layout: Layout, scratch: Path, now: datetime) -> Manifest:
    found = state.read(layout.directory(CONTROLLER))
    epoch = read_epoch(layout.directory(CONTROLLER) / EPOCH)
    evidence = Path(CONTROLLER) / evidence_directory(found.generation)
    archive = _Archive(layout.place.state, scratch)
    with (
        (scratch / "backup").open("wb") as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        os.fchmod(file.fileno(), 0o600)
        for path in _databases(layout.directory(CONTROLLER)):
            archive.add_database(tar, path)
        for path in _plain_files(layout):
            archive.add(tar, path)
        segments = _segments(layout.directory(CONTROLLER))
        for path in segments:
            archive.add(tar, path)
        if any(not path.exists() for path in segments):
            raise _Changed
        manifest = Manifest(
            site=layout.site.name,
            made_at=now.isoformat(timespec="seconds"),
            siaga=version("siaga"),
            state_format=found.format,
            state=layout.site.controller.state,
            epoch=epoch,
            origin=_origin(layout.place.state / evidence),
            records=archive.records_below(f"{evidence}/{_LOG}/"),
            members=tuple(archive.members),
        )
        content = json.dumps(state_manifest.to_document(manifest), indent=1).encode()
        entry = tarfile.TarInfo(NAME)
        entry.size, entry.mode = len(content), 0o600
        tar.addfile(entry, io.BytesIO(content))
    _sync(scratch / "backup")
    return manifest


def _databases(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.rglob("*")):
        if path.is_file() and _is_database(path):
            yield path


def _plain_files(layout: Layout) -> Iterator[Path]:
    """Everything but databases, the log itself, locks, and what is being written or is no state."""
    yield layout.place.layout
    yield from sorted(path for path in layout.secret("x").parent.iterdir() if not path.name.startswith("."))
    controller = layout.directory(CONTROLLER)
    for path in sorted(controller.rglob("*")):
        leftover = path.name.startswith(".") or path.name == "lock" or path.name == "reserve"
        beside_database = path.name.endswith(("-journal", "-wal", "-shm", ".lock"))
        if path.is_file() and not leftover and not beside_database and not _is_segment(path) and not _is_database(path):
            yield path


def _segments(controller: Path) -> list[Path]:
    return sorted(path for path in controller.rglob("*.jsonl") if _is_segment(path))


def _is_segment(path: Path) -> bool:
    return path.parent.name == _LOG and path.suffix == ".jsonl" and (path.parents[1] / "origin").exists()


def _is_database(path: Path) -> bool:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE
    return False


def _origin(evidence: Path) -> str:
    try:
        return Segments(evidence).origin
    except Unreadable:
        return ""


class _Archive:
    """Adds files to the archive and keeps the list of them."""

    def __init__(self, base: Path, scratch: Path) -> None:
        self._base = base
        self._scratch = scratch
        self._last_lines: dict[str, bytes] = {}
        self.members: list[Member] = []

    def add(self, tar: tarfile.TarFile, path: Path) -> None:
        """As long as the file is now; one that is gone meanwhile is left out."""
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            self._add(tar, str(path.relative_to(self._base)), file, os.fstat(file.fileno()).st_size)

    def add_database(self, tar: tarfile.TarFile, path: Path) -> None:
        """By SQLite's own backup, so that no write is seen half; whole, or PlatformFault."""
        copy = self._scratch / "database"
        copy.unlink(missing_ok=True)
        try:
            # Read-write: after a crash SQLite first has to undo what was half written.
            with (
                contextlib.closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=_BUSY_S)) as source,
                contextlib.closing(sqlite3.connect(copy)) as target,
            ):
                source.backup(target)
                (verdict,) = target.execute("pragma integrity_check").fetchone()
        except sqlite3.Error as error:
            raise PlatformFault(
                f"{path} can't be copied: {error}", hint="Look at both disks, then try again."
            ) from error
        if verdict != "ok":
            raise PlatformFault(f"{path} is damaged: {verdict}", hint="Restore the last good backup of the state.")
        with copy.open("rb") as file:
            self._add(tar, str(path.relative_to(self._base)), file, copy.stat().st_size)

    def records_below(self, prefix: str) -> int:
        """How many records the log has that was copied from there."""
        lines = [line for name, line in sorted(self._last_lines.items()) if name.startswith(prefix) and line]
        if not lines:
            return 0
        number: int = json.loads(lines[-1].partition(b" ")[2])["number"]
        return number + 1

    def _add(self, tar: tarfile.TarFile, name: str, file: io.BufferedReader, length_bytes: int) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode, entry.mtime = length_bytes, 0o600, int(time.time())
        reader = _Reader(file)
        tar.addfile(entry, reader)
        self.members.append(Member(name, length_bytes, reader.digest.hexdigest()))
        if name.endswith(".jsonl"):
            self._last_lines[name] = reader.last_line


class _Reader(io.RawIOBase):
    """Passes a file's bytes on, with their digest and their last whole line."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.last_line = b""
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        content = self._file.read(size)
        self.digest.update(content)
        *whole, self._rest = (self._rest + content).split(b"\n")
        if whole:
            self.last_line = whole[-1]
        return content


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
