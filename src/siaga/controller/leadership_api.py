"""What a controller answers about leading: `/v1/leader` always, and everything else only when it leads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Response
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from siaga.controller.leadership import Leadership
from siaga.controller.peers import Door
from siaga.errors import Exit

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


class Front:
    """The API of this process: a standby's until it leads."""

    def __init__(self, standby: ASGIApp) -> None:
        self._app = standby

    def lead_with(self, api: ASGIApp) -> None:
        """From now on everything is answered."""
        self._app = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        await self._app(scope, receive, send)


def leader_router(door: Door, leadership: Leadership) -> APIRouter:
    """`/v1/leader`."""
    router = APIRouter()

    @router.get("/v1/leader", dependencies=[Depends(door.actor)])
    async def leader() -> Mapping[str, Any]:
        """Who leads as this controller knows it: name, epoch, since."""
        return leadership.describe()

    return router


def create_standby_api(door: Door, leadership: Leadership) -> FastAPI:
    """The API of a controller that stands by: alive, ready to take over or not, and who leads."""
    api = FastAPI(title="Siaga controller, standing by", version="1", docs_url=None, redoc_url=None)
    api.include_router(leader_router(door, leadership))

    @api.get("/livez")
    async def livez() -> dict[str, str]:
        """The process answers."""
        return {"status": "alive"}

    @api.get("/readyz")
    async def readyz(response: Response) -> dict[str, Any]:
        """It could take over."""
        known = leadership.describe()
        response.status_code = 200 if known["state_reachable"] else 503
        return {"ready": known["state_reachable"], "leads": False, "why": known["why"]}

    @api.api_route("/{path:path}", methods=_METHODS, dependencies=[Depends(door.actor)], include_in_schema=False)
    async def elsewhere(path: str) -> JSONResponse:
        """Ask the leader."""
        known = leadership.describe()
        leader = known["leader"]
        if leader is not None and leader["name"] != known["name"]:
            hint = f"Ask `{leader['name']}` on {leader['host']}, which leads; `siaga` commands find it themselves."
        else:
            hint = "A takeover needs up to 5 s: ask again. `siaga status` shows what the controllers wait for."
        content = {
            "message": f"the controller `{known['name']}` stands by: {known['why'] or 'it leads now, and is starting'}",
            "hint": hint,
            "exit_code": int(Exit.UNREACHABLE),
            "stands_by": True,
            "leader": leader,
        }
        return JSONResponse(content, 503)

    return api
