"""The Python processes of the embedded platform: nodes, vendors, distance, controller."""

from __future__ import annotations

import json
from pathlib import Path

from siaga.hosts.keeper import Spec
from siaga.hosts.model import Host
from siaga.platform import valkey
from siaga.platform.engines import Engines
from siaga.platform.layout import Layout
from siaga.site.model import Node, Region
from siaga.traffic.timings import site_timings

POOL_MAX = 16
POOL_MAX_FAR = 48
"""A far node holds a connection for the whole distance: 150 requests/s of 0.17 s each, with room for a lost region."""

VENDOR_RESPONSE_MS = (40.0, 60.0, 80.0)


def _spec(layout: Layout, engines: Engines, name: str, kind: str, module: str, *arguments: str) -> Spec:
    return Spec(
        name=name,
        kind=kind,
        argv=(*engines.python, "-m", module, *arguments),
        log=str(layout.log(name)),
        env=engines.python_env,
    )


async def _config(host: Host, layout: Layout, name: str, content: object) -> str:
    path = str(layout.directory("config") / f"{name}.json")
    await host.write(path, json.dumps(content, indent=1).encode())
    return path


def fault_socket(run: Path, node: str) -> Path:
    """Where a node of the embedded platform takes faults."""
    return run / f"{node}.fault"


async def relay_spec(host: Host, layout: Layout, engines: Engines) -> Spec:
    """The distances between front doors and far regions, and between far nodes and the database."""
    site = layout.site
    links = [
        {
            "name": f"far-{region.name}-{other.name}",
            "listen": layout.far_door(region.name, other.name),
            "target": layout.address(f"door-{other.name}"),
            "round_trip_ms": site.round_trip_ms(region.name, other.name),
        }
        for region in site.regions
        for other in site.regions
        if other.name != region.name
    ]
    links += [
        {
            "name": f"pooler-{region.name}",
            "listen": layout.pooler_from(region.name),
            "target": layout.address("pgbouncer"),
            "round_trip_ms": site.round_trip_ms(region.name, layout.home_region),
        }
        for region in site.regions
        if region.name != layout.home_region
    ]
    return _spec(
        layout, engines, "distance", "relay", "siaga.platform.relay", await _config(host, layout, "distance", links)
    )


async def node_spec(host: Host, layout: Layout, engines: Engines, region: Region, node: Node) -> Spec:
    """One application node: the wallet, wrapped so that drills can make it ill."""
    address, _, port = layout.pooler_from(region.name).rpartition(":")
    config = {
        "node": node.name,
        "region": region.name,
        "listen": node.address,
        "database": {
            "host": address,
            "port": int(port),
            "name": layout.site.transactions.database,
            "user": "wallet_app",
            "password_file": str(layout.secret("wallet-app")),
            "deadline_ms": site_timings(layout.site)[region.name].database_deadline_ms,
            "pool_max": POOL_MAX if region.name == layout.home_region else POOL_MAX_FAR,
        },
        "sessions": {
            "servers": [server.address for server in layout.site.sessions.servers],
            "user": valkey.WALLET,
            "password_file": str(layout.secret("sessions-wallet")),
        },
        "claim": {"key_file": str(layout.secret("claim-key"))},
        # Drills register hundreds of users with random passwords; a real wallet keeps the default.
        "scrypt_log2n": 10,
    }
    return _spec(
        layout,
        engines,
        node.name,
        "application node",
        "siaga.platform.node",
        await _config(host, layout, node.name, config),
        str(fault_socket(layout.place.run, node.name)),
    )


async def vendor_specs(host: Host, layout: Layout, engines: Engines) -> tuple[Spec, ...]:
    """The vendor simulators."""
    specs = []
    for index, vendor in enumerate(layout.site.vendors):
        config = {
            "name": vendor.name,
            "listen": layout.address(f"vendor-{vendor.name}"),
            "key_file": str(layout.secret(f"vendor-{vendor.name}")),
            "response_ms": VENDOR_RESPONSE_MS[index % len(VENDOR_RESPONSE_MS)],
        }
        name = f"vendor-{vendor.name}"
        path = await _config(host, layout, name, config)
        specs.append(_spec(layout, engines, name, "vendor simulator", "siaga.platform.vendor_simulator", path))
    return tuple(specs)


def controller_spec(layout: Layout, engines: Engines, name: str) -> Spec:
    """One controller; the platform serves without it."""
    state, run = str(layout.place.state), str(layout.place.run)
    return _spec(layout, engines, name, "controller", "siaga.controller.main", state, run, name)
