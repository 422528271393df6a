"""The service as the controller has it: a real directory, real routes, real clocks."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from siaga.evidence.model import Record
from siaga.incidents.files import FileStore
from siaga.incidents.model import Fact, FactKind
from siaga.incidents.notify.senders import senders
from siaga.incidents.postgres import PostgresStore
from siaga.incidents.service import IncidentsService
from siaga.incidents.store import IncidentStore
from siaga.site.notifications import NotificationRoute, RouteKind

DEADLINE_S = 20.0
APPLICATION = "siaga incidents of the tests"


class Log:
    """The evidence, in memory."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    async def append(self, record: Record) -> int:
        self.records.append(record)
        return len(self.records)

    async def append_exempt(self, record: Record) -> None:
        self.records.append(record)


def pagerduty(url: str, **fields: object) -> NotificationRoute:
    return NotificationRoute.model_validate(
        {"name": "on-call", "kind": RouteKind.PAGERDUTY, "secret": "routing-key", "url": f"{url}/v2/enqueue", **fields}
    )


def by_apprise(name: str = "chat", **fields: object) -> NotificationRoute:
    return NotificationRoute.model_validate(
        {"name": name, "kind": RouteKind.APPRISE, "secret": f"{name}-url", **fields}
    )


def outage(*, present: bool = True) -> Fact:
    return Fact("outage", FactKind.OUTAGE, datetime.now(UTC), present, "users get errors in sgp", "ZDT-1", 0.4)


def store_at(place: Path | str, *, epoch: int = 1) -> IncidentStore:
    """In a directory, or in the database that a conninfo names."""
    if isinstance(place, Path):
        return FileStore(place)
    return PostgresStore(lambda: psycopg.connect(place, application_name=APPLICATION), epoch=epoch)


@asynccontextmanager
async def service(
    place: Path | IncidentStore | str, routes: list[NotificationRoute], log: Log, **secrets: str
) -> AsyncIterator[IncidentsService]:
    """With its loop running, ten passes a second."""

    async def secret(name: str) -> str:
        if name.replace("-", "_") not in secrets:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", name)
        return secrets[name.replace("-", "_")]

    found = IncidentsService(
        store_at(place) if isinstance(place, Path | str) else place,
        log,
        routes,
        senders(routes, secret, "test"),
        site="test",
        clock=lambda: datetime.now(UTC),
        monotonic=time.monotonic,
    )

    async def loop() -> None:
        while True:
            await found.run_pass()
            await asyncio.sleep(0.1)

    passes = asyncio.create_task(loop())
    try:
        yield found
    finally:
        passes.cancel()
        await asyncio.gather(passes, return_exceptions=True)
        await found.close()


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something to come true."""
    async with asyncio.timeout(DEADLINE_S):
        while not holds():
            await asyncio.sleep(0.02)
