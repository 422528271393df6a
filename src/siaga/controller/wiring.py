"""The only place where hands meet heads: which host, which proxy, which store each service works with."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from fastapi import FastAPI

from siaga.controller.api import create_api
from siaga.controller.approvals import Approvals
from siaga.controller.authority import TrafficAuthority
from siaga.controller.data_plane import EnvoyDataPlane
from siaga.controller.drills_wiring import stage
from siaga.controller.evidence_wiring import open_recording
from siaga.controller.fence_watch import FenceWatch
from siaga.controller.hourly_requests import HourlyRequests
from siaga.controller.keeper_watch import KeeperWatch
from siaga.controller.leadership import Leadership
from siaga.controller.levers import Levers, ModeRules
from siaga.controller.levers_api import create_router as create_levers_router
from siaga.controller.loops import Loop
from siaga.controller.metrics import exposition
from siaga.controller.peers import Door
from siaga.controller.procedures import Procedures, put_together
from siaga.controller.runs_api import create_router as create_runs_router
from siaga.controller.sessions_wiring import sessions_service
from siaga.controller.traffic_wiring import traffic_service
from siaga.drills.runbook import drill_runbooks
from siaga.errors import SiagaError
from siaga.evidence import index
from siaga.evidence.pseudonyms import Pseudonyms
from siaga.hosts.local import LocalHost
from siaga.journal import adherence, status
from siaga.ledger.gate import Gate
from siaga.platform import gate, journal, secrets
from siaga.platform.layout import Layout
from siaga.sop.adherence import Standing, to_document
from siaga.sop.modes import default_mode
from siaga.traffic.envoy import Envoy
from siaga.traffic.http import Prober, sights
from siaga.traffic.model import TrafficPolicy

_log = structlog.get_logger()

TRAFFIC_INTERVAL_S = 0.1
SESSIONS_INTERVAL_S = 1.0
KEEPER_INTERVAL_S = 1.0
STANDINGS_INTERVAL_S = 2.0
EVIDENCE_INTERVAL_S = 5.0
CALENDAR_INTERVAL_S = 1.0
FENCE_INTERVAL_S = 2.0


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
    recording = await open_recording(layout, leadership.epoch)
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
    traffic = traffic_service(layout, host, prober, data_plane, TrafficAuthority(levers, approvals, recording))
    keeper = KeeperWatch(layout)
    sessions, flush = sessions_service(layout, keeper, recording)
    theatre = stage(layout, traffic, sessions, recording)
    procedures = put_together(layout, host, leadership, recording, levers, requests, drill_runbooks(theatre))
    runs_trouble = await _launch(procedures)

    fence = FenceWatch(
        Gate(gate.conninfo(layout)).history,
        recording,
        lambda: recording.history("fence"),
        Pseudonyms(layout.secret("account-pseudonyms")).of,
    )

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
        Loop("fence", FENCE_INTERVAL_S, 15.0, leading(fence.run_pass)),
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
