"""Envoy as the traffic service wants its data plane: views counted since the last look."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

from siaga.errors import Unreachable
from siaga.site.model import Site
from siaga.traffic.envoy import Envoy, HostStats, Outcome
from siaga.traffic.model import ProxyView


class EnvoyDataPlane:
    """Publishes weights, and turns Envoy's running counters into views."""

    def __init__(self, envoy: Envoy, site: Site, count: Callable[[int, datetime], Awaitable[None]]) -> None:
        """`count` is told how many requests came since the look before."""
        self._envoy = envoy
        self._site = site
        self._count = count
        self._last: dict[str, HostStats] = {}

    async def publish(self, region: str, weights: Mapping[str, int]) -> str:
        """Put weights into force; empty when Envoy confirmed them, otherwise why not."""
        try:
            published = await self._envoy.publish(self._site.region(region), weights)
        except OSError as error:
            return f"its discovery file can't be written: {error.strerror}"
        return "" if published.outcome is Outcome.DONE else published.reason

    async def views(self) -> tuple[ProxyView, ...]:
        """What Envoy says of every node; nothing while its admin interface is away (blind is not bad)."""
        try:
            found = await self._envoy.observe()
        except Unreachable:
            self._last = {}
            return ()
        now_s = time.monotonic()
        views = tuple(self._view(stats, now_s) for stats in found if stats.node in self._last)
        self._last = {stats.node: stats for stats in found}
        if views:
            await self._count(sum(view.requests for view in views), datetime.now(UTC))
        return views

    def _view(self, stats: HostStats, now_s: float) -> ProxyView:
        last = self._last[stats.node]
        # Counters start again at zero with a new Envoy.
        requests = max(0, stats.requests - last.requests)
        failures = max(0, stats.errors + stats.timeouts - last.errors - last.timeouts)
        return ProxyView(stats.node, now_s, stats.ejected, stats.healthy, requests, min(failures, requests))

    async def close(self) -> None:
        """Let go of the admin interface."""
        await self._envoy.close()
