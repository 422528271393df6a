"""Carries out runs: each in a thread of DBOS, its turns on the controller's own loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

import structlog

from siaga.errors import SiagaError
from siaga.evidence.model import Evidence, Record
from siaga.runbooks import describe, words
from siaga.runbooks.archive import Archive, Standing
from siaga.runbooks.attempt import in_words
from siaga.runbooks.dbos import ABANDONED, FAILED, OPEN, Workflows, judge_versions
from siaga.runbooks.journal import Journal, Stopped
from siaga.runbooks.model import Clock, Document, Runbook
from siaga.runbooks.order import Order, from_document
from siaga.runbooks.plan import shadow
from siaga.runbooks.run import Event, Phase, RunState, fold
from siaga.runbooks.turns import Live, Turns

WATCH_S = 0.5
"""Between two looks at the clocks, and at what was said past us."""
_log = structlog.get_logger()


async def _go() -> None:
    """For an engine that has no rival."""


async def _nobody_listens(order: Order, clock: Clock, elapsed_s: float) -> None:
    """The breach is in the evidence anyway."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """What the engine gets from its controller."""

    evidence: Evidence
    halted: Callable[[], str] = lambda: ""
    """Why the safety lever is down; empty when it is not."""
    epoch: Callable[[], int] = lambda: 0
    may_act: Callable[[], Awaitable[None]] = _go
    """Asked before every act; raises a SiagaError when we don't lead, and the run waits."""
    on_breach: Callable[[Order, Clock, float], Awaitable[None]] = _nobody_listens
    now: Callable[[], float] | None = None
    """Seconds since 1970; a clock that does not jump when left out."""


class Runner:
    """Works on one journal from `launch` to `close`."""

    def __init__(
        self,
        journal: Journal,
        archive: Archive,
        runbooks: Mapping[str, Runbook],
        wiring: Wiring,
        now: Callable[[], float],
    ) -> None:
        self._journal = journal
        self._archive = archive
        self._runbooks = runbooks
        self._evidence = wiring.evidence
        self._now = now
        self._workflows = Workflows(journal)
        self._turns = Turns(
            journal=journal,
            evidence=wiring.evidence,
            now=now,
            halted=wiring.halted,
            epoch=wiring.epoch,
            may_act=wiring.may_act,
            on_breach=wiring.on_breach,
        )
        self._live: dict[str, Live] = {}
        self._under_way: set[concurrent.futures.Future[list[Event]]] = set()
        self._watch: asyncio.Task[None] | None = None
        self._closing = False
        self._last_word = 0
        self.failed: dict[str, str] = {}
        """Runs that the engine could not carry on, and why."""

    async def launch(self) -> None:
        """Go on with every open run, on the calling loop."""
        self._loop = asyncio.get_running_loop()
        # In a thread: DBOS would keep our loop waiting, and carry out runs on it.
        await asyncio.to_thread(self._open)
        await self._record_abandoned()
        self._watch = asyncio.create_task(self._watch_runs(), name="runs")

    def _open(self) -> None:
        self._journal.prepare()
        judge_versions(self._archive.rows(OPEN))
        for row in self._archive.rows(FAILED):
            _log.error("a run has failed in the engine", run=row.run, why=row.error or row.status)
        self._last_word = self._journal.last_word()
        self._workflows.launch(self._carry_out)

    async def _record_abandoned(self) -> None:
        """What people gave up while there was no engine belongs into the evidence too."""
        for row in await asyncio.to_thread(self._archive.rows, ABANDONED):
            said = {word.kind: word for word in await asyncio.to_thread(self._journal.words, row.run, 0)}
            word = said.get(words.ABANDON)
            if word is None or words.RECORDED in said:
                continue
            reason = f"given up while no engine could go on with it: {word.body['reason']}"
            await self._evidence.append(
                Record("runbooks.ended", word.actor, "", reason, {"said_at": word.said_at}, run=row.run)
            )
            noted = replace(word, kind=words.RECORDED)
            await asyncio.to_thread(self._journal.say, noted, f"{row.run}:{words.RECORDED}")

    async def close(self) -> None:
        """Stop within seconds; open runs go on at the next launch."""
        self._closing = True
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        for future in list(self._under_way):
            future.cancel()
        self._journal.close()
        await asyncio.to_thread(self._workflows.close)

    # In a thread of DBOS --------------------------------------------------------------------------------

    def start(self, run: str, order: Document) -> None:
        """Write the run down and begin it; blocks until it is in the journal."""
        self._journal.stop_this_thread()
        self._journal.probe()
        self._workflows.start(run, order)

    def _carry_out(self, document: Document) -> Document:
        """The one workflow: take turns until the run has ended."""
        self._journal.stop_this_thread()
        order = from_document(document)
        live = Live(order, self._runbooks.get(order.runbook), RunState(steps=order.steps))
        self._live[order.run] = live
        try:
            while live.state.phase is not Phase.ENDED:
                self._follow(live)
            return describe.summary(order, shadow(order.plan), live.state, self._now(), "")
        except Exception as error:
            # DBOS would call the run failed for good; so it stays open, and the next launch tries again.
            raise self._stumbled(order.run, error) from error
        finally:
            del self._live[order.run]

    def _stumbled(self, run: str, error: Exception) -> Stopped:
        _log.error("a run has failed in the engine", run=run, trace="".join(traceback.format_exception(error)))
        self.failed[run] = f"the engine failed, and tries again when it is started: {in_words(error)}"
        return Stopped()

    def _follow(self, live: Live) -> None:
        """One turn, from the journal or from now."""
        taken_now = []

        def take() -> list[Event]:
            taken_now.append(True)
            return self._take(live)

        events = self._workflows.turn(take)
        live.state = functools.reduce(fold, events, live.state)
        live.fresh = bool(taken_now)

    def _take(self, live: Live) -> list[Event]:
        """On the controller's loop, whatever thread the run is carried out in."""
        if self._closing or self._loop.is_closed():
            raise Stopped
        future = asyncio.run_coroutine_threadsafe(self._turns.take(live), self._loop)
        self._under_way.add(future)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise Stopped from None
        except Exception as error:
            # Here and not above: DBOS would keep the error as this turn's outcome, and raise it at every replay.
            raise self._stumbled(live.order.run, error) from error
        finally:
            self._under_way.discard(future)

    # On the loop ----------------------------------------------------------------------------------------

    async def _watch_runs(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                for live in list(self._live.values()):
                    await self._turns.tell_breaches(live)
                last_word = await asyncio.to_thread(self._journal.last_word)
            except SiagaError:
                # The journal is away; whoever writes to it says so.
                continue
            except Exception:  # noqa: BLE001 (nobody would watch the clocks any more)
                _log.error("a fault while watching runs", trace=traceback.format_exc())
                continue
            if last_word != self._last_word:
                self._last_word = last_word
                for run in list(self._live):
                    self.wake(run)

    def wake(self, run: str) -> None:
        """Something was said to it."""
        if run in self._live:
            self._live[run].wake.set()

    def standings(self) -> dict[str, Standing]:
        """The runs under way in this process, as of this moment."""
        return {
            run: Standing(
                live.order, live.runbook or shadow(live.order.plan), live.state, held=live.held, progress=live.progress
            )
            for run, live in list(self._live.items())
            if live.caught_up
        }
