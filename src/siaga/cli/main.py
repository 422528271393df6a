"""The `siaga` command."""

from __future__ import annotations

import os
import sys

from cyclopts import App, CycloptsError

from siaga.cli import output
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
# By name: importing them all takes longer than most of them do.
for name in ("up", "down", "status"):
    app.command(f"siaga.cli.platform:{name}", name=name)
for name in ("sop", "traffic", "sessions", "uptime", "incidents", "health", "runs", "calendar", "approvals"):
    app.command(f"siaga.cli.{name}:app", name=name)
for name in ("evidence", "state", "journal", "ledger"):
    app.command(f"siaga.cli.{name}:app", name=name)
for name in ("drill", "report"):
    app.command(f"siaga.cli.{name}:{name}", name=name)
for name in ("halt", "resume"):
    app.command(f"siaga.cli.levers:{name}", name=name)


def main() -> None:
    """Run one command; every expected failure becomes two lines and an exit code."""
    try:
        _import_for_help(sys.argv[1:])
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


def _import_for_help(words: list[str]) -> None:
    """Where help will be shown, import the commands that it lists: what each says of itself is in its module."""
    shown = app
    for word in words:
        if word.startswith("-") or word not in shown:
            break
        shown = shown[word]
    if shown.default_command is None or not {"--help", "-h"}.isdisjoint(words):
        shown.resolved_commands()


if __name__ == "__main__":
    main()
