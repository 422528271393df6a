"""Envoy's routes (ZDT-1.1a): pure. What may be repeated, where, and after how long.

A front door repeats at the next region, a door at the neighbour. Safe and keyed requests may be repeated
whatever happened; any other one only where it surely never reached a node.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from siaga.site.model import Region, Site
from siaga.traffic.envoy_clusters import (
    DOORS_TRIED_HEADER,
    NODES_TRIED_HEADER,
    PROBE_HEADER,
    PROBE_REGION_HEADER,
    Json,
    any_node_cluster,
    doors_cluster,
    far_cluster,
    in_region,
    nodes_cluster,
    probe_cluster,
    seconds,
    typed,
)
from siaga.traffic.timings import Timings

UNSENT_HEADER = "x-siaga-unsent"
"""On a door's own 503: the request never reached a node, so anybody may repeat it."""
IDEMPOTENCY_HEADER = "idempotency-key"

ROUTE_MS = 2_000
REQUEST_BYTES_MAX = 1_048_576

_UNSENT_ONLY = "connect-failure,refused-stream,reset-before-request"
_ANY_FAILURE = "connect-failure,refused-stream,reset,gateway-error,5xx"
_BACK_OFF = {"base_interval": "0.005s", "max_interval": "0.020s"}


def front_routes(site: Site, region: Region, timings: Mapping[str, Timings]) -> Json:
    """Users of a region: to the nearest region that can answer."""
    patience_ms = max(site.round_trip_ms(region.name, r.name) + timings[r.name].region_ms for r in site.regions)
    # Every other region once, and then one last resort.
    again: Json = {"num_retries": len(site.regions), "retry_back_off": _BACK_OFF, "retry_priority": _other_region()}
    repeatable: Json = {
        "cluster": doors_cluster(region.name),
        "timeout": seconds(ROUTE_MS),
        # Longer than any door that is alive takes: it catches a network that swallows everything, never a slow node.
        "retry_policy": {"retry_on": _ANY_FAILURE, "per_try_timeout": seconds(patience_ms + 100), **again},
    }
    unsent = {"retry_on": f"{_UNSENT_ONLY},retriable-headers", "retriable_headers": [_present(UNSENT_HEADER)]}
    other: Json = {
        "cluster": doors_cluster(region.name),
        "timeout": seconds(ROUTE_MS),
        "retry_policy": {**unsent, **again},
    }
    host = {
        "include_request_attempt_count": True,
        "response_headers_to_add": [_header("x-siaga-doors-attempted", f"%REQ({DOORS_TRIED_HEADER})%")],
        # Words between nodes and proxies, nothing for users.
        "response_headers_to_remove": [
            UNSENT_HEADER,
            "x-envoy-ratelimited",
            "x-envoy-overloaded",
            "x-envoy-upstream-service-time",
        ],
    }
    return _virtual_host(f"front-{region.name}", _by_kind(repeatable, other), host)


def door_routes(site: Site, region: Region, timing: Timings) -> Json:
    """One region: to its nodes, repeated at the neighbour."""
    spread: Json = {
        "retry_back_off": _BACK_OFF,
        "host_selection_retry_max_attempts": 5,
        "retry_host_predicate": [_other_node()],
    }
    repeatable: Json = {
        "cluster": nodes_cluster(region.name),
        "timeout": seconds(timing.region_ms),
        "hedge_policy": {"hedge_on_per_try_timeout": True},
        "retry_policy": {
            "retry_on": _ANY_FAILURE,
            "num_retries": 2,
            "per_try_timeout": seconds(timing.per_try_ms),
            **spread,
        },
    }
    unsent = {"retry_policy": {"retry_on": _UNSENT_ONLY, "num_retries": 2, **spread}, "timeout": seconds(ROUTE_MS)}
    other: Json = {"cluster": nodes_cluster(region.name), **unsent}
    last_resort: Json = {"cluster": any_node_cluster(region.name), **unsent}
    routes = [
        *(_route(probe_cluster(n), {"cluster": probe_cluster(n), **_probe()}, _names(n.name)) for n in region.nodes),
        # Every region was asked in vain, so what is said about their health can't be right: ask any node.
        _route("last-resort", last_resort, _attempt_at_least(len(site.regions) + 1)),
        *_by_kind(repeatable, other),
    ]
    host = {"response_headers_to_add": [_header("x-siaga-nodes-attempted", f"%REQ({NODES_TRIED_HEADER})%")]}
    return _virtual_host(f"door-{region.name}", routes, host)


def probe_routes(site: Site, region: Region) -> Json:
    """The controller's probes as seen from a region: exactly one node, no help on the way."""
    routes: list[Json] = []
    for other in site.regions:
        for node in other.nodes:
            cluster = probe_cluster(node) if other is region else far_cluster(region.name, other.name)
            routes.append(_route(node.name, {"cluster": cluster, **_probe()}, _names(node.name)))
        if other is not region:
            warm = {"cluster": doors_cluster(region.name), "metadata_match": in_region(other.name), **_probe()}
            asked = {"name": PROBE_REGION_HEADER, "string_match": {"exact": other.name}}
            routes.append(_route(f"warmth-{other.name}", warm, asked))
    unknown = {"name": "unknown", "match": {"prefix": "/"}, "direct_response": {"status": 404}}
    return _virtual_host(f"probe-{region.name}", [*routes, unknown], {})


def _virtual_host(name: str, routes: list[Json], fields: Json) -> Json:
    host = {
        "name": name,
        "domains": ["*"],
        # A request can only be repeated while its body is kept.
        "request_body_buffer_limit": REQUEST_BYTES_MAX,
        **fields,
        "routes": routes,
    }
    return {"name": name, "virtual_hosts": [host]}


def _by_kind(repeatable: Json, other: Json) -> list[Json]:
    safe = {"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD|OPTIONS"}}}
    return [
        _route("safe", repeatable, safe),
        _route("keyed", repeatable, _present(IDEMPOTENCY_HEADER)),
        _route("other", other),
    ]


def _route(name: str, action: Json, *headers: Json) -> Json:
    match: Json = {"prefix": "/"}
    if headers:
        match["headers"] = list(headers)
    return {"name": name, "match": match, "route": action}


def _probe() -> Json:
    return {"timeout": seconds(ROUTE_MS)}


def _names(node: str) -> Json:
    return {"name": PROBE_HEADER, "string_match": {"exact": node}}


def _present(header: str) -> Json:
    return {"name": header, "present_match": True}


def _attempt_at_least(count: int) -> Json:
    return {"name": "x-envoy-attempt-count", "range_match": {"start": count, "end": 1_000}}


def _header(name: str, value: str) -> Json:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _other_node() -> dict[str, Any]:
    message = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    return {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": typed(message)}


def _other_region() -> dict[str, Any]:
    message = "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"
    return {"name": "envoy.retry_priorities.previous_priorities", "typed_config": typed(message, update_frequency=1)}
