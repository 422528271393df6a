"""A process that records as fast as it can and says on stdout what it was told is durable; to be killed.

    python appenders.py DIRECTORY RUN

A line `log NUMBER TOKEN` for each acknowledged record, `exempt TOKEN` for each exempt act that may go on.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from siaga.evidence import tail
from siaga.evidence.files import FileStore
from siaga.evidence.log import EvidenceLog
from siaga.evidence.model import Record

APPENDERS = 64
tail.SEGMENT_BYTES = 256 * 1024
"""So that some kills hit the change from one segment to the next."""


def say(text: str) -> None:
    """One write, so that a line is whole or not there."""
    os.write(1, f"{text}\n".encode())


async def record_for_ever(log: EvidenceLog, run: str, name: int) -> None:
    count = 0
    while True:
        token = f"{run}-{name}-{count}"
        number = await log.append(Record("test.counted", "somebody", "SUM", token, {"n": count}))
        say(f"log {number} {token}")
        count += 1


async def act_for_ever(log: EvidenceLog, run: str) -> None:
    count = 0
    while True:
        token = f"{run}-exempt-{count}"
        await log.append_exempt(Record("test.acted", "somebody", "SUM", token))
        say(f"exempt {token}")
        count += 1
        await asyncio.sleep(0.0005)


async def main(directory: Path, run: str) -> None:
    log = EvidenceLog(FileStore(directory / "evidence", "siaga/test/1"), spool=directory / "spool")
    await log.open()
    await asyncio.gather(*(record_for_ever(log, run, n) for n in range(APPENDERS)), act_for_ever(log, run))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
