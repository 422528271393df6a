"""The only place where hands meet heads: which host, which proxy, which store each service works with."""

from __future__ import annotations

import asyncio
import json
import os
import secrets as randomness
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
from fastapi import FastAPI

from siaga.controller.api import create_api
from siaga.controller.data_plane import EnvoyDataPlane
from siaga.controller.loops import Loop
from siaga.controller.metrics import exposition
from siaga.controller.peers import Door
from siaga.errors import SiagaError, Unreachable
from siaga.evidence.records import Record, Records
from siaga.hosts.keeper_client import KeeperClient
from siaga.hosts.local import LocalHost
from siaga.platform import secrets, valkey
from siaga.platform.layout import Layout
from siaga.platform.up import start_keeper
from siaga.sessions.separation import Cluster, Placement, fingerprint
from siaga.sessions.service import SessionsService
from siaga.sessions.valkey import Server, SessionWatcher
from siaga.sop.adherence import Standing, to_document
from siaga.traffic.envoy import Envoy
from siaga.traffic.http import Prober, sights
from siaga.traffic.model import TrafficPolicy
from siaga.traffic.service import TrafficService

_log = structlog.get_logger()

TRAFFIC_INTERVAL_S = 0.1
SESSIONS_INTERVAL_S = 1.0
KEEPER_INTERVAL_S = 1.0
STANDINGS_INTERVAL_S = 2.0


@dataclass(frozen=True)
class Controller:
    """Everything that runs in the controller's process."""

    loops: tuple[Loop, ...]
    api: FastAPI
    close: Callable[[], Awaitable[None]]


def wire(layout: Layout) -> Controller:
    """Put the controller of this platform together; nothing runs yet."""
    host = LocalHost()
    records = Records(layout.directory("controller") / "records.jsonl")
    limits = layout.site.limits.traffic
    prober = Prober(
        sights(layout.site, {r.name: layout.address(f"probe-{r.name}") for r in layout.site.regions}),
        TrafficPolicy.within(
            latency_ms_max=limits.latency_ms_max, divert_s_max=float(limits.divert_s_max)
        ).probe_timeout_ms,
    )
    data_plane = EnvoyDataPlane(Envoy(host, layout.address("envoy-admin"), str(layout.discovery)), layout.site)
    traffic = _traffic(layout, host, prober, data_plane, records)
    keeper = KeeperWatch(layout)
    sessions, flush = _sessions(layout, keeper, records)

    def measured() -> tuple[Standing, ...]:
        return (*traffic.standing(), sessions.standing(datetime.now(UTC)))

    async def look_at_sessions() -> None:
        await sessions.run_pass(datetime.now(UTC))
        await flush()

    async def write_standings() -> None:
        documents = json.dumps([to_document(standing) for standing in measured()])
        await host.write(str(layout.directory("controller") / "standings.json"), documents.encode())

    loops = (
        Loop("traffic", TRAFFIC_INTERVAL_S, 5.0, traffic.run_pass),
        Loop("sessions", SESSIONS_INTERVAL_S, 5.0, look_at_sessions),
        Loop("keeper", KEEPER_INTERVAL_S, 10.0, keeper.run_pass),
        Loop("standings", STANDINGS_INTERVAL_S, 5.0, write_standings),
    )

    async def close() -> None:
        await prober.close()
        await data_plane.close()

    api = create_api(
        door=Door(secrets.read(layout.secret("controller-token"))),
        loops=loops,
        traffic=traffic,
        sessions=sessions,
        records=records,
        measured=measured,
        metrics=exposition(loops, traffic, measured),
    )
    return Controller(loops=loops, api=api, close=close)


def _traffic(
    layout: Layout, host: LocalHost, prober: Prober, data_plane: EnvoyDataPlane, records: Records
) -> TrafficService:
    remembered_at = layout.directory("controller") / "traffic.json"

    async def record(kind: str, actor: str, reason: str, figures: Mapping[str, object]) -> None:
        _log.info(reason, kind=kind, actor=actor, clause="ZDT-1.1a")
        await records.append(Record(kind, actor, "ZDT-1.1a", reason, figures))

    async def save(document: object) -> None:
        await host.write(str(remembered_at), json.dumps(document).encode())

    try:
        remembered = json.loads(remembered_at.read_bytes()) if remembered_at.exists() else None
        return TrafficService(layout.site, prober, data_plane, record=record, save=save, remembered=remembered)
    except (ValueError, SiagaError) as error:
        # A controller that never starts is worse than one that judges every node afresh; the file is kept.
        remembered_at.replace(remembered_at.with_suffix(".damaged"))
        _log.error("what was remembered of the nodes is damaged, drains by hand are forgotten", why=str(error))
        return TrafficService(layout.site, prober, data_plane, record=record, save=save, remembered=None)


def _sessions(
    layout: Layout, keeper: KeeperWatch, records: Records
) -> tuple[SessionsService, Callable[[], Awaitable[None]]]:
    noted: list[Mapping[str, object]] = []
    watcher = SessionWatcher(
        [Server(server.name, server.address or "") for server in layout.site.sessions.servers],
        user=valkey.WATCH,
        password=secrets.read(layout.secret("sessions-watch")),
    )
    service = SessionsService(
        watcher,
        layout.site.limits.sessions,
        record=noted.append,
        placements=lambda: _placements(layout, keeper.pids),
        one_machine=layout.site.embedded,
    )

    async def flush() -> None:
        while noted:
            event = noted[0]
            await records.append(Record(str(event["kind"]), "controller", str(event["clause"]), str(event["reason"])))
            # Only what is written is forgotten: a full disk delays an event, it does not lose it.
            del noted[0]
            _log.info(event["reason"], kind=event["kind"], clause=event["clause"])

    return service, flush


def _placements(layout: Layout, pids: Mapping[str, int]) -> list[Placement]:
    """Where every server of the two clusters lives, for the proof of their separation (ZDT-1.1b)."""
    site = layout.site
    clusters = (
        (Cluster.DATABASE, (*site.transactions.servers, *site.history.servers), "wallet-app"),
        (Cluster.SESSIONS, site.sessions.servers, "sessions-wallet"),
    )
    found = []
    for cluster, servers, secret in clusters:
        credential = fingerprint(secrets.read(layout.secret(secret)).encode(), _FINGERPRINT_KEY)
        for server in servers:
            directory = layout.directory(server.name)
            found.append(
                Placement(
                    cluster=cluster,
                    server=server.name,
                    host=server.host,
                    process=str(pids[server.name]) if server.name in pids else None,
                    directory=str(directory),
                    volume=f"{server.host}:{directory.stat().st_dev}" if directory.exists() else None,
                    credential=credential,
                )
            )
    return found


_FINGERPRINT_KEY = randomness.token_bytes(32)


class KeeperWatch:
    """Knows what the keeper keeps, and starts it again when it is gone; on real hosts systemd does that."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._client = KeeperClient(layout.place.keeper_socket)
        self.pids: dict[str, int] = {}

    async def run_pass(self) -> None:
        """Look at the keeper once."""
        try:
            parts: Sequence[Mapping[str, Any]] = await self._client.parts()
        except Unreachable:
            _log.warning("the keeper is gone, starting it again")
            start_keeper(self._layout.place, (sys.executable,), _python_environment())
            await asyncio.sleep(1.0)
            parts = await self._client.parts()
        self.pids = {part["name"]: part["pid"] for part in parts if part["pid"] is not None}


def _python_environment() -> dict[str, str]:
    names = ("PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH", "PYTHONNOUSERSITE", "PYTHONDONTWRITEBYTECODE")
    return {name: os.environ[name] for name in names if name in os.environ}
