"""The users of a drill: a process of its own under the keeper, so that they go on when the controller is killed.

Run as `python -m siaga.drills.crowd PLAN.json SOCKET`. It registers users, keeps the load on every front door, and
answers over its Unix socket, one JSON object a line. Session tokens never leave it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvloop
from wallet.load import Load, LoadPlan, Outcome
from wallet.proof import sessions_valid

from siaga.drills import judge
from siaga.drills.model import Figure, Seen

WARM_UP_S = 3.0
LOGINS_PER_S = 20.0
BACK_DEADLINE_S = 60.0


@dataclass(frozen=True, slots=True)
class CrowdPlan:
    """Who the users are, where they go, and by which addresses the parts of the platform show in their answers."""

    front_doors: Mapping[str, str]
    rate_per_s: float
    users_per_region: int
    latency_ms_max: float
    nodes: Mapping[str, str]
    """Address of every node, by name."""
    regions: Mapping[str, str]
    """Region of every node, by name."""
    doors: Mapping[str, Sequence[str]]
    """Every address by which a region's door is reached, by region."""
    acknowledgements: str
    """JSONL file of every acknowledged write."""


class Crowd:
    """The load, and what it saw."""

    def __init__(self, plan: CrowdPlan) -> None:
        self._plan = plan
        # A crowd that was restarted in mid-drill has forgotten everything: whoever asks must notice.
        self._instance = secrets.token_hex(8)
        self._load = Load(
            LoadPlan(
                front_doors=plan.front_doors,
                rate_per_s=plan.rate_per_s,
                users_per_region=plan.users_per_region,
                seed=time.time_ns() & 0xFFFF_FFFF,
            ),
            Path(plan.acknowledgements),
        )
        self._stop = asyncio.Event()
        self._state = "registering"
        self._why = ""
        self._remembered: tuple[str, ...] = ()

    async def run(self) -> None:
        """Register, then load the platform until told to finish."""
        try:
            await self._load.prepare()
        except ConnectionError as error:
            self._state, self._why = "failed", str(error)
            return
        running = asyncio.create_task(self._load.run(None, self._stop))
        await asyncio.sleep(WARM_UP_S)
        self._state = "loading"
        await running
        self._state = "finished"

    async def close(self) -> None:
        """End the load."""
        self._stop.set()
        await self._load.close()

    async def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out one request."""
        match request["op"]:
            case "state":
                return {"instance": self._instance, "state": self._state, "why": self._why}
            case "figures":
                return dict(self._figures(request))
            case "remember_sessions":
                self._remembered = tuple(self._load.sessions)
                return {"sessions": len(self._remembered)}
            case "ask_sessions":
                return asdict(await sessions_valid(self._plan.front_doors, self._remembered))
            case "log_ins":
                return await self._log_ins(float(request["seconds"]))
            case "writes_again":
                return {"writes_again_s": await self._writes_again(float(request["since_s"]))}
            case "finish":
                self._stop.set()
                while self._state == "loading":
                    await asyncio.sleep(0.05)
                return {"state": self._state}
        return {"error": f"no such request: {request['op']!r}"}

    def _figures(self, request: Mapping[str, Any]) -> dict[str, Figure]:
        window = self._window(float(request["begin_s"]), float(request["end_s"]))
        seen = self._seen(window, request["bad_nodes"])
        return judge.traffic_figures(seen, float(request["begin_s"]), self._plan.latency_ms_max)

    def _window(self, begin_s: float, end_s: float) -> Sequence[Outcome]:
        return [o for o in self._load.outcomes if begin_s <= o.sent_s < end_s]

    def _seen(self, outcomes: Iterable[Outcome], bad_nodes: Sequence[str]) -> list[Seen]:
        """Outcomes as their users saw them, with whether the faulty nodes had a part in each."""
        bad = {self._plan.nodes[name] for name in bad_nodes}
        doors = {door for name in bad_nodes for door in self._plan.doors[self._plan.regions[name]]}
        return [_seen(outcome, bad, doors) for outcome in outcomes]

    async def _log_ins(self, seconds: float) -> dict[str, Any]:
        """Log in on schedule, each a new session on any shard."""
        begin_s = time.monotonic()
        failed_at: list[float] = []
        count = int(seconds * LOGINS_PER_S)

        async def one(at_s: float) -> None:
            if not await self._load.log_in():
                failed_at.append(at_s - begin_s)

        async with asyncio.TaskGroup() as group:
            for number in range(count):
                at_s = begin_s + number / LOGINS_PER_S
                await asyncio.sleep(max(0.0, at_s - time.monotonic()))
                group.create_task(one(at_s))
        return {
            "logins": count,
            "failed_logins": len(failed_at),
            "logins_again_s": round(max(failed_at, default=0.0), 3),
            "begin_s": begin_s,
            "end_s": time.monotonic(),
        }

    async def _writes_again(self, since_s: float) -> float | None:
        """Seconds until the load's writes are answered again; None when they are not."""
        deadline = since_s + BACK_DEADLINE_S
        while time.monotonic() < deadline:
            good = [o.sent_s for o in self._window(since_s, time.monotonic()) if o.key and o.status == 200]
            if len(good) >= 3:
                return round(good[0] - since_s, 3)
            await asyncio.sleep(0.1)
        return None


def _seen(outcome: Outcome, bad: set[str], doors: set[str]) -> Seen:
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


async def _serve(plan: CrowdPlan, path: Path) -> None:
    crowd = Crowd(plan)
    left = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, left.set)

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                writer.write(json.dumps(await crowd.answer(json.loads(line))).encode() + b"\n")
                await writer.drain()
        writer.close()

    path.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(converse, path=str(path))
    path.chmod(0o600)
    loading = asyncio.create_task(crowd.run())
    await left.wait()
    await crowd.close()
    loading.cancel()
    server.close()
    path.unlink(missing_ok=True)


def main(plan: str, path: str) -> int:
    """Serve until told to leave."""
    os.umask(0o077)
    uvloop.run(_serve(CrowdPlan(**json.loads(Path(plan).read_bytes())), Path(path)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
