"""The scene of a drill: the running platform, the load on it, and what can be broken."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from wallet.load import Load, LoadPlan, Outcome
from wallet.proof import Proof, prove

from siaga.controller.client import ControllerClient
from siaga.drills.model import Event, Seen
from siaga.errors import PlatformFault, SiagaError
from siaga.hosts.keeper_client import KeeperClient
from siaga.platform import secrets
from siaga.platform import status as platform_status
from siaga.platform.faults import Fault, inject
from siaga.platform.layout import Layout
from siaga.platform.processes import fault_socket
from siaga.platform.progress import Progress

WARM_UP_S = 3.0
HEALTHY_DEADLINE_S = 420.0
HEALED_BY_ITSELF_S = 120.0
"""Every fault ends by itself after this time, so that a drill that was killed leaves nothing behind."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How hard, how long, and what."""

    rate_per_s: float
    window_s: float
    target: str | None = None
    users_per_region: int = 150


@dataclass
class Scene:
    """Everything a drill works with."""

    layout: Layout
    settings: Settings
    progress: Progress
    load: Load
    acknowledgements: Path
    keeper: KeeperClient
    controller: ControllerClient
    finish: Callable[[], Awaitable[None]]
    """End the load and wait for its last answers."""
    injected_s: float = 0.0
    injected_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    timeline: list[Event] = field(default_factory=list)

    def note(self, what: str) -> None:
        """One line on the timeline, in seconds from the injection."""
        at_s = round(time.monotonic() - self.injected_s, 3) if self.injected_s else 0.0
        self.timeline.append(Event(at_s, what))
        self.progress.say(what)

    # Breaking and healing ---------------------------------------------------------------------------

    def injected(self, what: str) -> None:
        """The fault is in force from here on; all clocks start."""
        self.injected_s = time.monotonic()
        self.injected_at = datetime.now(UTC)
        self.note(what)

    async def kill(self, parts: Iterable[str]) -> None:
        """SIGKILL parts, which stay dead until `revive`."""
        await asyncio.gather(*(self.keeper.kill(part, hold_s=HEALED_BY_ITSELF_S) for part in parts))

    async def hang(self, parts: Iterable[str]) -> None:
        """SIGSTOP parts until `revive`."""
        await asyncio.gather(*(self.keeper.hang(part, hold_s=HEALED_BY_ITSELF_S) for part in parts))

    async def revive(self, parts: Iterable[str]) -> None:
        """Bring back what was killed or hung."""
        await asyncio.gather(*(self.keeper.start(part) for part in parts))

    async def ail(self, node: str, fault: Fault | None) -> None:
        """Make a node ill from within; None heals it."""
        await inject(fault_socket(self.layout.place.run, node), fault)

    async def readmit(self, nodes: Iterable[str]) -> None:
        """Let healed nodes return at once: their hold grows with every drill, and it was no fault of theirs."""
        await _readmit(self.controller, nodes)

    # Looking ------------------------------------------------------------------------------------------

    def window(self, begin_s: float, end_s: float) -> Sequence[Outcome]:
        """The requests whose sending was scheduled in this stretch of time."""
        return [o for o in self.load.outcomes if begin_s <= o.sent_s < end_s]

    async def prove(self) -> Proof:
        """Compare every acknowledgement with the ledger, and every balance with its entries."""
        site = self.layout.site
        host, _, port = (site.transactions.servers[0].address or "").rpartition(":")
        conninfo = psycopg.conninfo.make_conninfo(
            host=host,
            port=port,
            dbname=site.transactions.database,
            user="wallet_auditor",
            password=secrets.read(self.layout.secret("wallet-auditor")),
            connect_timeout=5,
        )
        return await prove(conninfo, self.acknowledgements)


@contextlib.asynccontextmanager
async def staged(layout: Layout, settings: Settings, progress: Progress) -> AsyncIterator[Scene]:
    """Wait for a whole platform, register users, and put load on it until the drill ends."""
    keeper = KeeperClient(layout.place.keeper_socket)
    controller = ControllerClient(layout.place.controller_socket)
    await _whole(layout, controller, progress)
    with tempfile.TemporaryDirectory(prefix="siaga-drill-") as directory:
        acknowledgements = Path(directory) / "acknowledgements.jsonl"
        load = Load(
            LoadPlan(
                front_doors={region.name: f"http://{region.front_door}" for region in layout.site.regions},
                rate_per_s=settings.rate_per_s,
                users_per_region=settings.users_per_region,
                seed=time.time_ns() & 0xFFFF_FFFF,
            ),
            acknowledgements,
        )
        progress.say(f"registering {settings.users_per_region} users a region")
        await load.prepare()
        stop = asyncio.Event()
        running = asyncio.create_task(load.run(None, stop))

        async def finish() -> None:
            stop.set()
            await running

        scene = Scene(layout, settings, progress, load, acknowledgements, keeper, controller, finish)
        try:
            progress.say(f"{settings.rate_per_s:g} requests/s over {len(layout.site.regions)} front doors")
            await asyncio.sleep(WARM_UP_S)
            yield scene
        finally:
            await finish()
            await load.close()


async def _whole(layout: Layout, controller: ControllerClient, progress: Progress) -> None:
    """A drill begins with every part running and every node serving; an earlier drill may still be healing."""
    await _readmit(controller, await _recovered(controller))
    told = ""
    deadline = time.monotonic() + HEALTHY_DEADLINE_S
    while True:
        missing = await _missing(layout, controller)
        if not missing:
            return
        if missing != told:
            progress.say(f"waiting: {missing}")
            told = missing
        if time.monotonic() > deadline:
            raise PlatformFault(
                f"the platform is not whole: {missing}", hint="See `siaga status` and `siaga traffic show`."
            )
        await asyncio.sleep(0.5)


async def _readmit(controller: ControllerClient, nodes: Iterable[str]) -> None:
    for node in nodes:
        with contextlib.suppress(SiagaError):
            await controller.post(f"/v1/traffic/nodes/{node}/restore", {"dry_run": False})


async def _recovered(controller: ControllerClient) -> list[str]:
    """Nodes that are well and only sit out a hold, which may last 5 min after several drills."""
    try:
        nodes = (await controller.get("/v1/traffic"))["nodes"]
    except SiagaError:
        return []
    return [n["node"] for n in nodes if n["state"] == "drained" and not n["operator"] and n["verdict"] == "healthy"]


async def _missing(layout: Layout, controller: ControllerClient) -> str:
    down = [p.name for p in await platform_status.parts(layout) if p.state != "running"]
    if down:
        return f"{', '.join(down)} not running"
    try:
        nodes = (await controller.get("/v1/traffic"))["nodes"]
        sessions = (await controller.get("/v1/sessions"))["standing"]
    except SiagaError as error:
        return error.message
    out = [f"{n['node']} is {n['state']} at {n['weight_percent']} %" for n in nodes if n["weight_percent"] != 100]
    out += [f"{n['node']} is {n['proxy']} in the data plane" for n in nodes if n["proxy"] != "healthy"]
    out += [f"{n['node']} is {n['verdict']}" for n in nodes if n["verdict"] != "healthy"]
    if sessions["adherence"] != "holds":
        out.append(f"sessions {sessions['adherence']}: {sessions['why']}")
    return "; ".join(out)


def as_seen(outcomes: Iterable[Outcome], layout: Layout, bad_nodes: Sequence[str]) -> list[Seen]:
    """Outcomes as their users saw them, with whether the faulty nodes had a part in each."""
    site = layout.site
    bad = {node.address for node in site.nodes if node.name in bad_nodes}
    bad_regions = [r for r in site.regions if any(node.name in bad_nodes for node in r.nodes)]
    doors = {layout.far_door(o.name, r.name) for r in bad_regions for o in site.regions if o.name != r.name}
    doors |= {r.door or "" for r in bad_regions}
    return [_seen(outcome, bad, doors) for outcome in outcomes]


def _seen(outcome: Outcome, bad: set[str | None], doors: set[str]) -> Seen:
    nodes, entered = outcome.nodes_attempted, outcome.doors_attempted
    # When a region's door gave up, only the next region's nodes are named: its own nodes were tried first.
    gave_up = len(entered) > 1 and entered[0] in doors
    unknown = not nodes and not entered
    return Seen(
        sent_s=outcome.sent_s,
        latency_ms=outcome.latency_ms,
        retried_safely=outcome.request_class in ("safe", "keyed"),
        failed=outcome.status == 0 or (outcome.status >= 500 and not outcome.outage),
        outage=bool(outcome.outage),
        logged_out=outcome.status == 401,
        tried_bad=gave_up or unknown or any(node in bad for node in nodes),
        bad_first=gave_up or bool(nodes and nodes[0] in bad),
    )
