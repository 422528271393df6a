"""How long a write waits until the disk has it: the first sign of a dying disk, and each commit's price."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from siaga.errors import Unreachable
from siaga.health.model import Kind, Observation, Reader
from siaga.hosts.model import Host

WRITES = 200
"""A 99th percentile of fewer would be one write's luck."""
SECONDS_MAX = 10.0
_DEADLINE_S = 40.0
_DISK_FAULTS = frozenset({errno.EIO, errno.EROFS, errno.ENXIO, errno.ENODEV})


def reader(host: Host, directory: str, python: Sequence[str] = ("python3",)) -> Reader:
    """Measure in `directory`, which the user we run as has to own; `python` runs on that host."""

    async def read(now: datetime) -> Sequence[Observation]:
        done = await host.run(
            [*python, "-", directory, str(WRITES), str(SECONDS_MAX)],
            deadline_s=_DEADLINE_S,
            stdin=Path(__file__).with_name("fsync_probe.py").read_bytes(),
        )
        try:
            said = json.loads(done.stdout)
        except ValueError:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            raise Unreachable(
                f"the probe of {directory} failed: {lines[-1] if lines else 'no output'}",
                hint="It needs Python 3 on the host.",
            ) from None
        return observations(said, host.name, directory)

    name = f"fsync of {host.name}:{directory}"
    return Reader(name, host.name, (Kind.FSYNC, Kind.WRITE_ERRORS), read, directory, deadline_s=_DEADLINE_S + 5)


def observations(said: dict[str, Any], host: str, directory: str) -> tuple[Observation, ...]:
    """From what the probe printed. A full disk is no fault of its hardware: then nothing is known of the latency."""
    if "error" in said:
        faulty = said["errno"] in _DISK_FAULTS
        return (
            Observation(Kind.FSYNC, host, directory, None, f"writing failed: {said['error']}"),
            Observation(Kind.WRITE_ERRORS, host, directory, 1.0 if faulty else None, f"writing: {said['error']}"),
        )
    ordered = sorted(said["us"])
    if not ordered:
        return (Observation(Kind.FSYNC, host, directory, None, "no write was finished in time"),)
    p50, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * share))] / 1000 for share in (0.5, 0.99))
    why = f"median {p50:.3g} ms, slowest {ordered[-1] / 1000:.3g} ms of {len(ordered)} writes"
    return (
        Observation(Kind.FSYNC, host, directory, round(p99, 3), why),
        Observation(Kind.WRITE_ERRORS, host, directory, 0.0),
    )
