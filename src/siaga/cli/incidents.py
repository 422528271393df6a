"""`siaga incidents`: what is wrong, how bad, who knows, and what people say to it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from cyclopts import App, Parameter, validators

from siaga.cli import ask, output
from siaga.cli.output import Json
from siaga.errors import BadInput, Exit, Unreachable

app = App(name="incidents", help="What is wrong, how bad, who was told: Level 3 · Critical, 2 · Major, 1 · Minor.")

LEVELS = {1: "Level 1 · Minor", 2: "Level 2 · Major", 3: "Level 3 · Critical"}
Why = Annotated[str, Parameter(help="Goes into the evidence, with your name.")]
DryRun = Annotated[bool, Parameter(name="--dry-run", negative="", help="Say what would be done, and do nothing.")]
LevelNumber = Annotated[int, Parameter(validator=validators.Number(gte=1, lte=3), help="3 is the worst.")]
Count = Annotated[int, Parameter(validator=validators.Number(gte=1, lte=200), help="How many, at most.")]


@app.command(name="list")
def list_(*, count: Count = 20, json: Json = False) -> int:
    """Show the open incidents, the worst first, then the last closed. Exit code 1 while one is open.

    Examples
    --------
    siaga incidents list
    siaga incidents list --count 100 --json
    """
    found = _get(f"/v1/incidents?count={count}")
    if json:
        output.document(found)
    elif not found["incidents"]:
        print("no incident yet")
    else:
        rows = [
            (one["id"], one["label"], one["state"], _short(one["onset"]), one["subject"], one["told"])
            for one in found["incidents"]
        ]
        output.table(("incident", "level", "state", "onset (UTC)", "what", "who knows"), rows)
    return Exit.DOES_NOT_HOLD if found["open"] else Exit.DONE


@app.command
def show(id: str, *, json: Json = False) -> int:
    """Show one incident: causes, times, who was told, and its timeline from the evidence.

    Exit code 0 when it is resolved, 1 while it is open.

    Examples
    --------
    siaga incidents show inc-20261123-031207
    """
    found = _get(_path(id))
    if json:
        output.document(found)
    else:
        _print(found)
    return Exit.DONE if found["state"] == "resolved" else Exit.DOES_NOT_HOLD


@app.command
def declare(*, level: LevelNumber, reason: Why, dry_run: DryRun = False, json: Json = False) -> int:
    """Open an incident that no measurement has shown; people are told as of any other.

    Examples
    --------
    siaga incidents declare --level 3 --reason "users report a wrong balance"
    """
    if dry_run:
        return _said({"would_declare": LEVELS[level], "reason": reason}, json, f"would declare {LEVELS[level]}")
    done = ask.post("/v1/incidents", {"level": level, "reason": reason})
    return _said(done, json, f"{done['id']}: {done['label']}; {done['told']}")


@app.command
def acknowledge(id: str, *, json: Json = False) -> int:
    """Say that you look after it: nobody else is escalated to. The first one counts.

    Examples
    --------
    siaga incidents acknowledge inc-20261123-031207
    """
    done = ask.post(f"{_path(id)}/acknowledge")
    return _said(done, json, f"{done['id']} is looked after by {done['acknowledged_by']}")


@app.command
def downgrade(id: str, *, to: LevelNumber, reason: Why, json: Json = False) -> int:
    """Lower its level; it rises again when a cause begins again or gets worse.

    Refused (exit code 4) while an outage lasts: any service failure is Level 3 (ZDT-1).

    Examples
    --------
    siaga incidents downgrade inc-20261123-031207 --to 1 --reason "a test alert of the new exporter"
    """
    done = ask.post(f"{_path(id)}/downgrade", {"to": to, "reason": reason})
    return _said(done, json, f"{done['id']} is {done['label']} now")


@app.command
def resolve(id: str, *, reason: Why, json: Json = False) -> int:
    """Close it. Refused (exit code 4) while a cause lasts; most are resolved by themselves.

    Examples
    --------
    siaga incidents resolve inc-20261123-031207 --reason "key rotated, CHG-812"
    """
    done = ask.post(f"{_path(id)}/resolve", {"reason": reason})
    return _said(done, json, f"{done['id']} is resolved")


@app.command
def report(
    id: str,
    *,
    form: Annotated[Literal["md", "html"], Parameter(help="Markdown or HTML.")] = "md",
    regulator: Annotated[bool, Parameter(negative="", help="The regulator's form instead, drafted.")] = False,
    out: Annotated[Path | None, Parameter(help="Write it to this file, which must not exist.")] = None,
    json: Json = False,
) -> int:
    """Write the post-incident report from the record.

    Examples
    --------
    siaga incidents report inc-20261123-031207
    siaga incidents report inc-20261123-031207 --form html --out incident.html
    """
    path = f"{_path(id)}/regulator" if regulator else f"{_path(id)}/report?form={form}"
    found = _get(path)
    if out is not None:
        _write(out, found["text"])
    if json:
        output.document({**found, "file": str(out) if out else None})
    elif out is None:
        print(found["text"], end="")
    else:
        print(f"written to {out}")
    return Exit.DONE


def _get(path: str) -> Any:
    try:
        return ask.get(path)
    except Unreachable as error:
        raise Unreachable(
            f"{error.message}, and only the one that leads knows what is open",
            hint="`siaga evidence show --kind incident` has every change of an incident without it. `siaga status` "
            "shows who leads; `siaga up` starts a controller, which goes on with what is open.",
        ) from error


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}", hint="Name a file that does not exist yet.") from error


def _path(id_: str) -> str:
    return f"/v1/incidents/{quote(id_, safe='')}"


def _short(moment: str | None) -> str:
    return moment[:19].replace("T", " ") if moment else ""


def _said(done: dict[str, Any], json: bool, words: str) -> int:
    if json:
        output.document(done)
    else:
        print(words)
    return Exit.DONE


def _print(found: dict[str, Any]) -> None:
    print(f"{found['id']}  {found['label']}  {found['state']}\n{found['subject']}\n")
    figures = found["figures"]
    shown = [f"{name.removesuffix('_s')} +{value:.1f} s" for name, value in figures.items() if value is not None]
    print(f"onset {_short(found['onset'])} UTC; {', '.join(shown)}")
    print(f"why this level: {found['levels'][-1]['reason']}")
    print(f"who knows: {found['told']}")
    if found["regulator"]:
        regulator = found["regulator"]
        print(f"{regulator['regulator']} has to be told by {_short(regulator['due_at'])} UTC")
    rows = [
        (cause["subject"], LEVELS[cause["level"]], _short(cause["since"]), _short(cause["ended_at"]) or "lasts")
        for cause in found["causes"]
    ]
    if rows:
        print()
        output.table(("cause", "level", "since (UTC)", "ended"), rows)
    if found["alerts_more"]:
        print(f"and {found['alerts_more']} further alerts")
    if found["timeline_trouble"]:
        print(f"\n{found['timeline_trouble']}")
    if found["timeline"]:
        print()
        lines = [(_short(e["at"]), e["record"], e["kind"], e["actor"], e["reason"]) for e in found["timeline"]]
        output.table(("when (UTC)", "record", "what", "who", "why"), lines)
