"""Time servers on loopback: honest, wrong, silent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from siaga.errors import Unreachable
from siaga.health import clock
from siaga.hosts.local import LocalHost
from siaga.hosts.model import Completed

NOW = datetime.now(UTC)


class WithoutChrony(LocalHost):
    async def run(self, argv: Sequence[str], **how: Any) -> Completed:
        raise FileNotFoundError(argv[0])


class ClosedPath(LocalHost):
    """As where a directory of PATH may not be searched."""

    async def run(self, argv: Sequence[str], **how: Any) -> Completed:
        raise PermissionError(13, "Permission denied")


HOST = WithoutChrony()


@contextlib.asynccontextmanager
async def time_server(ahead_s: float, *, silent: bool = False, stratum: int = 2) -> AsyncIterator[str]:
    class Server(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.DatagramTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            if not silent:
                at_s = time.time() + ahead_s + 2_208_988_800
                stamp = struct.pack("!II", int(at_s), int(at_s % 1 * 2**32))
                head = struct.pack("!BBbb", 0x24, stratum, 6, -20)
                self.transport.sendto(head + bytes(20) + data[40:48] + stamp + stamp, addr)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Server, local_addr=("127.0.0.1", 0))
    try:
        yield f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    finally:
        transport.close()


async def test_the_median_of_the_servers_counts_and_a_liar_is_outvoted() -> None:
    async with time_server(0.2) as one, time_server(0.2) as two, time_server(3000) as liar:
        [found] = await clock.reader(HOST, [one, two, liar]).read(NOW)
    assert found.value == pytest.approx(200, abs=50)
    assert found.why == "against 3 of 3 time servers"


async def test_a_silent_server_is_left_out_and_none_at_all_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_ANSWER_S", 0.1)
    async with time_server(0) as honest, time_server(0, silent=True) as silent, time_server(0, stratum=0) as kissing:
        [found] = await clock.reader(HOST, [honest, silent, kissing]).read(NOW)
        assert found.why == "against 1 of 3 time servers"
        with pytest.raises(Unreachable, match="none of 2"):
            await clock.reader(HOST, [silent, kissing]).read(NOW)


async def test_without_chrony_and_servers_it_is_not_measured() -> None:
    with pytest.raises(Unreachable, match="names no time server"):
        await clock.reader(HOST, []).read(NOW)
    with pytest.raises(Unreachable, match="names no time server"):
        await clock.reader(ClosedPath(), []).read(NOW)


@pytest.mark.clause("PMT")
async def test_a_platform_alone_on_its_machine_need_not_follow_a_time_and_says_so() -> None:
    for host in (HOST, ClosedPath()):
        [found] = await clock.reader(host, [], alone=True).read(NOW)
        assert found.value is None
        assert found.applicable is False
        assert "one clock" in found.why
    async with time_server(0.2) as server:
        [found] = await clock.reader(HOST, [server], alone=True).read(NOW)
    assert found.value == pytest.approx(200, abs=50)


async def test_a_chrony_that_is_there_and_does_not_answer_is_not_measured_even_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chronyc = tmp_path / "chronyc"
    chronyc.write_text("#!/bin/sh\necho '506 Cannot talk to daemon'\nexit 1\n")
    chronyc.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(Unreachable, match="does not answer"):
        await clock.reader(LocalHost(), [], alone=True).read(NOW)
    async with time_server(0.2) as server:
        [found] = await clock.reader(LocalHost(), [server]).read(NOW)
    assert found.why == "against 1 of 1 time servers"
