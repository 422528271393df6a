"""Probes every node from every vantage point; a hung node delays nobody.

A vantage point is a region (through Envoy, on the path users take) or the controller itself. The
probe is `/readyz`: it goes through the node's own session and database path and changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass

import aiohttp

from siaga.site.model import Site
from siaga.traffic.envoy_config import OUTAGE_HEADER, PROBE_HEADER
from siaga.traffic.model import Outcome, Probe

CONTROLLER = "controller"
PATH = "/readyz"


@dataclass(frozen=True, slots=True)
class Sight:
    """One node as one vantage point sees it."""

    node: str
    vantage: str
    url: str
    distance_ms: float
    """Network round trips a healthy answer takes: to the node, and from it to the database."""


def sights(site: Site, probes: dict[str, str]) -> tuple[Sight, ...]:
    """Every pair of node and vantage point; `probes[region]` is Envoy's probe listener there."""
    found = []
    for region in site.regions:
        database_ms = site.round_trip_ms(region.name, site.transactions.region)
        for node in region.nodes:
            found.append(Sight(node.name, CONTROLLER, f"http://{node.address}{PATH}", database_ms))
            found += [
                Sight(
                    node.name,
                    vantage.name,
                    f"http://{probes[vantage.name]}{PATH}",
                    site.round_trip_ms(vantage.name, region.name) + database_ms,
                )
                for vantage in site.regions
            ]
    return tuple(found)


class Prober:
    """Starts probes that are due and collects those that ended."""

    def __init__(self, watched: Iterable[Sight], timeout_ms: float) -> None:
        self._due = dict.fromkeys(watched, 0.0)
        self._timeout_ms = timeout_ms
        self._running: dict[Sight, asyncio.Task[None]] = {}
        self._ended: list[Probe] = []
        self._client: aiohttp.ClientSession | None = None

    def start_due(self, now_s: float, intervals_s: dict[str, float]) -> None:
        """Start the probes whose time has come; `intervals_s` says how often each node is looked at."""
        for sight, due_s in self._due.items():
            if now_s >= due_s and sight not in self._running:
                self._due[sight] = now_s + intervals_s[sight.node]
                task = asyncio.get_running_loop().create_task(self._probe(sight))
                self._running[sight] = task
                task.add_done_callback(lambda _, sight=sight: self._running.pop(sight, None))  # type: ignore[misc]

    def collect(self) -> tuple[Probe, ...]:
        """What ended since the last call."""
        ended, self._ended = self._ended, []
        return tuple(ended)

    async def close(self) -> None:
        """End every probe under way."""
        for task in list(self._running.values()):
            task.cancel()
        if self._client is not None:
            await self._client.close()

    async def _probe(self, sight: Sight) -> None:
        if self._client is None:
            self._client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        started = time.monotonic()
        timeout_s = (self._timeout_ms + sight.distance_ms) / 1000
        headers = {} if sight.vantage == CONTROLLER else {PROBE_HEADER: sight.node}
        try:
            async with self._client.get(
                sight.url, headers=headers, timeout=aiohttp.ClientTimeout(total=timeout_s)
            ) as answer:
                await answer.read()
                outcome = _outcome(answer.status, OUTAGE_HEADER in answer.headers)
        except TimeoutError:
            outcome = Outcome.TIMEOUT
        except aiohttp.ClientConnectorError:
            # From a region it is our own Envoy that refuses: it tells nothing about the node.
            outcome = Outcome.ERROR if sight.vantage == CONTROLLER else Outcome.UNKNOWN
        except aiohttp.ClientError:
            outcome = Outcome.ERROR
        ended = time.monotonic()
        self._ended.append(
            Probe(sight.node, sight.vantage, ended, outcome, (ended - started) * 1000, sight.distance_ms)
        )


def _outcome(status: int, outage: bool) -> Outcome:
    if outage:
        return Outcome.OUTAGE
    return Outcome.OK if status == 200 else Outcome.ERROR
