"""The keeper: one small process a host that keeps the platform's processes alive (decision 1).

Standard library only, so that it outlives whatever breaks in the controller's world. It never
judges: it starts what is wanted, restarts what died, with a growing delay, and adopts by pid and
start time what a dead keeper left running. The processes are sessions of their own and outlive it.

Control: one JSON object a line over a Unix socket; answers are one JSON object a line.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from siaga.hosts import processes
from siaga.hosts.model import Process

RESTART_DELAY_S_MAX = 10.0
SETTLED_AFTER_S = 10.0
LOG_BYTES_MAX = 16 * 1024 * 1024


@dataclass(frozen=True)
class Spec:
    """A process the platform wants alive."""

    name: str
    kind: str
    argv: tuple[str, ...]
    log: str
    env: dict[str, str] = field(default_factory=dict)
    stop_signal: int = signal.SIGTERM
    stop_grace_s: float = 5.0
    restart_delay_s: float = 0.2
    """First delay. A session store waits longer, so that its replica takes over before it is back."""


@dataclass
class Kept:
    """One process and what became of it."""

    spec: Spec
    wanted: bool = True
    held: bool = False
    """Dead for the length of a drill; a new keeper does not know of the drill and starts it."""
    process: Process | None = None
    since: float = 0.0
    restarts: int = 0
    failures_in_a_row: int = 0
    why: str = "not started yet"
    stopping: bool = False
    timer: asyncio.TimerHandle | None = None
    handle: int | None = None


class Keeper:
    """Keeps what it was told to keep, over restarts of itself."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._kept: dict[str, Kept] = {}
        self._loop = asyncio.get_running_loop()
        self.done = asyncio.Event()
        self._load()

    # What it is asked -----------------------------------------------------------------------------

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one request."""
        name = request.get("name", "")
        match request.get("op"):
            case "list":
                return {"parts": [self._describe(k) for k in self._kept.values()], "pid": os.getpid()}
            case "put":
                spec = Spec(**{**request["spec"], "argv": tuple(request["spec"]["argv"])})
                await self._put(spec, restart=bool(request.get("restart")))
                return self._describe(self._kept[spec.name])
            case "start" if name in self._kept:
                self._want(self._kept[name])
                return self._describe(self._kept[name])
            case "stop" if name in self._kept:
                await self._stop(self._kept[name], request.get("why", "stopped on request"))
                return self._describe(self._kept[name])
            case "kill" if name in self._kept:
                return {"done": self._kill(self._kept[name], float(request["hold_s"]))}
            case "hang" if name in self._kept:
                return {"done": self._hang(self._kept[name], float(request["hold_s"]))}
            case "remove" if name in self._kept:
                await self._stop(self._kept[name], "removed")
                del self._kept[name]
                self._save()
                return {}
            case "leave":
                self.done.set()
                return {}
        return {"error": f"no such request: {request.get('op')!r} {name!r}"}

    async def _put(self, spec: Spec, *, restart: bool) -> None:
        kept = self._kept.get(spec.name)
        if kept is None:
            kept = self._kept[spec.name] = Kept(spec)
        elif kept.spec != spec:
            kept.spec = spec
            if restart:
                await self._stop(kept, "restarted with new settings")
        self._want(kept)

    def _want(self, kept: Kept) -> None:
        kept.wanted = True
        kept.held = False
        kept.failures_in_a_row = 0
        if kept.process is None:
            self._start(kept)
        else:
            processes.send_to_family(kept.process, signal.SIGCONT)
        self._save()

    def _kill(self, kept: Kept, hold_s: float) -> bool:
        """SIGKILL the process and its children, for a drill; after `hold_s` it is started again."""
        if hold_s:
            kept.held = True
            self._loop.call_later(hold_s, self._release, kept)
        if kept.timer is not None and kept.held:
            kept.timer.cancel()
            kept.timer = None
        self._save()
        return kept.process is not None and processes.send_to_family(kept.process, signal.SIGKILL)

    def _hang(self, kept: Kept, hold_s: float) -> bool:
        """SIGSTOP the process and its children, for a drill; after `hold_s` it goes on."""
        process = kept.process
        if process is None or not processes.send_to_family(process, signal.SIGSTOP):
            return False
        self._loop.call_later(hold_s, processes.send_to_family, process, signal.SIGCONT)
        return True

    def _release(self, kept: Kept) -> None:
        if kept.held and kept.wanted:
            self._want(kept)

    # Starting, dying, stopping ----------------------------------------------------------------------

    def _start(self, kept: Kept) -> None:
        if kept.timer is not None:
            kept.timer.cancel()
            kept.timer = None
        _rotate(Path(kept.spec.log))
        try:
            with Path(kept.spec.log).open("ab") as log:
                pid = os.posix_spawn(
                    kept.spec.argv[0],
                    kept.spec.argv,
                    {**os.environ, **kept.spec.env},
                    file_actions=[
                        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                        (os.POSIX_SPAWN_DUP2, log.fileno(), 1),
                        (os.POSIX_SPAWN_DUP2, log.fileno(), 2),
                    ],
                    setsid=True,
                )
        except OSError as error:
            kept.why = f"could not be started: {error.strerror}"
            self._died(kept)
            return
        # One that has ended already is still ours to reap, so its pid cannot be another's yet.
        kept.process = processes.find(pid) or Process(pid, 0)
        kept.since = time.time()
        kept.why = "running"
        self._watch(kept)
        self._save()

    def _watch(self, kept: Kept) -> None:
        """Be told by the kernel when it ends; works for children and adopted processes alike."""
        assert kept.process is not None
        try:
            kept.handle = os.pidfd_open(kept.process.pid)
        except ProcessLookupError:
            self._gone(kept)
            return
        self._loop.add_reader(kept.handle, self._gone, kept)

    def _gone(self, kept: Kept) -> None:
        if kept.handle is not None:
            self._loop.remove_reader(kept.handle)
            os.close(kept.handle)
            kept.handle = None
        status = _reap(kept.process)
        kept.process = None
        kept.why = status
        if kept.wanted and not kept.stopping and not kept.held:
            self._died(kept)
        self._save()

    def _died(self, kept: Kept) -> None:
        if time.time() - kept.since > SETTLED_AFTER_S:
            kept.failures_in_a_row = 0
        delay_s = min(kept.spec.restart_delay_s * 2**kept.failures_in_a_row, RESTART_DELAY_S_MAX)
        kept.failures_in_a_row += 1
        kept.restarts += 1
        kept.timer = self._loop.call_later(delay_s, self._restart, kept)

    def _restart(self, kept: Kept) -> None:
        kept.timer = None
        if kept.wanted and kept.process is None:
            self._start(kept)

    async def _stop(self, kept: Kept, why: str) -> None:
        kept.wanted = False
        kept.stopping = True
        if kept.timer is not None:
            kept.timer.cancel()
            kept.timer = None
        process = kept.process
        try:
            if process is not None:
                processes.send(process, signal.SIGCONT)
                processes.send(process, kept.spec.stop_signal)
                if not await _ended(process, kept.spec.stop_grace_s):
                    processes.send_to_family(process, signal.SIGKILL)
                    await _ended(process, 5.0)
        finally:
            kept.stopping = False
        kept.why = why
        self._save()

    # Memory -------------------------------------------------------------------------------------------

    def _describe(self, kept: Kept) -> dict[str, Any]:
        return {
            "name": kept.spec.name,
            "kind": kept.spec.kind,
            "pid": kept.process.pid if kept.process else None,
            "started_ticks": kept.process.started_ticks if kept.process else None,
            "state": "running" if kept.process else ("restarting" if kept.wanted else "stopped"),
            "since": kept.since,
            "restarts": kept.restarts,
            "why": kept.why,
        }

    def _save(self) -> None:
        memory = {
            name: {
                "spec": asdict(kept.spec),
                "wanted": kept.wanted,
                "process": asdict(kept.process) if kept.process else None,
                "since": kept.since,
                "restarts": kept.restarts,
                "why": kept.why,
            }
            for name, kept in self._kept.items()
        }
        scratch = self._state.with_suffix(".new")
        # A full disk must not stop it from keeping processes alive: the old memory then stays.
        with contextlib.suppress(OSError):
            scratch.write_text(json.dumps(memory))
            scratch.chmod(0o600)
            scratch.replace(self._state)

    def _load(self) -> None:
        try:
            memory = json.loads(self._state.read_text())
        except FileNotFoundError:
            return
        except ValueError:
            # Half a file cannot come from us (we rename); start empty, `siaga up` puts everything again.
            return
        for name, entry in memory.items():
            spec = Spec(**{**entry["spec"], "argv": tuple(entry["spec"]["argv"])})
            kept = Kept(spec, wanted=entry["wanted"], since=entry["since"], restarts=entry["restarts"])
            kept.why = entry["why"]
            self._kept[name] = kept
            process = Process(**entry["process"]) if entry["process"] else None
            if process is None or not processes.alive(process):
                # A keeper killed between starting a process and noting it leaves one nobody knows of.
                process = processes.find_by_argv(spec.argv)
            if process is not None:
                kept.process = process
                kept.why = "adopted"
                self._watch(kept)
            elif kept.wanted:
                self._start(kept)


def _reap(process: Process | None) -> str:
    """How our child ended; an adopted process leaves no status to us."""
    if process is None:
        return "ended"
    try:
        _, status = os.waitpid(process.pid, os.WNOHANG)
    except ChildProcessError:
        return "ended (adopted, so its status is unknown)"
    if os.WIFSIGNALED(status):
        return f"killed by signal {os.WTERMSIG(status)}"
    return f"exited with {os.waitstatus_to_exitcode(status)}"


async def _ended(process: Process, deadline_s: float) -> bool:
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        if not processes.alive(process):
            return True
        await asyncio.sleep(0.02)
    return not processes.alive(process)


def _rotate(log: Path) -> None:
    with contextlib.suppress(OSError):
        if log.stat().st_size > LOG_BYTES_MAX:
            log.replace(log.with_suffix(".log.1"))


async def serve(state: Path, socket: Path) -> None:
    """Keep until told to leave or ended by a signal; the kept processes go on either way."""
    lock = os.open(state.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("another keeper holds this state directory")
    keeper = Keeper(state)
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, keeper.done.set)

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Cancelled when we leave: asyncio would report that as a fault of the connection.
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while line := await reader.readline():
                try:
                    answer = await keeper.answer(json.loads(line))
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    answer = {"error": f"request not understood: {error}"}
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        writer.close()

    socket.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(converse, path=str(socket), limit=1 << 20)
    socket.chmod(0o600)
    await keeper.done.wait()
    server.close()
    socket.unlink(missing_ok=True)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), Path(sys.argv[2])))
