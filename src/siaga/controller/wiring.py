"""The only place where hands meet heads: which host, which proxy, which store each service works with."""

from __future__ import annotations

import asyncio
import json
import os
import secrets as randomness
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
import structlog
from fastapi import FastAPI

from siaga.controller import state, state_import
from siaga.controller.api import create_api
from siaga.controller.approvals import Approvals
from siaga.controller.authority import TrafficAuthority
from siaga.controller.data_plane import EnvoyDataPlane
from siaga.controller.hourly_requests import HourlyRequests
from siaga.controller.leadership import Leadership
from siaga.controller.levers import Levers, ModeRules
from siaga.controller.levers_api import create_router as create_levers_router
from siaga.controller.loops import Loop
from siaga.controller.metrics import exposition
from siaga.controller.peers import Door
from siaga.controller.procedures import Procedures, put_together
from siaga.controller.recording import Recording
from siaga.controller.runs_api import create_router as create_runs_router
from siaga.controller.state_version import evidence_directory, evidence_origin, keys_directory
from siaga.drills.runbook import drill_runbooks
from siaga.drills.stage import Stage
from siaga.errors import SiagaError, Unreachable
from siaga.evidence import index
from siaga.evidence.checkpoint_file import CheckpointFile
from siaga.evidence.checkpoints import Checkpoints
from siaga.evidence.files import FileStore
from siaga.evidence.log import EvidenceLog
from siaga.evidence.model import Evidence, Record
from siaga.evidence.postgres import PostgresStore
from siaga.evidence.store import Store
from siaga.evidence.witness_client import WitnessClient
from siaga.hosts.keeper_client import KeeperClient
from siaga.hosts.local import LocalHost
from siaga.journal import adherence, status
from siaga.platform import control_database, journal, secrets, valkey, witness
from siaga.platform.layout import Layout
from siaga.platform.up import start_keeper
from siaga.sessions.separation import Cluster, Placement, fingerprint
from siaga.sessions.service import SessionsService
from siaga.sessions.valkey import Server, SessionWatcher
from siaga.sop.adherence import Standing, to_document
from siaga.sop.modes import default_mode
from siaga.traffic.envoy import Envoy
from siaga.traffic.http import Prober, sights
from siaga.traffic.model import TrafficPolicy
from siaga.traffic.service import TrafficService

_log = structlog.get_logger()

TRAFFIC_INTERVAL_S = 0.1
SESSIONS_INTERVAL_S = 1.0
KEEPER_INTERVAL_S = 1.0
STANDINGS_INTERVAL_S = 2.0
EVIDENCE_INTERVAL_S = 5.0
CALENDAR_INTERVAL_S = 1.0


@dataclass(frozen=True)
class Controller:
    """Everything that runs in the controller's process."""

    loops: tuple[Loop, ...]
    api: FastAPI
    close: Callable[[], Awaitable[None]]


async def wire(layout: Layout, leadership: Leadership) -> Controller:
    """Put the controller of this platform together, its evidence and its journal open; called by who leads."""
    host = LocalHost()
    directory = layout.directory("controller")
    recording = await _recording(layout, leadership.epoch)
    levers = Levers(
        directory / "levers.json",
        recording,
        ModeRules(default=default_mode(layout.site.embedded), highest=layout.site.modes_max),
        lambda: datetime.now(UTC),
    )
    approvals = Approvals(recording)
    requests = HourlyRequests(directory / "requests.json")
    limits = layout.site.limits.traffic
    prober = Prober(
        sights(layout.site, {r.name: layout.address(f"probe-{r.name}") for r in layout.site.regions}),
        TrafficPolicy.within(
            latency_ms_max=limits.latency_ms_max, divert_s_max=float(limits.divert_s_max)
        ).probe_timeout_ms,
    )
    data_plane = EnvoyDataPlane(
        Envoy(host, layout.address("envoy-admin"), str(layout.discovery)), layout.site, requests.note
    )
    traffic = _traffic(layout, host, prober, data_plane, TrafficAuthority(levers, approvals, recording))
    keeper = KeeperWatch(layout)
    sessions, flush = _sessions(layout, keeper, recording)
    stage = _stage(layout, traffic, sessions, recording)
    procedures = put_together(layout, host, leadership, recording, levers, requests, drill_runbooks(stage))
    runs_trouble = await _launch(procedures)

    def measured() -> tuple[Standing, ...]:
        return (
            *traffic.standing(),
            sessions.standing(datetime.now(UTC)),
            recording.standing(datetime.now(UTC), time.monotonic()),
            adherence.standing(status.read(journal.status_path(layout))),
            adherence.cross_check(),
        )

    async def look_at_sessions() -> None:
        await sessions.run_pass(datetime.now(UTC))
        await flush()

    async def write_standings() -> None:
        await recording.refresh_index()
        shown = levers.show()
        document = {
            "standings": [to_document(standing) for standing in measured()],
            "modes": shown["modes"],
            "halted": shown["halted"],
            "index": index.to_document(recording.index),
        }
        await host.write(str(directory / "standings.json"), json.dumps(document).encode())

    def leading(run_pass: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        async def guarded() -> None:
            await leadership.may_act()
            await run_pass()

        return guarded

    loops = [
        Loop("traffic", TRAFFIC_INTERVAL_S, 5.0, leading(traffic.run_pass)),
        Loop("sessions", SESSIONS_INTERVAL_S, 5.0, leading(look_at_sessions)),
        Loop("keeper", KEEPER_INTERVAL_S, 10.0, leading(keeper.run_pass)),
        Loop(
            "evidence",
            EVIDENCE_INTERVAL_S,
            30.0,
            leading(lambda: recording.run_pass(datetime.now(UTC), time.monotonic())),
        ),
        Loop("standings", STANDINGS_INTERVAL_S, 5.0, leading(write_standings)),
    ]
    if not runs_trouble:
        loops.append(Loop("calendar", CALENDAR_INTERVAL_S, 30.0, leading(procedures.calendar.run_pass)))

    async def close() -> None:
        if not runs_trouble:
            await procedures.engine.close()
        await recording.close()
        await prober.close()
        await data_plane.close()

    door = Door(secrets.read(layout.secret("controller-token")))
    api = create_api(
        door=door,
        loops=loops,
        traffic=traffic,
        sessions=sessions,
        recording=recording,
        levers=levers,
        approvals=approvals,
        runs_trouble=runs_trouble,
        measured=measured,
        metrics=exposition(loops, traffic, measured),
    )
    api.include_router(create_levers_router(levers, procedures.calendar, door.actor, procedures.names))
    if not runs_trouble:
        api.include_router(create_runs_router(procedures.engine, door.actor, procedures.closed))
    return Controller(loops=tuple(loops), api=api, close=close)


async def _launch(procedures: Procedures) -> str:
    """Go on with every open run; why there is no engine, when its journal does not open. The platform is watched on."""
    try:
        await procedures.engine.launch()
    except SiagaError as error:
        _log.error("no run goes on", why=error.message, hint=error.hint)
        return f"{error.message}; {error.hint}"
    return ""


async def _recording(layout: Layout, epoch: int) -> Recording:
    """Open the evidence of this generation, and bring in what the release before recorded."""
    controller = layout.directory("controller")
    found = state.read(controller)
    directory = controller / evidence_directory(found.generation)
    origin = evidence_origin(layout.site.name, found.generation)
    store: Store
    if layout.site.controller.state == "postgresql":
        conninfo = control_database.conninfo(layout)
        name = f"siaga evidence {epoch}"
        store = PostgresStore(
            lambda: psycopg.connect(conninfo, application_name=name), origin=origin, epoch=epoch, directory=directory
        )
    else:
        store = FileStore(directory, origin)
    client = WitnessClient(witness.socket(layout.place.run))

    def checkpoints(log: EvidenceLog) -> Checkpoints:
        return Checkpoints(
            log,
            client,
            CheckpointFile(directory),
            log.append,
            keys_directory=controller / keys_directory(found.generation),
            now_monotonic_s=time.monotonic(),
            epoch=epoch,
        )

    recording = Recording(
        store, client, checkpoints, spool=controller / "spool", index=controller / "index.json", epoch=epoch
    )
    await recording.open()
    try:
        await state.begin_generation(found, recording, recording.size)
        await state_import.import_records(
            controller, recording, lambda: (line for lines in store.blocks() for line in lines)
        )
    except (SiagaError, OSError) as error:
        # Nothing is lost: the old file stays, and the next start tries again.
        _log.error("the records of the release before were not imported", why=str(error))
    return recording


def _stage(layout: Layout, traffic: TrafficService, sessions: SessionsService, evidence: Evidence) -> Stage:
    async def restore(node: str) -> None:
        await traffic.restore(node, "drill", dry_run=False)

    async def record(drill: str, clauses: Sequence[str], holds: bool, figures: Mapping[str, Any]) -> None:
        known = {"drill": drill, "clauses": list(clauses), "holds": holds, "where": "embedded", **figures}
        reason = f"drill {drill} {'held' if holds else 'did not hold'}"
        await evidence.append(Record(index.PROOF, "controller", clauses[0], reason, known))

    return Stage(
        layout=layout,
        keeper=KeeperClient(layout.place.keeper_socket),
        python=(sys.executable,),
        python_env=_python_environment(),
        show_traffic=traffic.show,
        show_sessions=lambda: sessions.show(datetime.now(UTC)),
        restore=restore,
        record=record,
    )


def _traffic(
    layout: Layout, host: LocalHost, prober: Prober, data_plane: EnvoyDataPlane, authority: TrafficAuthority
) -> TrafficService:
    remembered_at = layout.directory("controller") / "traffic.json"

    async def save(document: object) -> None:
        await host.write(str(remembered_at), json.dumps(document).encode())

    try:
        remembered = json.loads(remembered_at.read_bytes()) if remembered_at.exists() else None
        return TrafficService(layout.site, prober, data_plane, authority=authority, save=save, remembered=remembered)
    except (ValueError, SiagaError) as error:
        # A controller that never starts is worse than one that judges every node afresh; the file is kept.
        remembered_at.replace(remembered_at.with_suffix(".damaged"))
        _log.error("what was remembered of the nodes is damaged, drains by hand are forgotten", why=str(error))
        return TrafficService(layout.site, prober, data_plane, authority=authority, save=save, remembered=None)


def _sessions(
    layout: Layout, keeper: KeeperWatch, evidence: Evidence
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
            await evidence.append(Record(str(event["kind"]), "controller", str(event["clause"]), str(event["reason"])))
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
