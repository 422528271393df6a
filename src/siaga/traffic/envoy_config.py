"""Envoy's whole configuration (ZDT-1.1a): pure. A site goes in, a bootstrap and discovery files come out.

For every region a front door (users arrive), a door (knows only the region's nodes) and a probe listener (the
controller's eyes). Why each setting is what it is, with what was measured: docs/traffic.md.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping

from siaga.errors import BadInput
from siaga.site.model import Region, Site
from siaga.traffic.envoy_clusters import (
    OUTAGE_HEADER,
    PROBE_HEADER,
    Json,
    clusters,
    discovery_file,
    endpoint,
    far_cluster,
    http_filter,
    nodes_cluster,
    seconds,
    typed,
)
from siaga.traffic.envoy_routes import REQUEST_BYTES_MAX, UNSENT_HEADER, door_routes, front_routes, probe_routes
from siaga.traffic.timings import Timings, site_timings, timings

__all__ = [
    "OUTAGE_HEADER",
    "PROBE_HEADER",
    "Timings",
    "bootstrap",
    "check_endpoints",
    "discovery_file",
    "endpoints",
    "render",
    "site_timings",
    "timings",
]

WEIGHT_MAX = 100
_CONNECTIONS_MAX = 20_000
_CONNECTION_BUFFER_BYTES = 32_768


def bootstrap(
    site: Site,
    *,
    admin: str,
    discovery_directory: str,
    far_doors: Mapping[tuple[str, str], str],
    probes: Mapping[str, str],
) -> Json:
    """The configuration Envoy starts with.

    `admin` is host:port or the absolute path of a socket; `far_doors[(x, y)]` is where region x reaches the door of
    y; `probes[x]` is where the controller's probes enter region x.
    """
    timing = site_timings(site)
    _addresses_given(site, far_doors, probes)
    far = {far_cluster(*pair): address for pair, address in sorted(far_doors.items())}
    listeners = []
    for region in site.regions:
        listeners += [
            _front(region, front_routes(site, region, timing)),
            _door(region, door_routes(site, region, timing[region.name])),
            _probe(region, probes[region.name], probe_routes(site, region)),
        ]
    return {
        "node": {"id": f"siaga-{site.name}", "cluster": "siaga"},
        "admin": {"address": _admin_address(admin), "ignore_global_conn_limit": True},
        "static_resources": {
            "listeners": listeners,
            "clusters": clusters(site, timing, discovery_directory, far, probes),
        },
        "overload_manager": _overload_manager(),
    }


def endpoints(region: Region, weights: Mapping[str, int]) -> Json:
    """The discovery file of a region: every node with its weight in percent; 0 is drained."""
    unknown = sorted(set(weights) - {node.name for node in region.nodes})
    if unknown:
        raise BadInput(
            f"`{unknown[0]}` is no node of region `{region.name}`",
            hint=f"Its nodes are {', '.join(node.name for node in region.nodes)}.",
        )
    found: list[Json] = []
    for node in region.nodes:
        weight = weights.get(node.name, WEIGHT_MAX)
        if not 0 <= weight <= WEIGHT_MAX:
            raise BadInput(
                f"node `{node.name}` has weight {weight}, wanted 0 to {WEIGHT_MAX}",
                hint="A weight is a share in percent; 0 drains the node.",
            )
        found.append(
            {
                "endpoint": endpoint(str(node.address), hostname=node.name),
                # Envoy knows no weight of 0: a drained node keeps its connections and gets no new request.
                "health_status": "HEALTHY" if weight else "DRAINING",
                "load_balancing_weight": max(weight, 1),
            }
        )
    assignment = typed(
        "envoy.config.endpoint.v3.ClusterLoadAssignment",
        cluster_name=nodes_cluster(region.name),
        endpoints=[{"lb_endpoints": found}],
    )
    return {"resources": [assignment]}


def check_endpoints(document: Json, region: Region) -> None:
    """Refuse a discovery file that Envoy would refuse, or that would leave a node out."""
    try:
        (assignment,) = document["resources"]
        found = [entry for locality in assignment["endpoints"] for entry in locality["lb_endpoints"]]
        named = [entry["endpoint"]["hostname"] for entry in found]
        sockets = [entry["endpoint"]["address"]["socket_address"] for entry in found]
        states = {entry["health_status"] for entry in found}
        weights = [entry["load_balancing_weight"] for entry in found]
        cluster = assignment["cluster_name"]
    except (KeyError, TypeError, ValueError) as error:
        raise _bad_discovery(region, f"its shape is wrong at {error}") from error
    if cluster != nodes_cluster(region.name):
        raise _bad_discovery(region, f"it is for cluster `{cluster}`")
    if sorted(named) != sorted(node.name for node in region.nodes):
        raise _bad_discovery(region, f"it names {', '.join(sorted(named)) or 'nobody'}")
    if states - {"HEALTHY", "DRAINING"} or not all(1 <= weight <= WEIGHT_MAX for weight in weights):
        raise _bad_discovery(region, "a weight or a state is out of range")
    for socket in sockets:
        if not _is_ip(socket["address"]) or not 0 < socket["port_value"] < 65_536:
            raise _bad_discovery(region, f"`{socket['address']}:{socket['port_value']}` is no address")


def render(document: Json) -> str:
    """As JSON, which Envoy reads as such and as YAML."""
    return json.dumps(document, indent=1) + "\n"


def _bad_discovery(region: Region, why: str) -> BadInput:
    return BadInput(
        f"the discovery file of region `{region.name}` is not fit for Envoy: {why}",
        hint="Nodes need an IP address and a port in the site file; Envoy keeps the weights it has.",
    )


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _front(region: Region, routes: Json) -> Json:
    # Envoy takes orders in its own headers (time-outs, retries) from loopback even with no internal address (1.40).
    strip = [{"remove_on_match": {"key_matcher": {"prefix": prefix}}} for prefix in ("x-siaga-", "x-envoy-")]
    filters = [
        http_filter("header_mutation", "HeaderMutation", mutations={"request_mutations": strip}),
        http_filter("buffer", "Buffer", max_request_bytes=REQUEST_BYTES_MAX),
    ]
    manager = {
        # The peer is the user; nothing it says about itself is believed, x-envoy-* included.
        "use_remote_address": True,
        "internal_address_config": {},
        "server_name": "siaga",
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "max_request_headers_kb": 32,
        "common_http_protocol_options": {
            "idle_timeout": "300s",
            "headers_with_underscores_action": "REJECT_REQUEST",
            "max_headers_count": 100,
        },
        "request_headers_timeout": "10s",
        "request_timeout": "30s",
        "stream_idle_timeout": "30s",
        "http2_protocol_options": {
            "max_concurrent_streams": 100,
            "initial_stream_window_size": 65_536,
            "initial_connection_window_size": 1_048_576,
        },
    }
    return _listener(f"front-{region.name}", str(region.front_door), routes, filters, manager)


def _door(region: Region, routes: Json) -> Json:
    # Only the proxy's own failures before any byte went out: no healthy node, no connection, pool overflow.
    flags = {"response_flag_filter": {"flags": ["UH", "UF", "UO"]}}
    told = {"header": {"key": UNSENT_HEADER, "value": "1"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    manager = {
        "server_header_transformation": "PASS_THROUGH",
        "common_http_protocol_options": {"idle_timeout": "300s"},
        "local_reply_config": {"mappers": [{"filter": flags, "headers_to_add": [told]}]},
    }
    return _listener(f"door-{region.name}", str(region.door), routes, [], manager)


def _probe(region: Region, address: str, routes: Json) -> Json:
    manager: Json = {"common_http_protocol_options": {"idle_timeout": "60s"}}
    listener = _listener(f"probe-{region.name}", address, routes, [], manager)
    # The controller must see even when users fill every connection.
    return {**listener, "ignore_global_conn_limit": True}


def _listener(name: str, address: str, routes: Json, filters: list[Json], manager: Json) -> Json:
    connection_manager = typed(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        codec_type="AUTO",
        route_config=routes,
        http_filters=[*filters, http_filter("router", "Router", suppress_envoy_headers=name.startswith("front-"))],
        **manager,
    )
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": connection_manager}]}
    return {
        "name": name,
        **endpoint(address),
        "per_connection_buffer_limit_bytes": _CONNECTION_BUFFER_BYTES,
        "filter_chains": [chain],
    }


def _overload_manager() -> Json:
    name = "envoy.resource_monitors.global_downstream_max_connections"
    message = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    limit = typed(message, max_active_downstream_connections=_CONNECTIONS_MAX)
    return {"refresh_interval": seconds(250), "resource_monitors": [{"name": name, "typed_config": limit}]}


def _admin_address(admin: str) -> Json:
    if admin.startswith("/"):
        return {"pipe": {"path": admin, "mode": 0o600}}
    host = admin.rpartition(":")[0]
    if host not in ("127.0.0.1", "[::1]", "localhost"):
        raise BadInput(
            f"Envoy's admin address is `{admin}`, wanted loopback or the path of a socket",
            hint="Whoever reaches it can stop Envoy; see docs/traffic.md.",
        )
    return {**endpoint(admin)["address"]}


def _addresses_given(site: Site, far_doors: Mapping[tuple[str, str], str], probes: Mapping[str, str]) -> None:
    missing = [f"front_door of `{r.name}`" for r in site.regions if r.front_door is None]
    missing += [f"door of `{r.name}`" for r in site.regions if r.door is None]
    missing += [f"address of node `{n.name}`" for n in site.nodes if n.address is None]
    missing += [f"probe listener of `{r.name}`" for r in site.regions if r.name not in probes]
    pairs = [(x.name, y.name) for x in site.regions for y in site.regions if x is not y]
    missing += [f"door of `{y}` as `{x}` reaches it" for x, y in pairs if (x, y) not in far_doors]
    if missing:
        raise BadInput(
            f"the {missing[0]} is missing, wanted host:port",
            hint="Envoy's configuration needs every address of the site.",
        )
