"""`siaga sessions`: the session cluster and its separation from the database."""

from __future__ import annotations

from cyclopts import App

from siaga.cli import ask, output
from siaga.cli.output import Json
from siaga.errors import Exit

app = App(name="sessions", help="The session cluster, apart from the database (ZDT-1.1b).")


@app.command
def show(*, json: Json = False) -> int:
    """Show every server by its role, the verdict on the cluster, and its separation from the database.

    Exit code 0 when the cluster holds, 1 when it does not.

    Examples
    --------
    siaga sessions show
    """
    found = ask.get("/v1/sessions")
    standing = found["standing"]
    if json:
        output.document(found)
    else:
        print(f"{standing['adherence']}: {standing['why']}\n")
        output.table(_SERVER, [[server[key] for key in _SERVER] for server in found["servers"]])
        print()
        output.table(_SHARD, [[_text(shard[key]) for key in _SHARD] for shard in found["shards"]])
        print()
        output.table(("apart from the database", "", "why"), [tuple(row.values()) for row in found["separation"]])
        if found["events"]:
            print()
            output.table(("time", "event"), [(event["at"], event["reason"]) for event in found["events"]])
    return Exit.DONE if standing["adherence"] == "holds" else Exit.DOES_NOT_HOLD


_SERVER = ("name", "address", "answer", "role", "link_up", "timeouts", "why")
_SHARD = ("slots", "primary", "coverage", "replicas_linked", "why")


def _text(value: object) -> object:
    return ", ".join(value) if isinstance(value, list) else value
