"""Fills a small file system of its own around a log; run in a mount name space. Says what happened as JSON."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

from siaga.evidence.files import FileStore
from siaga.evidence.log import EvidenceLog
from siaga.evidence.model import Record, Unrecorded

DISK_BYTES = 64 * 1024 * 1024


def fill(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
        while True:
            file.write(b"x")


def acted(name: str) -> Record:
    return Record("test.acted", "somebody", "SUM", name)


async def main(disk: Path) -> dict[str, object]:
    log = EvidenceLog(FileStore(disk / "evidence", "siaga/test/1"), spool=disk / "spool")
    await log.open()
    await log.append(Record("test.before", "somebody", "SUM", "before"))
    reserve = log.describe()["reserve_bytes"]
    fill(disk / "ballast")
    written = 0
    told = ""
    long = "x" * 1_000_000
    while not told:
        try:
            await log.append(Record("test.long", "somebody", "SUM", long))
            written += 1
        except Unrecorded as refusal:
            told = refusal.message.rpartition(": ")[2]
    # What was taken ahead was there to be used, through a change of segment.
    assert written * len(long) > reserve * 0.8, (written, reserve)
    for n in range(3):
        await log.append_exempt(acted(f"full-{n}"))
    assert log.describe()["exempt_in_memory"] == 0
    await log.close()
    # Restarted on the full disk: it opens, since it needs nothing new.
    log = EvidenceLog(FileStore(disk / "evidence", "siaga/test/1"), spool=disk / "spool")
    await log.open()
    with contextlib.suppress(Unrecorded):
        await log.append(Record("test.long", "somebody", "SUM", long))
    await log.append_exempt(acted("restarted"))
    (disk / "ballast").unlink()
    async with asyncio.timeout(20):
        while log.describe()["exempt_waiting"]:
            await asyncio.sleep(0.05)
    await log.append(Record("test.after", "somebody", "SUM", "after"))
    found = [record["reason"] for record in await log.latest(50) if record["kind"] == "test.acted"]
    assert sorted(found) == ["full-0", "full-1", "full-2", "restarted"], found
    await log.close()
    return {"told": told, "written": written, "reserve_bytes": reserve}


if __name__ == "__main__":
    disk = Path(sys.argv[1]) / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", disk], check=True)
    os.chdir("/")
    print(json.dumps(asyncio.run(main(disk))))
