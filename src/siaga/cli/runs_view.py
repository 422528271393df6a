"""Runs on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from siaga.cli import output

_MARKS = {"done": "✔", "begun": "…", "failed": "✘", "unknown": "?", "asked": "?", "pending": " "}
_COLOURS = {"done": "green", "begun": "cyan", "failed": "red", "unknown": "yellow", "asked": "yellow"}
_STATES = {"done": "green", "undone": "yellow", "failed": "bold red", "given up": "red", "running": "cyan"}


def listing(found: Sequence[Mapping[str, Any]]) -> None:
    """One line a run."""
    rows = [
        (
            each["id"],
            each["state"],
            each.get("manner", ""),
            each.get("step", ""),
            each.get("requester", ""),
            each.get("requested_at", "")[:19],
            duration(each["seconds"]) if "seconds" in each else "",
            each["why"],
        )
        for each in found
    ]
    output.table(("run", "state", "manner", "step", "by", "requested", "took", "why"), rows)


def runbooks(found: Sequence[Mapping[str, Any]]) -> None:
    """One line a runbook."""
    rows = [(each["runbook"], each["clause"], len(each["steps"]), each["summary"]) for each in found]
    output.table(("runbook", "clause", "steps", "what it does"), rows)


def plan(found: Mapping[str, Any]) -> None:
    """A plan, step by step."""
    print(f"{found['runbook']} ({found['clause']}): {found['summary']}\n")
    output.table(("", "step", "deadline", "attempts", "undo", ""), [_planned(step) for step in found["steps"]])
    for name, value in found["parameters"].items():
        print(f"{name} = {value}")
    for name, meaning in found["fields"].items():
        if name not in found["parameters"]:
            print(f"{name}: {meaning}")
    for clock in found["clocks"]:
        print(
            f"clock {clock['name']}: {duration(clock['limit_s'])} from the onset to the end of `{clock['stops_after']}`"
        )


def _planned(step: Mapping[str, Any]) -> tuple[object, ...]:
    if step["kind"] == "approval":
        unanswered = "goes on" if step["proceeds_unanswered"] else "is undone"
        people = f"{step['people']} {'person approves' if step['people'] == 1 else 'people approve'}"
        ticket = ", with a ticket" if step["wants_ticket"] else ""
        return (
            step["number"],
            step["name"],
            duration(step["timeout_s"]),
            "",
            "",
            f"{people}{ticket}; else it {unanswered}",
        )
    undo = "yes" if step["undo"] else "nothing to undo"
    last = "point of no return" if step["point_of_no_return"] else ""
    return step["number"], step["name"], duration(step["deadline_s"]), step["attempts_max"], undo, last


def show(found: Mapping[str, Any]) -> None:
    """One run, once."""
    # As wide as the terminal; a pipe gets whole lines.
    console = Console()
    (console if console.is_terminal else Console(width=200)).print(_page(found))


class Watch:
    """One run, as it goes: in place on a terminal, a line a change elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._console = Console(stderr=True, highlight=False)
        self._live = (
            Live(console=self._console, refresh_per_second=4) if self._console.is_terminal and not quiet else None
        )
        self._told = ""

    def __enter__(self) -> Watch:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, found: Mapping[str, Any]) -> None:
        """Show where it stands now."""
        if self._live is not None:
            self._live.update(_page(found))
        elif not self._quiet:
            parts = (found["state"], found["step"], found["progress"] or found["why"])
            line = ": ".join(part for part in parts if part)
            if line != self._told:
                self._told = line
                self._console.print(f"{found['seconds']:6.1f} s  {line}", markup=False, soft_wrap=True)


def _page(found: Mapping[str, Any]) -> RenderableType:
    head = Text.assemble(
        f"{found['id']}  ", (found["state"], _STATES.get(found["state"], "yellow")), f"  {duration(found['seconds'])}"
    )
    lines: list[RenderableType] = [head, Text(f"{found['manner']}, by {found['requester']}: {found['reason']}", "dim")]
    if found["why"]:
        lines.append(Text(found["why"]))
    lines.append(_steps(found))
    lines += [_clock(clock) for clock in found["clocks"]]
    lines += _wishes(found)
    return Group(*lines)


def _steps(found: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for step in found["steps"]:
        undo = step.get("undo")
        status = step["status"] if undo is None or undo["status"] != "done" else "undone"
        took = duration(step["seconds"]) if step.get("seconds") is not None else ""
        why = undo["why"] if undo is not None and undo["why"] else step["why"]
        saying = found["progress"] if step["name"] == found["step"] and found["progress"] else why
        colour = _COLOURS.get(status, "dim")
        table.add_row(
            Text(_MARKS.get(status, "↶"), colour), Text(step["name"]), Text(status, colour), took, Text(saying)
        )
    return table


def _clock(clock: Mapping[str, Any]) -> Text:
    left = clock["left_s"]
    if clock["stopped"]:
        said = f"{duration(clock['elapsed_s'])} of {duration(clock['limit_s'])}"
    else:
        said = f"{duration(left)} left" if left >= 0 else f"{duration(-left)} over"
    return Text(f"clock {clock['name']}: {said}", "bold red" if clock["breached"] else "")


def _wishes(found: Mapping[str, Any]) -> list[RenderableType]:
    lines: list[RenderableType] = []
    approval, question = found["approval"], found["question"]
    if approval is not None:
        given = f" ({', '.join(approval['approved_by'])} did)" if approval["approved_by"] else ""
        ticket = " --ticket ID" if approval["wants_ticket"] else ""
        said = f"{approval['people']} to approve{given}, {duration(max(0.0, approval['left_s']))} left: "
        lines.append(Text(f"{said}siaga runs approve {found['id']}{ticket}", "yellow"))
    if question is not None:
        choices = "|".join(question["choices"])
        lines.append(Text(f"to decide: siaga runs decide {found['id']} {choices} --reason ...", "yellow"))
    return lines


def duration(seconds: float) -> str:
    """A few figures, with their unit."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
