"""The front doors' own counters, from the admin interface of Envoy: what users were answered."""

from __future__ import annotations

import re
from typing import Protocol

import aiohttp

from siaga.errors import Unreachable

_LINE = re.compile(r"http\.front-([a-z][a-z0-9-]*)\.downstream_rq_([2345])xx: ([0-9]+)")
_FILTER = r"^http\.front-.*\.downstream_rq_[2345]xx$"
_DEADLINE_S = 0.8


class Counters(Protocol):
    """Requests answered and failed in each region since the proxy started."""

    async def read(self) -> dict[str, tuple[int, int]]:
        """By region; Unreachable when the proxy does not say."""
        ...

    async def close(self) -> None:
        """Let go of the connection."""
        ...


class EnvoyCounters:
    """Counts what left each front door, by its class of status."""

    def __init__(self, admin: str) -> None:
        """`admin` is host:port, or the absolute path of a socket."""
        self._socket = admin if admin.startswith("/") else ""
        self._url = f"http://{'envoy' if self._socket else admin}/stats"
        self._http: aiohttp.ClientSession | None = None

    async def read(self) -> dict[str, tuple[int, int]]:
        """Ask once."""
        if self._http is None:
            connector = aiohttp.UnixConnector(self._socket) if self._socket else aiohttp.TCPConnector()
            self._http = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=_DEADLINE_S))
        try:
            async with self._http.get(self._url, params={"filter": _FILTER}) as answer:
                text = await answer.text()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(
                f"Envoy's counters can't be read: {type(error).__name__}", hint="Journeys go on measuring."
            ) from error
        if status != 200:
            raise Unreachable(f"Envoy's counters: found status {status}, wanted 200", hint="Journeys go on measuring.")
        return parsed(text)

    async def close(self) -> None:
        """Let go of the connection."""
        if self._http is not None:
            await self._http.close()
            self._http = None


def parsed(text: str) -> dict[str, tuple[int, int]]:
    """Answered and failed requests by region, from a page of Envoy's counters."""
    found: dict[str, tuple[int, int]] = {}
    for region, status_class, value in _LINE.findall(text):
        answered, failed = found.get(region, (0, 0))
        found[region] = answered + int(value), failed + (int(value) if status_class == "5" else 0)
    return found
