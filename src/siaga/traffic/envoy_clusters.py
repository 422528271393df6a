"""Envoy's clusters (ZDT-1.1a): pure. Who is asked, when one counts as sick, and how many may be left out.

Measured reasons for every number are in docs/traffic.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from siaga.site.model import Node, Region, Site
from siaga.traffic.timings import Timings

Json = dict[str, Any]

OUTAGE_HEADER = "x-siaga-outage"
"""On an answer: a shared dependency is missing, it is not this node's fault (decision 23)."""
PROBE_HEADER = "x-siaga-probe-node"
"""On a request of the controller: exactly this node."""
DOORS_TRIED_HEADER = "x-siaga-doors-tried"
NODES_TRIED_HEADER = "x-siaga-nodes-tried"
"""On a request inside the platform: the addresses it was sent to so far."""
PROBE_REGION_HEADER = "x-siaga-probe-region"
"""On a request of the proxy itself: exactly this region."""
HEALTH_PATH = "/livez"

_NODE_FAILURE = "5.."
_DOOR_FAILURE = "50[234]"
"""A 500 that the neighbour repeats is the application's own: no reason to send a region's users abroad."""
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def typed(name: str, **fields: Any) -> Json:
    """Envoy's way of saying which message follows."""
    return {"@type": f"type.googleapis.com/{name}", **fields}


def http_filter(name: str, message: str, **fields: Any) -> Json:
    """One of Envoy's HTTP filters."""
    message = f"envoy.extensions.filters.http.{name}.v3.{message}"
    return {"name": f"envoy.filters.http.{name}", "typed_config": typed(message, **fields)}


def seconds(ms: int) -> str:
    """Milliseconds as protobuf spells a duration in JSON."""
    return f"{ms // 1000}.{ms % 1000:03d}s" if ms % 1000 else f"{ms // 1000}s"


def endpoint(address: str, *, hostname: str = "") -> Json:
    """One address of a cluster."""
    host, _, port = address.rpartition(":")
    body: Json = {"address": {"socket_address": {"address": host, "port_value": int(port)}}}
    return {**body, "hostname": hostname} if hostname else body


def clusters(
    site: Site,
    timings: Mapping[str, Timings],
    discovery_directory: str,
    far: Mapping[str, str],
    probes: Mapping[str, str],
) -> list[Json]:
    """Every cluster of the site; `far` maps the name of a far cluster to its address, `probes` a region to its own."""
    found = [_doors(site, region, timings, far) for region in site.regions]
    for region in site.regions:
        found.append(_nodes(site, region, discovery_directory))
        found.append(_any_node(region, discovery_directory))
        found += [_one(probe_cluster(n), str(n.address), _to_nodes(tried=False)) for n in region.nodes]
        found += [_warmth(region, other, probes[region.name]) for other in site.regions if other is not region]
    return found + [_one(name, address, _to_doors()) for name, address in far.items()]


def nodes_cluster(region: str) -> str:
    """The healthy nodes of a region."""
    return f"nodes-{region}"


def any_node_cluster(region: str) -> str:
    """The nodes of a region whatever their health: the last resort."""
    return f"any-node-{region}"


def doors_cluster(region: str) -> str:
    """All doors as users of a region see them, nearest first."""
    return f"doors-from-{region}"


def far_cluster(origin: str, region: str) -> str:
    """Another region's door, alone, for probes."""
    return f"far-{origin}-{region}"


def probe_cluster(node: Node) -> str:
    """One node, alone, whatever its health, for probes."""
    return f"probe-{node.name}"


def discovery_file(region: str) -> str:
    """The name of a region's discovery file. Envoy reads by the ending what it holds."""
    return f"nodes-{region}.json"


def _doors(site: Site, region: Region, timings: Mapping[str, Timings], far: Mapping[str, str]) -> Json:
    near_first = site.regions_by_distance(region.name)
    round_trip_ms = max(site.round_trip_ms(region.name, other.name) for other in near_first)
    answer_ms = round_trip_ms + max(timing.per_try_ms for timing in timings.values())
    return {
        "name": doors_cluster(region.name),
        "type": "STATIC",
        "connect_timeout": seconds(250 + round_trip_ms),
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {
            "cluster_name": doors_cluster(region.name),
            "endpoints": [
                {"priority": priority, "lb_endpoints": [_door(region, other, far)]}
                for priority, other in enumerate(near_first)
            ],
        },
        # Users get any door; what keeps a connection warm names the region it means.
        "lb_subset_config": {"fallback_policy": "ANY_ENDPOINT", "subset_selectors": [{"keys": ["region"]}]},
        # Fail open: when every region looks bad, all of them are asked.
        "common_lb_config": {"healthy_panic_threshold": {"value": 50}, "update_merge_window": "0s"},
        "circuit_breakers": _breakers(),
        "health_checks": [_health_check(timeout_ms=100 + answer_ms, healthy_threshold=2)],
        # Only a door's own answers count (no short per-try time-out at this level: a far door is not a sick one),
        # and one region at a time at most.
        "outlier_detection": _outlier_detection(failure_share_percent=50, base_ejection_ms=5_000),
        "typed_extension_protocol_options": _to_doors(judged=_DOOR_FAILURE),
        # Doors are listeners of this very process: waiting for their first health check would wait for itself.
        "wait_for_warm_on_init": False,
    }


def _door(origin: Region, region: Region, far: Mapping[str, str]) -> Json:
    address = str(region.door) if origin is region else far[far_cluster(origin.name, region.name)]
    return {"endpoint": endpoint(address), "metadata": in_region(region.name)}


def in_region(region: str) -> Json:
    """What marks a region's door, and what asks for it."""
    return {"filter_metadata": {"envoy.lb": {"region": region}}}


def _warmth(origin: Region, region: Region, address: str) -> Json:
    """A health check that nobody routes by: it goes through the front door's own connection to a far region.

    Connecting costs a round trip of the distance. Users who have to go there at once don't have it (measured:
    488 ms cold, 327 ms warm, limit 500 ms), and Envoy's health checks use connections of their own.
    """
    check = _health_check(timeout_ms=2_000, healthy_threshold=1)
    request = {
        "path": HEALTH_PATH,
        "request_headers_to_add": [{"header": {"key": PROBE_REGION_HEADER, "value": region.name}}],
    }
    # A connection of its own each time: the kernel spreads them over Envoy's threads, each has its own to keep warm.
    every = {"interval": "0.500s", "no_traffic_interval": "0.500s", "unhealthy_interval": "0.500s"}
    cluster = _one(f"warmth-{origin.name}-{region.name}", address, _to_nodes(tried=False))
    checks = [{**check, **every, "reuse_connection": False, "http_health_check": request}]
    return {**cluster, "wait_for_warm_on_init": False, "health_checks": checks}


def _nodes(site: Site, region: Region, discovery_directory: str) -> Json:
    # No panic: a region without a healthy node answers 503 at once and the front door asks the next one; a drained
    # region would otherwise get its users back. Where there is no next region, bad nodes are better than none.
    panic_percent = 0 if len(site.regions) > 1 else 1
    return {
        "name": nodes_cluster(region.name),
        **_discovered(region, discovery_directory),
        "lb_policy": "LEAST_REQUEST",
        "common_lb_config": {"healthy_panic_threshold": {"value": panic_percent}, "update_merge_window": "0s"},
        "health_checks": [_health_check(timeout_ms=300, healthy_threshold=5)],
        "outlier_detection": _outlier_detection(failure_share_percent=15, base_ejection_ms=10_000),
        "typed_extension_protocol_options": _to_nodes(judged=_NODE_FAILURE),
    }


def _any_node(region: Region, discovery_directory: str) -> Json:
    return {
        "name": any_node_cluster(region.name),
        **_discovered(region, discovery_directory),
        "lb_policy": "LEAST_REQUEST",
        "common_lb_config": {"healthy_panic_threshold": {"value": 1}, "update_merge_window": "0s"},
        "typed_extension_protocol_options": _to_nodes(),
    }


def _discovered(region: Region, directory: str) -> Json:
    path = f"{directory.rstrip('/')}/{discovery_file(region.name)}"
    source = {"path": path, "watched_directory": {"path": directory}}
    return {
        "type": "EDS",
        "eds_cluster_config": {
            "service_name": nodes_cluster(region.name),
            "eds_config": {"resource_api_version": "V3", "path_config_source": source},
        },
        "connect_timeout": "0.250s",
        "circuit_breakers": _breakers(),
    }


def _one(name: str, address: str, options: Json) -> Json:
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": endpoint(address)}]}],
        },
        "typed_extension_protocol_options": options,
    }


def _breakers() -> Json:
    # Without a budget Envoy allows 3 retries at a time: hedges were dropped, 42 slow answers instead of 0 (lab).
    # With 150 always allowed, a machine without CPU left never recovered: every late answer was asked for
    # again, and 300 requests/s that it serves with ease kept failing by half (measured with the wallet).
    budget = {"budget_percent": {"value": 20}, "min_retry_concurrency": 50}
    limits = {"max_connections": 2000, "max_pending_requests": 2000, "max_requests": 2000, "retry_budget": budget}
    return {"thresholds": [limits]}


def _health_check(*, timeout_ms: int, healthy_threshold: int) -> Json:
    return {
        "timeout": seconds(timeout_ms),
        "interval": "0.250s",
        # By default an idle region is probed once a minute, and fails over as late.
        "no_traffic_interval": "0.250s",
        "unhealthy_interval": "0.250s",
        "unhealthy_threshold": 2,
        "healthy_threshold": healthy_threshold,
        "http_health_check": {"path": HEALTH_PATH},
    }


def _outlier_detection(*, failure_share_percent: int, base_ejection_ms: int) -> Json:
    return {
        "consecutive_5xx": 3,
        "consecutive_gateway_failure": 3,
        "enforcing_consecutive_gateway_failure": 100,
        "interval": "0.250s",
        "base_ejection_time": seconds(base_ejection_ms),
        "max_ejection_time": "30s",
        # A third of the nodes at most, yet one of two: Envoy rounds down, hence the second key.
        "max_ejection_percent": 34,
        "always_eject_one_host": True,
        "enforcing_success_rate": 0,
        # A share of failures: interleaved ones never trip a consecutive count.
        "enforcing_failure_percentage": 100,
        "failure_percentage_threshold": failure_share_percent,
        "failure_percentage_minimum_hosts": 1,
        # A node that answers late collects open requests, so LEAST_REQUEST sends it few: with 10 wanted in
        # a sweep a gray node stayed 1.5 s; with 6 and a share of 20 %, 1.2 s in one run of four.
        "failure_percentage_request_volume": 5,
        # A node that answers its health check and nothing else must stay out.
        "successful_active_health_check_uneject_host": False,
    }


def _to_nodes(*, judged: str = "", tried: bool = True) -> Json:
    # Shorter than the keep-alive of common servers (uvicorn 5 s), so that they never close first.
    http1: Json = {"http_protocol_options": {}}
    return _protocol_options(http1, idle_ms=4_000, judged=judged, tried_header=NODES_TRIED_HEADER if tried else "")


def _to_doors(*, judged: str = "") -> Json:
    # One connection carries all: over a distance every further one would cost a round trip when it is needed most.
    keep_alive = {"interval": "1s", "timeout": "2s"}
    http2 = {"http2_protocol_options": {"connection_keepalive": keep_alive}}
    return _protocol_options(http2, idle_ms=300_000, judged=judged, tried_header=DOORS_TRIED_HEADER if judged else "")


def _protocol_options(protocol: Json, *, idle_ms: int, judged: str, tried_header: str) -> Json:
    options = typed(
        _HTTP_OPTIONS,
        explicit_http_config=protocol,
        common_http_protocol_options={"idle_timeout": seconds(idle_ms)},
    )
    if judged:
        options["outlier_detection"] = {"error_matcher": _error_matcher(judged)}
    if tried_header:
        options["http_filters"] = _keep_tried(tried_header)
    return {_HTTP_OPTIONS: options}


def _keep_tried(header: str) -> list[Json]:
    """Every attempt adds its address to a request header that the answer repeats.

    Envoy's own %UPSTREAM_HOSTS_ATTEMPTED% holds only the last attempt over HTTP (measured, 1.40): each one starts
    a fresh list. The request's headers are shared by all attempts.
    """
    first = {"header": {"key": header, "value": "%UPSTREAM_HOST%"}, "append_action": "ADD_IF_ABSENT"}
    again = {
        "header": {"key": header, "value": f"%REQ({header})%,%UPSTREAM_HOST%"},
        "append_action": "OVERWRITE_IF_EXISTS",
    }
    mutations = {"request_mutations": [{"append": again}, {"append": first}]}
    return [
        http_filter("header_mutation", "HeaderMutation", mutations=mutations),
        http_filter("upstream_codec", "UpstreamCodec"),
    ]


def _error_matcher(statuses: str) -> Json:
    server_error = {"name": ":status", "string_match": {"safe_regex": {"regex": statuses}}}
    outage = {"name": OUTAGE_HEADER, "present_match": True}
    return {
        "and_match": {
            "rules": [
                {"http_response_headers_match": {"headers": [server_error]}},
                {"not_match": {"http_response_headers_match": {"headers": [outage]}}},
            ]
        }
    }
