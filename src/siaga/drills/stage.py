"""What a drill works with: the platform, the keeper, and the controller's services as the wiring gives them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg
from wallet.proof import Proof, prove

from siaga.drills.crowd import CrowdPlan
from siaga.drills.crowd_client import CrowdClient
from siaga.hosts.keeper import Spec
from siaga.hosts.keeper_client import KeeperClient
from siaga.hosts.local import write_and_rename
from siaga.platform import secrets
from siaga.platform import status as platform_status
from siaga.platform.layout import Layout

CROWD = "drill-users"


@dataclass(frozen=True)
class Stage:
    """The running platform of a drill."""

    layout: Layout
    keeper: KeeperClient
    python: Sequence[str]
    python_env: Mapping[str, str]
    show_traffic: Callable[[], dict[str, Any]]
    show_sessions: Callable[[], dict[str, Any]]
    restore: Callable[[str], Awaitable[None]]
    """Let a node return."""
    record: Callable[[str, Sequence[str], bool, Mapping[str, Any]], Awaitable[None]]
    """Keep what a drill proved: its name, its clauses, whether it held, and its figures."""

    @property
    def crowd(self) -> CrowdClient:
        """The users of the drill under way."""
        return CrowdClient(self._socket)

    @property
    def _socket(self) -> Path:
        return self.layout.place.run / f"{CROWD}.sock"

    @property
    def acknowledgements(self) -> Path:
        """Every acknowledged write of the drill under way."""
        return self.layout.directory("drill") / "acknowledgements.jsonl"

    async def admit_crowd(self, rate_per_s: float, users_per_region: int) -> None:
        """Start a fresh crowd."""
        self.acknowledgements.parent.mkdir(mode=0o700, exist_ok=True)
        self.acknowledgements.unlink(missing_ok=True)
        plan = self.layout.directory("drill") / "plan.json"
        write_and_rename(plan, json.dumps(asdict(self._plan(rate_per_s, users_per_region))).encode())
        argv = (*self.python, "-m", "siaga.drills.crowd", str(plan), str(self._socket))
        await self.keeper.put(
            Spec(name=CROWD, kind="drill", argv=argv, log=str(self.layout.log(CROWD)), env=dict(self.python_env))
        )

    async def dismiss_crowd(self) -> None:
        """Let the users go; nothing happens when there are none."""
        if any(part["name"] == CROWD for part in await self.keeper.parts()):
            await self.keeper.remove(CROWD)

    def _plan(self, rate_per_s: float, users_per_region: int) -> CrowdPlan:
        site, layout = self.layout.site, self.layout
        return CrowdPlan(
            front_doors={region.name: f"http://{region.front_door}" for region in site.regions},
            rate_per_s=rate_per_s,
            users_per_region=users_per_region,
            latency_ms_max=site.limits.traffic.latency_ms_max,
            nodes={node.name: node.address or "" for node in site.nodes},
            regions={node.name: region.name for region in site.regions for node in region.nodes},
            doors={
                region.name: [
                    region.door or "",
                    *(layout.far_door(other.name, region.name) for other in site.regions if other.name != region.name),
                ]
                for region in site.regions
            },
            acknowledgements=str(self.acknowledgements),
        )

    async def prove(self) -> Proof:
        """Compare every acknowledgement with the ledger, and every balance with its entries."""
        site = self.layout.site
        host, _, port = (site.transactions.servers[0].address or "").rpartition(":")
        conninfo = psycopg.conninfo.make_conninfo(
            host=host,
            port=port,
            dbname=site.transactions.database,
            user="wallet_auditor",
            password=secrets.read(self.layout.secret("wallet-auditor")),
            connect_timeout=5,
        )
        return await prove(conninfo, self.acknowledgements)

    async def missing(self) -> str:
        """What keeps the platform from being whole; empty when every part runs and every node serves."""
        down = [p.name for p in await platform_status.parts(self.layout) if p.state != "running"]
        if down:
            return f"{', '.join(down)} not running"
        nodes, sessions = self.show_traffic()["nodes"], self.show_sessions()["standing"]
        out = [f"{n['node']} is {n['state']} at {n['weight_percent']} %" for n in nodes if n["weight_percent"] != 100]
        out += [f"{n['node']} is {n['proxy']} in the data plane" for n in nodes if n["proxy"] != "healthy"]
        out += [f"{n['node']} is {n['verdict']}" for n in nodes if n["verdict"] != "healthy"]
        if sessions["adherence"] != "holds":
            out.append(f"sessions {sessions['adherence']}: {sessions['why']}")
        return "; ".join(out)

    async def readmit_recovered(self) -> None:
        """Let nodes return that are well and only sit out a hold, which may last 5 min after several drills."""
        for node in self.show_traffic()["nodes"]:
            if node["state"] == "drained" and not node["operator"] and node["verdict"] == "healthy":
                await self.restore(node["node"])
