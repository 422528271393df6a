"""The only place where hands meet heads: which host, which proxy, which store each service works with."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
from fastapi import FastAPI

from siaga.controller import (
    health_api,
    health_runbook,
    health_wiring,
    incidents_api,
    levers_api,
    reports_api,
    runs_api,
    uptime_api,
)
from siaga.controller.api import create_api
from siaga.controller.approvals import Approvals
from siaga.controller.authority import TrafficAuthority
from siaga.controller.data_plane import EnvoyDataPlane
from siaga.controller.drills_wiring import stage
from siaga.controller.evidence_wiring import open_recording
from siaga.controller.fence_watch import FenceWatch
from siaga.controller.hourly_requests import HourlyRequests
from siaga.controller.incidents_wiring import (
    IncidentWatch,
    Sights,
    account,
    heartbeat,
    incidents_service,
    secret_of,
)
from siaga.controller.keeper_watch import KeeperWatch
from siaga.controller.leadership import Leadership
from siaga.controller.levers import Levers, ModeRules
from siaga.controller.loops import Loop
from siaga.controller.metrics import exposition
from siaga.controller.peers import Door
from siaga.controller.procedures import Procedures, put_together
from siaga.controller.recording import Recording
from siaga.controller.sessions_wiring import sessions_service
from siaga.controller.standing_records import StandingRecords
from siaga.controller.traffic_wiring import traffic_prober, traffic_service
from siaga.controller.uptime_wiring import uptime_service
from siaga.drills.runbook import drill_runbooks
from siaga.errors import SiagaError
from siaga.evidence import index
from siaga.evidence.pseudonyms import Pseudonyms
from siaga.health.service import HealthService
from siaga.hosts.local import LocalHost
from siaga.incidents.notify.heartbeat import INTERVAL_S as HEARTBEAT_INTERVAL_S
from siaga.incidents.service import IncidentsService
from siaga.journal import adherence, status
from siaga.ledger.gate import Gate
from siaga.platform import gate, journal, secrets
from siaga.platform.layout import Layout
from siaga.sessions.service import SessionsService
from siaga.sop.adherence import Standing, standings, to_document
from siaga.sop.modes import default_mode
from siaga.traffic.envoy import Envoy
from siaga.traffic.http import Prober
from siaga.traffic.service import TrafficService
from siaga.uptime.service import UptimeService

_log = structlog.get_logger()

TRAFFIC_INTERVAL_S = 0.1
UPTIME_INTERVAL_S = 0.1
SESSIONS_INTERVAL_S = 1.0
KEEPER_INTERVAL_S = 1.0
INCIDENTS_INTERVAL_S = 1.0
FENCE_INTERVAL_S = 2.0
STANDINGS_INTERVAL_S = 2.0
STANDING_RECORDS_INTERVAL_S = 5.0
EVIDENCE_INTERVAL_S = 5.0
CALENDAR_INTERVAL_S = 1.0
HEALTH_INTERVAL_S = 10.0
HEALTH_DEADLINE_S = 300.0
"""Of a pass in which all readers look, each with a deadline of its own."""


@dataclass(frozen=True)
class Controller:
    """Everything that runs in the controller's process."""

    loops: tuple[Loop, ...]
    api: FastAPI
    close: Callable[[], Awaitable[None]]


async def wire(layout: Layout, leadership: Leadership) -> Controller:
    """Put the controller of this platform together, its evidence and its journal open; called by who leads."""
    recording = await open_recording(layout, leadership.epoch)
    domains = await _domains(layout, leadership, recording)
    runs_trouble = await _launch(domains.procedures)
    loops = _loops(layout, leadership, domains, runs=not runs_trouble)

    async def close() -> None:
        if not runs_trouble:
            await domains.procedures.engine.close()
        await domains.uptime.close()
        await domains.incidents.close()
        await recording.close()
        await domains.prober.close()
        await domains.data_plane.close()

    return Controller(tuple(loops), _api(layout, domains, loops, runs_trouble), close)


@dataclass(frozen=True)
class Domains:
    """The services, each knowing nothing of the others."""

    host: LocalHost
    recording: Recording
    levers: Levers
    approvals: Approvals
    prober: Prober
    data_plane: EnvoyDataPlane
    traffic: TrafficService
    keeper: KeeperWatch
    sessions: SessionsService
    record_sessions: Callable[[], Awaitable[None]]
    uptime: UptimeService
    incidents: IncidentsService
    watch: IncidentWatch
    health: HealthService
    procedures: Procedures
    fence: FenceWatch
    status: Callable[[], Mapping[str, Any]]
    """What the journal's consumer last said of itself."""

    def measured(self) -> tuple[Standing, ...]:
        """Every part of every clause, as it was last seen."""
        now = _now()
        return (
            self.uptime.standing(),
            self.incidents.standing(now),
            *self.traffic.standing(),
            self.sessions.standing(now),
            *self.health.standing(),
            self.recording.standing(now, time.monotonic()),
            adherence.standing(self.status()),
            adherence.cross_check(),
        )


async def _domains(layout: Layout, leadership: Leadership, recording: Recording) -> Domains:
    host = LocalHost()
    directory = layout.directory("controller")
    rules = ModeRules(default=default_mode(layout.site.embedded), highest=layout.site.modes_max)
    levers = Levers(directory / "levers.json", recording, rules, _now)
    approvals = Approvals(recording)
    requests = HourlyRequests(directory / "requests.json")
    prober = traffic_prober(layout)
    envoy = Envoy(host, layout.address("envoy-admin"), str(layout.discovery))
    data_plane = EnvoyDataPlane(envoy, layout.site, requests.note)
    traffic = traffic_service(layout, host, prober, data_plane, TrafficAuthority(levers, approvals, recording))
    keeper = KeeperWatch(layout)
    sessions, record_sessions = sessions_service(layout, keeper, recording)
    health = health_wiring.put_together(layout, host, recording, lambda: keeper.pids)
    runbooks = (*drill_runbooks(stage(layout, traffic, sessions, recording)), health_runbook.runbook(health))
    incidents = await asyncio.to_thread(incidents_service, layout, recording, leadership.epoch)
    watch = IncidentWatch(
        incidents,
        Sights(
            nodes=lambda: traffic.show()["nodes"],
            parts=lambda: keeper.parts,
        ),
    )
    uptime = uptime_service(layout, recording, watch.on_uptime, leadership.epoch)
    await uptime.open(await recording.history("uptime"))
    await watch.begin(uptime.outage)
    return Domains(
        host=host,
        recording=recording,
        levers=levers,
        approvals=approvals,
        prober=prober,
        data_plane=data_plane,
        traffic=traffic,
        keeper=keeper,
        sessions=sessions,
        record_sessions=record_sessions,
        uptime=uptime,
        incidents=incidents,
        watch=watch,
        health=health,
        procedures=put_together(layout, host, leadership, recording, levers, requests, runbooks),
        fence=FenceWatch(
            Gate(gate.conninfo(layout)).history,
            recording,
            lambda: recording.history("fence"),
            Pseudonyms(layout.secret("account-pseudonyms")).of,
        ),
        status=lambda: status.read(journal.status_path(layout)),
    )


def _loops(layout: Layout, leadership: Leadership, domains: Domains, *, runs: bool) -> list[Loop]:
    recording = domains.recording
    records = StandingRecords(recording, lambda now: standings(domains.measured(), now))

    async def look_at_sessions() -> None:
        await domains.sessions.run_pass(_now())
        await domains.record_sessions()

    def loop(name: str, interval_s: float, deadline_s: float, run_pass: Callable[[], Awaitable[None]]) -> Loop:
        async def guarded() -> None:
            await leadership.may_act()
            await run_pass()

        return Loop(name, interval_s, deadline_s, guarded)

    loops = [
        loop("traffic", TRAFFIC_INTERVAL_S, 5.0, domains.traffic.run_pass),
        loop("uptime", UPTIME_INTERVAL_S, 5.0, domains.uptime.run_pass),
        loop("incidents", INCIDENTS_INTERVAL_S, 10.0, lambda: domains.watch.run_pass(domains.measured())),
        loop("sessions", SESSIONS_INTERVAL_S, 5.0, look_at_sessions),
        loop("keeper", KEEPER_INTERVAL_S, 10.0, domains.keeper.run_pass),
        loop("evidence", EVIDENCE_INTERVAL_S, 30.0, lambda: recording.run_pass(_now(), time.monotonic())),
        loop("health", HEALTH_INTERVAL_S, HEALTH_DEADLINE_S, lambda: domains.health.run_pass(_now())),
        loop("fence", FENCE_INTERVAL_S, 15.0, domains.fence.run_pass),
        loop("standings", STANDINGS_INTERVAL_S, 5.0, lambda: _write_standings(layout, domains)),
        loop("standing records", STANDING_RECORDS_INTERVAL_S, 10.0, lambda: records.run_pass(_now())),
    ]
    if runs:
        loops.append(loop("calendar", CALENDAR_INTERVAL_S, 30.0, domains.procedures.calendar.run_pass))
    switch = heartbeat(layout, lambda: ", ".join(f"the loop {each.name} is late" for each in loops if each.late))
    if switch is not None:
        loops.append(loop("heartbeat", HEARTBEAT_INTERVAL_S, 20.0, lambda: switch.run_pass(_now())))
    return loops


async def _write_standings(layout: Layout, domains: Domains) -> None:
    """For `siaga sop` while no controller answers."""
    await domains.recording.refresh_index()
    shown = domains.levers.show()
    document = {
        "standings": [to_document(standing) for standing in domains.measured()],
        "modes": shown["modes"],
        "halted": shown["halted"],
        "index": index.to_document(domains.recording.index),
    }
    await domains.host.write(str(layout.directory("controller") / "standings.json"), json.dumps(document).encode())


def _api(layout: Layout, domains: Domains, loops: Sequence[Loop], runs_trouble: str) -> FastAPI:
    door = Door(secrets.read(layout.secret("controller-token")))
    api = create_api(
        door=door,
        loops=loops,
        traffic=domains.traffic,
        sessions=domains.sessions,
        recording=domains.recording,
        levers=domains.levers,
        approvals=domains.approvals,
        runs_trouble=runs_trouble,
        measured=domains.measured,
        metrics=exposition(loops, domains.traffic, domains.uptime, domains.incidents, domains.measured),
    )
    procedures = domains.procedures
    api.include_router(levers_api.create_router(domains.levers, procedures.calendar, door.actor, procedures.names))
    api.include_router(uptime_api.create_router(domains.uptime, door.actor))
    api.include_router(
        incidents_api.create_router(
            domains.incidents,
            account(layout, domains.incidents, domains.recording),
            door.actor,
            routes=layout.site.notifications,
            secret=secret_of(layout),
        )
    )
    api.include_router(health_api.create_router(domains.health, door.actor))
    api.include_router(reports_api.create_router(domains.recording, door.actor))
    if not runs_trouble:
        api.include_router(runs_api.create_router(procedures.engine, door.actor, procedures.closed))
    return api


async def _launch(procedures: Procedures) -> str:
    """Go on with every open run; why there is no engine, when its journal does not open. The platform is watched on."""
    try:
        await procedures.engine.launch()
    except SiagaError as error:
        _log.error("no run goes on", why=error.message, hint=error.hint)
        return f"{error.message}; {error.hint}"
    return ""


def _now() -> datetime:
    return datetime.now(UTC)
