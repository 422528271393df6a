"""What every generated Envoy configuration must say, each line because the default was measured wrong.

The list is the research's (section 6, 7.2) and docs/traffic.md's; a key that goes missing is a finding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]
ANY = object()
HTTP_OPTIONS = "typed_extension_protocol_options.envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

BREAKERS = {
    "circuit_breakers.thresholds.0.max_connections": ANY,
    "circuit_breakers.thresholds.0.max_pending_requests": ANY,
    "circuit_breakers.thresholds.0.max_requests": ANY,
    "circuit_breakers.thresholds.0.retry_budget.budget_percent.value": ANY,
    "circuit_breakers.thresholds.0.retry_budget.min_retry_concurrency": ANY,
}
DISCOVERED = {
    "eds_cluster_config.eds_config.path_config_source.path": ANY,
    "eds_cluster_config.eds_config.path_config_source.watched_directory.path": ANY,
    "eds_cluster_config.service_name": ANY,
}
JUDGED = {
    "connect_timeout": ANY,
    "common_lb_config.update_merge_window": "0s",
    "common_lb_config.healthy_panic_threshold.value": ANY,
    "health_checks.0.interval": "0.250s",
    "health_checks.0.no_traffic_interval": "0.250s",
    "health_checks.0.unhealthy_interval": "0.250s",
    "health_checks.0.timeout": ANY,
    "health_checks.0.unhealthy_threshold": 2,
    "health_checks.0.healthy_threshold": ANY,
    "outlier_detection.consecutive_5xx": 3,
    "outlier_detection.consecutive_gateway_failure": 3,
    "outlier_detection.enforcing_consecutive_gateway_failure": 100,
    "outlier_detection.interval": "0.250s",
    "outlier_detection.base_ejection_time": ANY,
    "outlier_detection.max_ejection_time": "30s",
    "outlier_detection.max_ejection_percent": 34,
    "outlier_detection.always_eject_one_host": True,
    "outlier_detection.enforcing_success_rate": 0,
    "outlier_detection.enforcing_failure_percentage": 100,
    "outlier_detection.failure_percentage_threshold": ANY,
    "outlier_detection.failure_percentage_minimum_hosts": 1,
    "outlier_detection.failure_percentage_request_volume": 5,
    "outlier_detection.successful_active_health_check_uneject_host": False,
    f"{HTTP_OPTIONS}.outlier_detection.error_matcher.and_match.rules.1.not_match": ANY,
    f"{HTTP_OPTIONS}.common_http_protocol_options.idle_timeout": ANY,
    f"{HTTP_OPTIONS}.http_filters": ANY,
    **BREAKERS,
}
CLUSTERS: dict[str, Json] = {
    "nodes-": {**JUDGED, **DISCOVERED},
    "doors-from-": {
        **JUDGED,
        f"{HTTP_OPTIONS}.explicit_http_config.http2_protocol_options.connection_keepalive.interval": ANY,
        "wait_for_warm_on_init": False,
        "lb_subset_config.fallback_policy": "ANY_ENDPOINT",
    },
    "any-node-": {
        **BREAKERS,
        **DISCOVERED,
        "common_lb_config.healthy_panic_threshold.value": 1,
        "common_lb_config.update_merge_window": "0s",
    },
    "warmth-": {
        "health_checks.0.no_traffic_interval": "0.500s",
        "health_checks.0.reuse_connection": False,
        "wait_for_warm_on_init": False,
    },
}
RETRIED = {"route.timeout": ANY, "route.retry_policy.num_retries": ANY, "route.retry_policy.retry_back_off": ANY}
OTHER_NODE = {
    "route.retry_policy.retry_host_predicate.0.name": "envoy.retry_host_predicates.previous_hosts",
    "route.retry_policy.host_selection_retry_max_attempts": 5,
}
OTHER_REGION = {
    "route.retry_policy.retry_priority.name": "envoy.retry_priorities.previous_priorities",
    "route.retry_policy.retry_priority.typed_config.update_frequency": 1,
}
UNSENT = "connect-failure,refused-stream,reset-before-request"
FAILURES = "connect-failure,refused-stream,reset,gateway-error,5xx"
DOOR_AGAIN = {
    **RETRIED,
    **OTHER_NODE,
    "route.retry_policy.retry_on": FAILURES,
    "route.retry_policy.per_try_timeout": ANY,
    "route.hedge_policy.hedge_on_per_try_timeout": True,
}
FRONT_AGAIN = {
    **RETRIED,
    **OTHER_REGION,
    "route.retry_policy.retry_on": FAILURES,
    "route.retry_policy.per_try_timeout": ANY,
}
ROUTES: dict[tuple[str, str], Json] = {
    ("door-", "safe"): DOOR_AGAIN,
    ("door-", "keyed"): DOOR_AGAIN,
    ("door-", "other"): {**RETRIED, **OTHER_NODE, "route.retry_policy.retry_on": UNSENT},
    ("door-", "last-resort"): {**RETRIED, "match.headers.0.range_match.start": ANY},
    ("front-", "safe"): FRONT_AGAIN,
    ("front-", "keyed"): FRONT_AGAIN,
    ("front-", "other"): {
        **RETRIED,
        **OTHER_REGION,
        "route.retry_policy.retry_on": f"{UNSENT},retriable-headers",
        "route.retry_policy.retriable_headers.0.name": "x-siaga-unsent",
    },
}
FORBIDDEN = ("route.retry_policy.per_try_timeout", "route.hedge_policy")
"""On what may not be repeated."""
STRIP = "manager.http_filters.0.typed_config.mutations.request_mutations"
LISTENERS: dict[str, Json] = {
    "front-": {
        "per_connection_buffer_limit_bytes": ANY,
        "manager.use_remote_address": True,
        "manager.internal_address_config": {},
        "manager.normalize_path": True,
        "manager.merge_slashes": True,
        "manager.path_with_escaped_slashes_action": "REJECT_REQUEST",
        "manager.max_request_headers_kb": ANY,
        "manager.request_headers_timeout": ANY,
        "manager.request_timeout": ANY,
        "manager.stream_idle_timeout": ANY,
        "manager.common_http_protocol_options.idle_timeout": ANY,
        "manager.common_http_protocol_options.max_headers_count": ANY,
        "manager.common_http_protocol_options.headers_with_underscores_action": "REJECT_REQUEST",
        "manager.http2_protocol_options.max_concurrent_streams": ANY,
        "manager.server_name": "siaga",
        f"{STRIP}.0.remove_on_match.key_matcher.prefix": "x-siaga-",
        f"{STRIP}.1.remove_on_match.key_matcher.prefix": "x-envoy-",
        "manager.http_filters.1.typed_config.max_request_bytes": ANY,
        "manager.http_filters.2.typed_config.suppress_envoy_headers": True,
        "manager.route_config.virtual_hosts.0.include_request_attempt_count": True,
        "manager.route_config.virtual_hosts.0.request_body_buffer_limit": ANY,
    },
    "door-": {
        "per_connection_buffer_limit_bytes": ANY,
        "manager.local_reply_config.mappers.0.headers_to_add.0.header.key": "x-siaga-unsent",
        "manager.common_http_protocol_options.idle_timeout": ANY,
        "manager.route_config.virtual_hosts.0.request_body_buffer_limit": ANY,
    },
    "probe-": {"ignore_global_conn_limit": True},
}
WHOLE = {"admin.ignore_global_conn_limit": True, "overload_manager.resource_monitors.0.typed_config": ANY}


def lint(config: Json) -> list[str]:
    """Every required key that is missing or has another value; empty when all is well."""
    findings = [finding for name, part, rules in parts(config) for finding in _check(name, part, rules)]
    for name, route in _routes(config):
        if name.endswith(("/other", "/last-resort")):
            findings += [f"{name}: {path} must not be there" for path in FORBIDDEN if look_up(route, path) is not None]
    return findings


def parts(config: Json) -> Iterator[tuple[str, Json, Json]]:
    """Everything with rules: its name, itself, its rules."""
    yield "bootstrap", config, WHOLE
    for cluster in config["static_resources"]["clusters"]:
        for prefix, rules in CLUSTERS.items():
            if cluster["name"].startswith(prefix):
                yield cluster["name"], cluster, rules
    for listener in config["static_resources"]["listeners"]:
        for prefix, rules in LISTENERS.items():
            if listener["name"].startswith(prefix):
                yield listener["name"], listener, rules
    for name, route in _routes(config):
        listener_name, kind = name.split("/")
        for (prefix, wanted), rules in ROUTES.items():
            if listener_name.startswith(prefix) and kind == wanted:
                yield name, route, rules


def look_up(part: Any, path: str) -> Any:
    """The value at a dotted path, or None. An extension's name has dots of its own."""
    holder, key = find(part, path)
    return None if holder is None else holder[key]


def find(part: Any, path: str) -> tuple[Any, Any]:
    """The container and the key that a dotted path ends at, or (None, None)."""
    if path.startswith("manager."):
        part, path = part["filter_chains"][0]["filters"][0]["typed_config"], path.removeprefix("manager.")
    words = path.split(".")
    while words:
        for length in range(len(words), 0, -1):
            key: Any = ".".join(words[:length])
            if isinstance(part, list) and key.isdigit() and int(key) < len(part):
                key = int(key)
            elif not (isinstance(part, dict) and key in part):
                continue
            words = words[length:]
            if not words:
                return part, key
            part = part[key]
            break
        else:
            return None, None
    return None, None


def _check(name: str, part: Json, rules: Json) -> Iterator[str]:
    for path, wanted in rules.items():
        found = look_up(part, path)
        if found is None or (wanted is not ANY and found != wanted):
            yield f"{name}: {path} is {found!r}, wanted {'any value' if wanted is ANY else repr(wanted)}"


def _routes(config: Json) -> Iterator[tuple[str, Json]]:
    for listener in config["static_resources"]["listeners"]:
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        for route in manager["route_config"]["virtual_hosts"][0]["routes"]:
            yield f"{listener['name']}/{route['name']}", route
