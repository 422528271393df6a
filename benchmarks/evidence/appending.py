"""Records appended: by the log, and by the naive way that writes and fsyncs each of them by itself."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

from siaga.evidence.files import FileStore
from siaga.evidence.log import EvidenceLog
from siaga.evidence.model import Record

RECORD = Record(
    kind="traffic.drain",
    actor="controller",
    clause="ZDT-1.1a",
    reason="sgp-1 drained: p50 of 812 ms over 3 s against a pool median of 41 ms, limit 500 ms, ZDT-1.1a",
    figures={"node": "sgp-1", "p50_ms": 812.5, "pool_p50_ms": 41.25, "limit_ms": 500},
)
APPENDERS = 64

Append = Callable[[Record], Awaitable[object]]


class Naive:
    """A line, a write, an fsync, one after the other; no chain, no tree."""

    def __init__(self, path: Path) -> None:
        """Append to this file."""
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._turn = asyncio.Lock()

    async def append(self, record: Record) -> None:
        """Durable when it returns."""
        line = json.dumps({"time": time.time(), **asdict(record)}, sort_keys=True).encode() + b"\n"
        async with self._turn:
            await asyncio.to_thread(self._write, line)

    def _write(self, line: bytes) -> None:
        os.write(self._descriptor, line)
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Done."""
        os.close(self._descriptor)


async def per_second(append: Append, count_each: int) -> float:
    """Records a second that 64 concurrent appenders reach, each waiting for its own."""

    async def one() -> None:
        for _ in range(count_each):
            await append(RECORD)

    begun_s = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(APPENDERS)))
    return APPENDERS * count_each / (time.perf_counter() - begun_s)


async def throughput(directory: Path, rounds: int, count_each: int) -> dict[str, list[float]]:
    """Both ways in turns, so that the machine's moods hit both alike."""
    found: dict[str, list[float]] = {"log_per_s": [], "naive_per_s": []}
    for number in range(rounds):
        log = await _log(directory / f"log-{number}")
        found["log_per_s"].append(await per_second(log.append, count_each))
        await log.close()
        naive = Naive(directory / f"naive-{number}")
        found["naive_per_s"].append(await per_second(naive.append, max(1, count_each // 4)))
        naive.close()
    return found


async def overhead(directory: Path, count: int) -> dict[str, float]:
    """One appender: what an append takes, and what the bare write and fsync of as many bytes take, by turns."""
    log = await _log(directory / "overhead")
    descriptor = os.open(directory / "bare", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    content = b"x" * 470
    append_ms, bare_ms = [], []
    for _ in range(count):
        begun_s = time.perf_counter()
        await log.append(RECORD)
        append_ms.append((time.perf_counter() - begun_s) * 1000)
        begun_s = time.perf_counter()
        os.write(descriptor, content)
        os.fdatasync(descriptor)
        bare_ms.append((time.perf_counter() - begun_s) * 1000)
    os.close(descriptor)
    await log.close()
    append, bare = statistics.median(append_ms), statistics.median(bare_ms)
    return {"append_p50_ms": append, "bare_fsync_p50_ms": bare, "beyond_the_fsync_p50_ms": append - bare}


async def _log(directory: Path) -> EvidenceLog:
    log = EvidenceLog(FileStore(directory / "evidence", "siaga/benchmark/1"), spool=directory / "spool")
    await log.open()
    return log
