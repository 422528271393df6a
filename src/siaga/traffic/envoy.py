"""Envoy's hands (ZDT-1.1a): put weights into force by discovery files, and read what it saw.

A file counts as taken only when Envoy says so; what it did not confirm in time is UNKNOWN, never done.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import aiohttp

from siaga.errors import Unreachable
from siaga.hosts.model import Host
from siaga.site.model import Region
from siaga.traffic.envoy_clusters import any_node_cluster, nodes_cluster
from siaga.traffic.envoy_config import check_endpoints, discovery_file, endpoints, render

_CONFIRM_S = 2.0
"""Envoy takes a file within 3 ms, 190 ms at worst (lab); a busy machine gets ten times that."""
_ADMIN_S = 1.0
_POLL_S = 0.005
_POLL_S_MAX = 0.1
_VALIDATE_S = 20.0


class Outcome(StrEnum):
    """What became of a publication."""

    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Published:
    """Weights sent to Envoy, and whether they are in force."""

    region: str
    outcome: Outcome
    reason: str
    """Empty when done."""
    version: str
    took_ms: float


@dataclass(frozen=True, slots=True)
class HostStats:
    """One node as Envoy sees it now; counters since Envoy started."""

    node: str
    region: str
    address: str
    weight: int
    draining: bool
    ejected: bool
    """Taken out for its answers to users."""
    healthy: bool
    """By its active health check."""
    requests: int
    successes: int
    errors: int
    timeouts: int


async def validate(host: Host, program: str, bootstrap_path: str) -> str:
    """Envoy's own verdict on a bootstrap file; empty when it would start with it."""
    ended = await host.run([program, "--mode", "validate", "--config-path", bootstrap_path], deadline_s=_VALIDATE_S)
    if ended.exit_code == 0:
        return ""
    said = (ended.stderr or ended.stdout).decode(errors="replace").strip().splitlines()
    return said[-1] if said else f"exit code {ended.exit_code}"


class Envoy:
    """One Envoy process: its admin interface, and the directory it takes discovery files from."""

    def __init__(self, host: Host, admin: str, discovery_directory: str) -> None:
        self._host = host
        self._socket = admin if admin.startswith("/") else ""
        self._base = f"http://{'envoy' if self._socket else admin}"
        self._directory = discovery_directory.rstrip("/")
        self._client: aiohttp.ClientSession | None = None

    async def publish(self, region: Region, weights: Mapping[str, int]) -> Published:
        """Put weights (percent; 0 drains) into force. Invalid ones raise BadInput and never reach Envoy."""
        begun_s = time.monotonic()
        document = endpoints(region, weights)
        version = f"{hashlib.sha256(render(document).encode()).hexdigest()[:12]}-{secrets.token_hex(4)}"
        content = render({"version_info": version, **document}).encode()
        check_endpoints(json.loads(content), region)
        before = await self._refusals(region.name)
        path = f"{self._directory}/{discovery_file(region.name)}"
        previous = await self._previous(path)
        await self._host.write(path, content, mode=0o644)
        outcome, reason = await self._confirmation(region.name, version, before)
        if outcome is Outcome.FAILED and previous is not None:
            # What runs now is the previous weights; a restart of Envoy must find the same.
            await self._host.write(path, previous, mode=0o644)
        return Published(region.name, outcome, reason, version, (time.monotonic() - begun_s) * 1000)

    async def observe(self) -> tuple[HostStats, ...]:
        """Every node as Envoy sees it; Unreachable when its admin interface does not answer."""
        answer = json.loads(await self._get("/clusters?format=json"))
        prefix = nodes_cluster("")
        return tuple(
            _host_stats(cluster["name"].removeprefix(prefix), status)
            for cluster in answer["cluster_statuses"]
            if cluster["name"].startswith(prefix)
            for status in cluster.get("host_statuses", ())
        )

    async def close(self) -> None:
        """Close the connection to the admin interface."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _previous(self, path: str) -> bytes | None:
        try:
            return await self._host.read(path)
        except FileNotFoundError:
            return None

    async def _refusals(self, region: str) -> dict[str, str] | None:
        try:
            return _refusals(await self._discovery_stats(region))
        except Unreachable:
            return None

    async def _confirmation(self, region: str, version: str, before: Mapping[str, str] | None) -> tuple[Outcome, str]:
        deadline_s, wait_s = time.monotonic() + _CONFIRM_S, _POLL_S
        seen = "its admin interface did not answer"
        while time.monotonic() < deadline_s:
            try:
                stats = await self._discovery_stats(region)
            except Unreachable as error:
                seen = error.message
            else:
                taken = [value for name, value in stats.items() if name.endswith("version_text")]
                if taken and all(version == value for value in taken):
                    return Outcome.DONE, ""
                refused = _refusals(stats)
                if before is not None and refused != before:
                    return Outcome.FAILED, f"Envoy refused the discovery file of region `{region}`: {refused}"
                seen = f"it still runs version {', '.join(sorted(set(taken))) or 'none'}, wanted {version}"
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _POLL_S_MAX)
        return Outcome.UNKNOWN, f"Envoy did not confirm within {_CONFIRM_S:g} s: {seen}"

    async def _discovery_stats(self, region: str) -> dict[str, str]:
        names = "|".join(re.escape(name) for name in (nodes_cluster(region), any_node_cluster(region)))
        pattern = f"^cluster.({names}).(version_text|update_failure|update_rejected)$"
        lines = (await self._get("/stats", filter=pattern)).decode().splitlines()
        return {name: value.strip().strip('"') for name, _, value in (line.partition(": ") for line in lines)}

    async def _get(self, path: str, **query: str) -> bytes:
        if self._client is None:
            connector = aiohttp.UnixConnector(self._socket) if self._socket else aiohttp.TCPConnector()
            self._client = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=_ADMIN_S))
        try:
            async with self._client.get(f"{self._base}{path}", params=query or None) as answer:
                body = await answer.read()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(
                f"Envoy's admin interface does not answer: {type(error).__name__}",
                hint="See whether Envoy runs with `siaga status`; users are served without it as long as it does.",
            ) from error
        if status != 200:
            raise Unreachable(
                f"Envoy's admin interface answered {path} with {status}, wanted 200",
                hint="Something else may listen at the admin address of the site file.",
            )
        return body


def _refusals(stats: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in stats.items() if not name.endswith("version_text")}


def _host_stats(region: str, status: Mapping[str, Any]) -> HostStats:
    socket = status["address"]["socket_address"]
    health = status.get("health_status", {})
    counters = {entry["name"]: int(entry.get("value", 0)) for entry in status.get("stats", ())}
    return HostStats(
        node=status.get("hostname", ""),
        region=region,
        address=f"{socket['address']}:{socket['port_value']}",
        weight=int(status.get("weight", 0)),
        draining=health.get("eds_health_status") == "DRAINING",
        ejected=bool(health.get("failed_outlier_check", False)),
        healthy=not health.get("failed_active_health_check", False),
        requests=counters.get("rq_total", 0),
        successes=counters.get("rq_success", 0),
        errors=counters.get("rq_error", 0),
        timeouts=counters.get("rq_timeout", 0),
    )
