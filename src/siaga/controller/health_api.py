"""`/v1/health`: what was read of everything that fails slowly, and a look at once (PMT)."""

# No postponed annotations here: FastAPI could not resolve `Actor`, which is made inside the function.
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from siaga.health.service import HealthService


def create_router(health: HealthService, actor: Callable[[Request], str]) -> APIRouter:
    """The routes over the readings; `actor` names who asks, or answers 401."""
    router = APIRouter(prefix="/v1")
    Actor = Annotated[str, Depends(actor)]  # noqa: N806 (a type, made here because it holds the door)

    @router.get("/health")
    async def show(_: Actor) -> dict[str, Any]:
        """What every reader saw when it last looked."""
        return health.show()

    @router.post("/health/check")
    async def check(_: Actor) -> dict[str, Any]:
        """Look at everything but the data itself, now."""
        await health.check(datetime.now(UTC))
        return health.show()

    return router
