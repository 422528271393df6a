"""`/v1/reports`: which months' reports were written, and the record of one more (SUM)."""

# No postponed annotations here: FastAPI could not resolve `Actor`, which is made inside the function.
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from siaga.evidence.model import Record
from siaga.sop.adherence import Adherence
from siaga.sop.clauses import ClauseId

DOMAIN = "report"
WRITTEN = f"{DOMAIN}.written"


class Log(Protocol):
    """The evidence, as these routes need it."""

    def append(self, record: Record) -> Awaitable[int]:
        """Return its number once it is durable."""
        ...

    def history(self, domain: str) -> Awaitable[Sequence[Mapping[str, Any]]]:
        """Every record of one domain, oldest first."""
        ...


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class WrittenFile(_Body):
    """One file of a report."""

    name: str = Field(min_length=1, max_length=200)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class WrittenReport(_Body):
    """A report that was written somewhere."""

    month: str = Field(pattern="^[0-9]{4}-(0[1-9]|1[0-2])$")
    stage: str = Field(min_length=1, max_length=40)
    verdict: Adherence
    checkpoint_size: int = Field(ge=0)
    files: tuple[WrittenFile, ...] = Field(min_length=1, max_length=4)


def create_router(evidence: Log, actor: Callable[[Request], str]) -> APIRouter:
    """The routes; `actor` names who asks, or answers 401."""
    router = APIRouter(prefix="/v1/reports")
    Actor = Annotated[str, Depends(actor)]  # noqa: N806 (a type, made here because it holds the door)

    @router.get("")
    async def written(_: Actor) -> dict[str, Any]:
        """Every report that was recorded, oldest first."""
        records = await evidence.history(DOMAIN)
        return {
            "reports": [{**r["figures"], "record": r["number"], "at": r["time"], "by": r["actor"]} for r in records]
        }

    @router.post("")
    async def record(report: WrittenReport, actor: Actor) -> dict[str, Any]:
        """Record that it was written, with the SHA-256 of each of its files."""
        words = f"the report of {report.month} ({report.stage}) was written: {report.verdict}"
        number = await evidence.append(Record(WRITTEN, actor, ClauseId.SUM, words, report.model_dump(mode="json")))
        return {"record": number}

    return router
