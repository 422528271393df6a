"""The `Host` port on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from siaga.errors import PlatformFault, Unreachable
from siaga.hosts import processes
from siaga.hosts.model import Completed, Process

_PORT_FIRST = 20_000
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


class LocalHost:
    """This machine, acting as the user we run as."""

    def __init__(self, name: str = "local") -> None:
        self._name = name

    @property
    def name(self) -> str:
        """The host's name in the site file."""
        return self._name

    async def run(
        self,
        argv: Sequence[str],
        *,
        deadline_s: float,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run a command to its end; Unreachable when it misses the deadline (its group is killed)."""
        with _in_memory(stdin) as given:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=given,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(deadline_s):
                stdout, stderr = await process.communicate()
        except TimeoutError:
            raise Unreachable(
                f"`{Path(argv[0]).name}` did not end within {deadline_s:g} s",
                hint="Look at the load of the machine and its disk, then try again.",
            ) from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        return Completed(exit_code=process.returncode or 0, stdout=stdout, stderr=stderr)

    async def read(self, path: str) -> bytes:
        """The whole file; FileNotFoundError when there is none."""
        return await asyncio.to_thread(Path(path).read_bytes)

    async def write(self, path: str, content: bytes, *, mode: int = 0o600) -> None:
        """Write beside the target, fsync, rename over it."""
        target = Path(path)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        await asyncio.to_thread(write_and_rename, target, content, mode)

    async def signal(self, process: Process, signum: int) -> bool:
        """Signal that very process; False when it is gone."""
        return processes.send(process, signum)

    async def free_ports(self, count: int) -> tuple[int, ...]:
        """Distinct free loopback ports below the ephemeral range.

        Ports of that range may be in passing use by any outgoing connection when a server that was
        stopped wants its own back.
        """
        ceiling = int(_EPHEMERAL_RANGE.read_text().split()[0]) if _EPHEMERAL_RANGE.exists() else 32_768
        candidates = random.sample(range(_PORT_FIRST, max(ceiling, _PORT_FIRST + 5_000)), 4_000)
        chosen: list[int] = []
        for port in candidates:
            if len(chosen) == count:
                break
            if port_is_free(port):
                chosen.append(port)
        if len(chosen) < count:
            raise PlatformFault(
                f"found {len(chosen)} free loopback ports, wanted {count}",
                hint="Stop what listens between 20000 and the ephemeral range, or free some sockets.",
            )
        return tuple(chosen)


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[IO[bytes]]:
    """A file that is on no disk. Through a pipe, a program that ends before it has read would be an error of ours."""
    with os.fdopen(os.memfd_create("stdin"), "w+b") as file:
        file.write(content)
        file.seek(0)
        yield file


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connections linger in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def write_and_rename(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Readers see the old file or the new one, never half; it is on disk when this returns."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.{random.getrandbits(32):08x}")
    try:
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """What was made, renamed and removed in it is on the disk when this returns."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
