"""`/v1/uptime`: the month's figures, and what a person says about a past stretch."""

# No postponed annotations here: FastAPI could not resolve `Actor`, which is made inside the function.
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from siaga.sop.month import Month
from siaga.uptime.model import State
from siaga.uptime.service import UptimeService


class Reclassify(BaseModel):
    """A past stretch, and what it shall count as."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    begin: AwareDatetime = Field(alias="from")
    end: AwareDatetime = Field(alias="to")
    state: State = Field(alias="as")
    reason: str = Field(min_length=1, max_length=500)


def create_router(uptime: UptimeService, actor: Callable[[Request], str]) -> APIRouter:
    """The routes over the service; `actor` names who asks, or answers 401."""
    router = APIRouter(prefix="/v1")
    Actor = Annotated[str, Depends(actor)]  # noqa: N806 (a type, made here because it holds the door)

    @router.get("/uptime")
    async def show(_: Actor, month: str = "") -> dict[str, Any]:
        """The month, the running one by default."""
        return await uptime.show(Month.parse(month) if month else None)

    @router.post("/uptime/reclassify")
    async def reclassify(wanted: Reclassify, actor: Actor) -> dict[str, Any]:
        """Have a past stretch count as something else."""
        return await uptime.reclassify(wanted.begin, wanted.end, wanted.state, wanted.reason, actor)

    return router
