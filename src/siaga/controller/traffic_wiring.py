"""The traffic of a platform: which nodes are seen, which proxy is told (ZDT-1.1a)."""

from __future__ import annotations

import json

import structlog

from siaga.controller.authority import TrafficAuthority
from siaga.controller.data_plane import EnvoyDataPlane
from siaga.errors import SiagaError
from siaga.hosts.model import Host
from siaga.platform.layout import Layout
from siaga.traffic.http import Prober, sights
from siaga.traffic.model import TrafficPolicy
from siaga.traffic.service import TrafficService

_log = structlog.get_logger()


def traffic_prober(layout: Layout) -> Prober:
    """Looks at every node from every region."""
    limits = layout.site.limits.traffic
    policy = TrafficPolicy.within(latency_ms_max=limits.latency_ms_max, divert_s_max=float(limits.divert_s_max))
    addresses = {region.name: layout.address(f"probe-{region.name}") for region in layout.site.regions}
    return Prober(sights(layout.site, addresses), policy.probe_timeout_ms)


def traffic_service(
    layout: Layout, host: Host, prober: Prober, data_plane: EnvoyDataPlane, authority: TrafficAuthority
) -> TrafficService:
    """The service, with what it remembers of the nodes."""
    remembered_at = layout.directory("controller") / "traffic.json"

    async def save(document: object) -> None:
        await host.write(str(remembered_at), json.dumps(document).encode())

    try:
        remembered = json.loads(remembered_at.read_bytes()) if remembered_at.exists() else None
        return TrafficService(layout.site, prober, data_plane, authority=authority, save=save, remembered=remembered)
    except (ValueError, SiagaError) as error:
        # A controller that never starts is worse than one that judges every node afresh; the file is kept.
        remembered_at.replace(remembered_at.with_suffix(".damaged"))
        _log.error("what was remembered of the nodes is damaged, drains by hand are forgotten", why=str(error))
        return TrafficService(layout.site, prober, data_plane, authority=authority, save=save, remembered=None)
