"""The benchmark's nodes and distance, with a real Envoy in front."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parents[3]), str(Path(__file__).parent)]

from front import Front  # noqa: E402

from benchmarks.traffic.engines import run_envoy, siaga_config  # noqa: E402
from benchmarks.traffic.rig import Rig  # noqa: E402


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """Four nodes in two regions, 160 ms apart."""
    async with Rig(tmp_path).running() as running:
        yield running


@pytest.fixture
async def front(rig: Rig, tmp_path: Path) -> AsyncIterator[Front]:
    """Siaga's Envoy before them, every node and door healthy."""
    directory = tmp_path / "envoy"
    directory.mkdir()
    config = siaga_config(rig, directory)
    async with run_envoy(rig, directory, config, settle_s=0):
        front = Front(rig, directory)
        async with asyncio.timeout(10):
            while not await _settled(front):
                await asyncio.sleep(0.05)
        yield front
        await front.envoy.close()


async def _settled(front: Front) -> bool:
    answer = await front.admin("/clusters?format=json")
    hosts = [
        host
        for cluster in json.loads(answer.body)["cluster_statuses"]
        for host in cluster.get("host_statuses", ())
        if cluster["name"].startswith(("nodes-", "doors-"))
    ]
    return all(host["health_status"] == {"eds_health_status": "HEALTHY"} for host in hosts) and bool(hosts)
