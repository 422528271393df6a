"""Which process is which: a pid alone may be a later process, a pid with its start time is not.

Standard library only: the keeper uses it too (decision 1).
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from siaga.hosts.model import Process


def find(pid: int) -> Process | None:
    """The running process `pid`, or None when there is none (a zombie is none)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    # The command name may hold spaces and brackets, so fields count from the last bracket on.
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else Process(pid=pid, started_ticks=int(fields[19]))


def machine() -> str:
    """This boot of this kernel and our pid namespace: within it a pid with its start time means one process."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"


def alive(process: Process) -> bool:
    """Whether that very process still runs."""
    return find(process.pid) == process


def send(process: Process, signum: int) -> bool:
    """Signal that very process; False when it is gone."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        # The handle pins the process: if it is the right one now, the signal cannot hit another.
        if not alive(process):
            return False
        signal.pidfd_send_signal(handle, signum)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def find_by_argv(argv: Sequence[str]) -> Process | None:
    """A running process of ours with exactly these arguments, or None."""
    wanted = b"\0".join(os.fsencode(argument) for argument in argv) + b"\0"
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if entry.stat().st_uid == os.geteuid() and (entry / "cmdline").read_bytes() == wanted:
                return find(int(entry.name))
    return None


def send_to_family(process: Process, signum: int) -> bool:
    """Signal the process and all its descendants; False when it is gone.

    Not its process group: PostgreSQL's backends each lead a session of their own.
    """
    members = [process, *_descendants(process.pid)]
    return [send(member, signum) for member in members][0]


def _descendants(root: int) -> list[Process]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                stat = (entry / "stat").read_text()
                children.setdefault(int(stat[stat.rindex(")") + 2 :].split()[1]), []).append(int(entry.name))
    found: list[Process] = []
    waiting = [root]
    while waiting:
        for child in children.get(waiting.pop(), []):
            waiting.append(child)
            process = find(child)
            if process is not None:
                found.append(process)
    return found
