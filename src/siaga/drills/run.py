"""Runs one drill: control run, fault under load, healing, proof."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime

from siaga.drills import judge, stores
from siaga.drills.catalogue import Drill, Scope
from siaga.drills.ledger import ledger_checks, proven
from siaga.drills.model import Event, Result
from siaga.drills.scene import Scene, Settings, as_seen, staged
from siaga.errors import BadInput, Refused
from siaga.platform.faults import Fault
from siaga.platform.layout import Layout
from siaga.platform.progress import Progress

SPIKE_MS = 800.0
GRAY_SHARE = 0.3
HEALTH_PATHS = ("/livez", "/readyz")

__all__ = ["Settings", "plan", "run"]


def plan(drill: Drill, layout: Layout, settings: Settings) -> list[str]:
    """What the drill would do, step by step."""
    broken = ", ".join(_targets(drill, layout, settings))
    return [
        "wait until every part runs and every node serves",
        f"register users, then send {settings.rate_per_s:g} requests/s through every front door",
        f"control run: {settings.window_s:g} s without a fault",
        f"fault on {broken}: {drill.summary}, for {settings.window_s:g} s",
        "heal it, and compare every acknowledged write with the ledger",
    ]


async def run(drill: Drill, layout: Layout, settings: Settings, progress: Progress) -> Result:
    """Run it on the embedded platform; BadInput for a target that does not exist."""
    if not layout.site.embedded:
        raise Refused(
            f"`{drill.name}` breaks things, and site `{layout.site.name}` is not an embedded platform",
            hint="Run drills on an embedded platform: `siaga up` without `--site`.",
        )
    if settings.rate_per_s <= 0 or settings.window_s <= 0:
        raise BadInput(
            f"rate {settings.rate_per_s:g} and seconds {settings.window_s:g}, both must be above 0",
            hint="Leave them out for 300 requests/s and 8 s.",
        )
    targets = _targets(drill, layout, settings)
    progress.say(f"{drill.name}: {drill.summary}")
    if drill.scope is Scope.SESSIONS:
        return await stores.session_primary_loss(drill, layout, settings, progress, targets[0])
    if drill.scope is Scope.DATABASE:
        return await stores.database_loss(drill, layout, settings, progress, targets)
    return await _traffic(drill, layout, settings, progress, targets)


def _targets(drill: Drill, layout: Layout, settings: Settings) -> tuple[str, ...]:
    """Names of the parts that will be broken."""
    site = layout.site
    if drill.scope is Scope.DATABASE:
        return tuple(server.name for server in site.transactions.servers)
    known = {
        Scope.NODE: [node.name for node in site.nodes],
        Scope.REGION: [region.name for region in site.regions],
        Scope.SESSIONS: [server.name for server in site.sessions.servers],
    }[drill.scope]
    target = settings.target or known[0]
    if target not in known:
        raise BadInput(
            f"target `{target}` is no {drill.scope} of this platform, expected one of {', '.join(known)}",
            hint=f"Leave it out to take {known[0]}.",
        )
    if drill.scope is Scope.REGION:
        return tuple(node.name for node in site.region(target).nodes)
    return (target,)


def _hands(drill: Drill, scene: Scene, nodes: tuple[str, ...]) -> tuple[Callable[[], Awaitable[None]], ...]:
    """How to break the nodes, and how to heal them."""

    async def revive() -> None:
        await scene.revive(nodes)

    def ill(fault: Fault) -> tuple[Callable[[], Awaitable[None]], ...]:
        async def ail() -> None:
            await asyncio.gather(*(scene.ail(node, fault) for node in nodes))

        async def heal() -> None:
            await asyncio.gather(*(scene.ail(node, None) for node in nodes))

        return ail, heal

    async def kill() -> None:
        await scene.kill(nodes)

    async def hang() -> None:
        await scene.hang(nodes)

    return {
        "node-loss": (kill, revive),
        "region-loss": (kill, revive),
        "node-hang": (hang, revive),
        "region-hang": (hang, revive),
        "latency-spike": ill(Fault(delay_ms=SPIKE_MS)),
        "gray-latency": ill(Fault(delay_ms=SPIKE_MS, share=GRAY_SHARE, clean_paths=HEALTH_PATHS)),
        "node-errors": ill(Fault(status=500, clean_paths=HEALTH_PATHS)),
    }[drill.name]


async def _traffic(
    drill: Drill, layout: Layout, settings: Settings, progress: Progress, nodes: tuple[str, ...]
) -> Result:
    limits = layout.site.limits.traffic
    async with staged(layout, settings, progress) as scene:
        control_begin = time.monotonic()
        scene.note(f"control run: {settings.window_s:g} s without a fault")
        await asyncio.sleep(settings.window_s)
        control_end = time.monotonic()
        break_nodes, heal_nodes = _hands(drill, scene, nodes)
        try:
            scene.injected(f"fault on {', '.join(nodes)}")
            await break_nodes()
            await asyncio.sleep(settings.window_s)
        finally:
            await heal_nodes()
        healed_s = time.monotonic()
        scene.note("healed")
        # Requests under way when the window closes still belong to it.
        await asyncio.sleep(2.0)
        decisions = (await scene.controller.get("/v1/traffic"))["decisions"]
        seen = as_seen(scene.window(scene.injected_s, healed_s), layout, nodes)
        control_seen = as_seen(scene.window(control_begin, control_end), layout, nodes)
        ledger = await proven(scene)
        await scene.readmit(nodes)
    for decision in decisions:
        at_s = (datetime.fromisoformat(decision["time"]) - scene.injected_at).total_seconds()
        if decision["node"] in nodes and at_s >= 0:
            scene.timeline.append(Event(round(at_s, 3), f"controller: {decision['reason']}"))
            progress.say(f"controller, {at_s:.1f} s after the fault: {decision['reason']}")
    timeline = tuple(sorted(scene.timeline, key=lambda event: event.at_s))
    control = judge.traffic_figures(control_seen, control_begin, limits.latency_ms_max)
    # Without a fault there is nothing to divert from.
    control |= {"divert_s": None, "touched": None}
    figures = {**judge.traffic_figures(seen, scene.injected_s, limits.latency_ms_max), **ledger}
    checks = (
        judge.at_most(figures, "divert_s", min(judge.DIVERT_S_GOAL, float(limits.divert_s_max)), _DIVERT),
        *judge.beyond_noise(figures, control, ("errors", "slow_answers", "logged_out")),
        *ledger_checks(figures),
    )
    return Result(drill.name, drill.clauses, figures, control, checks, timeline)


_DIVERT = "our goal; ZDT-1.1a allows 10 s"
