"""`siaga sessions`: the session cluster and its separation from the database."""

from __future__ import annotations

from cyclopts import App

from siaga.cli import ask, output
from siaga.cli.platform import Json
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
    if json:
        output.document(found)
    else:
        print(f"{found['adherence']}: {found['why']}\n")
        for name in ("servers", "separation", "events"):
            rows = found.get(name) or []
            if rows:
                columns = tuple(rows[0])
                output.table(columns, [[row.get(column) for column in columns] for row in rows], title=name)
                print()
    return Exit.DONE if found["adherence"] == "holds" else Exit.DOES_NOT_HOLD
