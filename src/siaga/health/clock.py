"""How far a host's clock is off: as chrony knows it, else as time servers answer (SNTP, RFC 4330)."""

from __future__ import annotations

import asyncio
import secrets
import struct
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from statistics import median

from siaga.errors import Unreachable
from siaga.health.model import Kind, Observation, Reader
from siaga.hosts.model import Host

PORT = 123
SAMPLES = 4
"""Of each server; the one with the shortest way counts."""
_ANSWER_S = 1.0
_DEADLINE_S = 20.0
_EPOCH_1900_S = 2_208_988_800
_PACKET = struct.Struct("!B B b b 11I")
_NOT_SYNCHRONISED = "Not synchronised"
_CHRONY_FIELDS = 14
_SYSTEM_TIME, _LEAP = 4, 13
"""Columns of `chronyc -c tracking`: the offset in seconds, and whether it follows anybody."""


def reader(
    host: Host, time_servers: Sequence[str], now_s: Callable[[], float] = time.time, *, alone: bool = False
) -> Reader:
    """Read the offset of the host's clock; `time_servers` (`name` or `name:port`) speak for this machine only.

    A host that is a whole platform `alone` need not follow any time: where it follows none, there is no offset to read.
    """

    async def read(now: datetime) -> Sequence[Observation]:
        tracked = await _tracked(host, bool(time_servers))
        if tracked is None and not time_servers and alone:
            why = "an embedded platform has one clock, and no chrony or time server gives it a time to follow"
            return [Observation(Kind.CLOCK_OFFSET, host.name, "clock", None, why, applicable=False)]
        offset_s, why = (tracked, "by chrony") if tracked is not None else await _asked(time_servers, now_s)
        return [Observation(Kind.CLOCK_OFFSET, host.name, "clock", round(abs(offset_s) * 1000, 3), why)]

    return Reader(f"clock of {host.name}", host.name, (Kind.CLOCK_OFFSET,), read, "clock", deadline_s=_DEADLINE_S + 5)


async def _tracked(host: Host, has_other: bool) -> float | None:
    """By chrony; None where the host has none that we may run."""
    try:
        done = await host.run(["chronyc", "-c", "tracking"], deadline_s=5.0)
    except (FileNotFoundError, PermissionError):
        # The latter where a directory of PATH is closed to us.
        return None
    if done.exit_code == 0:
        return tracking(done.stdout.decode(errors="replace"))
    if has_other:
        return None
    raise Unreachable("chrony is on the host and does not answer", hint="Start it, or name `health.time_servers`.")


async def _asked(time_servers: Sequence[str], now_s: Callable[[], float]) -> tuple[float, str]:
    if not time_servers:
        raise Unreachable(
            "the host has no chrony, and the site names no time server",
            hint="Run chrony, or name servers as `health.time_servers`.",
        )
    answers = await asyncio.gather(*(_ask(server, now_s) for server in time_servers))
    offsets = [answer for answer in answers if answer is not None]
    if not offsets:
        raise Unreachable(f"none of {len(time_servers)} time servers answers", hint="Open UDP port 123 to them.")
    return median(offsets), f"against {len(offsets)} of {len(time_servers)} time servers"


def tracking(text: str) -> float:
    """The offset in seconds from chrony's own account; Unreachable while it follows nobody."""
    fields = text.strip().split(",")
    if len(fields) < _CHRONY_FIELDS:
        raise Unreachable("chrony's account of its tracking is cut off", hint="Look at `chronyc tracking`.")
    if fields[_LEAP] == _NOT_SYNCHRONISED:
        raise Unreachable("chrony follows no time server yet", hint="Look at `chronyc sources`.")
    return float(fields[_SYSTEM_TIME])


async def _ask(server: str, now_s: Callable[[], float]) -> float | None:
    """The offset by the answer that was under way for the shortest time; None when no answer is any good."""
    found: list[tuple[float, float]] = []
    name, _, port = server.rpartition(":")
    for _ in range(SAMPLES):
        try:
            async with asyncio.timeout(_ANSWER_S):
                found.append(await _exchange(name or server, int(port) if name else PORT, now_s))
        except (OSError, ValueError, TimeoutError):
            continue
    return min(found)[1] if found else None


async def _exchange(name: str, port: int, now_s: Callable[[], float]) -> tuple[float, float]:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[tuple[bytes, float]] = loop.create_future()

    class Client(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            if not answer.done():
                answer.set_result((data, now_s()))

        def error_received(self, exc: Exception) -> None:
            if not answer.done():
                answer.set_exception(exc)

    transport, _ = await loop.create_datagram_endpoint(Client, remote_addr=(name, port))
    try:
        # The server returns what we put where our time would be: nobody off the path can guess an answer.
        cookie, sent_s = secrets.randbits(64), now_s()
        transport.sendto(_PACKET.pack(0x23, 0, 0, 0, *([0] * 9), cookie >> 32, cookie & 0xFFFFFFFF))
        data, received_s = await answer
        return sntp(data, cookie, sent_s, received_s)
    finally:
        transport.close()


def sntp(data: bytes, cookie: int, sent_s: float, received_s: float) -> tuple[float, float]:
    """The round trip and our offset in seconds by one answer; ValueError where it is not one to trust."""
    if len(data) < _PACKET.size:
        raise ValueError("cut off")
    first, stratum, *rest = _PACKET.unpack(data[: _PACKET.size])
    words = rest[2:]
    leap, mode = first >> 6, first & 7
    if mode != 4 or leap == 3 or not 1 <= stratum <= 15:
        raise ValueError("no synchronised server")
    if (words[5] << 32 | words[6]) != cookie:
        raise ValueError("not the answer to our question")
    arrived_s, left_s = (_seconds(words[i], words[i + 1], sent_s) for i in (7, 9))
    round_trip_s = (received_s - sent_s) - (left_s - arrived_s)
    return round_trip_s, ((arrived_s - sent_s) + (left_s - received_s)) / 2


def _seconds(whole: int, fraction: int, near_s: float) -> float:
    """Seconds since 1970. The 32 bits run over in 2036: the era nearest to our own clock is meant."""
    seconds = whole - _EPOCH_1900_S + fraction / 2**32
    return seconds + round((near_s - seconds) / 2**32) * 2**32
