"""Evidence to give away: the records, their checkpoints, the public keys, and the one file that verifies them."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from siaga.errors import BadInput
from siaga.evidence.bundle import MODULES, bundle
from siaga.evidence.verify_export import Source

SEGMENT_LINES = 50_000
VERIFIER = "verify_export.py"
KEYS = ("log.pub", "witness.pub")
_README = """Evidence of {origin}, {records}.

Verify it with Python 3.11 or later and the package `cryptography`, without anything of Siaga:

    python {verifier} . --log-key log.pub --witness-key witness.pub

The public keys and the verifier lie here for convenience. Compare the keys with those that you were given before, and
the verifier with a copy of your own: whoever could forge the records could forge these, too.
"""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    target: Path
    origin: str
    first: int
    size: int
    left_out: int
    """Newest records that no witnessed checkpoint covers yet."""


def verifier() -> str:
    """The source of the offline verifier."""
    directory = Path(__file__).parent
    return bundle({module: (directory / f"{module}.py").read_text(encoding="utf-8") for module in MODULES})


def export(
    source: Source,
    keys: Path,
    target: Path,
    *,
    unwitnessed: bool = False,
    progress: Callable[[int], None] = lambda size: None,
) -> Exported:
    """Write a directory, one `.jsonl` file or a `.tar`, `.tar.gz`, by the name of `target`.

    `keys` holds the public keys. What no witnessed checkpoint covers is left out unless `unwitnessed`. BadInput when
    the target exists or can't be written; a half-written export never bears its name.
    """
    if target.exists():
        raise BadInput(f"{target} exists, expected a new name", hint="Choose another; an export overwrites nothing.")
    scratch = None
    try:
        scratch = Path(tempfile.mkdtemp(prefix=".siaga-export-", dir=target.parent))
        return _write(source, keys, scratch, target, unwitnessed=unwitnessed, progress=progress)
    except OSError as error:
        raise BadInput(
            f"{target} can't be written: {error.strerror or error}",
            hint="Choose a directory that exists, that you may write, and that has space.",
        ) from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def _write(
    source: Source, keys: Path, scratch: Path, target: Path, *, unwitnessed: bool, progress: Callable[[int], None]
) -> Exported:
    checkpoints = source.checkpoints()
    start = source.start
    covered = json.loads(checkpoints[-1])["size"] if checkpoints else start.size
    counted = Exported(target, source.origin, start.size, start.size, 0)

    def lines() -> Iterator[list[bytes]]:
        nonlocal counted
        for block in source.blocks():
            kept = block if unwitnessed else block[: max(0, covered - counted.size - counted.left_out)]
            size, left_out = counted.size + len(kept), counted.left_out + len(block) - len(kept)
            counted = Exported(target, source.origin, start.size, size, left_out)
            progress(size)
            yield kept

    if target.suffix == ".jsonl":
        header = {"origin": source.origin, "pruned": start.document() if start.size else None}
        with _new(scratch / "export") as file:
            file.write(json.dumps(header).encode() + b"\n" + b"".join(line + b"\n" for line in checkpoints))
            for block in lines():
                file.writelines(line + b"\n" for line in block)
        (scratch / "export").rename(target)
        return counted
    directory = scratch / target.name.partition(".tar")[0]
    (directory / "log").mkdir(parents=True, mode=0o700)
    directory.chmod(0o700)
    if start.size:
        _put(directory / f"log/{0:012d}.pruned", json.dumps({"first": 0, "last": start.size - 1, **start.document()}))
    first = start.size
    for block in _in_segments(lines()):
        with _new(directory / f"log/{first:012d}.jsonl") as file:
            file.writelines(line + b"\n" for line in block)
        first += len(block)
    _put(directory / "origin", f"{source.origin}\n")
    _put(directory / "checkpoints.jsonl", "".join(line.decode() + "\n" for line in checkpoints))
    for name in KEYS:
        if (keys / name).exists():
            _put(directory / name, (keys / name).read_text(encoding="utf-8"))
    _put(directory / VERIFIER, verifier())
    records = f"records {start.size} to {counted.size - 1}" if counted.size > start.size else "no records"
    readme = _README.format(origin=source.origin, records=records, verifier=VERIFIER)
    _put(directory / "README.txt", readme)
    if ".tar" in target.name:
        _archive(directory, scratch / "archive", compressed=target.name.endswith("gz"))
        (scratch / "archive").rename(target)
    else:
        directory.rename(target)
    return counted


def _in_segments(blocks: Iterator[list[bytes]]) -> Iterator[list[bytes]]:
    waiting: list[bytes] = []
    for block in blocks:
        waiting += block
        while len(waiting) >= SEGMENT_LINES:
            yield waiting[:SEGMENT_LINES]
            waiting = waiting[SEGMENT_LINES:]
    if waiting:
        yield waiting


def _archive(directory: Path, target: Path, *, compressed: bool) -> None:
    with _new(target) as file, tarfile.open(fileobj=file, mode="w:gz" if compressed else "w") as archive:
        archive.add(directory, directory.name)


def _put(path: Path, text: str) -> None:
    with _new(path) as file:
        file.write(text.encode())


def _new(path: Path) -> io.BufferedWriter:
    """Readable by its owner alone: evidence names people and what they did."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
