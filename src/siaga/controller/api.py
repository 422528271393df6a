"""The controller's HTTP API, version 1; `/openapi.json` describes it.

The probes and `/metrics` are open on loopback; everything under `/v1` needs a login.
"""

# No postponed annotations here: FastAPI could not resolve `Actor`, which is made inside the function.
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from siaga.controller.loops import Loop
from siaga.controller.peers import Door
from siaga.errors import Exit, SiagaError
from siaga.evidence.records import Records
from siaga.sessions.service import SessionsService
from siaga.sop.adherence import Standing, standings, to_document
from siaga.traffic.service import TrafficService

_STATUS = {Exit.USAGE: 422, Exit.REFUSED: 409, Exit.UNREACHABLE: 503}


class Act(BaseModel):
    """How to carry out an act."""

    model_config = ConfigDict(extra="forbid")

    dry_run: bool = False


def create_api(
    *,
    door: Door,
    loops: Sequence[Loop],
    traffic: TrafficService,
    sessions: SessionsService,
    records: Records,
    measured: Callable[[], tuple[Standing, ...]],
    metrics: Callable[[], bytes],
) -> FastAPI:
    """The API over the services."""
    api = FastAPI(title="Siaga controller", version="1", docs_url=None, redoc_url=None)
    Actor = Annotated[str, Depends(door.actor)]  # noqa: N806 (a type, made here because it holds the door)

    @api.exception_handler(SiagaError)
    async def complaint(_: Request, error: SiagaError) -> JSONResponse:
        content = {"message": error.message, "hint": error.hint, "exit_code": int(error.exit_code)}
        return JSONResponse(content, _STATUS.get(error.exit_code, 500))

    @api.get("/livez")
    async def livez() -> dict[str, str]:
        """The process answers."""
        return {"status": "alive"}

    @api.get("/readyz")
    async def readyz(response: Response) -> dict[str, Any]:
        """Every loop is in time."""
        late = [loop.name for loop in loops if loop.late]
        response.status_code = 503 if late else 200
        return {"ready": not late, "late": late}

    @api.get("/metrics")
    async def figures() -> Response:
        """For Prometheus."""
        return Response(metrics(), media_type="text/plain; version=0.0.4")

    @api.get("/v1/status")
    async def status(_: Actor) -> dict[str, Any]:
        """Every loop, and what is not armed yet."""
        arming = [f"{s.clause} {s.part}: {s.why}" for s in measured() if s.observed_at is None and s.valid_s]
        return {"loops": [loop.describe() for loop in loops], "arming": arming}

    @api.get("/v1/sop")
    async def sop(_: Actor) -> dict[str, Any]:
        """Every clause as it stands."""
        return {"clauses": [to_document(s) for s in standings(measured(), datetime.now(UTC))]}

    @api.get("/v1/traffic")
    async def show_traffic(_: Actor) -> dict[str, Any]:
        """Every node and the last decisions."""
        return traffic.show()

    @api.post("/v1/traffic/nodes/{node}/drain")
    async def drain(node: str, act: Act, actor: Actor) -> dict[str, Any]:
        """Take a node out."""
        decision = await traffic.drain(node, actor, dry_run=act.dry_run)
        return {"node": node, "reason": decision.reason, "dry_run": act.dry_run}

    @api.post("/v1/traffic/nodes/{node}/restore")
    async def restore(node: str, act: Act, actor: Actor) -> dict[str, Any]:
        """Let a node return."""
        decision = await traffic.restore(node, actor, dry_run=act.dry_run)
        return {"node": node, "reason": decision.reason, "dry_run": act.dry_run}

    @api.get("/v1/sessions")
    async def show_sessions(_: Actor) -> dict[str, Any]:
        """The session cluster and its separation from the database."""
        return sessions.show(datetime.now(UTC))

    @api.get("/v1/records")
    async def show_records(_: Actor, count: int = 100) -> dict[str, Any]:
        """The last records."""
        return {"records": records.latest(min(count, 1000))}

    return api
