"""`siaga drill`: break something real under load, and show what users saw."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

from cyclopts import Parameter

from siaga.cli import output
from siaga.cli.platform import Json
from siaga.drills.catalogue import DRILLS, find
from siaga.drills.model import Result
from siaga.drills.run import Settings, plan, run
from siaga.errors import Exit
from siaga.platform import account, lifecycle
from siaga.platform.progress import Progress


def drill(
    name: str = "list",
    *,
    target: Annotated[str | None, Parameter(help="Node, region or session server; default: the first one.")] = None,
    rate: Annotated[float, Parameter(help="Requests a second, over all regions.")] = 300.0,
    seconds: Annotated[float, Parameter(help="Length of the control run and of the fault, each.")] = 8.0,
    dry_run: Annotated[bool, Parameter(negative="", help="Say what would be broken, and do nothing.")] = False,
    json: Json = False,
) -> int:
    """Run a drill on the embedded platform: control run, fault under load, healing, proof in the ledger.

    Exit code 0 when the clause held, 1 when it did not.

    Examples
    --------
    siaga drill list
    siaga drill node-loss
    siaga drill gray-latency --target fra-2 --json
    """
    if name == "list":
        return _list(json)
    chosen = find(name)
    layout = lifecycle.required(account.home())
    settings = Settings(rate_per_s=rate, window_s=seconds, target=target)
    if dry_run:
        intended = plan(chosen, layout, settings)
        if json:
            output.document({"drill": chosen.name, "plan": intended})
        else:
            print("\n".join(intended))
        return Exit.DONE
    result = asyncio.run(run(chosen, layout, settings, Progress(quiet=json)))
    if json:
        output.document(_document(result))
    else:
        _print(result)
    return Exit.DONE if result.holds else Exit.DOES_NOT_HOLD


def _list(json: bool) -> int:
    if json:
        output.document({"drills": [asdict(each) for each in DRILLS]})
    else:
        output.table(("drill", "clause", "what happens"), [(d.name, ", ".join(d.clauses), d.summary) for d in DRILLS])
    return Exit.DONE


def _document(result: Result) -> dict[str, Any]:
    found = asdict(result)
    return {"drill": found.pop("drill"), "holds": result.holds, **found}


def _print(result: Result) -> None:
    print()
    names = list(result.figures)
    rows = [(name, _text(result.figures[name]), _text(result.control.get(name))) for name in names]
    output.table(("what users saw", "with the fault", "control run"), rows)
    print()
    verdicts = [(c.figure, _text(c.value), c.limit, "holds" if c.holds else "broken") for c in result.checks]
    output.table(("checked", "found", "limit", ""), verdicts)
    print(f"\n{result.drill}: {'HOLDS' if result.holds else 'DOES NOT HOLD'} ({', '.join(result.clauses)})")


def _text(value: object) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
