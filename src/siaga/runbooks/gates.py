"""A site's own gates before and after the steps of a runbook: programs, URLs, tickets, approvals.

A gate adds a step and can take none away. One that does not answer in time has not passed. What a gate's program
prints is not kept, save the end of what it printed when it said no, with whatever looks like a secret blotted out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol
from urllib.parse import urlsplit

from siaga.errors import BadInput, Exit, SiagaError
from siaga.hosts.model import Host
from siaga.runbooks.model import NOTHING_TO_UNDO, Approval, Context, Document, Runbook, Step
from siaga.site.schedule import Gate, GateKind
from siaga.site.wording import nearest

OUTPUT_BYTES_MAX = 400
"""Of a program that said no."""
GRACE_S = 5.0
"""The step's own deadline is later than the gate's, so that the gate's own words are heard."""

# The shell only counts: the gate's words are its arguments, never its text. `tail` bounds the memory that a gate
# without end would take, and the exit code comes past it on a descriptor of its own (POSIX has no `pipefail`).
_BOUNDED = """exec 4>&1
code=$({ { "$@" 3>&- 4>&- 2>&1; echo "$?" >&3; } | tail -c "$0" >&4; } 3>&1)
exit "$code"
"""
_SECRET = re.compile(
    r"(?i)(\b[\w-]*(?:password|passwd|secret|token|api[_-]?key|authorization|credential)[\w-]*[\"']?\s*[:=]\s*)"
    r"(?:(?:bearer|basic)\s+)?\S+|\b(bearer|basic)\s+\S+|(//)[^/\s]*@"
)


class GateClosed(SiagaError):
    """A gate said no, or did not answer."""

    exit_code = Exit.REFUSED


class Caller(Protocol):
    """Asks a URL (`runbooks/http.py`)."""

    async def status(self, method: str, url: str, *, headers: Mapping[str, str], deadline_s: float) -> int:
        """The status of the answer; Unreachable when there is none in time."""
        ...


@dataclass(frozen=True, slots=True)
class Hands:
    """What gates are carried out with."""

    host: Callable[[str], Host]
    """By its name in the site file; BadInput for an unknown one."""
    http: Caller
    secret: Callable[[str], Awaitable[str]]
    """A secret's value by its name, read at the moment of use."""


def gated(runbooks: Iterable[Runbook], gates: Iterable[Gate], hands: Hands) -> tuple[Runbook, ...]:
    """Every runbook with the site's gates in it; BadInput for a gate whose runbook or step nobody knows."""
    own, wanted = tuple(runbooks), tuple(gates)
    names = [runbook.name for runbook in own]
    for gate in wanted:
        if gate.runbook not in names:
            raise _unknown(gate, "runbook", gate.runbook, names)
    return tuple(with_gates(runbook, wanted, hands) for runbook in own)


def with_gates(runbook: Runbook, gates: Iterable[Gate], hands: Hands) -> Runbook:
    """The runbook with its gates inserted, in the order in which the site file names them."""
    own = [gate for gate in gates if gate.runbook == runbook.name]
    names = [step.name for step in runbook.steps]
    made = {gate.name: _step(gate, hands) for gate in own}
    for gate in own:
        _judge_place(gate, made[gate.name].name, names)
    steps: list[Step | Approval] = []
    for step in runbook.steps:
        steps += [made[gate.name] for gate in own if gate.before == step.name]
        steps.append(step)
        steps += [made[gate.name] for gate in own if gate.after == step.name]
    return replace(runbook, steps=tuple(steps))


def _judge_place(gate: Gate, made: str, names: Collection[str]) -> None:
    place = gate.before or gate.after or ""
    if place not in names:
        raise _unknown(gate, "before" if gate.before else "after", place, names)
    if made in names:
        raise BadInput(
            f"gates.{gate.name}: runbook `{gate.runbook}` has a step `{made}` of its own, expected another name",
            hint="Give the gate another name.",
        )


def _unknown(gate: Gate, field: str, found: str, known: Collection[str]) -> BadInput:
    advice = nearest(found, known) or f", expected one of {', '.join(known) or 'none'}"
    what = "runbook" if field == "runbook" else f"step of runbook `{gate.runbook}`"
    return BadInput(
        f'gates.{gate.name}.{field} = "{found}": no such {what}{advice}',
        hint=f"`siaga runs plan {gate.runbook}` lists every step." if what != "runbook" else "See `siaga runs plan`.",
    )


def _step(gate: Gate, hands: Hands) -> Step | Approval:
    name = f"gate {gate.name}"
    if gate.kind in (GateKind.TICKET, GateKind.APPROVAL):
        return Approval(
            name,
            timeout_s=gate.timeout_s,
            people=gate.people,
            wants_ticket=gate.kind is GateKind.TICKET,
            ticket_pattern=gate.pattern,
        )

    async def act(context: Context) -> Document:
        return await (_run(gate, hands, context) if gate.kind is GateKind.EXEC else _call(gate, hands))

    return Step(name, act, NOTHING_TO_UNDO, deadline_s=gate.deadline_s + GRACE_S, attempts_max=gate.attempts)


async def _run(gate: Gate, hands: Hands, context: Context) -> Document:
    """Exit code 0 is yes. The program reads on stdin what the run is about."""
    about = {"run": context.run, "runbook": gate.runbook, "gate": gate.name, "manner": str(context.manner)}
    try:
        ended = await hands.host(gate.host).run(
            ("sh", "-c", _BOUNDED, str(OUTPUT_BYTES_MAX), *gate.argv),
            deadline_s=gate.deadline_s,
            stdin=json.dumps({**about, "parameters": dict(context.parameters)}).encode(),
        )
    except SiagaError as error:
        raise _closed(gate, f"program `{gate.argv[0]}` on host `{gate.host}`: {error.message}") from error
    if ended.exit_code != 0:
        said = tidied(ended.stdout)
        raise _closed(gate, f"program `{gate.argv[0]}` ended with exit code {ended.exit_code}, 0 wanted{said}")
    return {"exit_code": 0}


async def _call(gate: Gate, hands: Hands) -> Document:
    """The status that the site expects is yes; what the body says is not read."""
    assert gate.url is not None, "the site's model demands it"
    shown = _without_query(gate.url)
    try:
        headers = {name: await hands.secret(secret) for name, secret in gate.secret_headers.items()}
        status = await hands.http.status(gate.method, gate.url, headers=headers, deadline_s=gate.deadline_s)
    except SiagaError as error:
        raise _closed(gate, f"{gate.method} {shown}: {error.message}") from error
    if status != gate.status:
        raise _closed(gate, f"{gate.method} {shown} answered {status}, {gate.status} wanted")
    return {"status": status}


def _closed(gate: Gate, why: str) -> GateClosed:
    return GateClosed(
        f"gate `{gate.name}` is closed: {why}",
        hint="Ask those who own this gate, then start the run again; nobody can go round it.",
    )


def tidied(output: bytes) -> str:
    """The end of what a program printed, short, on one line, without what looks like a secret."""
    # A cut may leave the tail of a secret without the word before it: the first, cut, word goes too.
    cut = output.split(None, 1)[-1] if len(output) >= OUTPUT_BYTES_MAX and b" " in output else output
    text = " ".join(cut.decode("utf-8", "replace").split())[-OUTPUT_BYTES_MAX:]
    text = _SECRET.sub(lambda m: f"{m[1] or m[2] or m[3] or ''}…{'@' if m[3] else ''}", text)
    printable = "".join(c if c.isprintable() else "?" for c in text)
    return f": {printable}" if printable else ""


def _without_query(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"
