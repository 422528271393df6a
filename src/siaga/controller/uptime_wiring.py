"""The minutes of a platform: whose journeys go through which front door, and where the proxy counts (ZDT-1)."""

from __future__ import annotations

from siaga.controller.recording import Recording
from siaga.platform import control_database, secrets
from siaga.platform.layout import Layout
from siaga.uptime.counters import EnvoyCounters
from siaga.uptime.journeys import provided_accounts
from siaga.uptime.lanes import Lanes
from siaga.uptime.machine import read_clocks, steady_ms
from siaga.uptime.postgres import PostgresStore
from siaga.uptime.service import OnChange, UptimeService
from siaga.uptime.sqlite import FILE_NAME, opened
from siaga.uptime.store import SliceStore
from siaga.uptime.wallet_journey import WalletJourney


def uptime_service(layout: Layout, recording: Recording, on_change: OnChange, epoch: int) -> UptimeService:
    """The service; each region's users go through its own front door, and so do its journeys."""
    password = secrets.read(layout.secret("probe-accounts"))
    regions = [region.name for region in layout.site.regions]
    journeys = {
        (region, region): WalletJourney(
            f"http://{layout.address(f'front-{region}')}",
            provided_accounts(region, password),
            provision=layout.site.embedded,
        )
        for region in regions
    }
    return UptimeService(
        regions,
        Lanes(journeys, steady_ms),
        EnvoyCounters(layout.address("envoy-admin")),
        _slices(layout, epoch),
        recording,
        layout.site.limits.uptime,
        clock=read_clocks,
        on_change=on_change,
    )


def _slices(layout: Layout, epoch: int) -> SliceStore:
    if layout.site.controller.state == "postgresql":
        return PostgresStore(control_database.connector(layout, f"siaga uptime {epoch}"), epoch=epoch)
    return opened(layout.directory("controller") / FILE_NAME)
