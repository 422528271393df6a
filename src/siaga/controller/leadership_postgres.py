"""Leadership over a shared PostgreSQL: a session's advisory lock, a row with the epoch, and a lease on it.

All of it lives in a thread with an event loop of its own, so that a controller that is busy starting keeps
its lease. When the lease is lost that thread ends the process, whatever the rest of it is doing.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import structlog

from siaga.controller.election import (
    LEASE_S,
    LOOK_S,
    LOOP_SILENT_S_MAX,
    RENEW_S,
    STALE_S,
    Lease,
    Watch,
    may_take_over,
    settle_s,
)
from siaga.controller.leadership import not_leading
from siaga.controller.leadership_file import read_epoch
from siaga.controller.leadership_process import end_process, kill
from siaga.controller.leadership_row import Candidate, LeaderRow, connect
from siaga.controller.state_version import check
from siaga.errors import SiagaError
from siaga.hosts.local import write_and_rename

_log = structlog.get_logger()

_ANSWER_S_MAX = 3.0
_TURN_S = 0.02
_WITHOUT_IT = "without it nobody leads and nobody acts"


InLoop = Callable[[Callable[[], None]], None]
"""Calls something in the main loop."""
Announce = Callable[[SiagaError | None], None]
"""Ends `lead`: with our epoch, or with a refusal."""


class _Lost(Exception):
    """We may not lead any more."""


class PostgresLeadership:
    """Stands by until the leader is gone or silent, makes it harmless, then leads until it loses the lease."""

    def __init__(
        self,
        conninfo: str,
        candidate: Candidate,
        *,
        epoch_file: Path,
        loop_silent_s_max: float = LOOP_SILENT_S_MAX,
        on_lost: Callable[[], None] = end_process,
    ) -> None:
        """`epoch_file` outlives a lost database; `on_lost` is called from the thread, and must end the process."""
        self._epoch_file = epoch_file
        self._loop_silent_s_max = loop_silent_s_max
        self._conninfo = conninfo
        self._me = candidate
        self._on_lost = on_lost
        self._epoch = 0
        self._act_from_s = 0.0
        self._renewed_s = 0.0
        self._settled = False
        self._ended = False
        self._lease: Lease | None = None
        self._looked_s = 0.0
        self._why = "has not looked yet"
        self._leave = asyncio.Event()
        self._thread: threading.Thread | None = None
        self._thread_loop: asyncio.AbstractEventLoop | None = None
        self._ticked_s = 0.0

    @property
    def epoch(self) -> int:
        """The epoch we lead under; 0 before `lead` returned."""
        return self._epoch

    async def lead(self) -> int:
        """Wait as a standby until we lead; PostgreSQL may be away meanwhile. BadInput for a state that is too new."""
        loop = asyncio.get_running_loop()
        led: asyncio.Future[int] = loop.create_future()

        def announce(refusal: SiagaError | None) -> None:
            if led.done():
                return
            if refusal is not None:
                led.set_exception(refusal)
            else:
                led.set_result(self._epoch)

        def in_loop(call: Callable[[], None]) -> None:
            # The loop may have ended already: then nobody waits.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(call)

        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._campaign(in_loop, announce)), name="leadership", daemon=True
        )
        self._thread.start()
        return await led

    def valid(self) -> bool:
        """Whether our lease stands at this moment."""
        now_s = _now_s()
        return self._settled and not self._ended and now_s - self._renewed_s < LEASE_S

    async def may_act(self) -> None:
        """Return while our lease stands."""
        if not self.valid():
            raise not_leading(self._epoch)

    async def give_up(self) -> None:
        """Release the lease and the lock, so that a standby leads without waiting."""
        if self._thread is not None and self._thread_loop is not None:
            self._thread_loop.call_soon_threadsafe(self._leave.set)
            await asyncio.to_thread(self._thread.join, _ANSWER_S_MAX)
        self._ended = True

    def describe(self) -> Mapping[str, Any]:
        """The leader as last read; `why` says what a standby waits for."""
        leads = self.valid()
        lease = self._lease
        why = self._why
        silent_s = _now_s() - self._looked_s
        if not leads and lease is not None and silent_s > STALE_S:
            lease, why = None, f"the state's database has not answered here for {silent_s:.0f} s: {_WITHOUT_IT}"
        leader = None
        if lease is not None and not lease.released:
            leader = {
                "name": lease.holder,
                "host": lease.host,
                "pid": lease.pid,
                "epoch": lease.epoch,
                "since": lease.since,
            }
        return {
            "name": self._me.holder,
            "state": "postgresql",
            "leads": leads,
            "leader": leader,
            "state_reachable": lease is not None,
            "why": "" if leads else why,
        }

    # In the thread ------------------------------------------------------------------------------------

    async def _campaign(self, in_loop: InLoop, announce: Announce) -> None:
        self._thread_loop = asyncio.get_running_loop()
        while not self._leave.is_set():
            try:
                async with await connect(self._conninfo, _ANSWER_S_MAX) as connection:
                    row = LeaderRow(connection)
                    if await self._stand_by(row):
                        try:
                            await self._hold(row, in_loop, announce)
                        except (psycopg.Error, OSError, TimeoutError, _Lost) as error:
                            # Before the connection is closed, which a server that hangs would hold up.
                            self._lose(_words(error))
            except SiagaError as error:
                in_loop(partial(announce, error))
                return
            except (psycopg.Error, OSError, TimeoutError, _Lost) as error:
                self._lease = None
                self._why = f"the state's database does not answer here ({_words(error)}): {_WITHOUT_IT}"
            await self._pause(LOOK_S)

    async def _stand_by(self, row: LeaderRow) -> bool:
        """Watch until the lease is ours; False when we were told to leave."""
        async with asyncio.timeout(_ANSWER_S_MAX):
            await row.create()
        watch = Watch()
        while not self._leave.is_set():
            async with asyncio.timeout(_ANSWER_S_MAX):
                locked = await row.try_lock()
                lease = await row.read()
                now_s = _now_s()
                watch.see(lease, now_s)
                check(lease.format, lease.siaga, origin="the database of the controllers' state")
                self._lease = lease
                self._looked_s = now_s
                self._why = f"{lease.holder or 'nobody'} leads, epoch {lease.epoch}"
                unchanged_s = watch.unchanged_s(now_s)
                if may_take_over(unchanged_s, lock_is_free=locked):
                    if await self._take_over(row, lease, unchanged_s, locked=locked):
                        return True
                    if locked:
                        await row.unlock()
            await self._pause(LOOK_S)
        return False

    async def _take_over(self, row: LeaderRow, old: Lease, unchanged_s: float, *, locked: bool) -> bool:
        """Raise the epoch, make the old leader harmless, take its lock; False when another was faster."""
        sent_s = _now_s()
        epoch = await row.claim(self._me, old, read_epoch(self._epoch_file))
        if epoch is None:
            return False
        # From here on fenced writes under the old epoch fail.
        dead = not old.released and await kill(old, self._me)
        await row.end_other_sessions(epoch)
        while not locked and not (locked := await row.try_lock()):
            await asyncio.sleep(_TURN_S)
        try:
            write_and_rename(self._epoch_file, f"{epoch}\n".encode())
        except OSError as error:
            # A full disk must not keep us from leading; the database has the epoch too.
            _log.warning("the epoch is not noted outside the database", epoch=epoch, why=str(error))
        self._act_from_s = sent_s + settle_s(old, unchanged_s, dead=dead)
        # All of that may have taken longer than a lease, so ours begins here, if the epoch is still ours.
        self._renewed_s = _now_s()
        if not await row.renew(epoch, settled=False):
            return False
        self._epoch = epoch
        self._lease = await row.read()
        _log.info("takes over", epoch=epoch, of=old.holder, old_epoch=old.epoch, killed=dead)
        return True

    async def _hold(self, row: LeaderRow, in_loop: InLoop, announce: Announce) -> None:
        """Renew until told to leave; _Lost when the lease ended, psycopg.Error when the connection did."""
        self._tick()
        while not self._leave.is_set():
            sent_s = _now_s()
            if sent_s - self._renewed_s >= LEASE_S:
                raise _Lost(f"the lease was not renewed for {sent_s - self._renewed_s:.1f} s")
            if sent_s - self._ticked_s >= self._loop_silent_s_max:
                raise _Lost(f"our own event loop did nothing for {sent_s - self._ticked_s:.1f} s")
            await self._renew(row, sent_s)
            if not self._settled and self._act_from_s <= sent_s:
                # The row says so by now: whoever follows us waits for us.
                self._settled = True
                in_loop(partial(announce, None))
            in_loop(self._tick)
            await self._pause(RENEW_S if self._settled else min(RENEW_S, max(0.0, self._act_from_s - _now_s())))
        self._ended = True
        async with asyncio.timeout(_ANSWER_S_MAX):
            await row.release(self._epoch)

    async def _renew(self, row: LeaderRow, sent_s: float) -> None:
        renewal = asyncio.ensure_future(row.renew(self._epoch, settled=self._act_from_s <= sent_s))
        # Not asyncio.timeout: psycopg would go on for seconds to cancel the query on a server that hangs.
        done, _ = await asyncio.wait((renewal,), timeout=LEASE_S)
        if not done:
            raise _Lost(f"the state's database did not answer within {LEASE_S:g} s")
        if not renewal.result():
            raise _Lost(f"epoch {self._epoch} is over, another leads")
        self._renewed_s = sent_s

    async def _pause(self, seconds: float) -> None:
        """Until then, or until we are told to leave."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._leave.wait()

    def _tick(self) -> None:
        self._ticked_s = _now_s()

    def _lose(self, why: str) -> None:
        self._ended = True
        if self._leave.is_set():
            return
        self._why = why
        _log.error("leadership lost, this process ends", epoch=self._epoch, why=why)
        self._on_lost()


def _now_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _words(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
