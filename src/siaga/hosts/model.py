"""What we ask of a host: run, read, write, signal, open a port. The one seam to any machine.

No domain touches a file, a pid or a socket of a server by itself (decision 2), so controller and
database never need to share a file system. `local.py` is the implementation on this machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended by itself."""

    exit_code: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, slots=True)
class Process:
    """A process that cannot be mistaken for a later one with the same pid."""

    pid: int
    started_ticks: int
    """Start time in clock ticks since boot, `/proc/PID/stat` field 22."""


class Host(Protocol):
    """Acts on one host. Every call has a deadline; a missed one raises `Unreachable`, never a guess."""

    @property
    def name(self) -> str:
        """The host's name in the site file."""
        ...

    async def run(
        self,
        argv: Sequence[str],
        *,
        deadline_s: float,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run a command to its end. A secret goes through `stdin` or a file, never through `argv`."""
        ...

    async def read(self, path: str) -> bytes:
        """The whole file; FileNotFoundError when there is none."""
        ...

    async def write(self, path: str, content: bytes, *, mode: int = 0o600) -> None:
        """Write beside the target, fsync, rename over it: readers see the old file or the new one, never half.

        Missing directories above it are made, closed to others.
        """
        ...

    async def signal(self, process: Process, signum: int) -> bool:
        """Signal that very process; False when it is gone (a later process with its pid is left alone)."""
        ...

    async def free_ports(self, count: int) -> tuple[int, ...]:
        """Distinct loopback TCP ports that nobody listens on now."""
        ...
