"""The embedded session cluster: Valkey, half primaries, half replicas (decision 23)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable
from typing import Any, cast

from valkey.asyncio import Valkey
from valkey.exceptions import ValkeyError

from siaga.errors import PlatformFault
from siaga.hosts.keeper import Spec
from siaga.hosts.model import Host
from siaga.platform import secrets
from siaga.platform.engines import Engines
from siaga.platform.layout import Layout

SLOTS = 16_384
WATCH = "siaga-watch"
ADMIN = "siaga-admin"
WALLET = "wallet"
REPLICA = "siaga-replica"
# A failover takes about 0.8 s at a node time-out of 500 ms. A primary that was restarted before it
# would come back in its old role and make everybody wait twice.
RESTART_DELAY_S = 3.0


def spec(layout: Layout, engines: Engines, server: str) -> Spec:
    """How the keeper runs one server."""
    return Spec(
        name=server,
        kind="valkey",
        argv=(str(engines.valkey), str(layout.directory(server) / "valkey.conf")),
        log=str(layout.log(server)),
        restart_delay_s=RESTART_DELAY_S,
    )


async def configure(host: Host, layout: Layout, server: str) -> None:
    """Write settings and users of one server. The users are the store's own, none is the database's."""
    directory = layout.directory(server)
    users = (
        "user default off",
        f"user {WALLET} on #{_digest(layout, 'sessions-wallet')} ~session:* +@connection +get +set +del +expire "
        "+exists +ttl +wait +readonly +readwrite +cluster|slots +cluster|shards +cluster|nodes +cluster|myid "
        "+info +command +ping +role",
        f"user {WATCH} on #{_digest(layout, 'sessions-watch')} +role +cluster|nodes +cluster|info +info",
        # Only for joining the servers at the first `up`; no running process has its password.
        f"user {ADMIN} on #{_digest(layout, 'sessions-admin')} +@connection +role +cluster +ping",
        f"user {REPLICA} on #{_digest(layout, 'sessions-replica')} +psync +replconf +ping",
    )
    await host.write(str(directory / "users.acl"), ("\n".join(users) + "\n").encode())
    settings = {
        "port": layout.ports[server],
        "cluster-port": layout.ports[f"{server}-bus"],
        "bind": "127.0.0.1",
        "dir": directory,
        "aclfile": directory / "users.acl",
        "masteruser": REPLICA,
        "masterauth": secrets.read(layout.secret("sessions-replica")),
        "cluster-enabled": "yes",
        "cluster-config-file": "nodes.conf",
        "cluster-node-timeout": 500,
        # Seen from another address than bound to, the cluster's links never form (traffic section 5.6).
        "cluster-announce-ip": "127.0.0.1",
        # The other shards go on serving while one fails over.
        "cluster-require-full-coverage": "no",
        "cluster-allow-reads-when-down": "yes",
        # A primary that comes back empty would make its replica empty too: what a killed process has
        # acknowledged is in the file (a lost machine loses up to a second, its replica has that).
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": '""',
        "maxmemory": "128mb",
        "maxmemory-policy": "noeviction",
        "repl-diskless-sync-delay": 0,
        "loglevel": "notice",
    }
    lines = "".join(f"{key} {value}\n" for key, value in settings.items())
    await host.write(str(directory / "valkey.conf"), lines.encode())


async def form_cluster(layout: Layout, deadline_s: float) -> bool:
    """Join the servers into primaries and replicas unless they are; whether it was done now."""
    names = [server.name for server in layout.site.sessions.servers]
    connections = {name: connect(layout, name, ADMIN) for name in names}
    try:
        async with asyncio.timeout(deadline_s):
            await asyncio.gather(*(_answers(c) for c in connections.values()))
            info = await _info(connections[names[0]])
            formed_now = int(info["cluster_slots_assigned"]) < SLOTS
            if formed_now:
                await _form(layout, names, connections)
            while not all([await _settled(c) for c in connections.values()]):
                await asyncio.sleep(0.05)
            return formed_now
    except TimeoutError:
        raise PlatformFault(
            f"the session cluster of {len(names)} servers did not form within {deadline_s:g} s",
            hint=f"See the logs {layout.log(names[0])} and its neighbours.",
        ) from None
    finally:
        for connection in connections.values():
            await connection.aclose()


async def _form(layout: Layout, names: list[str], connections: dict[str, Valkey]) -> None:
    primaries = names[: (len(names) + 1) // 2]
    replicas = names[len(primaries) :]
    # A cluster cut off half way while forming holds nothing yet: begin again.
    for connection in connections.values():
        await _command(connection, "CLUSTER RESET", "HARD")
    for index, name in enumerate(primaries):
        begin, end = SLOTS * index // len(primaries), SLOTS * (index + 1) // len(primaries) - 1
        await _command(connections[name], "CLUSTER SET-CONFIG-EPOCH", index + 1)
        await _command(connections[name], "CLUSTER ADDSLOTSRANGE", begin, end)
    first = connections[names[0]]
    for name in names[1:]:
        await _command(first, "CLUSTER MEET", "127.0.0.1", layout.ports[name], layout.ports[f"{name}-bus"])
    ids = {name: _text(await _command(connections[name], "CLUSTER MYID")) for name in primaries}
    for index, name in enumerate(replicas):
        primary = primaries[index % len(primaries)]
        while True:
            try:
                await _command(connections[name], "CLUSTER REPLICATE", ids[primary])
                break
            except ValkeyError:
                # The handshake has not reached this server yet.
                await asyncio.sleep(0.05)


async def _settled(connection: Valkey) -> bool:
    """This server sees every slot served, and if it is a replica it is in step."""
    info = await _info(connection)
    role: Any = await _command(connection, "ROLE")
    linked = _text(role[0]) == "master" or _text(role[3]) == "connected"
    return info["cluster_state"] == "ok" and info["cluster_slots_ok"] == str(SLOTS) and linked


async def _answers(connection: Valkey) -> None:
    while True:
        try:
            await _command(connection, "PING")
            return
        except (ValkeyError, OSError):
            await asyncio.sleep(0.03)


async def _info(connection: Valkey) -> dict[str, str]:
    text = _text(await _command(connection, "CLUSTER INFO"))
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


async def _command(connection: Valkey, command: str, *arguments: str | int) -> object:
    # The words of a command are separate arguments; the client's own parsers would change the answers.
    answer = connection.execute_command(*command.split(), *arguments, NEVER_DECODE=True)
    return await cast(Awaitable[object], answer)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def connect(layout: Layout, server: str, user: str) -> Valkey:
    """A connection to one server as one of its users."""
    names = {ADMIN: "sessions-admin", WATCH: "sessions-watch", WALLET: "sessions-wallet"}
    return Valkey(
        host="127.0.0.1",
        port=layout.ports[server],
        username=user,
        password=secrets.read(layout.secret(names[user])),
        socket_timeout=2.0,
        socket_connect_timeout=2.0,
    )


def _digest(layout: Layout, name: str) -> str:
    return hashlib.sha256(secrets.read(layout.secret(name)).encode()).hexdigest()
