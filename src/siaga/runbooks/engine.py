"""The engine of runs: starts them, lets people speak to them, shows them. Kills and upgrades don't end them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from siaga.errors import Refused, Unreachable
from siaga.runbooks import archive, sqlite
from siaga.runbooks.archive import Archive, Standing
from siaga.runbooks.clock import SteadyClock
from siaga.runbooks.dbos import OPEN, Row
from siaga.runbooks.journal import Journal, Place, SqliteFile, Stopped
from siaga.runbooks.model import Document, Manner, Runbook
from siaga.runbooks.order import Order, judge_document, judge_parameters, judge_request, known, to_document
from siaga.runbooks.plan import plan
from siaga.runbooks.run import Choice, Outcome
from siaga.runbooks.runner import Runner, Wiring

PREPARE_S = 30.0
START_S = 8.0
"""Less than the CLI waits for an answer."""


class Engine:
    """One a process; lead before you launch it, since two engines on one journal would act twice."""

    def __init__(self, place: Place, runbooks: Iterable[Runbook], wiring: Wiring) -> None:
        self._place = place
        self._runbooks = {runbook.name: runbook for runbook in runbooks}
        self._wiring = wiring
        self._now = wiring.now or SteadyClock()
        self._starting = asyncio.Lock()
        self._lock = sqlite.Lock(place.path) if isinstance(place, SqliteFile) else None

    async def launch(self) -> None:
        """Open the journal and go on with every open run, on the calling loop.

        Refused when another engine holds the journal, or when open runs are of another journal version;
        PlatformFault for an SQLite that is too old; Unreachable when the journal does not answer.
        """
        if self._lock is not None:
            self._lock.take()
        try:
            self._journal = Journal(self._place)
            self._archive = Archive(self._journal)
            self._runner = Runner(self._journal, self._archive, self._runbooks, self._wiring, self._now)
            try:
                await self._runner.launch()
            except BaseException:
                await self._runner.close()
                raise
        except BaseException:
            if self._lock is not None:
                self._lock.release()
            raise

    async def close(self) -> None:
        """Stop within seconds; open runs go on at the next launch."""
        await self._runner.close()
        if self._lock is not None:
            self._lock.release()

    @property
    def trouble(self) -> str:
        """What is wrong with the journal now; empty when nothing is known to be."""
        return self._journal.trouble

    # Beginning ------------------------------------------------------------------------------------------

    def runbooks(self) -> list[dict[str, Any]]:
        """Every runbook, with its plan before any choice."""
        return [plan(runbook, {}) for _, runbook in sorted(self._runbooks.items())]

    async def plan(self, name: str, parameters: Document) -> dict[str, Any]:
        """What a run would do; every choice is made, and nothing is done."""
        runbook = known(self._runbooks, name)
        return plan(runbook, await self._prepared(runbook, parameters))

    async def _prepared(self, runbook: Runbook, parameters: Document) -> Document:
        judge_parameters(runbook, parameters)
        try:
            async with asyncio.timeout(PREPARE_S):
                return judge_document(await runbook.prepare(parameters), "the prepared parameters")
        except TimeoutError:
            raise Unreachable(
                f"the choices of runbook `{runbook.name}` were not made within {PREPARE_S:g} s",
                hint="Look at what it asks: nothing was begun.",
            ) from None

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
        """Begin a run and return its id as `run`; `first` is False when there was one of that id before.

        BadInput for what the runbook does not know; Refused when another run of its kind is under way;
        Unreachable when the journal can't be written: then nothing was begun.
        """
        runbook = known(self._runbooks, name)
        now = self._now()
        onset = now if onset is None else onset
        run = run or f"{name}-{datetime.fromtimestamp(now, UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        judge_request(runbook, run, requester, onset, now)
        async with self._starting:
            before = await asyncio.to_thread(self._archive.find, run)
            if before is not None:
                return _begun_before(before, name)
            prepared = await self._prepared(runbook, parameters)
            if manner is not Manner.DRY and runbook.alone:
                _judge_alone(runbook, await asyncio.to_thread(self._archive.rows, OPEN))
            order = Order(
                run=run,
                runbook=name,
                parameters=prepared,
                manner=manner,
                plan=plan(runbook, prepared),
                requester=requester,
                reason=reason,
                requested_at=now,
                onset=onset,
            )
            await self._write_down(order)
        return {"run": run, "first": True}

    async def _write_down(self, order: Order) -> None:
        try:
            async with asyncio.timeout(START_S):
                await asyncio.to_thread(self._runner.start, order.run, to_document(order))
        except (TimeoutError, Stopped):
            raise Unreachable(
                f"run `{order.run}` could not be written into the journal within {START_S:g} s",
                hint=f"It may begin when the journal answers again: see `siaga runs show {order.run}`.",
            ) from None

    # Looking and speaking -------------------------------------------------------------------------------

    async def runs(self) -> list[dict[str, Any]]:
        """The newest runs, one line each."""
        lines = await asyncio.to_thread(self._archive.lines, self._now(), self._runner.standings())
        return [self._with_failure(line) for line in lines]

    async def show(self, run: str) -> dict[str, Any]:
        """Everything about a run, as of this moment; BadInput when there is none."""
        return archive.page(await self._standing(run), self._now())

    async def approve(self, run: str, actor: str, ticket: str = "") -> dict[str, Any]:
        """Say yes to what the run asks for now. Refused for the requester of a two-person approval."""
        return await self._say(run, self._archive.approve, actor, ticket)

    async def decide(self, run: str, actor: str, choice: Choice, reason: str) -> dict[str, Any]:
        """Decide what the run waits for; the first decision counts."""
        return await self._say(run, self._archive.decide, actor, str(choice), reason)

    async def cancel(self, run: str, actor: str, reason: str) -> dict[str, Any]:
        """Have the run go back at its next step; Refused past its point of no return."""
        return await self._say(run, self._archive.cancel, actor, reason)

    async def _say(self, run: str, say: Callable[..., dict[str, Any]], *said: str) -> dict[str, Any]:
        answer = await asyncio.to_thread(say, await self._standing(run), *said, self._now())
        self._runner.wake(run)
        return answer

    async def _standing(self, run: str) -> Standing:
        standing = self._runner.standings().get(run)
        if standing is None:
            standing = await asyncio.to_thread(self._archive.standing, run)
        return replace(standing, trouble=self._runner.failed.get(run, standing.trouble))

    def _with_failure(self, line: dict[str, Any]) -> dict[str, Any]:
        why = self._runner.failed.get(line["id"])
        return line | {"state": "failed", "why": why} if why and line["state"] not in tuple(Outcome) else line


def _begun_before(row: Row, name: str) -> dict[str, Any]:
    if row.order.get("runbook") != name:
        raise Refused(
            f"run id `{row.run}` belongs to a run of `{row.order.get('runbook')}`",
            hint="Choose another id, or leave it out.",
        )
    return {"run": row.run, "first": False}


def _judge_alone(runbook: Runbook, rows: Iterable[Row]) -> None:
    for row in rows:
        if row.order.get("manner") != Manner.DRY and row.order.get("plan", {}).get("alone") == runbook.alone:
            raise Refused(
                f"run `{row.run}` is under way, and no other {runbook.alone} may run beside it",
                hint=f"`siaga runs show {row.run}` shows what it waits for.",
            )
