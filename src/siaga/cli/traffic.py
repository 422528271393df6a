"""`siaga traffic`: where users go, and why."""

from __future__ import annotations

from cyclopts import App

from siaga.cli import ask, output
from siaga.cli.output import Json
from siaga.errors import Exit

app = App(name="traffic", help="Where users go, and why (ZDT-1.1a).")


@app.command
def show(*, json: Json = False) -> int:
    """Show every node: its state, its share of traffic, what the probes see, and the last decisions.

    Examples
    --------
    siaga traffic show
    """
    found = ask.get("/v1/traffic")
    if json:
        output.document(found)
        return Exit.DONE
    columns = ("node", "region", "state", "weight", "p50", "failed", "data plane", "why")
    output.table(columns, [[node[key] for key in _KEYS] for node in found["nodes"]])
    if found["decisions"]:
        print()
        output.table(("time", "by", "decision"), [[d["time"], d["actor"], d["reason"]] for d in found["decisions"]])
    return Exit.DONE


_KEYS = ("node", "region", "state", "weight_percent", "latency_p50_ms", "failed_share", "proxy", "why")


@app.command
def drain(node: str, *, dry_run: bool = False, json: Json = False) -> int:
    """Send no new request to a node; it stays drained until `restore`.

    Refused (exit code 4) for the last node that serves.

    Examples
    --------
    siaga traffic drain sgp-1 --dry-run
    siaga traffic drain sgp-1
    """
    return _act(node, "drain", dry_run, json)


@app.command
def restore(node: str, *, dry_run: bool = False, json: Json = False) -> int:
    """Bring a drained node back, in steps of 1, 10, 50 and 100 % of its share.

    Examples
    --------
    siaga traffic restore sgp-1
    """
    return _act(node, "restore", dry_run, json)


def _act(node: str, verb: str, dry_run: bool, json: bool) -> int:
    done = ask.post(f"/v1/traffic/nodes/{node}/{verb}", {"dry_run": dry_run})
    if json:
        output.document(done)
    else:
        print(("would do: " if dry_run else "") + done["reason"])
    return Exit.DONE
