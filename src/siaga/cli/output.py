"""One JSON document on stdout, or words for people; everything else goes to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from siaga.errors import SiagaError

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON document on stdout.")]

COLOURS = {
    "holds": "green",
    "running": "green",
    "serving": "green",
    "at risk": "yellow",
    "returning": "yellow",
    "restarting": "yellow",
    "not measured": "dim",
    "broken": "bold red",
    "drained": "red",
    "stopped": "red",
    "ended": "red",
    "unknown": "red",
    "not reachable": "red",
}


def document(content: Any) -> None:
    """The answer of a command with `--json`."""
    json.dump(content, sys.stdout, indent=2, default=str)
    sys.stdout.write("\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """Rows for people; known states are coloured where the terminal can."""
    console = _console()
    shown = Table(*columns, title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for row in rows:
        shown.add_row(*(_cell(value) for value in row))
    console.print(shown)


def _console() -> Console:
    """As wide as the terminal; as wide as needed where there is none (a pipe, a file)."""
    return Console() if sys.stdout.isatty() else Console(width=200)


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    colour = COLOURS.get(text)
    escaped = text.replace("[", r"\[")
    return f"[{colour}]{escaped}[/]" if colour else escaped


def complaint(error: SiagaError) -> None:
    """An expected failure, with the next move."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print("[bold red]error:[/] ", end="")
    console.print(error.message, markup=False)
    console.print("[bold cyan]hint:[/] ", end="")
    console.print(error.hint, markup=False)
