"""`/v1/runs` and `/v1/runbooks`: what runs, what it waits for, and what people say to it."""

# No postponed annotations here: FastAPI could not resolve `Actor`, which is made inside the function.
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from siaga.errors import Refused
from siaga.runbooks.model import Document, Manner
from siaga.runbooks.run import Choice


class Runs(Protocol):
    """The engine, as the API needs it."""

    def runbooks(self) -> list[dict[str, Any]]:
        """Every runbook's plan."""
        ...

    async def plan(self, name: str, parameters: Document) -> dict[str, Any]:
        """What a run would do."""
        ...

    async def start(
        self,
        name: str,
        parameters: Document,
        *,
        requester: str,
        reason: str,
        manner: Manner = Manner.REAL,
        run: str = "",
        onset: float | None = None,
    ) -> dict[str, Any]:
        """Begin a run."""
        ...

    async def runs(self) -> list[dict[str, Any]]:
        """The newest runs."""
        ...

    async def show(self, run: str) -> dict[str, Any]:
        """One run."""
        ...

    async def approve(self, run: str, actor: str, ticket: str = "") -> dict[str, Any]:
        """Say yes."""
        ...

    async def decide(self, run: str, actor: str, choice: Choice, reason: str) -> dict[str, Any]:
        """Decide what it waits for."""
        ...

    async def cancel(self, run: str, actor: str, reason: str) -> dict[str, Any]:
        """Have it go back."""
        ...


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Wish(_Body):
    """Parameters of a runbook."""

    parameters: dict[str, Any] = Field(default_factory=dict)


class Start(Wish):
    """A run to begin."""

    runbook: str
    reason: str = Field(min_length=1, max_length=500)
    manner: Manner = Manner.REAL
    id: str = ""
    onset: AwareDatetime | None = None


class Approve(_Body):
    """A person's yes."""

    ticket: str = Field(default="", max_length=100)


class Reason(_Body):
    """Why a person says so."""

    reason: str = Field(min_length=1, max_length=500)


class Decide(Reason):
    """A person's decision."""

    choice: Choice


def create_router(
    runs: Runs, actor: Callable[[Request], str], closed: Callable[[str], str] = lambda runbook: ""
) -> APIRouter:
    """The routes over the engine; `actor` names who asks, or answers 401.

    `closed` says why a runbook may not be started by hand now (its window, a freeze); empty when it may.
    """
    router = APIRouter(prefix="/v1")
    Actor = Annotated[str, Depends(actor)]  # noqa: N806 (a type, made here because it holds the door)

    @router.get("/runbooks")
    async def runbooks(_: Actor) -> dict[str, Any]:
        """Every runbook with its steps."""
        return {"runbooks": runs.runbooks()}

    @router.post("/runbooks/{name}/plan")
    async def plan(name: str, wish: Wish, _: Actor) -> dict[str, Any]:
        """What a run would do; nothing is begun."""
        return await runs.plan(name, wish.parameters)

    @router.get("/runs")
    async def listing(_: Actor) -> dict[str, Any]:
        """The newest runs."""
        return {"runs": await runs.runs()}

    @router.post("/runs")
    async def start(wanted: Start, actor: Actor) -> dict[str, Any]:
        """Begin a run."""
        why = closed(wanted.runbook) if wanted.manner is Manner.REAL else ""
        if why:
            raise Refused(
                f"`{wanted.runbook}` may not be started now: {why}", hint="`siaga calendar` names its next window."
            )
        return await runs.start(
            wanted.runbook,
            wanted.parameters,
            requester=actor,
            reason=wanted.reason,
            manner=wanted.manner,
            run=wanted.id,
            onset=_seconds(wanted.onset),
        )

    # Ids may hold slashes: `update-database/2026-11-25`.
    @router.post("/runs/{run:path}/approve")
    async def approve(run: str, word: Approve, actor: Actor) -> dict[str, Any]:
        """Say yes to what the run asks for now."""
        return await runs.approve(run, actor, word.ticket)

    @router.post("/runs/{run:path}/decide")
    async def decide(run: str, word: Decide, actor: Actor) -> dict[str, Any]:
        """Decide what the run waits for."""
        return await runs.decide(run, actor, word.choice, word.reason)

    @router.post("/runs/{run:path}/cancel")
    async def cancel(run: str, word: Reason, actor: Actor) -> dict[str, Any]:
        """Have the run go back at its next step."""
        return await runs.cancel(run, actor, word.reason)

    @router.get("/runs/{run:path}")
    async def show(run: str, _: Actor) -> dict[str, Any]:
        """One run: its steps, its clocks, what it waits for."""
        return await runs.show(run)

    return router


def _seconds(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment is not None else None
