"""`make demo`: the main job on a fresh machine. Brings the platform up, breaks it, shows what users saw."""

from __future__ import annotations

import sys
from typing import Any

from siaga.cli import drill, output
from siaga.errors import Exit, SiagaError
from siaga.platform import account, lifecycle

DRILLS = ("node-loss", "gray-latency", "region-loss", "session-primary-loss", "database-loss")

_NEXT = """
The platform goes on running. Try:
  .venv/bin/siaga status                  every part, every loop
  .venv/bin/siaga sop                     every clause, live
  .venv/bin/siaga traffic show            where users go, and why
  .venv/bin/siaga sessions show           the session cluster, apart from the database
  .venv/bin/siaga drill list              more ways to break it
  make down                               stop it; its data stays
"""


def main() -> int:
    """Run the demo; 1 when a clause did not hold."""
    try:
        lifecycle.bring_up(account.home(), None, quiet=False)
        results = [_drill(name) for name in DRILLS]
    except SiagaError as error:
        output.complaint(error)
        return int(error.exit_code)
    except KeyboardInterrupt:
        return 130
    print()
    columns = ("drill", "requests", "errors", "over 500 ms", "diverted in", "lost", "doubled", "sessions kept", "")
    output.table(columns, [_row(result) for result in results], title="What users saw, with the fault under load")
    for result in results:
        for check in result["checks"]:
            if not check["holds"]:
                print(f"{result['drill']}: {check['figure']} is {check['value']}, limit {check['limit']}")
    print(_NEXT)
    return Exit.DONE if all(result["holds"] for result in results) else Exit.DOES_NOT_HOLD


def _drill(name: str) -> dict[str, Any]:
    print(f"\n--- siaga drill {name}", file=sys.stderr, flush=True)
    return drill.carry_out(name, {}, quiet=False)


def _row(result: dict[str, Any]) -> list[object]:
    figures = result["figures"]
    diverted = figures.get("divert_s")
    before = figures.get("sessions_before")
    sessions = "" if before is None else f"{figures['sessions_valid_after']} of {before}"
    return [
        result["drill"],
        f"{figures['requests']:,}",
        figures["errors"],
        figures["slow_answers"],
        "" if diverted is None else f"{diverted:.2f} s",
        figures["lost"],
        figures["doubled"],
        sessions,
        "holds" if result["holds"] else "broken",
    ]


if __name__ == "__main__":
    sys.exit(main())
