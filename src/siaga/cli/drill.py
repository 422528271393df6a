"""`siaga drill`: break something real under load, and show what users saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

from cyclopts import Parameter

from siaga.cli import ask, output, runs
from siaga.cli.output import Json
from siaga.drills.catalogue import DRILLS, find, runbook_name
from siaga.drills.model import RATE_PER_S
from siaga.errors import Exit, SiagaError


def drill(
    name: str = "list",
    *,
    target: Annotated[str | None, Parameter(help="Node, region or session server; default: the first one.")] = None,
    rate: Annotated[float, Parameter(help="Requests a second, over all regions.")] = RATE_PER_S,
    seconds: Annotated[float, Parameter(help="Length of the control run and of the fault, each.")] = 8.0,
    dry_run: Annotated[bool, Parameter(negative="", help="Say what would be broken, and do nothing.")] = False,
    json: Json = False,
) -> int:
    """Run a drill on the embedded platform: control run, fault under load, healing, proof in the ledger.

    It is a run like any other: `siaga runs list` shows it, and a controller that is killed in its midst goes on with
    it or heals what it broke. Exit code 0 when the clause held, 1 when it did not.

    Examples
    --------
    siaga drill list
    siaga drill node-loss
    siaga drill gray-latency --target fra-2 --json
    """
    if name == "list":
        return _list(json)
    chosen = find(name)
    parameters = {"rate_per_s": rate, "window_s": seconds, **({"target": target} if target is not None else {})}
    if dry_run:
        return runs.show_plan(runbook_name(chosen), parameters, json)
    result = carry_out(chosen.name, parameters, quiet=json)
    if json:
        output.document(result)
    else:
        _print(result)
    return Exit.DONE if result["holds"] else Exit.DOES_NOT_HOLD


def carry_out(name: str, parameters: Mapping[str, Any], *, quiet: bool) -> dict[str, Any]:
    """Start a drill, follow it to its end, and give its result."""
    run = runs.begin(runbook_name(find(name)), parameters, "drill", f"siaga drill {name}")
    try:
        ended = runs.follow(run, quiet=quiet)
    except KeyboardInterrupt:
        ask.post(f"/v1/runs/{run}/cancel", {"reason": "interrupted"})
        raise
    result: dict[str, Any] | None = ended["results"].get("judge what users saw")
    if ended["state"] != "done" or result is None:
        raise SiagaError(
            f"drill `{name}` ended {ended['state']}: {ended['why']}",
            hint=f"`siaga runs show {run}` tells what each step found.",
        )
    return result


def _list(json: bool) -> int:
    if json:
        output.document({"drills": [asdict(each) for each in DRILLS]})
    else:
        output.table(("drill", "clause", "what happens"), [(d.name, ", ".join(d.clauses), d.summary) for d in DRILLS])
    return Exit.DONE


def _print(result: Mapping[str, Any]) -> None:
    print()
    figures, control = result["figures"], result["control"]
    rows = [(name, _text(figures[name]), _text(control.get(name))) for name in figures]
    output.table(("what users saw", "with the fault", "control run"), rows)
    print()
    checks = result["checks"]
    verdicts = [(c["figure"], _text(c["value"]), c["limit"], "holds" if c["holds"] else "broken") for c in checks]
    output.table(("checked", "found", "limit", ""), verdicts)
    print(f"\n{result['drill']}: {'HOLDS' if result['holds'] else 'DOES NOT HOLD'} ({', '.join(result['clauses'])})")


def _text(value: object) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
