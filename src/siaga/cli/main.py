"""The `siaga` command."""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console

from siaga.cli import output
from siaga.errors import Exit, SiagaError


class _App(App):
    """Ends the help of a command with the examples of its docstring, which cyclopts drops."""

    def help_print(
        self,
        tokens: Annotated[None | str | Iterable[str], Parameter(show=False)] = None,
        *,
        console: Annotated[Console | None, Parameter(parse=False)] = None,
    ) -> None:
        """Not as its epilogue: that is wrapped, and an example is there to be copied."""
        super().help_print(tokens, console=console)
        examples = examples_of(self.parse_commands(tokens)[1][-1])
        if examples:
            shown = console or self.console
            shown.print("\nExamples:", *(f"  {line}" for line in examples), sep="\n", soft_wrap=True, markup=False)


def examples_of(command: App) -> list[str]:
    """The lines of the section `Examples`, the last of a docstring."""
    documentation = getattr(command.default_command, "__doc__", None) or ""
    return inspect.cleandoc(documentation).partition("\nExamples\n--------\n")[2].splitlines()


app = _App(
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
    words = sys.argv[1:]
    try:
        _import_for_help(words)
        code = app(words, exit_on_error=False, print_error=False)
    except SiagaError as error:
        code = _complain(error.message, error.hint, error.exit_code)
    except CycloptsError as error:
        command = " ".join(("siaga", *(error.command_chain or ())))
        hint = f"`{command} --help` says what it takes; quote what has spaces"
        if masked(str(error), words) != str(error):
            hint += "; a password belongs into ~/.pgpass, a service file or PGPASSWORD"
        code = _complain(str(error), hint, Exit.USAGE)
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        # Whoever read us (`| head`) has seen enough; what is left in the buffers goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = Exit.DONE
    except Exception as error:
        # The driver is not imported for the sake of its errors: a command that did not load it raises none of them.
        driver = sys.modules.get("psycopg")
        if driver is None or not isinstance(error, driver.Error):
            raise
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)
        hint = "the database did not let it be done: see the role's rights, and the server's log; then try again"
        code = _complain(said, hint, Exit.UNDETERMINED)
    sys.exit(int(code or 0))


def _complain(message: str, hint: str, code: Exit) -> Exit:
    words = sys.argv[1:]
    output.complaint(SiagaError(masked(message, words), hint=masked(hint, words)))
    return code


_NAME = r"\w*(?:passw(?:or)?d|pwd|secret)\w*\s*"
_SECRET = re.compile(rf"({_NAME}=\s*).+|(://[^:/@\s]*:).+(?=@)", re.IGNORECASE | re.DOTALL)
_AWAITS_SECRET = re.compile(rf"(?:.*\s)?-*{_NAME}=?\s*", re.IGNORECASE | re.DOTALL)


def masked(text: str, words: Sequence[str]) -> str:
    """`text` without the secrets that some of the command's words hold: a complaint goes into logs and tickets."""
    awaited = False
    for word in words:
        if awaited and word != "=":
            clean, awaited = "***", False
        else:
            clean = _SECRET.sub(lambda found: f"{found[1] or found[2]}***", word)
            awaited = awaited or _AWAITS_SECRET.fullmatch(word) is not None
        # As cyclopts shows a word: in a list, alone, or what follows the sign of equality.
        shown = [(repr(word), repr(clean)), (word, clean)]
        if word.startswith("-"):
            shown.append((word.partition("=")[2], clean.partition("=")[2]))
        for found, instead in shown:
            text = text.replace(found, instead) if found else text
    return text


def _import_for_help(words: list[str]) -> None:
    """Where help will be shown, import the commands that it lists: what each says of itself is in its module."""
    shown: App = app
    for word in words:
        if word.startswith("-") or word not in shown:
            break
        shown = shown[word]
    if shown.default_command is None or not {"--help", "-h"}.isdisjoint(words):
        shown.resolved_commands()


if __name__ == "__main__":
    main()
