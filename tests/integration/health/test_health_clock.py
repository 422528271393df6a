"""Time servers on loopback: honest, wrong, silent."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
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
