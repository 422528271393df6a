"""Commands find the controller that leads, and never ask twice for an act."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from siaga.controller.client import ControllerClient
from siaga.controller.leadership_api import Front, create_standby_api, leader_router
from siaga.controller.peers import Door, PeerAwareProtocol
from siaga.errors import Refused, Unreachable


class Known:
    """A leadership as far as the API looks at it."""

    def __init__(self, *, leads: bool, leader: str | None) -> None:
        self._leads = leads
        self._leader = leader
        self.epoch = 3

    def describe(self) -> Mapping[str, Any]:
        leader = {"name": self._leader, "host": "here", "pid": 1, "epoch": 3, "since": ""} if self._leader else None
        why = f"{self._leader} leads, epoch 3" if leader else "the state's database does not answer: nobody leads"
        return {"name": "me", "leads": self._leads, "leader": leader, "state_reachable": leader is not None, "why": why}

    async def lead(self) -> int:
        raise AssertionError

    def valid(self) -> bool:
        return self._leads

    async def may_act(self) -> None:
        raise AssertionError

    async def give_up(self) -> None:
        raise AssertionError


@contextlib.asynccontextmanager
async def serving(path: Path, app: Any) -> AsyncIterator[None]:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(8)
    server = uvicorn.Server(uvicorn.Config(app, http=PeerAwareProtocol, lifespan="off", log_config=None))
    task = asyncio.create_task(server._serve([listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await task


def leading(acts: list[str]) -> FastAPI:
    api = FastAPI()

    @api.get("/v1/thing")
    async def thing() -> dict[str, str]:
        return {"answered": "by the leader"}

    @api.post("/v1/act")
    async def act() -> dict[str, int]:
        acts.append("done")
        return {"acts": len(acts)}

    @api.post("/v1/slow")
    async def slow() -> None:
        acts.append("slow")
        await asyncio.sleep(1)

    return api


def standing_by(leader: str | None) -> Front:
    return Front(create_standby_api(Door("token"), Known(leads=False, leader=leader)))


async def test_the_leader_is_found_behind_a_standby_and_behind_a_dead_controller(tmp_path: Path) -> None:
    acts: list[str] = []
    sockets = [tmp_path / name for name in ("dead", "a", "b")]
    async with serving(sockets[1], standing_by("b")), serving(sockets[2], leading(acts)):
        client = ControllerClient(sockets)
        assert await client.get("/v1/thing") == {"answered": "by the leader"}
        assert await client.post("/v1/act") == {"acts": 1}
    assert acts == ["done"]


async def test_when_nobody_leads_the_standby_says_why(tmp_path: Path) -> None:
    sockets = [tmp_path / "dead", tmp_path / "a"]
    async with serving(sockets[1], standing_by(None)):
        with pytest.raises(Unreachable, match="nobody leads"):
            await ControllerClient(sockets).post("/v1/act")


async def test_an_act_that_may_have_been_done_is_not_asked_of_another(tmp_path: Path) -> None:
    first: list[str] = []
    second: list[str] = []
    async with serving(tmp_path / "a", leading(first)), serving(tmp_path / "b", leading(second)):
        client = ControllerClient([tmp_path / "a", tmp_path / "b"], deadline_s=0.3)
        with pytest.raises(Unreachable, match="does not answer"):
            await client.post("/v1/slow")
    assert (first, second) == (["slow"], [])


async def test_what_the_leader_refuses_is_not_asked_of_the_standby(tmp_path: Path) -> None:
    api = FastAPI()

    @api.post("/v1/act")
    async def act() -> Any:
        from fastapi.responses import JSONResponse

        return JSONResponse({"message": "the last node", "hint": "none", "exit_code": 4}, 409)

    async with serving(tmp_path / "a", api):
        with pytest.raises(Refused, match="the last node"):
            await ControllerClient([tmp_path / "a", tmp_path / "none"]).post("/v1/act")


async def test_a_standby_that_leads_answers_everything_on_the_same_socket(tmp_path: Path) -> None:
    front = standing_by("other")
    async with serving(tmp_path / "a", front):
        client = ControllerClient([tmp_path / "a"])
        with pytest.raises(Unreachable, match="stands by: other leads"):
            await client.get("/v1/thing")
        assert (await client.get("/readyz"))["ready"] is True
        api = leading([])
        api.include_router(leader_router(Door("token"), Known(leads=True, leader="me")))
        front.lead_with(api)
        assert await client.get("/v1/thing") == {"answered": "by the leader"}
        assert (await client.get("/v1/leader"))["leader"]["name"] == "me"
