"""The minutes of a platform: whose journeys go through which front door, and where the proxy counts (ZDT-1)."""

from __future__ import annotations

import time

import structlog

from siaga.controller.recording import Recording
from siaga.errors import BadInput
from siaga.platform import secrets
from siaga.platform.layout import Layout
from siaga.uptime.clocks import Reading
from siaga.uptime.counters import EnvoyCounters
from siaga.uptime.journeys import Account
from siaga.uptime.lanes import Lanes
from siaga.uptime.service import OnChange, UptimeService
from siaga.uptime.store import FILE_NAME, SliceStore
from siaga.uptime.wallet_journey import WalletJourney

_log = structlog.get_logger()


def uptime_service(layout: Layout, recording: Recording, on_change: OnChange) -> UptimeService:
    """The service; each region's users go through its own front door, and so do its journeys."""
    password = secrets.read(layout.secret("uptime-accounts"))
    regions = [region.name for region in layout.site.regions]
    journeys = {
        (region, region): WalletJourney(
            f"http://{layout.address(f'front-{region}')}",
            [Account(f"probe-{region}-{side}", password) for side in ("a", "b")],
            provision=layout.site.embedded,
        )
        for region in regions
    }
    return UptimeService(
        regions,
        Lanes(journeys, lambda: _now().steady_ms),
        EnvoyCounters(str(layout.address("envoy-admin"))),
        _store(layout),
        recording,
        layout.site.limits.uptime,
        clock=_now,
        on_change=on_change,
    )


def _store(layout: Layout) -> SliceStore:
    path = layout.directory("controller") / FILE_NAME
    try:
        return SliceStore(path)
    except BadInput as error:
        # Whoever measures nothing proves nothing: the file is kept, and what it held counts as not measured.
        for end in ("", "-wal", "-shm"):
            part = path.with_name(path.name + end)
            if part.exists():
                part.replace(part.with_name(f"{path.name}.damaged{end}"))
        _log.error("the minutes measured so far can't be read and count as unknown", why=error.message, hint=error.hint)
        return SliceStore(path)


def _now() -> Reading:
    return Reading(int(time.time() * 1000), int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000))
