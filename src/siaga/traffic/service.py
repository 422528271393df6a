"""The traffic loop (ZDT-1.1a): collect what the vantage points saw, judge, publish weights, record.

The data plane goes on failing over in-request without it; this adds what a proxy can't judge.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol

from siaga.errors import SiagaError
from siaga.site.model import Site
from siaga.sop.adherence import Adherence, Standing
from siaga.sop.clauses import ClauseId
from siaga.traffic import commands, memory
from siaga.traffic import decide as judgement
from siaga.traffic.model import (
    Action,
    Decision,
    Facts,
    NodeState,
    Phase,
    Probe,
    ProxyView,
    States,
    TrafficPolicy,
    Verdict,
)
from siaga.traffic.permission import withhold
from siaga.traffic.windows import p50_ms, since

VIEW_INTERVAL_S = 0.5
SAVE_INTERVAL_S = 10.0
VALID_S = 10.0
DECISIONS_SHOWN_MAX = 50


class Prober(Protocol):
    """Whoever looks at the nodes."""

    def start_due(self, now_s: float, intervals_s: dict[str, float]) -> None:
        """Start the probes whose time has come."""
        ...

    def collect(self) -> tuple[Probe, ...]:
        """What ended since the last call."""
        ...


class DataPlane(Protocol):
    """Whoever steers the requests."""

    async def publish(self, region: str, weights: Mapping[str, int]) -> str:
        """Put weights into force; empty when confirmed, otherwise why not."""
        ...

    async def views(self) -> tuple[ProxyView, ...]:
        """What it says of every node, as counted since the last call."""
        ...


class Authority(Protocol):
    """Whoever says what may be done, and writes it down first."""

    async def objection(self, decision: Decision) -> str:
        """Why the controller may not carry it out by itself now; empty when it may."""
        ...

    async def record(self, decision: Decision, actor: str) -> None:
        """Write it down before it is done; Unrecorded when that is impossible and the decision is not urgent."""
        ...


class TrafficService:
    """Steers users to healthy nodes."""

    def __init__(
        self,
        site: Site,
        prober: Prober,
        data_plane: DataPlane,
        *,
        authority: Authority,
        save: Callable[[object], Awaitable[None]],
        remembered: object | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        limits = site.limits.traffic
        self._site = site
        self._prober = prober
        self._data_plane = data_plane
        self._authority = authority
        self._clock = clock
        self._save = save
        self.policy = TrafficPolicy.within(
            latency_ms_max=limits.latency_ms_max, divert_s_max=float(limits.divert_s_max)
        )
        self._regions = {node.name: region.name for region in site.regions for node in region.nodes}
        self._states = memory.from_document(remembered, self.policy) if remembered is not None else States()
        known = {name: state for name, state in self._states.nodes.items() if name in self._regions}
        self._states = replace(self._states, nodes={**{n: NodeState() for n in self._regions}, **known})
        self._published: dict[str, dict[str, int]] = {}
        self._views: dict[str, ProxyView] = {}
        self._views_due_s = 0.0
        self._saved_at_s = 0.0
        self._turn = asyncio.Lock()
        self._decisions: deque[dict[str, Any]] = deque(maxlen=DECISIONS_SHOWN_MAX)
        self._withheld: dict[str, tuple[Decision, str]] = {}
        """By node: what is not done, and why not."""
        self._publish_trouble = ""
        self._observed_at: datetime | None = None

    async def run_pass(self) -> None:
        """Observe, decide, act, record."""
        async with self._turn:
            now_s = self._clock()
            intervals = {n: judgement.probe_interval_s(self._states, n, self.policy) for n in self._regions}
            self._prober.start_due(now_s, intervals)
            facts = Facts(self._regions, self._prober.collect(), await self._look(now_s))
            after, decisions = judgement.decide(facts, self._states, self.policy, now_s)
            self._observed_at = datetime.now(UTC)
            refusals = {d.node: why for d in decisions if (why := await self._refusal(d))}
            self._withheld = {node: self._withheld[node] for node in refusals}
            self._states = withhold(self._states, after, refusals)
            await self._carry_out([d for d in decisions if d.node not in refusals], "controller", now_s)

    async def _refusal(self, decision: Decision) -> str:
        """Why a decision of ours is not carried out; empty once it is permitted and written down."""
        why = "" if decision.alarm else await self._authority.objection(decision)
        if not why:
            try:
                await self._authority.record(decision, "controller")
            except SiagaError as error:
                why = error.message
        if why:
            told = self._withheld.get(decision.node)
            # The same decision comes up again every pass: it is told once, and again when the reason changes.
            if told is None or (told[0].action, told[0].weight_percent, told[1]) != (*_deed(decision), why):
                self._show_decision(replace(decision, reason=f"{decision.reason}; not done: {why}"), "controller")
            self._withheld[decision.node] = (decision, why)
        return why

    async def drain(self, node: str, actor: str, *, dry_run: bool) -> Decision:
        """Take a node out by hand; Refused for the last one that can serve."""
        async with self._turn:
            states, decision = commands.drain_by_operator(self._states, node, actor)
            return await self._obey(states, decision, actor, dry_run)

    async def restore(self, node: str, actor: str, *, dry_run: bool) -> Decision:
        """Let a drained node return by the ramp."""
        async with self._turn:
            states, decision = commands.restore_by_operator(self._states, node, actor, self.policy)
            return await self._obey(states, decision, actor, dry_run)

    async def _obey(self, states: States, decision: Decision, actor: str, dry_run: bool) -> Decision:
        if not dry_run:
            await self._authority.record(decision, actor)
            self._states = states
            await self._carry_out((decision,), actor, self._clock())
        return decision

    async def _look(self, now_s: float) -> tuple[ProxyView, ...]:
        if now_s < self._views_due_s:
            return ()
        self._views_due_s = now_s + VIEW_INTERVAL_S
        views = await self._data_plane.views()
        self._views = {view.node: view for view in views}
        return views

    async def _carry_out(self, decisions: Sequence[Decision], actor: str, now_s: float) -> None:
        """What was permitted and written down."""
        await self._publish()
        for decision in decisions:
            self._show_decision(decision, actor)
        if decisions or now_s - self._saved_at_s > SAVE_INTERVAL_S:
            await self._save(memory.to_document(self._states))
            self._saved_at_s = now_s

    def _show_decision(self, decision: Decision, actor: str) -> None:
        self._decisions.append(
            {
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "actor": actor,
                "node": decision.node,
                "action": str(decision.action),
                "weight_percent": decision.weight_percent,
                "reason": decision.reason,
            }
        )

    async def _publish(self) -> None:
        """Make the data plane agree with the states; what it did not confirm is tried again next pass."""
        weights = self._states.weights
        due = {}
        for region in self._site.regions:
            wanted = {node.name: weights[node.name] for node in region.nodes}
            if self._published.get(region.name) != wanted:
                due[region.name] = wanted
        answers = await asyncio.gather(*(self._data_plane.publish(name, wanted) for name, wanted in due.items()))
        troubles = []
        for (name, wanted), why in zip(due.items(), answers, strict=True):
            if why:
                troubles.append(f"region {name}: {why}")
            else:
                self._published[name] = wanted
        self._publish_trouble = "; ".join(troubles)

    def standing(self) -> tuple[Standing, ...]:
        """How ZDT-1.1a stands: the nodes, and the layer in front of us that nobody measures yet."""
        adherence, why = self._judge()
        states = self._states.nodes
        serving = sum(s.serves for s in states.values())
        return (
            Standing(
                clause=ClauseId.ZDT_1_1A,
                adherence=adherence,
                figure=f"{serving} of {len(states)} nodes serve",
                limit=f"over {self.policy.latency_ms_max:g} ms diverted within {self.policy.divert_s_max:g} s",
                why=why,
                observed_at=self._observed_at,
                part="nodes",
                valid_s=VALID_S,
            ),
            Standing(
                clause=ClauseId.ZDT_1_1A,
                adherence=Adherence.NOT_MEASURED,
                figure="",
                limit="",
                why="no driver for a CDN or DNS layer yet",
                part="CDN and DNS",
            ),
        )

    def _judge(self) -> tuple[Adherence, str]:
        states = self._states.nodes
        healthy = [n for n, s in states.items() if s.serves and s.verdict is Verdict.HEALTHY]
        held = [s.held for s in states.values() if s.held]
        if self._observed_at is None or all(s.verdict is Verdict.UNCLEAR for s in states.values()):
            return Adherence.NOT_MEASURED, "too few probes yet"
        if not healthy:
            return Adherence.BROKEN, held[0] if held else "no serving node is proven healthy"
        if self._publish_trouble:
            return Adherence.AT_RISK, f"the data plane did not confirm: {self._publish_trouble}"
        if len(healthy) < 2:
            return Adherence.AT_RISK, f"only {healthy[0]} is proven healthy: nowhere to divert to"
        if held:
            return Adherence.AT_RISK, f"a bad node is held: {held[0]}"
        out = [n for n, s in states.items() if s.phase is not Phase.SERVING]
        return Adherence.HOLDS, f"{', '.join(out)} diverted" if out else "every node is healthy"

    def show(self) -> dict[str, Any]:
        """What `siaga traffic show --json` prints."""
        return {
            "nodes": [self._node(name, state) for name, state in self._states.nodes.items()],
            "data_plane_trouble": self._publish_trouble,
            "decisions": list(self._decisions),
        }

    def _why_withheld(self, node: str) -> str:
        return f"not done: {self._withheld[node][1]}" if node in self._withheld else ""

    def _node(self, name: str, state: NodeState) -> dict[str, Any]:
        windows = self._states.windows.get(name, {})
        since_s = self._clock() - self.policy.recent_s
        samples = tuple(s for window in windows.values() for s in since(window, since_s))
        view = self._views.get(name)
        return {
            "node": name,
            "region": self._regions[name],
            "state": str(state.phase),
            "weight_percent": state.weight_percent,
            "verdict": str(state.verdict),
            "latency_p50_ms": round(p50_ms(samples), 1) if samples else None,
            "failed_share": round(sum(s.bad for s in samples) / len(samples), 3) if samples else None,
            "vantage_points": sorted(windows),
            "proxy": _in_words(view),
            "hold_left_s": round(state.hold_left_s, 1),
            "offences": state.offences,
            "operator": state.operator,
            "why": self._why_withheld(name) or state.held or state.reason,
        }


def _deed(decision: Decision) -> tuple[Action, int]:
    return decision.action, decision.weight_percent


def _in_words(view: ProxyView | None) -> str:
    if view is None:
        return "not seen"
    if view.ejected:
        return "ejected"
    return "healthy" if view.healthy else "unhealthy"
