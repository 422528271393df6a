"""Drills on the stores (ZDT-1.1b): a session primary lost, and the whole transaction database lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

from wallet.proof import sessions_valid

from siaga.drills import judge
from siaga.drills.catalogue import Drill
from siaga.drills.ledger import ledger_checks, proven
from siaga.drills.model import Figure, Result, Seen
from siaga.drills.scene import Scene, Settings, as_seen, staged
from siaga.platform.layout import Layout
from siaga.platform.progress import Progress

LOGIN_AGAIN_S_MAX = 1.5
SESSIONS_MIN = 1_000
LOGINS_PER_S = 20.0
BACK_DEADLINE_S = 60.0


async def session_primary_loss(
    drill: Drill, layout: Layout, settings: Settings, progress: Progress, target: str
) -> Result:
    """Kill a primary of the session cluster; log-ins work again soon, and no acknowledged session is lost."""
    users = -(-SESSIONS_MIN // len(layout.site.regions))
    async with staged(layout, replace(settings, users_per_region=users), progress) as scene:
        primary = await _a_primary(scene, target)
        acknowledged = tuple(scene.load.sessions)
        control_begin = time.monotonic()
        scene.note(f"control run: {settings.window_s:g} s without a fault")
        control_logins = await _log_ins(scene, settings.window_s)
        control_end = time.monotonic()
        scene.injected(f"fault: {primary} killed, with {len(acknowledged)} acknowledged sessions in the cluster")
        await scene.keeper.kill(primary)
        logins = await _log_ins(scene, settings.window_s)
        ended_s = time.monotonic()
        await asyncio.sleep(1.0)
        scene.note("asking for every session")
        doors = scene.load.plan.front_doors
        found = await sessions_valid(doors, acknowledged)
        seen = as_seen(scene.window(scene.injected_s, ended_s), layout, ())
        control_seen = as_seen(scene.window(control_begin, control_end), layout, ())
        ledger = await proven(scene)
    limit_ms = layout.site.limits.traffic.latency_ms_max
    control = {**_users(control_seen, control_begin, limit_ms), "failed_logins": len(_failed(control_logins))}
    figures: dict[str, Figure] = {
        "logins_again_s": round(max((at for at, _ in _failed(logins)), default=0.0), 3),
        "logins": len(logins),
        "failed_logins": len(_failed(logins)),
        "sessions_before": len(acknowledged),
        "sessions_valid_after": found.valid,
        "lost_sessions": found.invalid,
        "sessions_unknown": found.unknown,
        **_users(seen, scene.injected_s, limit_ms),
        **ledger,
    }
    checks = (
        judge.at_most(figures, "logins_again_s", LOGIN_AGAIN_S_MAX, "our goal"),
        judge.exactly(figures, "lost_sessions", layout.site.limits.sessions.sessions_lost_max, "ZDT-1.1b"),
        judge.exactly(figures, "sessions_valid_after", len(acknowledged), "every acknowledged one"),
        *judge.beyond_noise(figures, control, ("errors", "logged_out")),
        *ledger_checks(figures),
    )
    return Result(drill.name, drill.clauses, figures, control, checks, tuple(scene.timeline))


async def database_loss(
    drill: Drill, layout: Layout, settings: Settings, progress: Progress, servers: Sequence[str]
) -> Result:
    """Kill primary and replica; every session stays valid through the outage and after."""
    async with staged(layout, settings, progress) as scene:
        control_begin = time.monotonic()
        scene.note(f"control run: {settings.window_s:g} s without a fault")
        await asyncio.sleep(settings.window_s)
        control_end = time.monotonic()
        acknowledged = tuple(scene.load.sessions)
        doors = scene.load.plan.front_doors
        try:
            scene.injected(f"fault: {', '.join(servers)} killed")
            await scene.kill(servers)
            await asyncio.sleep(settings.window_s / 2)
            during = await sessions_valid(doors, acknowledged)
            scene.note(f"{during.valid} of {len(acknowledged)} sessions valid in the outage")
            await asyncio.sleep(max(0.0, scene.injected_s + settings.window_s - time.monotonic()))
        finally:
            await scene.revive(servers)
        healed_s = time.monotonic()
        scene.note("database started again")
        back_s = await _writes_again(scene, healed_s)
        after = await sessions_valid(doors, acknowledged)
        seen = as_seen(scene.window(scene.injected_s, healed_s), layout, ())
        late = as_seen(scene.window(scene.injected_s, time.monotonic()), layout, ())
        control_seen = as_seen(scene.window(control_begin, control_end), layout, ())
        ledger = await proven(scene)
    limit_ms = layout.site.limits.traffic.latency_ms_max
    control = _users(control_seen, control_begin, limit_ms)
    figures: dict[str, Figure] = {
        "sessions_before": len(acknowledged),
        "sessions_valid_during": during.valid,
        "sessions_valid_after": after.valid,
        **_users(seen, scene.injected_s, limit_ms),
        "logged_out": sum(s.logged_out for s in late),
        "writes_again_s": back_s,
        **ledger,
    }
    checks = (
        judge.exactly(figures, "sessions_valid_during", len(acknowledged), "ZDT-1.1b"),
        judge.exactly(figures, "sessions_valid_after", len(acknowledged), "ZDT-1.1b"),
        judge.exactly(figures, "logged_out", 0, "ZDT-1.1b"),
        *judge.beyond_noise(figures, control, ("errors", "slow_answers")),
        *ledger_checks(figures),
    )
    return Result(drill.name, drill.clauses, figures, control, checks, tuple(scene.timeline))


def _users(seen: Sequence[Seen], begin_s: float, limit_ms: float) -> dict[str, Figure]:
    found = judge.traffic_figures(seen, begin_s, limit_ms)
    # No node is at fault here, so there is nobody to divert from.
    return {name: value for name, value in found.items() if name not in ("divert_s", "touched")}


async def _a_primary(scene: Scene, wanted: str) -> str:
    """The server asked for if it is a primary, otherwise the one that is for its slots."""
    shards = (await scene.controller.get("/v1/sessions"))["shards"]
    for shard in shards:
        if wanted == shard["primary"] or wanted in shard["replicas_linked"]:
            return str(shard["primary"])
    return str(shards[0]["primary"])


async def _log_ins(scene: Scene, seconds: float) -> list[tuple[float, bool]]:
    """Log in on schedule, each a new session on any shard; when each was sent, and whether it worked."""
    begin_s = time.monotonic()
    done: list[tuple[float, bool]] = []

    async def one(at_s: float) -> None:
        done.append((at_s - begin_s, await scene.load.log_in()))

    async with asyncio.TaskGroup() as group:
        for number in range(int(seconds * LOGINS_PER_S)):
            at_s = begin_s + number / LOGINS_PER_S
            await asyncio.sleep(max(0.0, at_s - time.monotonic()))
            group.create_task(one(at_s))
    return done


def _failed(logins: Sequence[tuple[float, bool]]) -> list[tuple[float, bool]]:
    return [login for login in logins if not login[1]]


async def _writes_again(scene: Scene, healed_s: float) -> float | None:
    """Seconds from the healing until the load's writes are answered again; None when they are not."""
    deadline = healed_s + BACK_DEADLINE_S
    while time.monotonic() < deadline:
        good = [o.sent_s for o in scene.window(healed_s, time.monotonic()) if o.key and o.status == 200]
        if len(good) >= 3:
            return round(good[0] - healed_s, 3)
        await asyncio.sleep(0.1)
    return None
