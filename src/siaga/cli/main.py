"""The `siaga` command."""

from __future__ import annotations

import os
import sys

from cyclopts import App, CycloptsError

from siaga.cli import (
    approvals,
    calendar,
    drill,
    evidence,
    evidence_acts,
    journal,
    ledger,
    ledger_fence,
    levers,
    output,
    platform,
    runs,
    sessions,
    sop,
    state,
    traffic,
)
from siaga.errors import Exit, SiagaError

app = App(
    name="siaga",
    help="Keeps a transaction platform up, updates it without a pause, and brings it back with every balance proven.",
    help_epilogue=(
        "Exit codes: 0 done or holds, 1 does not hold, 2 wrong usage or configuration, 3 could not be determined, "
        "4 refused by a rule, 5 not reachable."
    ),
    version_flags=["--version"],
)
app.command(platform.up)
app.command(platform.down)
app.command(platform.status)
app.command(sop.app)
app.command(traffic.app)
app.command(sessions.app)
app.command(drill.drill)
app.command(runs.app)
app.command(calendar.app)
app.command(approvals.app)
app.command(levers.halt)
app.command(levers.resume)
evidence_acts.register(evidence.app)
app.command(evidence.app)
app.command(state.app)
app.command(journal.app)
for command in (ledger_fence.fence, ledger_fence.release, ledger_fence.accounts):
    ledger.app.command(command)
ledger.app.command(ledger_fence.install_gate, name="gate")
app.command(ledger.app)


def main() -> None:
    """Run one command; every expected failure becomes two lines and an exit code."""
    try:
        code = app(exit_on_error=False)
    except SiagaError as error:
        output.complaint(error)
        code = error.exit_code
    except CycloptsError:
        # Already told, with the nearest known name.
        code = Exit.USAGE
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        # Whoever read us (`| head`) has seen enough; what is left in the buffers goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = Exit.DONE
    sys.exit(int(code or 0))


if __name__ == "__main__":
    main()
