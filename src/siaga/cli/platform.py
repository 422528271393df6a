"""`siaga up`, `siaga down`, `siaga status`."""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from siaga.cli import output
from siaga.cli.output import Json
from siaga.controller.client import ControllerClient
from siaga.errors import Exit, SiagaError, Unreachable
from siaga.journal import status as journal_status
from siaga.platform import account, lifecycle
from siaga.platform import journal as embedded_journal
from siaga.platform import status as platform_status
from siaga.platform.layout import Layout
from siaga.platform.postgres import server_dsn
from siaga.site.load import load as load_site


def up(
    *,
    site: Annotated[Path | None, Parameter(help="Site file (TOML); without it the embedded platform.")] = None,
    detach: Annotated[bool, Parameter(negative="", help="Return once users are served; the platform goes on.")] = False,
    json: Json = False,
) -> int:
    """Start the platform, or adopt what already runs of it.

    PostgreSQL with a synchronous replica, PgBouncer, a Valkey session cluster, Envoy, application
    nodes in two regions and vendor simulators, all on loopback, all real.

    Examples
    --------
    siaga up --detach
    siaga up --site site.toml
    """
    wanted = load_site(site) if site is not None else None
    place = account.home()
    layout = lifecycle.bring_up(place, wanted, quiet=json and detach)
    if detach:
        _show(layout, json)
        return Exit.DONE
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _show(layout, json)
        print("\nCtrl-C stops the platform and keeps its data; `siaga up --detach` leaves it running.", file=sys.stderr)
        signal.pause()
    except KeyboardInterrupt:
        print()
    lifecycle.take_down(place, purge=False, quiet=json)
    return Exit.DONE


def _show(layout: Layout, json: bool) -> None:
    described = asyncio.run(_describe(layout))
    if json:
        output.document(described)
    else:
        _print(described)


def down(
    *,
    purge: Annotated[bool, Parameter(negative="", help="Remove its data too. This can't be undone.")] = False,
    dry_run: Annotated[bool, Parameter(negative="", help="Say what would be done, and do nothing.")] = False,
    json: Json = False,
) -> int:
    """Stop every process of the platform; its data stays unless `--purge` is given.

    Examples
    --------
    siaga down
    siaga down --purge --dry-run
    """
    place = account.home()
    if dry_run:
        layout = lifecycle.required(place)
        running = [p.name for p in asyncio.run(platform_status.parts(layout)) if p.pid is not None]
        removed = [str(place.state), str(place.run)] if purge else []
        plan = {"would_stop": running, "would_remove": removed}
        if json:
            output.document(plan)
        else:
            print("would stop:   " + (", ".join(running) or "nothing"))
            print("would remove: " + (", ".join(removed) or "nothing"))
        return Exit.DONE
    lifecycle.take_down(place, purge=purge, quiet=json)
    if json:
        output.document({"stopped": True, "purged": purge})
    return Exit.DONE


def status(*, json: Json = False) -> int:
    """Show every part of the platform and every loop of its controller.

    Exit code 0 when everything runs, 1 when something does not. Works with the controller dead.

    Examples
    --------
    siaga status
    siaga status --json
    """
    layout = lifecycle.required(account.home())
    described = asyncio.run(_describe(layout))
    if json:
        output.document(described)
    else:
        _print(described)
    whole = all(part["state"] == "running" for part in described["parts"])
    controller = described["controller"]
    loops = controller["loops"]
    sound = loops and not any(loop["late"] for loop in loops) and controller["evidence"]["recording"]
    return Exit.DONE if whole and sound and not controller["runs_trouble"] else Exit.DOES_NOT_HOLD


async def _describe(layout: Layout) -> dict[str, Any]:
    parts = await platform_status.parts(layout)
    controller: dict[str, Any] = {"leader": None, "loops": [], "why": ""}
    client = ControllerClient(layout.controller_sockets, deadline_s=3.0)
    try:
        controller |= await client.get("/v1/status")
        controller["leader"] = (await client.get("/v1/leader"))["leader"]
    except (Unreachable, SiagaError) as error:
        controller["why"] = error.message
    site = layout.site
    leads = (controller["leader"] or {}).get("name", site.controller.names[0])
    controller["address"] = f"http://{layout.address(leads)}"
    return {
        "name": site.name,
        "state_directory": str(layout.place.state),
        "parts": [asdict(part) for part in parts],
        "dsn": server_dsn(site.transactions, layout.address("pgbouncer")),
        "front_door": {region.name: f"http://{region.front_door}" for region in site.regions},
        # The web console comes with its own issue.
        "console": None,
        "controller": controller,
        "journal": journal_status.read(embedded_journal.status_path(layout)),
    }


def _print(described: dict[str, Any]) -> None:
    parts = described["parts"]
    output.table(
        ("part", "state", "address", "pid", "up", "why"),
        [[p["name"], p["state"], p["address"], p["pid"], _age(p["since"]), p["why"]] for p in parts],
    )
    print()
    for region, url in described["front_door"].items():
        print(f"front door {region:<8}{url}")
    print(f"database           {described['dsn']}")
    controller = described["controller"]
    print(f"controller         {controller['address']}{_leads(controller['leader'])}")
    if controller["why"]:
        print(f"                   {controller['why']}")
    journal = described["journal"]
    lag = f"{journal['lag_s']} s behind, gaps: {len(journal['gaps'])}" if "gaps" in journal else journal["why"]
    print(f"journal            {journal['state']}, {lag}")
    if controller["loops"]:
        print()
        output.table(
            ("loop", "last pass", "took", "passes", "errors", "last error"),
            [
                [
                    loop["name"],
                    f"{_age(loop['last_pass'])} ago",
                    f"{loop['last_pass_s'] * 1000:.0f} ms",
                    loop["passes"],
                    loop["errors"],
                    ("late: " if loop["late"] else "") + loop["last_error"],
                ]
                for loop in controller["loops"]
            ],
        )
    print()
    print(_journal(described["journal"]))
    for line in _worth_saying(controller):
        print(line)


def _journal(found: dict[str, Any]) -> str:
    said = f"{found['state']}: {found['why']}" if found["why"] else found["state"]
    gaps = found.get("gaps", [])
    figures = "" if "lag_s" not in found else f", {found['lag_s']:g} s and {found['lag_bytes']:,} bytes behind"
    return f"journal            {said}{figures}, {len(gaps)} gaps" + ("; `siaga journal show`" if gaps else "")


def _worth_saying(controller: dict[str, Any]) -> list[str]:
    """What an operator should know that no table shows."""
    lines = [f"still arming: {arming}" for arming in controller.get("arming", [])]
    if controller.get("halted"):
        lines.append(f"HALTED: {controller['halted']}. `siaga resume --reason …` lets automatic acts go on.")
    lines += [
        f'waits for a yes since {each["since"]}: `siaga approvals give "{each["what"]}"`'
        for each in controller.get("approvals", [])
    ]
    evidence = controller.get("evidence")
    if evidence and evidence["why"]:
        lines.append(f"NOT RECORDING: {evidence['why']}; what needs a record is refused")
    for what, key in (("no run goes on", "runs_trouble"), ("levers", "levers_trouble")):
        if controller.get(key):
            lines.append(f"{what}: {controller[key]}")
    return lines


def _leads(leader: dict[str, Any] | None) -> str:
    return f"  {leader['name']} leads, epoch {leader['epoch']}" if leader else "  nobody leads"


def _age(since: str) -> str:
    if not since:
        return ""
    seconds = int((datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds())
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
