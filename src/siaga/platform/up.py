"""Brings the embedded platform up, or adopts what already runs of it.

Every step first looks whether its work is done, so a second `up`, or one after a crash at any
point, only does the rest. Runs as the platform's user (`lifecycle.py`).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2
from wallet.install import install

from siaga.errors import PlatformFault, Refused
from siaga.hosts.keeper_client import KeeperClient
from siaga.hosts.local import LocalHost, port_is_free
from siaga.platform import (
    control_database,
    front_door,
    gate,
    journal,
    pgbouncer,
    postgres,
    processes,
    secrets,
    valkey,
    witness,
)
from siaga.platform.account import Home
from siaga.platform.engines import Engines
from siaga.platform.layout import Layout, state_servers
from siaga.platform.progress import Progress
from siaga.site.model import Database

SERVING_DEADLINE_S = 60.0
PART_DEADLINE_S = 30.0
LOCK_DEADLINE_S = 120.0


@contextmanager
def only_one(place: Home, progress: Progress) -> Iterator[None]:
    """Two `up` or `down` at once: the second waits, then finds the work done."""
    descriptor = os.open(place.state / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _acquire(descriptor, progress)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, progress: Progress) -> None:
    deadline = time.monotonic() + LOCK_DEADLINE_S
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Refused(
                    f"another `siaga up` or `siaga down` of this platform is still at work after {LOCK_DEADLINE_S:g} s",
                    hint="Look at what it prints, or end it; what it has done stays.",
                ) from None
        if not told:
            progress.say("another `siaga up` or `siaga down` of this platform is at work, waiting for it")
            told = True
        time.sleep(0.1)


async def up(layout: Layout, engines: Engines, progress: Progress) -> None:
    """Everything, from nothing or from whatever is left, to users being served."""
    layout.log("x").parent.mkdir(mode=0o700, exist_ok=True)
    secrets.create(layout)
    keeper = await _keeper(layout, engines, progress)
    running = {part["name"] for part in await keeper.parts() if part["state"] == "running"}
    _check_ports(layout, running)
    host = LocalHost()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_transactions(host, layout, engines, keeper, progress))
            group.create_task(_history(host, layout, engines, keeper, progress))
            group.create_task(_sessions(host, layout, engines, keeper, progress))
            group.create_task(_front_door(host, layout, engines, keeper, progress))
            group.create_task(_around(host, layout, engines, keeper))
            group.create_task(_witness(layout, engines, keeper, progress))
            group.create_task(_control_database(host, layout, engines, keeper, progress))
    except ExceptionGroup as group:
        # Not `except*`: what is raised inside one comes out in a group again.
        raise _first(group) from None
    await _serving(layout, progress)
    for name in layout.site.controller.names:
        await keeper.put(processes.controller_spec(layout, engines, name))
    await _controller_answers(layout, progress)
    for part in await keeper.parts():
        if part["name"] not in layout.parts:
            await keeper.remove(part["name"])
            progress.say(f"{part['name']}: removed, the site does not name it any more")


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What went wrong first; the other parts were stopped because of it."""
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


def _check_ports(layout: Layout, running: set[str]) -> None:
    """A port of ours that somebody else took since the last `down`."""
    for key, port in layout.ports.items():
        if _owner(key) in running or port_is_free(port):
            continue
        raise PlatformFault(
            f"port {port} of `{key}` is taken by another program",
            hint=f"End it (`ss -ltnp 'sport = :{port}'` shows it), "
            "or start afresh with other ports: `siaga down --purge` (this removes the platform's state).",
        )


def _owner(listener: str) -> str:
    """The part that holds a listener."""
    if listener.endswith("-bus"):
        return listener.removesuffix("-bus")
    if listener.startswith(("front-", "door-", "probe-", "envoy-")):
        return "front-door"
    if listener.startswith(("far-", "pooler-")):
        return "distance"
    return listener


async def _keeper(layout: Layout, engines: Engines, progress: Progress) -> KeeperClient:
    client = KeeperClient(layout.place.keeper_socket)
    if await client.answers():
        progress.say("keeper: adopted")
        return client
    start_keeper(layout.place, engines.python, engines.python_env)
    deadline = time.monotonic() + PART_DEADLINE_S
    while not await client.answers():
        if time.monotonic() > deadline:
            raise PlatformFault("the keeper did not start", hint=f"See {layout.log('keeper')}.")
        await asyncio.sleep(0.03)
    progress.say("keeper: started")
    return client


def start_keeper(place: Home, python: Sequence[str], python_env: Mapping[str, str]) -> None:
    """Start the keeper in a session of its own; it adopts what an earlier one left running."""
    environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8", **python_env}
    log = place.state / "logs/keeper.log"
    with log.open("ab") as output:
        subprocess.Popen(
            [*python, "-m", "siaga.hosts.keeper", str(place.state / "keeper.json"), str(place.keeper_socket)],
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


async def _control_database(
    host: LocalHost, layout: Layout, engines: Engines, keeper: KeeperClient, progress: Progress
) -> None:
    """The controllers' own state, where it is not SQLite."""
    for server in state_servers(layout.site):
        made = await control_database.create(host, layout, engines)
        await keeper.put(postgres.spec(layout, engines, server))
        await control_database.prepare(layout, PART_DEADLINE_S)
        progress.say(f"{server}: {'created' if made else 'adopted'}, holds the controllers' state")


async def _around(host: LocalHost, layout: Layout, engines: Engines, keeper: KeeperClient) -> None:
    """The distance between regions, and the vendors."""
    await keeper.put(await processes.relay_spec(host, layout, engines))
    for spec in await processes.vendor_specs(host, layout, engines):
        await keeper.put(spec)


async def _witness(layout: Layout, engines: Engines, keeper: KeeperClient, progress: Progress) -> None:
    """Before the controller, whose evidence it witnesses; users are served without it."""
    await keeper.put(witness.spec(layout, engines))
    why = await witness.silent(layout, witness.ANSWERS_WITHIN_S)
    progress.say(f"witness: {why}" if why else "witness: ready to cosign the evidence")


async def _transactions(
    host: LocalHost, layout: Layout, engines: Engines, keeper: KeeperClient, progress: Progress
) -> None:
    database = layout.site.transactions
    primary, *replicas = [server.name for server in database.servers]
    for replica in replicas:
        if await postgres.exists(host, layout, replica):
            # Commits of the primary wait for it.
            await keeper.put(postgres.spec(layout, engines, replica))
    await _primary(host, layout, engines, keeper, progress, database)
    await _install_wallet(layout, primary, database.database)
    await journal.prepare(host, layout, primary)
    await keeper.put(journal.spec(layout, engines))
    await pgbouncer.configure(host, layout, await postgres.verifiers(layout, primary, pgbouncer.APPLICATION_ROLES))
    await keeper.put(pgbouncer.spec(layout, engines))
    async with asyncio.TaskGroup() as group:
        group.create_task(_nodes(host, layout, engines, keeper, progress))
        for replica in replicas:
            group.create_task(_replica(host, layout, engines, keeper, progress, primary, replica))
    await postgres.require_quorum(layout, database, PART_DEADLINE_S)
    progress.say(f"{primary}: commits wait for a replica")


async def _nodes(host: LocalHost, layout: Layout, engines: Engines, keeper: KeeperClient, progress: Progress) -> None:
    """Start the nodes; those that run with older settings are replaced one after the other, users served on."""
    before = {part["name"]: part["pid"] for part in await keeper.parts() if part["state"] == "running"}
    for region in layout.site.regions:
        for node in region.nodes:
            part = await keeper.put(await processes.node_spec(host, layout, engines, region, node))
            if node.name in before and part["pid"] != before[node.name]:
                await _answers(f"http://{node.address}/livez", f"node {node.name}", layout)
                progress.say(f"{node.name}: replaced by its new version")


async def _primary(
    host: LocalHost, layout: Layout, engines: Engines, keeper: KeeperClient, progress: Progress, database: Database
) -> None:
    server = database.servers[0].name
    made = await postgres.create_primary(host, layout, engines, server)
    await keeper.put(postgres.spec(layout, engines, server))
    await postgres.accepts(layout, server, PART_DEADLINE_S)
    await postgres.create_roles(layout, server)
    await postgres.create_database(layout, server, database.database)
    progress.say(f"{server}: {'created' if made else 'adopted'}, accepts connections")


async def _replica(
    host: LocalHost,
    layout: Layout,
    engines: Engines,
    keeper: KeeperClient,
    progress: Progress,
    primary: str,
    replica: str,
) -> None:
    await postgres.create_slot(layout, primary, replica)
    made = await postgres.create_replica(host, layout, engines, primary, replica)
    await keeper.put(postgres.spec(layout, engines, replica))
    progress.say(f"{replica}: {'copied' if made else 'adopted'}, replica of {primary}")


async def _install_wallet(layout: Layout, server: str, database: str) -> None:
    await gate.install(layout, server, database)
    await install(
        postgres.conninfo(layout, server, database),
        app_password=secrets.read(layout.secret("wallet-app")),
        auditor_password=secrets.read(layout.secret("wallet-auditor")),
    )
    await gate.guard(layout, server, database)
    roles = (postgres.WATCH, journal.ROLE, gate.ROLE, *pgbouncer.APPLICATION_ROLES)
    await postgres.open_to(layout, server, database, roles)


async def _history(host: LocalHost, layout: Layout, engines: Engines, keeper: KeeperClient, progress: Progress) -> None:
    await _primary(host, layout, engines, keeper, progress, layout.site.history)


async def _sessions(
    host: LocalHost, layout: Layout, engines: Engines, keeper: KeeperClient, progress: Progress
) -> None:
    for server in layout.site.sessions.servers:
        await valkey.configure(host, layout, server.name)
        await keeper.put(valkey.spec(layout, engines, server.name), restart=False)
    formed = await valkey.form_cluster(layout, PART_DEADLINE_S)
    count = len(layout.site.sessions.servers)
    progress.say(f"session cluster: {'formed' if formed else 'adopted'}, {count} servers")


async def _front_door(
    host: LocalHost, layout: Layout, engines: Engines, keeper: KeeperClient, progress: Progress
) -> None:
    await front_door.configure(host, layout, engines)
    await keeper.put(front_door.spec(layout, engines))
    progress.say("front door: configured")


async def _serving(layout: Layout, progress: Progress) -> None:
    """Every region's users are served, database and sessions included."""
    for region in layout.site.regions:
        await _answers(f"http://{region.front_door}/readyz", f"users of {region.name}", layout)
    progress.say("serving users in " + ", ".join(region.name for region in layout.site.regions))


async def _answers(url: str, who: str, layout: Layout) -> None:
    """Wait for a 200."""
    why = "no attempt was made"
    async with httpx2.AsyncClient(timeout=2.0) as client:
        try:
            async with asyncio.timeout(SERVING_DEADLINE_S):
                while True:
                    try:
                        answer = await client.get(url)
                        if answer.status_code == 200:
                            return
                        why = f"answered {answer.status_code}"
                    except httpx2.HTTPError as error:
                        why = type(error).__name__
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise PlatformFault(
                f"{who}: not served after {SERVING_DEADLINE_S:g} s ({why})",
                hint=f"`siaga status` shows which part is not running; logs are in {layout.log('x').parent}.",
            ) from None


async def _controller_answers(layout: Layout, progress: Progress) -> None:
    """One controller leads, and the others stand by."""
    deadline = time.monotonic() + PART_DEADLINE_S
    while time.monotonic() < deadline:
        said = {name: await _status(layout.place.controller_socket(name)) for name in layout.site.controller.names}
        leaders = [name for name, status in said.items() if status == 200]
        if leaders and all(said.values()):
            standing_by = ", ".join(name for name in said if name not in leaders)
            progress.say(f"{leaders[0]}: watching" + (f"; {standing_by} stands by" if standing_by else ""))
            return
        await asyncio.sleep(0.05)
    raise PlatformFault(
        f"users are served, but no controller leads after {PART_DEADLINE_S:g} s",
        hint=f"See {layout.log('controller')}.",
    )


async def _status(controller: Path) -> int:
    """What a controller answers when asked as a leader; 0 when it does not answer."""
    transport = httpx2.AsyncHTTPTransport(uds=str(controller))
    async with httpx2.AsyncClient(transport=transport, base_url="http://controller", timeout=2.0) as client:
        try:
            return (await client.get("/v1/status")).status_code
        except httpx2.HTTPError:
            return 0
