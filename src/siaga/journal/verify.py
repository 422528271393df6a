"""Is the journal what was written: every segment against its seal, every frame against its chain, the sums' files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from siaga.journal import columnar, state
from siaga.journal.frames import Torn
from siaga.journal.segments import Contents, Seal, segment_path, stray_logs, stretch


def verify(contents: Contents, advance: Callable[[], None] = lambda: None) -> list[str]:
    """What is wrong, in words; nothing when all is well. `advance` is called after each segment."""
    found: list[str] = []
    for seal in contents.seals:
        found += _segment(contents.directory, seal)
        advance()
    # A frame cut short at the very end is being written, or was never acknowledged.
    found += [
        log.damage.message for log in contents.logs if log.damage is not None and not isinstance(log.damage, Torn)
    ]
    found += [f"{path.name} follows a log that is damaged or missing" for path in stray_logs(contents)]
    base = contents.standing.base
    if base is not None:
        found += _sums(contents.directory / base["file"], base["sha256"])
    pointer = state.pointer(contents.directory)
    if pointer is not None:
        found += _sums(contents.directory / pointer["file"], pointer["sha256"])
    return found


def _segment(directory: Path, seal: Seal) -> Sequence[str]:
    path = segment_path(directory, seal.summary.number)
    try:
        if columnar.sha256(path) == seal.file_sha256:
            return ()
    except FileNotFoundError:
        return (f"{path.name} is missing: {stretch(seal.summary)}",)
    return (f"{path.name} is not what was sealed (its digest differs): {stretch(seal.summary)}",)


def _sums(path: Path, digest: str) -> Sequence[str]:
    try:
        same = columnar.sha256(path) == digest
    except FileNotFoundError:
        return (f"{path.name} is missing: the accumulators of all accounts",)
    return () if same else (f"{path.name} is not what was kept (its digest differs): the accumulators of all accounts",)
