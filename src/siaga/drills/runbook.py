"""A drill as a runbook (SUM): the same durable steps as any procedure, so a killed controller heals what it broke.

What users see is measured by the crowd, a process of its own; the controller breaks, waits, heals and asks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from siaga.drills import verdicts
from siaga.drills.breaking import Breaker
from siaga.drills.catalogue import DRILLS, Drill, Scope, runbook_name
from siaga.drills.model import RATE_PER_S
from siaga.drills.stage import Stage
from siaga.errors import BadInput, PlatformFault, Refused, Unreachable
from siaga.runbooks.model import NOTHING_TO_UNDO, Context, Document, Runbook, Step
from siaga.sop.clauses import ClauseId

WINDOW_S = 8.0
WINDOW_S_MAX = 100.0
USERS_PER_REGION = 150
SESSIONS_MIN = 1_000
WHOLE_DEADLINE_S = 420.0
PROOF_DEADLINE_S = 60.0
LATE_ANSWERS_S = 2.0
"""Requests under way when the window closes still belong to it."""


def drill_runbooks(stage: Stage) -> tuple[Runbook, ...]:
    """Every drill of the catalogue as a runbook `drill-NAME`."""
    return tuple(_Drilling(drill, stage).runbook for drill in DRILLS)


class _Drilling:
    """The acts of one drill."""

    def __init__(self, drill: Drill, stage: Stage) -> None:
        self._drill = drill
        self._stage = stage
        self._breaker = Breaker(stage.layout, stage.keeper)

    @property
    def runbook(self) -> Runbook:
        window_s = WINDOW_S_MAX + 130.0
        return Runbook(
            name=runbook_name(self._drill),
            clause=ClauseId(self._drill.clauses[0]),
            summary=self._drill.summary,
            steps=(
                Step("wait for a whole platform", self._wait_whole, NOTHING_TO_UNDO, WHOLE_DEADLINE_S, attempts_max=1),
                Step("let users in", self._admit, self._dismiss, 120.0),
                Step(verdicts.CONTROL, self._control, NOTHING_TO_UNDO, window_s),
                Step(verdicts.BREAK, self._break, self._heal_parts, 30.0),
                Step(verdicts.HOLD, self._hold, NOTHING_TO_UNDO, window_s, attempts_max=1),
                Step(verdicts.HEAL, self._heal, NOTHING_TO_UNDO, 30.0),
                Step(verdicts.RECOVER, self._recover, NOTHING_TO_UNDO, 200.0, attempts_max=1),
                Step(verdicts.LEDGER, self._ledger, NOTHING_TO_UNDO, 130.0 + PROOF_DEADLINE_S),
                Step("judge what users saw", self._judge, NOTHING_TO_UNDO, 30.0),
                Step("let the users go", self._dismiss, NOTHING_TO_UNDO, 30.0),
            ),
            automatic=False,
            fields={
                "target": "node, region or session server; the first one when left out",
                "rate_per_s": f"requests a second over all regions, {RATE_PER_S:g} when left out",
                "window_s": f"length of the control run and of the fault, each; {WINDOW_S:g} when left out",
            },
            prepare=self.prepare,
            alone="drill",
        )

    async def prepare(self, parameters: Document) -> Document:
        """Choose what to break; BadInput for a target that does not exist."""
        site = self._stage.layout.site
        if not site.embedded:
            raise Refused(
                f"`{self._drill.name}` breaks things, and site `{site.name}` is no embedded platform",
                hint="Run drills on an embedded platform: `siaga up` without `--site`.",
            )
        rate_per_s = _positive(parameters, "rate_per_s", RATE_PER_S, 100_000)
        window_s = _positive(parameters, "window_s", WINDOW_S, WINDOW_S_MAX)
        parts = self._targets(parameters.get("target"))
        return {"parts": list(parts), "rate_per_s": rate_per_s, "window_s": window_s}

    def _targets(self, wanted: object) -> tuple[str, ...]:
        site, scope = self._stage.layout.site, self._drill.scope
        if scope is Scope.DATABASE:
            return tuple(server.name for server in site.transactions.servers)
        known = {
            Scope.NODE: [node.name for node in site.nodes],
            Scope.REGION: [region.name for region in site.regions],
            Scope.SESSIONS: [server.name for server in site.sessions.servers],
        }[scope]
        target = str(wanted or known[0])
        if target not in known:
            raise BadInput(
                f"target `{target}` is no {scope} of this platform, expected one of {', '.join(known)}",
                hint=f"Leave it out to take {known[0]}.",
            )
        if scope is Scope.REGION:
            return tuple(node.name for node in site.region(target).nodes)
        return (target,)

    # Steps ----------------------------------------------------------------------------------------------

    async def _wait_whole(self, context: Context) -> Document | None:
        """Every part runs and every node serves; an earlier drill may still be healing."""
        await self._stage.readmit_recovered()
        told = ""
        while missing := await self._stage.missing():
            if missing != told:
                context.say(f"waiting: {missing}")
                told = missing
            await asyncio.sleep(0.5)
        return None

    async def _admit(self, context: Context) -> Document | None:
        """A fresh crowd: users of an interrupted try would not know what happened before they came."""
        regions = len(self._stage.layout.site.regions)
        users = -(-SESSIONS_MIN // regions) if self._drill.scope is Scope.SESSIONS else USERS_PER_REGION
        await self._stage.dismiss_crowd()
        context.say(f"registering {users} users a region")
        await self._stage.admit_crowd(context.parameters["rate_per_s"], users)
        while True:
            try:
                state = await self._stage.crowd.state()
            except Unreachable:
                await asyncio.sleep(0.1)
                continue
            if state["state"] == "failed":
                raise PlatformFault(f"users could not register: {state['why']}", hint="See `siaga status`.")
            if state["state"] == "loading":
                break
            await asyncio.sleep(0.1)
        context.say(f"{context.parameters['rate_per_s']:g} requests/s over {regions} front doors")
        return {"instance": state["instance"]}

    async def _control(self, context: Context) -> Document | None:
        """The same length without a fault, so that the machine's own noise is known."""
        await self._same_crowd(context)
        window_s, begin_s = context.parameters["window_s"], time.monotonic()
        context.say(f"control run: {window_s:g} s without a fault")
        found: dict[str, Any] = {"at_s": begin_s, "what": f"control run: {window_s:g} s without a fault"}
        if self._drill.scope is Scope.SESSIONS:
            found["failed_logins"] = (await self._stage.crowd.log_ins(window_s))["failed_logins"]
        else:
            await asyncio.sleep(window_s)
        figures = await self._stage.crowd.figures(begin_s, time.monotonic(), ())
        return {**found, "figures": figures}

    async def _break(self, context: Context) -> Document | None:
        """All clocks start here."""
        sessions = await self._stage.crowd.remember_sessions()
        parts = self._to_break(context)
        what = f"fault on {', '.join(parts)}: {self._drill.summary}"
        injected = {"at_s": time.monotonic(), "at": datetime.now(UTC).isoformat(), "what": what}
        await self._breaker.break_parts(self._drill, parts)
        context.say(what)
        return {**injected, "parts": parts, "sessions": sessions}

    def _to_break(self, context: Context) -> list[str]:
        """For the sessions drill the primary of the target's slots, whoever it is by now."""
        parts: list[str] = list(context.parameters["parts"])
        if self._drill.scope is not Scope.SESSIONS:
            return parts
        shards = self._stage.show_sessions()["shards"]
        mine = [s for s in shards if parts[0] == s["primary"] or parts[0] in s["replicas_linked"]]
        return [str((mine or shards)[0]["primary"])]

    async def _hold(self, context: Context) -> Document | None:
        """Leave the fault in force for the window, and ask what can only be asked during it."""
        injected_s, window_s = self._injected_s(context), context.parameters["window_s"]
        if self._drill.scope is Scope.SESSIONS:
            return await self._stage.crowd.log_ins(window_s)
        found: dict[str, Any] = {}
        if self._drill.scope is Scope.DATABASE:
            await asyncio.sleep(window_s / 2)
            found = await self._stage.crowd.ask_sessions()
            context.say(f"{found['valid']} sessions valid in the outage")
        await asyncio.sleep(max(0.0, injected_s + window_s - time.monotonic()))
        return found

    async def _heal(self, context: Context) -> Document | None:
        await self._breaker.heal(self._drill, self._broken(context))
        context.say("healed")
        return {"at_s": time.monotonic(), "what": "healed"}

    async def _heal_parts(self, context: Context) -> Document | None:
        """The undo of a break that may have been interrupted before it noted its parts."""
        await self._breaker.heal(self._drill, self._broken(context))
        return None

    async def _recover(self, context: Context) -> Document | None:
        """What users saw from the fault until it was healed, late answers included."""
        await self._same_crowd(context)
        crowd, injected_s, healed_s = (
            self._stage.crowd,
            self._injected_s(context),
            context.results[verdicts.HEAL]["at_s"],
        )
        found: dict[str, Any] = {}
        if self._drill.scope is Scope.DATABASE:
            found["writes_again_s"] = await crowd.writes_again(healed_s)
        else:
            await asyncio.sleep(LATE_ANSWERS_S)
        if self._drill.scope is not Scope.NODE and self._drill.scope is not Scope.REGION:
            context.say("asking for every session")
            found["sessions"] = await crowd.ask_sessions()
            late = await crowd.figures(injected_s, time.monotonic(), ())
            found["logged_out_until_now"] = late["logged_out"]
        bad_nodes = self._broken(context) if self._drill.scope in (Scope.NODE, Scope.REGION) else ()
        return {**found, "figures": await crowd.figures(injected_s, healed_s, bad_nodes)}

    async def _ledger(self, context: Context) -> Document | None:
        """End the load, and compare every acknowledgement of the drill with the ledger."""
        await self._stage.crowd.finish()
        proof = await asyncio.wait_for(self._stage.prove(), PROOF_DEADLINE_S)
        return asdict(proof)

    async def _judge(self, context: Context) -> Document | None:
        site = self._stage.layout.site
        result = verdicts.result(self._drill, context.results, self._decisions(context), site.limits)
        for node in self._broken(context):
            if self._drill.scope in (Scope.NODE, Scope.REGION):
                # Holds grow with every drill, and it was no fault of theirs.
                await self._stage.restore(node)
        await self._stage.record(self._drill.name, self._drill.clauses, result.holds, {"run": context.run})
        return {**asdict(result), "holds": result.holds}

    async def _dismiss(self, context: Context) -> Document | None:
        await self._stage.dismiss_crowd()
        return None

    # ----------------------------------------------------------------------------------------------------

    async def _same_crowd(self, context: Context) -> None:
        """Users who were started again in mid-drill have forgotten what they saw."""
        state = await self._stage.crowd.state()
        if state["instance"] != context.results["let users in"]["instance"]:
            raise PlatformFault("the drill's users were restarted in its midst", hint="Run the drill again.")

    @staticmethod
    def _injected_s(context: Context) -> float:
        return float(context.results[verdicts.BREAK]["at_s"])

    def _broken(self, context: Context) -> Sequence[str]:
        noted: Document = context.results.get(verdicts.BREAK) or {}
        return [str(part) for part in noted.get("parts", context.parameters["parts"])]

    def _decisions(self, context: Context) -> list[dict[str, Any]]:
        """The controller's decisions about the broken nodes, in seconds from the injection."""
        broken = self._broken(context)
        injected_at = datetime.fromisoformat(context.results[verdicts.BREAK]["at"])
        return [
            {"at_s": (datetime.fromisoformat(d["time"]) - injected_at).total_seconds(), "reason": d["reason"]}
            for d in self._stage.show_traffic()["decisions"]
            if d["node"] in broken
        ]


def _positive(parameters: Document, name: str, default: float, most: float) -> float:
    value = parameters.get(name, default)
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 < number <= most:
        raise BadInput(
            f"{name} {value!r}, expected a number above 0 and at most {most:g}",
            hint=f"Leave it out for {default:g}.",
        )
    return number
