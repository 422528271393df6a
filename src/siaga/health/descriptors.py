"""File descriptors of the platform's processes, of what each may open."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from siaga.errors import Unreachable
from siaga.health.model import Kind, Observation, Reader
from siaga.hosts.model import Host

_DEADLINE_S = 10.0
_LIMIT = re.compile(r"^Max open files\s+(\d+)", re.MULTILINE)


def reader(host: Host, pids: Callable[[], Mapping[str, int]]) -> Reader:
    """Read every process that `pids` names now."""

    async def read(now: datetime) -> Sequence[Observation]:
        running = dict(pids())
        if not running:
            raise Unreachable("no process is known yet", hint="Ask again in some seconds.")
        directories = [f"/proc/{pid}/fd" for pid in running.values()]
        # A process that ended meanwhile makes `find` fail, and the others still count.
        argv = ["find", *directories, "-mindepth", "1", "-maxdepth", "1", "-printf", "%h\\n"]
        done = await host.run(argv, deadline_s=_DEADLINE_S)
        opened = Counter(done.stdout.decode().split())
        return [await _look(host, name, pid, opened[f"/proc/{pid}/fd"]) for name, pid in running.items()]

    return Reader(f"file descriptors of {host.name}", host.name, (Kind.FILE_DESCRIPTORS,), read, "processes")


async def _look(host: Host, name: str, pid: int, opened: int) -> Observation:
    try:
        limits = (await host.read(f"/proc/{pid}/limits")).decode()
    except (OSError, ProcessLookupError):
        limits = ""
    limit = _LIMIT.search(limits)
    if limit is None or not opened:
        # Each process has its standard ones: none seen means that we may not look.
        return Observation(Kind.FILE_DESCRIPTORS, host.name, name, None, "it ended, or belongs to somebody else")
    most = int(limit[1])
    return Observation(
        Kind.FILE_DESCRIPTORS, host.name, name, round(100 * opened / most, 2), f"{opened} of {most} open"
    )
