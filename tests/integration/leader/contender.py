"""A controller reduced to its leadership and one act, as a process that a test may kill, stop and wake.

Its act is written twice: with the epoch checked by the target (a table, fenced), and to a file that checks
nothing, after `may_act` alone. Run as `python contender.py NAME ACTS_FILE`, the rest by environment.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import psycopg

from siaga.controller.leadership import NotLeading
from siaga.controller.leadership_postgres import PostgresLeadership
from siaga.controller.leadership_process import this_process
from siaga.controller.leadership_row import session_name

FENCED_ACT = """
insert into acts (epoch, act) select epoch, %s from siaga_state.leader where epoch = %s returning epoch
"""
ACT_EVERY_S = 0.005
LOOP_SILENT_S_MAX = 3.0
"""Shorter than a controller's, so that a test need not wait for it."""


async def contend(name: str, acts: Path) -> int:
    conninfo = os.environ["CONTENDER_CONNINFO"]
    me = this_process(name)
    machine = os.environ.get("CONTENDER_MACHINE")
    if machine:
        # Pretends to be on another machine: then nobody may kill its pid.
        me = replace(me, machine=machine, host=machine)
    leadership = PostgresLeadership(
        conninfo, me, epoch_file=acts.with_name("epoch"), loop_silent_s_max=LOOP_SILENT_S_MAX
    )
    leaving = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leaving.set)
    # SIGUSR1 hangs our own event loop, as an endless loop in a service would.
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, time.sleep, 60)
    acting = asyncio.create_task(_act(name, acts, leadership, conninfo))
    await leaving.wait()
    acting.cancel()
    await asyncio.wait((acting,))
    await leadership.give_up()
    return 0


async def _act(name: str, acts: Path, leadership: PostgresLeadership, conninfo: str) -> None:
    epoch = await leadership.lead()
    unfenced = os.open(acts, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    number = 0
    try:
        async with await psycopg.AsyncConnection.connect(
            conninfo, autocommit=True, application_name=session_name(epoch)
        ) as target:
            while True:
                number += 1
                await leadership.may_act()
                os.write(unfenced, f"{epoch} {number} {name} {os.getpid()} {time.monotonic():.6f}\n".encode())
                await leadership.may_act()
                await target.execute(FENCED_ACT, (number, epoch))
                await asyncio.sleep(ACT_EVERY_S)
    except (NotLeading, psycopg.Error):
        # The leadership's own thread ends us when it is lost; a target that is away ends only our acts.
        await asyncio.Event().wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(contend(sys.argv[1], Path(sys.argv[2]))))
