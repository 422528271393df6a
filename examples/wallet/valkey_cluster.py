"""The hands on the session cluster: one try at one server within one deadline, and an up-to-date view of who is who.

Not valkey-py's own cluster client: on an error it sleeps and reloads its slots in the request's path, and it cannot
keep `SET` and `WAIT` on one connection. Its connections, parser and slot function are used.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from valkey.asyncio.connection import Connection
from valkey.crc import key_slot
from valkey.exceptions import ConnectionError as LostConnection
from valkey.exceptions import ValkeyError

from wallet.cluster_view import ClusterView, Shard, parse_nodes
from wallet.deadline import Deadline
from wallet.errors import WalletError

SUSPECT_S = 0.5
"""How long a silent server is passed over before one request tries it again."""
REFRESH_INTERVAL_S = 1.0
REFRESH_INTERVAL_TROUBLED_S = 0.05
TROUBLED_S = 3.0
"""After a failure the view is read often for this long: a failover takes 0.8 to 1.7 s."""
IDLE_CONNECTIONS_MAX = 32


class NoAnswer(WalletError):
    """One server did not answer in time, or refused: whether it acted is unknown."""


class ValkeyCluster:
    """Sends commands to named servers and remembers which ones are silent."""

    def __init__(self, servers: Sequence[str], *, user: str | None, password: str | None, deadline_s: float) -> None:
        self.deadline_s = deadline_s
        self._seeds = tuple(servers)
        self._user = user
        self._password = password
        self._idle: dict[tuple[str, bool], list[Connection]] = {}
        self._suspect_until_s: dict[str, float] = {}
        self._troubled_until_s = 0.0
        self._wake = asyncio.Event()
        self._refresher: asyncio.Task[None] | None = None
        self.view = ClusterView(0, (), ())

    async def start(self) -> None:
        """Read the cluster's view once and keep it fresh from now on."""
        for server in self._seeds:
            if await self._read_view(server):
                break
        self._refresher = asyncio.create_task(self._keep_fresh())

    async def stop(self) -> None:
        """Close everything."""
        if self._refresher is not None:
            self._refresher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._refresher
        for connections in self._idle.values():
            for connection in connections:
                await connection.disconnect(nowait=True)
        self._idle.clear()

    def shard(self, key: str) -> Shard | None:
        """The shard that holds a key."""
        return self.view.shard(key_slot(key.encode()))

    def is_suspect(self, address: str) -> bool:
        """Whether this server was silent a moment ago."""
        until = self._suspect_until_s.get(address)
        return until is not None and asyncio.get_running_loop().time() < until

    def suspect(self, address: str) -> None:
        """Pass this server over for a moment, and look closely at the cluster."""
        now_s = asyncio.get_running_loop().time()
        self._suspect_until_s[address] = now_s + SUSPECT_S
        self._troubled_until_s = now_s + TROUBLED_S
        self._wake.set()

    async def ask(self, address: str, *commands: tuple[str | int, ...], replica: bool = False) -> list[Any]:
        """Send commands down one connection and read as many answers; NoAnswer (and suspicion) otherwise.

        A NoAnswer says nothing about the act: a server that hangs executes what it was sent when it wakes up.
        """
        try:
            return await self._exchange(address, replica, commands)
        except (ValkeyError, OSError, TimeoutError) as error:
            # Redirections, LOADING, CLUSTERDOWN and READONLY all mean that the view is old or the server not able.
            self.suspect(address)
            raise NoAnswer(f"{address}: {type(error).__name__}") from None

    async def _exchange(self, address: str, replica: bool, commands: tuple[tuple[str | int, ...], ...]) -> list[Any]:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(None) as timeout:
            deadline = Deadline(loop.time() + self.deadline_s, lambda: timeout.reschedule(loop.time()))
            try:
                return await self._send(address, replica, commands)
            finally:
                deadline.cancel()

    async def _send(self, address: str, replica: bool, commands: tuple[tuple[str | int, ...], ...]) -> list[Any]:
        idle = self._idle.setdefault((address, replica), [])
        while True:
            pooled = bool(idle)
            connection = idle.pop() if pooled else self._connection(address, replica)
            try:
                await connection.send_packed_command(connection.pack_commands(commands))
                answers = [await connection.read_response() for _ in commands]
            except BaseException as error:
                await connection.disconnect(nowait=True)
                # A pooled connection may have died with an earlier life of the server; every command here is
                # idempotent, so a fresh connection may repeat it.
                if pooled and isinstance(error, (LostConnection, OSError)):
                    continue
                raise
            if len(idle) < IDLE_CONNECTIONS_MAX:
                idle.append(connection)
            else:
                await connection.disconnect(nowait=True)
            return answers

    def _connection(self, address: str, replica: bool) -> Connection:
        host, _, port = address.rpartition(":")
        return Connection(
            host=host,
            port=int(port),
            username=self._user,
            password=self._password,
            socket_timeout=None,  # `ask` holds the one deadline
            lib_name=None,
            lib_version=None,
            decode_responses=True,
            valkey_connect_func=_greet_replica if replica else None,
        )

    async def _keep_fresh(self) -> None:
        turn = 0
        loop = asyncio.get_running_loop()
        while True:
            if loop.time() < self._troubled_until_s:
                await asyncio.sleep(REFRESH_INTERVAL_TROUBLED_S)
            else:
                self._wake.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(REFRESH_INTERVAL_S):
                        await self._wake.wait()
            known = tuple(dict.fromkeys((*self.view.addresses, *self._seeds)))
            answering = [address for address in known if not self.is_suspect(address)] or list(known)
            # Two at a time: one that lags behind in gossip does not hold up the news of a promotion.
            pair = {answering[turn % len(answering)], answering[(turn + 1) % len(answering)]}
            turn += 1
            await asyncio.gather(*(self._read_view(address) for address in pair))

    async def _read_view(self, address: str) -> bool:
        try:
            (text,) = await self._exchange(address, False, (("CLUSTER NODES",),))
            view = parse_nodes(text)
        except (ValkeyError, OSError, TimeoutError, ValueError):
            # Passed over, but no reason to look closely: only a request that met it is.
            self._suspect_until_s[address] = asyncio.get_running_loop().time() + SUSPECT_S
            return False
        if not view.ranges or view.epoch < self.view.epoch:
            return False
        if view != self.view:
            self.view = view
        return True


async def _greet_replica(connection: Connection) -> None:
    await connection.on_connect()
    await connection.send_command("READONLY")
    await connection.read_response()
