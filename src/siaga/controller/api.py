"""The controller's HTTP API, version 1; `/openapi.json` describes it.

The probes and `/metrics` are open on loopback; everything under `/v1` needs a login.
"""

# No postponed annotations here: FastAPI could not resolve `Actor`, which is made inside the function.
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from siaga.controller.approvals import Approvals
from siaga.controller.levers import Levers
from siaga.controller.loops import Loop
from siaga.controller.peers import Door
from siaga.controller.recording import Recording
from siaga.errors import Exit, SiagaError
from siaga.sessions.service import SessionsService
from siaga.sop.adherence import Standing, standings, to_document
from siaga.traffic.service import TrafficService

_STATUS = {Exit.USAGE: 422, Exit.REFUSED: 409, Exit.UNREACHABLE: 503}


class Act(BaseModel):
    """How to carry out an act."""

    model_config = ConfigDict(extra="forbid")

    dry_run: bool = False


class Why(BaseModel):
    """The reason of a change."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(min_length=1, max_length=1000)]


class Yes(BaseModel):
    """A person's yes to what a loop wants."""

    model_config = ConfigDict(extra="forbid")

    what: str
    reason: str = ""


class Stranger(Why):
    """A witness that is not the one we know."""

    fingerprint: str


class Old(Act):
    """Evidence beyond its retention."""

    before: AwareDatetime


def create_api(
    *,
    door: Door,
    loops: Sequence[Loop],
    traffic: TrafficService,
    sessions: SessionsService,
    recording: Recording,
    levers: Levers,
    approvals: Approvals,
    runs_trouble: str,
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
        """Every loop, what is not armed yet, what is held, and whether all is recorded."""
        arming = [f"{s.clause} {s.part}: {s.why}" for s in measured() if s.observed_at is None and s.valid_s]
        return {
            "loops": [loop.describe() for loop in loops],
            "arming": arming,
            "halted": levers.halted,
            "levers_trouble": levers.trouble,
            "approvals": approvals.show(),
            "evidence": recording.describe(),
            "runs_trouble": runs_trouble,
        }

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

    @api.get("/v1/approvals")
    async def show_approvals(_: Actor) -> dict[str, Any]:
        """What loops want to do and a person has to allow."""
        return {"approvals": approvals.show()}

    @api.post("/v1/approvals")
    async def allow(yes: Yes, actor: Actor) -> dict[str, Any]:
        """A person's yes."""
        await approvals.allow(yes.what, actor, yes.reason)
        return {"allowed": yes.what}

    @api.get("/v1/evidence")
    async def show_evidence(_: Actor, count: int = 100) -> dict[str, Any]:
        """The last records."""
        return {**recording.describe(), "records": await recording.latest(min(count, 1000))}

    @api.post("/v1/evidence/checkpoint")
    async def checkpoint(_: Actor) -> dict[str, Any]:
        """Have all that is recorded witnessed at once."""
        taken = await recording.checkpoint(datetime.now(UTC), time.monotonic())
        return {"size": taken.size, "root": taken.root.hex()}

    @api.post("/v1/evidence/keys/{role}/rotate")
    async def rotate(role: Literal["log", "witness"], why: Why, actor: Actor) -> dict[str, Any]:
        """Sign with a new key from now on."""
        return {
            "role": role,
            "key": await recording.rotate_key(role, actor, why.reason, datetime.now(UTC), time.monotonic()),
        }

    @api.post("/v1/evidence/refusal/acknowledge")
    async def acknowledge(why: Why, actor: Actor) -> dict[str, Any]:
        """A person has looked into what the witness refused."""
        await recording.acknowledge(actor, why.reason)
        return {"acknowledged": True}

    @api.post("/v1/evidence/witness/accept")
    async def accept(witness: Stranger, actor: Actor) -> dict[str, Any]:
        """Trust another witness."""
        await recording.accept_witness(witness.fingerprint, actor, witness.reason)
        return {"accepted": witness.fingerprint}

    @api.post("/v1/evidence/prune")
    async def prune(old: Old, actor: Actor) -> dict[str, Any]:
        """Remove whole segments that are older and witnessed."""
        return {"first": await recording.prune(old.before, actor, dry_run=old.dry_run), "dry_run": old.dry_run}

    return api
