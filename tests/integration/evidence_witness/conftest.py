"""A real witness process, and a log with the real tree beside it."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from siaga.evidence.merkle import Tree, leaf_hash
from siaga.evidence.model import Record, Unrecorded
from siaga.evidence.witness_client import WitnessClient

DEADLINE_S = 20.0
ORIGIN = "siaga/test/1"


class WitnessUnderTest:
    """The process of one state directory; its socket's path stays short."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "w"
        self.socket = directory / "w.sock"
        self.client = WitnessClient(self.socket, deadline_s=3.0)
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        return [sys.executable, "-m", "siaga.evidence.witness", str(self.directory), str(self.socket)]

    def start(self) -> None:
        self.process = subprocess.Popen(self.command())
        deadline = time.monotonic() + DEADLINE_S
        while not self._listens():
            assert self.process.poll() is None, "the witness ended at its start"
            assert time.monotonic() < deadline, "the witness did not start"
            time.sleep(0.02)

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.socket))
            except OSError:
                return False
        return True

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def hang(self) -> None:
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def fill_its_disk(self) -> None:
        """No file of the process may grow beyond a few bytes, until `make_room`."""
        self._limit_files(64)

    def make_room(self) -> None:
        self._limit_files(resource.RLIM_INFINITY)

    def _limit_files(self, bytes_max: int) -> None:
        assert self.process is not None
        _, hard = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (bytes_max if bytes_max >= 0 else hard, hard))

    def _signal(self, signum: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signum)

    def _end(self, signum: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self.go_on()
            self._signal(signum)
            self.process.wait(timeout=DEADLINE_S)


class LogUnderTest:
    """Records in memory with their real tree and chain; can lose them, alter them, and refuse them."""

    def __init__(self) -> None:
        self.origin = ORIGIN
        self.records: list[Record] = []
        self.leaves: list[bytes] = []
        self.full = False

    async def append(self, record: Record) -> int:
        if self.full:
            raise Unrecorded("the evidence's disk is full", hint="Make room.")
        self.records.append(record)
        self.leaves.append(leaf_hash(repr(record).encode()))
        return self.size - 1

    async def append_exempt(self, record: Record) -> None:
        self.records.append(record)
        self.leaves.append(leaf_hash(repr(record).encode()))

    async def grow(self, count: int) -> None:
        for _ in range(count):
            await self.append(Record("test.act", "tester", "SUM", f"act {self.size}"))

    @property
    def size(self) -> int:
        return len(self.leaves)

    def kinds(self) -> list[str]:
        return [record.kind for record in self.records]

    def root(self, size: int) -> bytes:
        return Tree(0, (), self.leaves).root(size)

    def consistency(self, old: int, new: int) -> Sequence[bytes]:
        return Tree(0, (), self.leaves).consistency(old, new)

    def chain(self, size: int) -> bytes:
        chain = hashlib.sha256(b"siaga evidence v1\n" + ORIGIN.encode()).digest()
        for leaf in self.leaves[:size]:
            chain = hashlib.sha256(chain + leaf).digest()
        return chain


@pytest.fixture
def witness(directories: Callable[[], Path]) -> Iterator[WitnessUnderTest]:
    under_test = WitnessUnderTest(directories())
    under_test.start()
    yield under_test
    under_test.kill()


@pytest.fixture
def log() -> LogUnderTest:
    return LogUnderTest()
