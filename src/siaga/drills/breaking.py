"""How each drill breaks the platform, and how it is healed again. Both may be repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from siaga.drills.catalogue import Drill, Scope
from siaga.hosts.keeper_client import KeeperClient
from siaga.platform.faults import Fault, inject
from siaga.platform.layout import Layout
from siaga.platform.processes import fault_socket

SPIKE_MS = 800.0
GRAY_SHARE = 0.3
HEALTH_PATHS = ("/livez", "/readyz")
HEALED_BY_ITSELF_S = 180.0
"""Every fault ends by itself after this time, so that a drill that was abandoned leaves nothing behind."""

_FAULTS = {
    "latency-spike": Fault(delay_ms=SPIKE_MS, lasts_s=HEALED_BY_ITSELF_S),
    "gray-latency": Fault(delay_ms=SPIKE_MS, share=GRAY_SHARE, clean_paths=HEALTH_PATHS, lasts_s=HEALED_BY_ITSELF_S),
    "node-errors": Fault(status=500, clean_paths=HEALTH_PATHS, lasts_s=HEALED_BY_ITSELF_S),
}
_HANGS = frozenset({"node-hang", "region-hang"})


class Breaker:
    """Breaks and heals parts of an embedded platform."""

    def __init__(self, layout: Layout, keeper: KeeperClient) -> None:
        self._layout = layout
        self._keeper = keeper

    async def break_parts(self, drill: Drill, parts: Sequence[str]) -> None:
        """Put the drill's fault in force on every part."""
        fault = _FAULTS.get(drill.name)
        if fault is not None:
            await asyncio.gather(*(self._ail(part, fault) for part in parts))
        elif drill.name in _HANGS:
            await asyncio.gather(*(self._keeper.hang(part, hold_s=HEALED_BY_ITSELF_S) for part in parts))
        else:
            # A session server is started again at once, as on a real host; the others stay dead.
            hold_s = 0.0 if drill.scope is Scope.SESSIONS else HEALED_BY_ITSELF_S
            await asyncio.gather(*(self._keeper.kill(part, hold_s=hold_s) for part in parts))

    async def heal(self, drill: Drill, parts: Sequence[str]) -> None:
        """End the fault on every part."""
        if drill.name in _FAULTS:
            await asyncio.gather(*(self._ail(part, None) for part in parts))
        else:
            await asyncio.gather(*(self._keeper.start(part) for part in parts))

    async def _ail(self, node: str, fault: Fault | None) -> None:
        await inject(fault_socket(self._layout.place.run, node), fault)
