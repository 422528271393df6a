"""`/v1/levers` and `/v1/calendar`: what people set by hand, and what is expected of every window."""

# No postponed annotations here: FastAPI could not resolve `Actor`, which is made inside the function.
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from siaga.controller.calendar_service import CalendarService
from siaga.controller.levers import Levers
from siaga.errors import BadInput
from siaga.runbooks.calendar import Verdict
from siaga.runbooks.freezes import Freeze
from siaga.site.wording import nearest
from siaga.sop.clauses import ClauseId
from siaga.sop.modes import Mode


class Asked(BaseModel):
    """What every change says: why."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(max_length=1000)]


class ModeAsked(Asked):
    """A clause's mode."""

    mode: Mode


class FreezeAsked(Asked):
    """A freeze by hand."""

    begin: AwareDatetime
    end: AwareDatetime
    runbooks: tuple[str, ...] = ()
    clauses: tuple[ClauseId, ...] = ()


class AllowAsked(Asked):
    """One occurrence."""

    occurrence: str


def create_router(
    levers: Levers, calendar: CalendarService, actor: Callable[[Request], str], runbooks: Collection[str]
) -> APIRouter:
    """The routes; `actor` names who asks, or refuses a stranger; `runbooks` are the names that a freeze may name."""
    router = APIRouter()
    Actor = Annotated[str, Depends(actor)]  # noqa: N806 (a type, made here because it holds the door)

    @router.get("/v1/levers")
    async def show(_: Actor) -> dict[str, Any]:
        """The safety lever, every clause's mode, freezes by hand, open advice and its score."""
        return levers.show()

    @router.post("/v1/halt")
    async def halt(asked: Asked, actor: Actor) -> dict[str, Any]:
        """Hold every automatic act at its next step."""
        await levers.halt(actor, asked.reason)
        return levers.show()

    @router.post("/v1/resume")
    async def resume(asked: Asked, actor: Actor) -> dict[str, Any]:
        """Let automatic acts go on."""
        await levers.resume(actor, asked.reason)
        return levers.show()

    @router.post("/v1/sop/{clause}/mode")
    async def set_mode(clause: ClauseId, asked: ModeAsked, actor: Actor) -> dict[str, Any]:
        """Move a clause to another mode."""
        change = await levers.set_mode(clause, asked.mode, actor=actor, reason=asked.reason)
        return {"clause": str(clause), "from": str(change.before), "to": str(change.after), "reason": change.reason}

    @router.post("/v1/freezes")
    async def freeze(asked: FreezeAsked, actor: Actor) -> dict[str, Any]:
        """Allow no change for a while."""
        for name in asked.runbooks:
            if name not in runbooks:
                raise BadInput(
                    f"runbooks: there is no runbook `{name}`{nearest(name, runbooks)}",
                    hint="A freeze for it would freeze nothing; `siaga runs plan` lists every runbook.",
                )
        made = Freeze(
            begin=asked.begin.astimezone(UTC),
            end=asked.end.astimezone(UTC),
            reason=asked.reason,
            source=actor,
            runbooks=frozenset(asked.runbooks),
            clauses=frozenset(asked.clauses),
        )
        return {"freeze": await levers.freeze(made), "says": str(made)}

    @router.post("/v1/freezes/{name}/lift")
    async def lift(name: str, asked: Asked, actor: Actor) -> dict[str, Any]:
        """End a freeze that was set by hand."""
        await levers.lift(name, actor=actor, reason=asked.reason)
        return {"freeze": name, "lifted": True}

    @router.get("/v1/calendar")
    async def show_calendar(_: Actor, weeks: Annotated[int, Query(ge=1, le=520)] = 4) -> dict[str, Any]:
        """Every expected occurrence, so many weeks back and ahead."""
        span = timedelta(weeks=weeks)
        verdicts = await calendar.verdicts(span, span)
        return {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "halted": levers.halted,
            "doubts": calendar.doubts,
            "occurrences": [_document(verdict) for verdict in verdicts],
        }

    @router.post("/v1/calendar/allow")
    async def allow(asked: AllowAsked, actor: Actor) -> dict[str, Any]:
        """A person's yes to one occurrence that waits for it."""
        await calendar.allow(asked.occurrence, actor=actor, reason=asked.reason)
        return {"occurrence": asked.occurrence, "allowed_by": actor}

    return router


def _document(verdict: Verdict) -> dict[str, Any]:
    occurrence, opening = verdict.occurrence, verdict.occurrence.opening
    window = occurrence.appointment.window
    return {
        "id": occurrence.id,
        "runbook": occurrence.appointment.runbook,
        "clause": str(occurrence.appointment.clause),
        "window": str(window),
        "begin": opening.begin.isoformat(),
        "last_start": opening.last_start.isoformat(),
        "hard_stop": opening.hard_stop.isoformat(),
        "end": opening.end.isoformat(),
        "zone": window.zone,
        "state": str(verdict.state),
        "reason": verdict.reason,
        "run": verdict.run,
        "compensating": verdict.compensating.isoformat() if verdict.compensating else None,
    }
