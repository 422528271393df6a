"""Leaders as processes: which one we are, how an old one dies, how we end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from importlib.metadata import version

from siaga.controller.election import Lease
from siaga.controller.leadership import EXIT_LOST
from siaga.controller.leadership_row import Candidate
from siaga.hosts import processes
from siaga.hosts.model import Process

_KILL_S_MAX = 1.0


def this_process(holder: str) -> Candidate:
    """The candidate that this process is."""
    me = processes.find(os.getpid())
    assert me is not None, "we run"
    return Candidate(holder, socket.gethostname(), processes.machine(), me.pid, me.started_ticks, version("siaga"))


def end_process() -> None:
    """End at once: any tidying up could act."""
    sys.stderr.flush()
    os._exit(EXIT_LOST)


async def kill(old: Lease, me: Candidate) -> bool:
    """Whether the old leader is certainly dead; only on its own machine can we tell."""
    if old.machine != me.machine:
        return False
    process = Process(old.pid, old.started_ticks)
    if process == Process(me.pid, me.started_ticks):
        return True
    try:
        processes.send(process, signal.SIGKILL)
    except PermissionError:
        return False
    deadline_s = time.monotonic() + _KILL_S_MAX
    while processes.alive(process):
        if time.monotonic() > deadline_s:
            return False
        await asyncio.sleep(0.01)
    return True
